package hooks

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// gate keeps a storm of reconnecting devices from delaying messages: a few at a time are let in, and
// while there are messages each turn is followed by a rest, so that those who talk find a processor. A
// device that comes alone notices nothing: the rest is after its turn, and only those who wait pay for it.
//
// It is a courtesy, not a lock: whoever waited long enough goes on, and so nobody waits for somebody who
// waits for them.
type gate struct {
	turns chan struct{}
	talk  *atomic.Int64 // grows while there are messages

	mu     sync.Mutex
	seen   int64     // of talk
	talked time.Time // when it was seen to have grown
}

const (
	gatePatience = 5 * time.Second // how long a connection waits for its turn at most
	gateShare    = 4               // a rest is so many times the turn
	gateRest     = time.Millisecond
	gateQuiet    = 200 * time.Millisecond // without messages for so long, nobody needs a rest
)

// newGate returns a gate that lets one through for each processor and some more, who wait for the disk.
func newGate(more int, talk *atomic.Int64) *gate {
	return &gate{turns: make(chan struct{}, runtime.GOMAXPROCS(0)+more), talk: talk}
}

// enter waits for a turn. leave ends it; the next one's begins after the rest.
func (g *gate) enter() (leave func()) {
	select {
	case g.turns <- struct{}{}:
	default:
		t := time.NewTimer(gatePatience)
		defer t.Stop()
		select {
		case g.turns <- struct{}{}:
		case <-t.C:
			return func() {}
		}
	}
	began := time.Now()
	return func() {
		now := time.Now()
		if !g.talking(now) {
			<-g.turns
			return
		}
		time.AfterFunc(min(gateShare*now.Sub(began), gateRest), func() { <-g.turns })
	}
}

// talking reports whether there were messages lately.
func (g *gate) talking(now time.Time) bool {
	n := g.talk.Load()
	g.mu.Lock()
	defer g.mu.Unlock()
	if n != g.seen {
		g.seen, g.talked = n, now
	}
	return now.Sub(g.talked) < gateQuiet
}
