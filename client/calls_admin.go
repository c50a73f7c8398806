package client

import (
	"context"
	"iter"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
)

// AdminCalls are the calls of administrators: see [Caller]. Everybody else is refused not-authorized. All that they change
// leaves an entry in the audit trail.
type AdminCalls struct{ Via Caller }

// Account is an account as administrators see it.
type Account struct {
	User     string `json:"user"`
	Admin    bool   `json:"admin"`
	Disabled bool   `json:"disabled"` // may not log in
	Password bool   `json:"password"` // has one
	Created  Millis `json:"created"`
}

// NewAccount is an account to be made.
type NewAccount struct {
	User     string  `json:"user"`
	Password *string `json:"password,omitempty"` // nil: none, only tokens let it in
	Admin    *bool   `json:"admin,omitempty"`
}

// AddUser makes an account. An id that is taken, in whatever case, is a conflict.
func (a AdminCalls) AddUser(ctx context.Context, account NewAccount) (Account, error) {
	return call[Account](ctx, a.Via, "admin.user.add", &account)
}

type wirePassword struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

// SetPassword gives an account another password.
func (a AdminCalls) SetPassword(ctx context.Context, user, password string) (Account, error) {
	return call[Account](ctx, a.Via, "admin.user.passwd", wirePassword{user, password})
}

// AccountChange changes an account. nil leaves a field as it is; one at least is given (bad-request).
type AccountChange struct {
	User     string `json:"user"`
	Admin    *bool  `json:"admin,omitempty"`
	Disabled *bool  `json:"disabled,omitempty"` // true ends its sessions, too
}

// UpdateUser changes an account and returns it.
func (a AdminCalls) UpdateUser(ctx context.Context, change AccountChange) (Account, error) {
	return call[Account](ctx, a.Via, "admin.user.update", &change)
}

// DeleteUser erases an account, as [ProfileCalls.Erase] does.
func (a AdminCalls) DeleteUser(ctx context.Context, user string) error {
	return a.Via.Call(ctx, "admin.user.del", wireUser{user}, nil)
}

// Users goes through the accounts, by the byte order of their ids.
func (a AdminCalls) Users(ctx context.Context) iter.Seq2[Account, error] {
	return each(ctx, a.UsersPage)
}

// UsersPage is one page of [AdminCalls.Users]: 100, at most 1,000.
func (a AdminCalls) UsersPage(ctx context.Context, o ListOptions) (PageOf[Account], error) {
	type list struct {
		Users []Account `json:"users"`
		More  bool      `json:"more"`
	}
	reply, err := call[list](ctx, a.Via, "admin.user.list", o.wire())
	return pagedBy(reply.Users, reply.More, func(a *Account) string { return a.User }), err
}

type wireUserAfter struct {
	User string `json:"user"`
	wireAfter
}

// Export goes through all that a user is, has and said.
func (a AdminCalls) Export(ctx context.Context, user string) iter.Seq2[ExportItem, error] {
	return each(ctx, func(ctx context.Context, o ListOptions) (PageOf[ExportItem], error) {
		return a.ExportPage(ctx, user, o)
	})
}

// ExportPage is one page of [AdminCalls.Export]. Its length is the server's choice; a page may be empty that has another
// behind it.
func (a AdminCalls) ExportPage(ctx context.Context, user string, o ListOptions) (PageOf[ExportItem], error) {
	return export(ctx, a.Via, "admin.user.export", wireUserAfter{user, wireAfter{o.After}})
}

// NewToken is a device token to be made.
type NewToken struct {
	User string `json:"user"`
	Name string `json:"name,omitempty"` // for people
	TokenScope
	Expires int64 `json:"expires,omitempty"` // seconds from now; 0: never
}

// TokenSecret is a token. It is shown this once.
type TokenSecret struct {
	ID    string `json:"id"`
	Token string `json:"token"` // what a device connects with, as its password
}

// TokenInfo is a token in a list.
type TokenInfo struct {
	ID      string   `json:"id"`
	User    string   `json:"user"`
	Name    string   `json:"name,omitempty"`
	Convs   []string `json:"convs,omitempty"` // nil: everywhere
	Read    bool     `json:"read"`
	Write   bool     `json:"write"`
	Created Millis   `json:"created"`
	Expires Millis   `json:"expires,omitempty"` // 0: never
	Used    Millis   `json:"used,omitempty"`    // when it was used last; 0: never
}

// AddToken makes a token that lets a device of a user's in.
func (a AdminCalls) AddToken(ctx context.Context, token NewToken) (TokenSecret, error) {
	return call[TokenSecret](ctx, a.Via, "admin.token.add", &token)
}

// RevokeToken ends a token, and the sessions that it let in.
func (a AdminCalls) RevokeToken(ctx context.Context, id string) error {
	return a.Via.Call(ctx, "admin.token.revoke", wireID{id}, nil)
}

type wireUserPage struct {
	User string `json:"user,omitempty"`
	wirePage
}

// Tokens goes through the tokens of a user; "": of all.
func (a AdminCalls) Tokens(ctx context.Context, user string) iter.Seq2[TokenInfo, error] {
	return each(ctx, func(ctx context.Context, o ListOptions) (PageOf[TokenInfo], error) { return a.TokensPage(ctx, user, o) })
}

