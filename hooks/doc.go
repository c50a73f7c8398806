// Package hooks is where mochi-mqtt meets petrel: all that knows the broker library's types.
//
// Start with [New] and [Adapter.Attach], which takes a connection from a listener to its end. It
// replaces the library's own attaching, because that can neither bound what it allocates before a
// client is known, nor tell two users' sessions with one client id apart, nor answer a publish after
// the disk has it. What remains the library's: its packet codec, its client objects, its hook points
// for embedders, $SYS. Its inflight maps, its retained messages, its session table and its queues
// carry nothing.
//
// [Deciding] is the one hook that answers whether and where a PUBLISH goes.
package hooks
