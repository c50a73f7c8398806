package hooks

import (
	"runtime"
	"time"
)

// gate keeps a storm of reconnecting devices from delaying messages: a few at a time are let in, and
// each turn is followed by a rest, so that those who talk find a processor. A device that comes alone
// notices nothing: the rest is after its turn, and only those who wait pay for it.
//
// It is a courtesy, not a lock: whoever waited long enough goes on, and so nobody waits for somebody who
// waits for them.
type gate chan struct{}

const (
	gatePatience = 5 * time.Second // how long a connection waits for its turn at most
	gateShare    = 4               // a rest is so many times the turn
	gateRest     = time.Millisecond
)

// newGate returns a gate that lets one through for each processor and some more, who wait for the disk.
func newGate(more int) gate { return make(gate, runtime.GOMAXPROCS(0)+more) }

// enter waits for a turn. leave ends it; the next one's begins after the rest.
func (g gate) enter() (leave func()) {
	select {
	case g <- struct{}{}:
	default:
		t := time.NewTimer(gatePatience)
		defer t.Stop()
		select {
		case g <- struct{}{}:
		case <-t.C:
			return func() {}
		}
	}
	began := time.Now()
	return func() {
		time.AfterFunc(min(gateShare*time.Since(began), gateRest), func() { <-g })
	}
}