// TokensPage is one page of [AdminCalls.Tokens]: 100, at most 1,000.
func (a AdminCalls) TokensPage(ctx context.Context, user string, o ListOptions) (PageOf[TokenInfo], error) {
	type list struct {
		Tokens []TokenInfo `json:"tokens"`
		More   bool        `json:"more"`
	}
	reply, err := call[list](ctx, a.Via, "admin.token.list", wireUserPage{user, o.wire()})
	return pagedBy(reply.Tokens, reply.More, func(t *TokenInfo) string { return t.ID }), err
}

// AuditQuery chooses entries of the audit trail. The zero value: all.
type AuditQuery struct {
	User   string `json:"user,omitempty"`   // who did it, or to whom
	Kind   string `json:"kind,omitempty"`   // what, or the beginning of it: token for token.add and token.revoke
	Conv   string `json:"conv,omitempty"`   // where
	Before string `json:"before,omitempty"` // before an entry (its id), or before a time (ms since 1970)
	// Since is where it begins: behind an entry (its id), or after a time (ms since 1970); "": at the first one.
	Since string `json:"-"`
}

// AuditEntry says that somebody did something that matters to security.
type AuditEntry struct {
	ID     string `json:"id"`
	At     Millis `json:"at"`
	Who    string `json:"who"`    // a user, or "control socket", "server"
	What   string `json:"what"`   // login.fail, user.add, member.role …: the list is in docs/operations.md
	Target string `json:"target"` // to whom or to what
	Conv   string `json:"conv,omitempty"`
	Seq    uint64 `json:"seq,omitempty"` // the event that says the same
	Addr   string `json:"addr,omitempty"`
	Note   string `json:"note,omitempty"`
	Count  int    `json:"count,omitempty"` // so many of the same kind were left out before it
	Prev   string `json:"prev,omitempty"`  // hash of the entry before, hexadecimal SHA-256
	Hash   string `json:"hash"`
}

type wireAudit struct {
	AuditQuery
	wirePage
}

// Audit goes through the audit trail, the oldest entry first.
func (a AdminCalls) Audit(ctx context.Context, q AuditQuery) iter.Seq2[AuditEntry, error] {
	return each(ctx, func(ctx context.Context, o ListOptions) (PageOf[AuditEntry], error) { return a.AuditPage(ctx, q, o) })
}

// AuditPage is one page of [AdminCalls.Audit]: 100, at most 1,000.
func (a AdminCalls) AuditPage(ctx context.Context, q AuditQuery, o ListOptions) (PageOf[AuditEntry], error) {
	type list struct {
		Entries []AuditEntry `json:"entries"`
		More    bool         `json:"more"`
	}
	if o.After == "" {
		o.After = q.Since
	}
	reply, err := call[list](ctx, a.Via, "admin.audit", wireAudit{q, o.wire()})
	return pagedBy(reply.Entries, reply.More, func(e *AuditEntry) string { return e.ID }), err
}

// Report is a report as administrators see it.
type Report struct {
	ID     string
	At     Millis
	By     string // who reported
	User   string // who is reported
	Conv   string
	Seq    uint64
	Reason string
	Events []chat.Event // the reported event is the last; before it up to four, as they were then
	Done   Millis       // when it was settled; 0: it is open
	DoneBy string
	Note   string
}

type wireReport struct {
	ID     string          `json:"id"`
	At     Millis          `json:"at"`
	By     string          `json:"by"`
	User   string          `json:"user"`
	Conv   string          `json:"conv"`
	Seq    uint64          `json:"seq"`
	Reason string          `json:"reason"`
	Events protocol.Events `json:"events"`
	Done   Millis          `json:"done"`
	DoneBy string          `json:"doneby"`
	Note   string          `json:"note"`
}

func (w *wireReport) report() Report {
	return Report{
		ID: w.ID, At: w.At, By: w.By, User: w.User, Conv: w.Conv, Seq: w.Seq, Reason: w.Reason, Events: w.Events.List,
		Done: w.Done, DoneBy: w.DoneBy, Note: w.Note,
	}
}

// Reports goes through the open reports, the oldest first; all: the settled ones too.
func (a AdminCalls) Reports(ctx context.Context, all bool) iter.Seq2[Report, error] {
	return each(ctx, func(ctx context.Context, o ListOptions) (PageOf[Report], error) { return a.ReportsPage(ctx, all, o) })
}

type wireReportsAsk struct {
	All bool `json:"all,omitempty"`
	wirePage
}

// ReportsPage is one page of [AdminCalls.Reports]: 20, at most 100.
func (a AdminCalls) ReportsPage(ctx context.Context, all bool, o ListOptions) (PageOf[Report], error) {
	type list struct {
		Reports []wireReport `json:"reports"`
		After   string       `json:"after"`
		More    bool         `json:"more"`
	}
	reply, err := call[list](ctx, a.Via, "admin.reports", wireReportsAsk{all, o.wire()})
	rows := make([]Report, len(reply.Reports))
	for i := range reply.Reports {
		rows[i] = reply.Reports[i].report()
	}
	return paged(rows, reply.More, reply.After), err
}

type wireResolve struct {
	ID   string `json:"id"`
	Note string `json:"note,omitempty"`
}

// ResolveReport settles a report with a note of at most 1,024 bytes; again, it changes who did and the note.
func (a AdminCalls) ResolveReport(ctx context.Context, id, note string) (Report, error) {
	reply, err := call[wireReport](ctx, a.Via, "admin.report.resolve", wireResolve{id, note})
	return reply.report(), err
}
