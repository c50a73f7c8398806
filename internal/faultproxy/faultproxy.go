// Package faultproxy is a TCP proxy that breaks connections where a test wants it. Call New with the address of
// a server, let the client connect to Addr, and say with Next what happens to the connections that come, or with Cut,
// Hole and Refuse what happens now.
//
// Nothing is left to chance: a connection that is cut after n bytes has delivered exactly these n, and nothing happens
// that the test did not ask for. All methods may be called from any goroutine.
package faultproxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Limit is a number of bytes, from 0, or none.
type Limit struct {
	n   int64
	set bool
}

// After is the limit after n bytes. The zero Limit is none.
func After(n int64) Limit { return Limit{n, true} }

// Faults is what happens to one connection. The zero value forwards everything. Up is the direction from the client to
// the server, Down from the server to the client.
type Faults struct {
	Refuse bool // reset as soon as it is accepted
	// The connection ends when so many bytes went in that direction. Who receives them gets them all and then the
	// end, the other side a reset.
	CutUp, CutDown Limit
	// After so many bytes the direction swallows everything: the connection stays, nobody is there.
	HoleUp, HoleDown Limit
	// What arrives is passed on so much later, in order. Nothing is slowed down by it.
	DelayUp, DelayDown time.Duration
}

// Stats is what a Proxy has seen.
type Stats struct {
	Accepted int   // connections so far, refused ones too
	Open     int   // of which the client has not been cut off and has not left
	Up, Down int64 // bytes that were passed on
}

// Proxy forwards connections. It must be closed.
type Proxy struct {
	ln   net.Listener
	work sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond
	target  string
	from    net.IP
	closed  bool
	next    []Faults
	always  Faults
	stats   Stats
	open    map[*pair]bool
	newest  *pair
	strays  map[net.Conn]bool // of Duplicate
}

// New listens on a free port of loopback for connections to target, host:port.
func New(target string) (*Proxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("faultproxy: %w", err)
	}
	p := &Proxy{ln: ln, target: target, open: make(map[*pair]bool), strays: make(map[net.Conn]bool)}
	p.changed = sync.NewCond(&p.mu)
	p.work.Go(p.accept)
	return p, nil
}

// Addr is where clients connect, host:port.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// Target says where connections that come from now on go: a server that was restarted has another port.
func (p *Proxy) Target(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = addr
}

// From has connections to the server that come from now on come from an address of this machine, which the server takes for
// the client's. nil: from any.
func (p *Proxy) From(ip net.IP) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.from = ip
}

// Next says what happens to the next connections, one each. Those after them are subject to Always.
func (p *Proxy) Next(f ...Faults) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = append(p.next, f...)
}

// Always says what happens to all connections for which Next says nothing.
func (p *Proxy) Always(f Faults) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.always = f
}

// Refuse resets all connections that come from now on, or takes that back.
func (p *Proxy) Refuse(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.always.Refuse = on
}

// Cut resets all connections that are open, towards both sides.
func (p *Proxy) Cut() {
	for _, c := range p.pairs() {
		c.end()
	}
}

// Hole swallows everything on all connections that are open, from now on: they stay, nobody is there.
func (p *Proxy) Hole() {
	for _, c := range p.pairs() {
		c.up.swallow.Store(true)
		c.down.swallow.Store(true)
	}
}

// Fill ends what Hole began: bytes that come from now on are passed on again. What was swallowed stays lost.
func (p *Proxy) Fill() {
	for _, c := range p.pairs() {
		c.up.swallow.Store(false)
		c.down.swallow.Store(false)
	}
}

// Duplicate opens one more connection to the server, sends what the client of the newest connection has sent so far
// (64 KiB of it at most), and leaves it open: what a client looks like that connected twice.
func (p *Proxy) Duplicate(ctx context.Context) error {
	p.mu.Lock()
	c, target := p.newest, p.target
	p.mu.Unlock()
	if c == nil {
		return fmt.Errorf("faultproxy: no connection has come yet")
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", target)
	if err != nil {
		return fmt.Errorf("faultproxy: %w", err)
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		_ = conn.Close()
		return net.ErrClosed
	}
	p.strays[conn] = true
	p.work.Go(func() { _, _ = io.Copy(io.Discard, conn) })
	p.mu.Unlock()
	if _, err := conn.Write(c.up.recorded()); err != nil {
		return fmt.Errorf("faultproxy: %w", err)
	}
	return nil
}

// Stats returns what was seen so far.
func (p *Proxy) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats
}

// Wait waits until what was seen fulfils a condition, or for ctx.
func (p *Proxy) Wait(ctx context.Context, enough func(Stats) bool) error {
	stop := context.AfterFunc(ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.changed.Broadcast()
	})
	defer stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for !enough(p.stats) {
		if ctx.Err() != nil {
			return fmt.Errorf("faultproxy: %w with %+v", ctx.Err(), p.stats)
		}
		p.changed.Wait()
	}
	return nil
}

// Close ends the proxy and all its connections, and waits for its goroutines.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	for conn := range p.strays {
		_ = conn.Close()
	}
	p.mu.Unlock()
	_ = p.ln.Close()
	p.Cut()
	p.work.Wait()
}

func (p *Proxy) pairs() []*pair {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*pair
	for c := range p.open {
		all = append(all, c)
	}
	return all
}

// accept takes connections until Close.
func (p *Proxy) accept() {
	for {
		conn, err := p.ln.Accept()
		if err != nil {
			return
		}
		client := conn.(*net.TCPConn) // of a TCP listener
		f, target, from := p.arrived()
		if f.Refuse {
			reset(client)
			continue
		}
		p.work.Go(func() { p.serve(client, target, from, f) })
	}
}

// arrived counts a connection and says what happens to it.
func (p *Proxy) arrived() (Faults, string, net.IP) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.Accepted++
	p.changed.Broadcast()
	f := p.always
	if len(p.next) > 0 {
		f = p.next[0]
		p.next = p.next[1:]
	}
	return f, p.target, p.from
}

// serve forwards one connection.
func (p *Proxy) serve(client *net.TCPConn, target string, from net.IP, f Faults) {
	var d net.Dialer
	if from != nil {
		d.LocalAddr = &net.TCPAddr{IP: from}
	}
	conn, err := d.Dial("tcp", target)
	if err != nil {
		reset(client) // as if it had refused the client itself
		return
	}
	server := conn.(*net.TCPConn)
	c := newPair(p, client, server, f)
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		reset(client)
		reset(server)
		return
	}
	p.open[c], p.newest = true, c
	p.stats.Open++
	p.changed.Broadcast()
	p.mu.Unlock()
	c.run()
	p.mu.Lock()
	delete(p.open, c)
	p.stats.Open--
	p.changed.Broadcast()
	p.mu.Unlock()
}

// passed counts bytes.
func (p *Proxy) passed(up bool, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if up {
		p.stats.Up += int64(n)
	} else {
		p.stats.Down += int64(n)
	}
	p.changed.Broadcast()
}
