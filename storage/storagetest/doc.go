// Package storagetest holds the contract that every storage engine must pass.
//
// Start with [Run] in a test of the engine: it opens fresh stores and tries every method, then compares
// the engine with [Model] over random histories. Model is a naive store in memory that says in the
// plainest way what the right answer is; tests of other packages may use it where durability does not
// matter.
package storagetest
