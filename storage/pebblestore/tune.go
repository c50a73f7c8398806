package pebblestore

import (
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// pebbleFormat is pinned: raising it migrates stores one way, which must be a decision.
const pebbleFormat = pebble.FormatValueSeparation

// slowDisk is how long one write or sync may take before it is worth a warning.
const slowDisk = 5 * time.Second

// tune returns Pebble's options for a chat store: small values, appends all over the key space, many
// small reads near the end of logs, lookups of retry keys that mostly find nothing.
func tune(o Options, fs vfs.FS, lock *pebble.Lock, watch *watcher) *pebble.Options {
	// Pebble takes the memory tables out of the cache's size. Usually there are two: one that is filled and
	// one that is written out or kept for reuse. Without room for them nothing at all would be cached.
	p := &pebble.Options{
		FS:                          fs,
		Lock:                        lock,
		ErrorIfNotExists:            !o.Create,
		ReadOnly:                    o.ReadOnly,
		FormatMajorVersion:          pebbleFormat,
		CacheSize:                   o.CacheBytes + 2*o.MemTableBytes,
		MemTableSize:                uint64(o.MemTableBytes),
		MemTableStopWritesThreshold: 4,
		// Few sublevels keep small reads cheap; a burst may pile up before writers are held back.
		L0CompactionThreshold:     4,
		L0CompactionFileThreshold: 500,
		L0StopWritesThreshold:     64,
		LBaseMaxBytes:             64 << 20,
		// One compaction normally; a second when it falls behind. The hot path needs the other core.
		CompactionConcurrencyRange: func() (int, int) { return 1, 2 },
		// Space that a range deletion frees comes back soon even on a quiet server.
		FlushDelayDeleteRange: 10 * time.Second,
		Logger:                watch,
		EventListener:         watch.listener(),
	}
	for i := range p.Levels {
		l := &p.Levels[i]
		l.BlockSize = 8 << 10
		l.IndexBlockSize = 64 << 10
		// On all levels: for keys that are nowhere, the last level is the expensive one.
		l.FilterPolicy = bloom.FilterPolicy(10)
	}
	return p
}
