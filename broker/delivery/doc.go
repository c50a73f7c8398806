// Package delivery owns the sessions: what each of them has subscribed to, how far it has come in
// every log, which packets it has not acknowledged, and the bytes on their way to its connection.
//
// Start with [New], [Registry.Attach] and [Session]. The registry is the hub's sink: it offers every
// durable event to the sessions of the members that are online. A session that has room gets it at
// once; one that has not remembers that the log lags and reads on when its client acknowledges. A
// session that is away is not in memory at all: its record and position are on disk, and the log is
// its queue.
//
// Locks, in this order: Registry.mu (who is online; held by the dispatcher for one commit, by attach
// and detach), Session.mu (one session's state), outbox.mu (bytes). No lock is held while a
// connection is written or the store is read.
package delivery
