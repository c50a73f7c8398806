package pebblestore

import (
	"math"
	"math/rand/v2"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// MemDisk is a disk in memory that can lose power, for tests: Open a store on it, and at any moment
// take a PowerLoss of it to see what a machine would find after the power went at that moment. All
// methods may be called from any goroutine.
type MemDisk struct{ fs *vfs.MemFS }

// memDir is where the store lies on a MemDisk.
const memDir = "data"

// NewMemDisk returns an empty disk.
func NewMemDisk() *MemDisk { return &MemDisk{fs: vfs.NewCrashableMem()} }

// Open opens the store on the disk and makes it if there is none. A MemDisk has room without end, and
// no ballast, unless the options say otherwise.
func (d *MemDisk) Open(o Options) (*Store, error) {
	o.Create = !o.ReadOnly
	return openFS(d.fs, memDir, memOptions(o), currentLayout())
}

func memOptions(o Options) Options {
	if o.FreeSpace == nil {
		o.FreeSpace = func() (uint64, error) { return math.MaxInt64, nil }
	}
	if o.ReserveBytes == 0 {
		o.ReserveBytes = -1
	}
	return o
}

// PowerLoss returns the disk as it is found after the power went now: everything that was synced, and of
// the rest a random part: each block and directory entry with a probability of percent in 100. The
// disk itself goes on.
func (d *MemDisk) PowerLoss(percent int, seed uint64) *MemDisk {
	return &MemDisk{fs: d.fs.CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: percent,
		RNG:                 rand.New(rand.NewPCG(seed, uint64(percent))),
	})}
}
