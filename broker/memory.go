package broker

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// What a burst leaves behind (ten thousand devices that came back at once) would stay with the process
// until the collector's next turn, which for a quiet server is minutes away. A server on a small machine
// gives it back when it is quiet.
const (
	quietEvery = time.Second
	quietBytes = 1 << 20  // allocated within quietEvery: the server has nothing to do
	worthBytes = 16 << 20 // allocated since memory was given back: worth a collection
	quietAgain = 5        // quiet ticks after which it is worth another: timers still held some of the burst
)

// giveBack returns memory to the system while the server is quiet, until stop is closed.
func giveBack(stop <-chan struct{}) {
	tick := time.NewTicker(quietEvery)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	var last, given uint64
	again := 0
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		metrics.Read(sample)
		now := sample[0].Value.Uint64()
		quiet := now-last < quietBytes
		switch {
		case !quiet:
		case now-given > worthBytes:
			again = quietAgain
		case again > 0:
			again--
		}
		if quiet && (now-given > worthBytes || again == 1) {
			runtime.GC() // what pools hold outlives one collection
			debug.FreeOSMemory()
			given = now
		}
		last = now
	}
}
