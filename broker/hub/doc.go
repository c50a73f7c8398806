// Package hub owns the conversations: it takes commands, decides them in order, stores what follows,
// and tells the rest of the server after the sync.
//
// Start with [New], [Hub.Submit] and [Pipeline]. The order is law: decide, store, sync, deliver,
// acknowledge. Owners (a fixed number of goroutines, conversations hashed onto them) decide and
// apply; one goroutine of the pipeline waits for the disk and runs all completions in the order of
// the commits. Nothing outside learns of an event before its completion ran.
package hub
