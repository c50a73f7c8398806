// Package storage says what must survive: logs, and small records beside them.
//
// Start with [Store]: Commit a [Batch], Wait for the sync, and only then tell anybody. A log is a
// sequence of opaque entries numbered 1, 2, 3 …; a record is a value under a [Key]. The key layout
// stands in keys.go, in one place for all engines. Package pebblestore is the engine of one node;
// package storagetest holds the contract that every engine must pass.
//
// What was applied but is not synced yet is visible to readers. Whoever shows data to a client must
// therefore stop at the durable commit number, which the pipeline in broker/hub keeps: every entry
// carries the number of the commit that wrote it.
package storage
