// Package chat holds petrel's vocabulary and rules: what a conversation is, who may do what in it,
// and which events a command leads to.
//
// Start with [State.Decide], which turns a command into events or a refusal, and [State.Apply],
// which turns events into the next state. Both are pure: nothing in this package does I/O, reads a
// clock, starts a goroutine or takes a lock, so a conversation can be replayed exactly from its log.
//
// A conversation is a log. What anybody has seen of it is a cursor. Every state in this package is a
// fold of Apply over the events of one log, plus the cursors of its members.
package chat
