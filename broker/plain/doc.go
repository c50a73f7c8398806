// Package plain holds the data structures of plain MQTT: every topic outside c/, u/, k/, rpc/ and $.
//
// Start with [Index.Match], which says who gets a message, and [Queue.Put], which keeps it for those
// who get it at QoS 1 or 2 until [Queue.Release] frees it. [Retained] keeps the last message of a
// topic and [Wills] what a client leaves behind.
//
// The parts do no I/O of their own beyond reading through a [storage.Reader], start no goroutine and
// read no clock. What must survive goes into a [storage.Batch] of the caller, so that it is atomic with
// everything else that happens at that moment. A part that has to know its own uncommitted changes
// (Queue, Retained) is told how the batch ended:
//
//	q.Put(b, …); q.Release(b, …)   // any number of times
//	q.Seal(b)                      // Queue only: the final counts go into the batch
//	store.Commit(b)                // applied: visible to readers
//	q.Committed()                  // or q.Aborted() when Commit returned an error
//
// Index may be used by any goroutine. Queue, Retained (its writes) and Wills belong to one goroutine
// each; the reading functions ReadQueue and Retained.Match may run anywhere.
package plain
