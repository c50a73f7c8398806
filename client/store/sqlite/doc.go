// Package sqlite keeps a client's store in one SQLite file.
//
// Start with [Open]. The file is readable for its owner only, and one program at a time has it open; within it
// any number of goroutines read while one writes (write-ahead log). Every commit is synced before Update
// returns (synchronous=FULL). Updates that come together run one after another in one transaction, each in a savepoint of
// its own, and share its commit: so a hundred concurrent Sends cost one sync.
//
// What is dropped is overwritten (secure_delete, in the index of words too), and the write-ahead log, which still
// has it, is emptied right after the commit.
//
// The file and its neighbours: path, path-wal and path-shm while it is open, path.lock, which stays.
package sqlite
