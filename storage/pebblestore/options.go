package pebblestore

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Defaults of Options.
const (
	DefaultCacheBytes    = 8 << 20
	DefaultMemTableBytes = 4 << 20
	DefaultReserveBytes  = 64 << 20
	DefaultMinFreeBytes  = 256 << 20
)

// Options says how to open a store. The zero value opens an existing store for reading and writing.
type Options struct {
	// Create makes a new store when the directory has none. Without it that is an error which wraps
	// fs.ErrNotExist.
	Create bool

	// ReadOnly opens without changing anything; Commit fails. It needs the lock all the same: a store
	// that a server is using can't be opened, only a checkpoint of it.
	ReadOnly bool

	// CacheBytes is the size of the cache of uncompressed blocks; a burst of writes may borrow from it for
	// more memory tables. 0: DefaultCacheBytes.
	CacheBytes int64

	// MemTableBytes is how much is gathered in memory before it is written out as a table; up to four
	// such tables exist under load. 0: DefaultMemTableBytes.
	MemTableBytes int64

	// ReserveBytes is the size of the ballast file. 0: DefaultReserveBytes; negative: no ballast.
	ReserveBytes int64

	// MinFreeBytes is the free space below which only Vital batches are committed. It should leave room
	// for flushes and compactions. 0: DefaultMinFreeBytes; negative: no watermark.
	MinFreeBytes int64

	// Logger receives Pebble's news at debug level, and warnings about slow disks, failed background
	// work and a full disk. nil: nothing is logged.
	Logger *slog.Logger

	// OnFatal is called once, in a goroutine of its own, when the store can no longer keep its promise
	// (a failed sync, damage met while reading or compacting): the process must stop serving and end.
	// nil: what can be returned by Wait or Commit is returned; what can't panics.
	OnFatal func(error)

	// FreeSpace returns the bytes that are free for this process on the store's file system; Now is the
	// clock that spaces those questions a second apart. nil: the operating system's. For tests.
	FreeSpace func() (uint64, error)
	Now       func() time.Time
}

// Validate names all faults at once.
func (o Options) Validate() error {
	var faults []error
	if o.CacheBytes < 0 {
		faults = append(faults, fmt.Errorf("CacheBytes is %d: it must not be negative", o.CacheBytes))
	}
	if o.MemTableBytes != 0 && (o.MemTableBytes < 1<<20 || o.MemTableBytes > 1<<30) {
		faults = append(faults, fmt.Errorf("MemTableBytes is %d: it must lie between 1 MiB and 1 GiB", o.MemTableBytes))
	}
	if o.Create && o.ReadOnly {
		faults = append(faults, errors.New("options Create and ReadOnly exclude each other"))
	}
	return errors.Join(faults...)
}

func (o Options) withDefaults() Options {
	if o.CacheBytes == 0 {
		o.CacheBytes = DefaultCacheBytes
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = DefaultMemTableBytes
	}
	if o.ReserveBytes == 0 {
		o.ReserveBytes = DefaultReserveBytes
	}
	if o.MinFreeBytes == 0 {
		o.MinFreeBytes = DefaultMinFreeBytes
	}
	o.ReserveBytes = max(o.ReserveBytes, 0)
	o.MinFreeBytes = max(o.MinFreeBytes, 0)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}
