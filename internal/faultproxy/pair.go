package faultproxy

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// recordMost bounds what is kept for Duplicate.
const recordMost = 64 << 10

// pair is one connection through the proxy.
type pair struct {
	p        *Proxy
	up, down *lane
	once     sync.Once
	over     chan struct{} // closed when the pair has ended: nothing is delayed any longer
}

// lane is one direction of a pair.
type lane struct {
	pair      *pair
	isUp      bool
	from, to  *net.TCPConn
	cut, hole Limit
	delay     time.Duration
	seen      int64 // bytes that were read
	swallow   atomic.Bool

	mu     sync.Mutex
	record []byte // up only
}

func newPair(p *Proxy, client, server *net.TCPConn, f Faults) *pair {
	c := &pair{p: p, over: make(chan struct{})}
	c.up = &lane{pair: c, isUp: true, from: client, to: server, cut: f.CutUp, hole: f.HoleUp, delay: f.DelayUp}
	c.down = &lane{pair: c, from: server, to: client, cut: f.CutDown, hole: f.HoleDown, delay: f.DelayDown}
	return c
}

// run forwards until both directions have ended.
func (c *pair) run() {
	var both sync.WaitGroup
	both.Go(c.up.run)
	both.Go(c.down.run)
	both.Wait()
	c.end()
}

// end resets both sides.
func (c *pair) end() {
	c.once.Do(func() {
		close(c.over)
		reset(c.up.from)
		reset(c.up.to)
	})
}

// piece is what was read, and when it is due.
type piece struct {
	bytes []byte
	due   time.Time
}

// run forwards one direction to its end.
func (l *lane) run() {
	pieces := make(chan piece, 1024) // what is delayed; more than so many reads wait
	var write sync.WaitGroup
	write.Go(func() { l.deliver(pieces) })
	l.read(pieces)
	close(pieces)
	write.Wait()
}

// read reads until the end or the cut.
func (l *lane) read(pieces chan<- piece) {
	buf := make([]byte, 32<<10)
	for {
		room := buf
		if l.cut.set && l.cut.n-l.seen < int64(len(room)) {
			room = buf[:l.cut.n-l.seen]
		}
		if len(room) == 0 {
			return
		}
		n, err := l.from.Read(room)
		if n > 0 {
			l.note(room[:n])
			if pass := l.passes(n); pass > 0 {
				select {
				case pieces <- piece{slices.Clone(room[:pass]), time.Now().Add(l.delay)}:
				case <-l.pair.over:
					return
				}
			}
		}
		if err != nil {
			return
		}
	}
}

// passes counts n bytes and returns how many of them are passed on.
func (l *lane) passes(n int) int {
	before := l.seen
	l.seen += int64(n)
	switch {
	case l.swallow.Load():
		return 0
	case l.hole.set && l.seen > l.hole.n:
		l.swallow.Store(true)
		l.hole.set = false
		return int(max(0, l.hole.n-before))
	}
	return n
}

// deliver writes what is due, and then the end.
func (l *lane) deliver(pieces <-chan piece) {
	for one := range pieces {
		if wait := time.Until(one.due); wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-l.pair.over:
				timer.Stop()
			}
		}
		l.pair.p.passed(l.isUp, len(one.bytes)) // before anybody can act upon it
		if _, err := l.to.Write(one.bytes); err != nil {
			break
		}
	}
	for range pieces { // whoever reads must not be kept
	}
	select {
	case <-l.pair.over:
		return // it is being reset
	default:
	}
	if l.swallow.Load() {
		return // whoever is on the other side does not learn that this one has left
	}
	if l.cut.set && l.seen >= l.cut.n {
		// Resetting the receiver's side too would take from it what it has not read yet. It is left to read to the
		// end and to close; who sent is cut off first, so that it can't take that for a good end.
		l.other().swallow.Store(true)
		reset(l.from)
	}
	_ = l.to.CloseWrite()
}

func (l *lane) other() *lane {
	if l.isUp {
		return l.pair.down
	}
	return l.pair.up
}

func (l *lane) note(b []byte) {
	if !l.isUp {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.record = append(l.record, b[:min(len(b), recordMost-len(l.record))]...)
}

func (l *lane) recorded() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.record)
}

// reset closes without any of the courtesies.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}
