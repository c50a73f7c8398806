// Package pebblestore is the storage engine of one node: storage.Store on Pebble, a log-structured
// merge tree.
//
// Start with [Open]. A commit takes one mutex: the store checks the heads that appends expect, gives
// the commit its number, hands the encoded batch to Pebble (which writes the log and applies it to
// memory) and returns; [storage.Pending.Wait] then waits for the sync, which hundreds of commits
// share. Order of numbers, order of visibility and order on disk are therefore the same.
//
// Below Options.MinFreeBytes of free space Commit refuses with storage.ErrFull, except batches marked
// Vital. A ballast file covers the race between that check and a write that meets a full disk: it is
// removed so that Pebble can finish, and comes back when there is room. Any other failed write of the
// log ends the store's work: Wait and all later Commits fail and Options.OnFatal is called.
//
// Open refuses a damaged store (storage.ErrDamaged) instead of working on what is left of it, a
// store of a newer format (storage.ErrNewer), and one that another process has open
// (storage.ErrLocked). [CheckPhysical] reads everything and verifies all checksums.
//
// No type of Pebble is part of this package's API. [MemDisk] is a disk in memory that can lose power,
// for tests.
//
// Goroutines: Pebble's own for flushes, compactions and the write-ahead log, all ended by Close; and
// one short one that calls Options.OnFatal.
package pebblestore
