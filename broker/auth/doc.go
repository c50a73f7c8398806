// Package auth says who a client is and what it may do with plain topics.
//
// Start with [New], then call [Service.Authenticate] for each CONNECT and [Service.Compile] for each
// connection that was let in. Once the session is registered, ask [Service.Current]: it closes the gap
// between the check of a credential and a revocation that happened meanwhile. Call [Service.Flush] about
// once a minute and at the end; it writes when tokens were last used.
//
// Accounts, device tokens and the audit trail are records of package storage. Every change is one batch
// that holds its audit record too, and is synced before the method returns. [Admin] is the one
// implementation behind the control socket and rpc/admin.*.
//
// User ids are unique without regard to case, and are used as they were spelled when the account was
// made: "Alice" can't log in as "alice", so nobody can pose as somebody else by spelling.
//
// All methods may be called from any goroutine. The package starts none.
package auth
