package link

import (
	"bytes"
	"context"
	"net"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/log"
)

// ping is a PINGREQ on its way, and who waits for its answer. The connection's mu guards it.
type ping struct {
	at      time.Time     // when it was sent; zero: there is none
	idle    time.Duration // how long nothing had come or gone before it; 0: unknown
	waiters []chan error  // each with room for one
}

func (p *ping) resolve(err error) {
	for _, w := range p.waiters {
		w <- err
	}
	p.at, p.waiters = time.Time{}, nil
}

// pulse watches over the connections of a link in paho's place: keep-alive, and whether who owes an answer is
// there at all.
type pulse struct{ l *Link }

var _ paho.Pinger = pulse{}

// Run watches one connection until it ends. paho calls it in a goroutine of its own.
func (p pulse) Run(ctx context.Context, _ net.Conn, _ uint16) error {
	c := p.l.current()
	if c == nil {
		return nil
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.over:
			return nil
		case <-c.watched:
		case <-timer.C:
		}
		wait, alive := c.look(time.Now())
		if !alive {
			return nil // paho learns of it as the reader does
		}
		timer.Reset(wait)
	}
}

// PingResp is called by paho's reader.
func (p pulse) PingResp() {
	if c := p.l.current(); c != nil {
		c.pong()
	}
}

func (p pulse) PacketSent()         {} // the wire knows better
func (p pulse) PacketReceived()     {}
func (p pulse) SetDebug(log.Logger) {}

// look decides what is to be done now, and how long nothing is after that.
func (c *connection) look(now time.Time) (wait time.Duration, alive bool) {
	choked := c.w.choked() // asked first: the wire hears again from the moment when it is not
	heard, sent := c.w.traffic()
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return 0, false
	}
	if c.ping.at.IsZero() {
		next := earlier(heard, sent).Add(c.l.interval(c.session.KeepAlive))
		if len(c.inflight) > 0 {
			next = earlier(next, later(heard, c.awaits).Add(c.l.o.Patience.Answer))
		}
		if now.Before(next) {
			c.mu.Unlock()
			return next.Sub(now), true
		}
		c.control = append(c.control, packets.PINGREQ<<4, 0)
		c.pinging(now, heard, sent)
		signal(c.wake)
	}
	patience := c.patience()
	deadline := later(later(c.ping.at, heard), sent).Add(patience)
	if last := c.ping.at.Add(10 * patience); last.Before(deadline) {
		deadline = last // it hears, but is not heard
	}
	if choked && !now.Before(deadline) {
		c.ping.at = now // the answer lies behind what we don't read: the wait for it begins anew
		deadline = now.Add(patience)
	}
	idle := c.ping.idle
	c.mu.Unlock()
	if now.Before(deadline) {
		return deadline.Sub(now), true
	}
	c.l.fellSilent(idle)
	c.end(errSilent)
	return 0, false
}

// patience is how long the answer to a PINGREQ may take. What lies in the buffers of a slow network before
// it takes its time; and who gave up wrongly and lost connection after connection must become more patient, or
// would never get a message through.
func (c *connection) patience() time.Duration {
	const rate = 32 << 10 // bytes a second: slower networks are learned by failing
	extra := time.Duration(max(0, c.unacked-rate/2)) * time.Second / rate
	return (c.l.o.Patience.Probe + min(extra, time.Minute)) << min(c.l.silent.Load(), 3)
}

// pinging notes that a PINGREQ goes out; with mu held.
func (c *connection) pinging(now, heard, sent time.Time) {
	c.ping.at = now
	c.ping.idle = silence(now, later(heard, sent))
	if c.ping.idle > 2*c.l.interval(c.session.KeepAlive) {
		c.ping.idle = 0 // the machine slept: that says nothing about the network
	}
}

// pingAlong adds a PINGREQ to what is being sent after a long silence; with mu held.
func (c *connection) pingAlong(buf *bytes.Buffer) {
	now := time.Now()
	heard, sent := c.w.traffic()
	if !c.ping.at.IsZero() || silence(now, heard) <= c.l.o.Patience.Idle {
		return
	}
	buf.Write([]byte{packets.PINGREQ << 4, 0})
	c.pinging(now, heard, sent)
	signal(c.watched)
}

// pong takes the answer to a PINGREQ.
func (c *connection) pong() {
	c.mu.Lock()
	idle := c.ping.idle
	was := !c.ping.at.IsZero()
	c.ping.resolve(nil)
	c.mu.Unlock()
	signal(c.watched)
	if was {
		c.l.answered(idle)
	}
}

// ask sends a PINGREQ unless one is on its way. answer, if there is one, gets nil when the answer came,
// or ErrLost; it needs room for one.
func (c *connection) ask(answer chan error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return ErrDown
	}
	if answer != nil {
		c.ping.waiters = append(c.ping.waiters, answer)
	}
	if c.ping.at.IsZero() {
		heard, sent := c.w.traffic()
		c.control = append(c.control, packets.PINGREQ<<4, 0)
		c.pinging(time.Now(), heard, sent)
	}
	signal(c.wake)
	signal(c.watched)
	return nil
}

// silence is the time from then to now by the clock that shows more: the monotonic one stands still while the
// machine sleeps, the other one can be set.
func silence(now, then time.Time) time.Duration {
	return max(now.Sub(then), now.Round(0).Sub(then.Round(0)))
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
