package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	// mtu bounds packets from clients, what pion reads at most.
	mtu = 1600
	// sweepEvery is how long an allocation can outlive its call.
	sweepEvery = 5 * time.Second
)

// Relay is a TURN server, or only a list of external ones. All methods may be called from any goroutine.
type Relay struct {
	o      Options
	stats  Stats
	guests *guests
	limits atomic.Pointer[Limits]
	total  *rate.Limiter // bandwidth of all
	own    atomic.Pointer[map[netip.Addr]bool]

	// Set by Start, before anything reads them.
	families [2]*family // IPv4, IPv6; nil: addresses of that family are not relayed
	sockets  []*transport

	mu     sync.Mutex
	idle   chan struct{} // closed when, after Close, the last allocation has ended
	port   uint16        // 0: not listening
	public []netip.Addr
	closed bool
	done   chan struct{}
	perWho map[string]int     // allocations of each user
	perNet map[netip.Addr]int // and of each network
	count  int                // and of all; those that are about to be made are in all three
	byAddr map[netip.AddrPort]*relayed
	wg     sync.WaitGroup
}

// New makes a relay that does not listen yet.
func New(o Options) (*Relay, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.guestTime = cmp.Or(o.guestTime, guestTime)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := &Relay{
		o: o, guests: newGuests(), total: rate.NewLimiter(o.Limits.total()), done: make(chan struct{}), idle: make(chan struct{}),
		perWho: make(map[string]int), perNet: make(map[netip.Addr]int), byAddr: make(map[netip.AddrPort]*relayed),
	}
	r.limit(o.Limits)
	return r, nil
}

// SetLimits puts other limits in force: what is there already stays, and keeps the bandwidth of its own that it began with.
func (r *Relay) SetLimits(l Limits) error {
	if err := l.validate(); err != nil {
		return err
	}
	r.limit(l)
	return nil
}

func (r *Relay) limit(l Limits) {
	r.limits.Store(&l)
	r.guests.allow(l.Failures)
	now := r.o.Now()
	every, burst := l.total()
	r.total.SetBurstAt(now, burst)
	r.total.SetLimitAt(now, every)
}

// total is the bandwidth of all, a quarter of a second of it at once.
func (l *Limits) total() (every rate.Limit, burst int) {
	if l.TotalBandwidth == 0 {
		return rate.Inf, math.MaxInt32
	}
	return rate.Limit(l.TotalBandwidth), max(l.TotalBandwidth/4, mtu)
}

// Stats are the counters.
func (r *Relay) Stats() *Stats { return &r.stats }

// Addr is the first address that it listens on; "": none.
func (r *Relay) Addr() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.port == 0 {
		return ""
	}
	return r.sockets[0].local.String()
}

// Start listens. It may be called once; an error leaves nothing open.
func (r *Relay) Start() error {
	if len(r.o.Listen) == 0 {
		return nil
	}
	own, err := ownAddresses()
	if err != nil {
		return err
	}
	r.own.Store(&own)
	var listening []netip.Addr
	for _, at := range r.o.Listen {
		a, err := r.listen(at)
		if err != nil {
			r.closeSockets()
			return fmt.Errorf("turn: %w", err)
		}
		listening = append(listening, a)
	}
	if err := r.advertise(listening, own); err != nil {
		r.closeSockets()
		return err
	}
	for _, t := range r.sockets {
		if err := t.start(); err != nil {
			r.Close()
			return fmt.Errorf("turn: %w", err)
		}
	}
	r.wg.Add(1)
	go func() { defer r.wg.Done(); r.sweeps() }()
	return nil
}

// listen opens one address for UDP and TCP on the same port.
func (r *Relay) listen(at string) (netip.Addr, error) {
	const tries = 20 // for port 0, where what TCP got may be taken for UDP
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return netip.Addr{}, err
	}
	if len(r.sockets) > 0 && port == "0" { // one port for all addresses
		port = strconv.Itoa(int(r.sockets[0].local.Port()))
	}
	only := "" // [::] alone is every address; beside 0.0.0.0 it must leave IPv4 to that
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() && len(r.o.Listen) > 1 {
		only = "6"
	}
	for try := 1; ; try++ {
		ln, err := net.Listen("tcp"+only, net.JoinHostPort(host, port))
		if err != nil {
			return netip.Addr{}, err
		}
		local := addrPort(ln.Addr())
		pc, err := net.ListenPacket("udp"+only, net.JoinHostPort(host, strconv.Itoa(int(local.Port()))))
		if err == nil {
			r.sockets = append(r.sockets, newUDP(r, pc.(*net.UDPConn), local), newTCP(r, ln, local))
			return local.Addr(), nil
		}
		_ = ln.Close()
		if port != "0" || try == tries {
			return netip.Addr{}, err
		}
	}
}

// advertise settles which addresses clients and peers are told.
func (r *Relay) advertise(listening []netip.Addr, own map[netip.Addr]bool) error {
	public := slices.Clone(r.o.Public)
	if len(public) == 0 {
		for _, a := range listening {
			if a.IsUnspecified() {
				return errors.New("turn: listens on every address, so it must be told which of them others reach: turn.public")
			}
			public = append(public, a)
		}
	}
	for i, a := range public {
		public[i] = a.Unmap()
		n := 0
		if public[i].Is6() {
			n = 1
		}
		if r.families[n] == nil {
			r.families[n] = familyOf(public[i], own)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.public, r.port = public, r.sockets[0].local.Port()
	return nil
}

func (r *Relay) closeSockets() {
	for _, t := range r.sockets {
		t.close()
	}
}

// Close ends all allocations and connections, and returns when that is done.
func (r *Relay) Close() {
	r.mu.Lock()
	first := !r.closed
	r.closed, r.port = true, 0
	if first {
		close(r.done)
		r.tellIdle()
	}
	r.mu.Unlock()
	r.closeSockets()
	select {
	case <-r.idle:
	case <-time.After(stallTime): // pion has forgotten one; the process need not wait for it
		r.o.Log.Warn("turn: not all allocations ended")
	}
	r.wg.Wait()
}

// tellIdle is called with mu held.
func (r *Relay) tellIdle() {
	if r.closed && r.count == 0 {
		close(r.idle)
	}
}

// sweeps ends allocations whose call has ended, until Close.
func (r *Relay) sweeps() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.done:
			return
		case <-tick.C:
			r.sweep()
		}
	}
}

func (r *Relay) sweep() {
	if own, err := ownAddresses(); err == nil { // addresses come and go
		r.own.Store(&own)
	}
	r.mu.Lock()
	all := make([]*relayed, 0, len(r.byAddr))
	for _, c := range r.byAddr {
		all = append(all, c)
	}
	r.mu.Unlock()
	now := r.o.Now()
	for _, c := range all {
		if !r.live(c.user, c.call) || now.Sub(c.since) >= r.limits.Load().Lifetime {
			c.end()
		}
	}
}

// reserve makes room for one more allocation of a user; give takes it back. The reason says why there is none.
func (r *Relay) reserve(user string, from netip.Addr) (Reason, bool) {
	l := r.limits.Load()
	from = network(from)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed || r.count >= l.Allocations:
		return Full, false
	case r.perWho[user] >= l.AllocationsPerUser:
		return PerUser, false
	case r.perNet[from] >= l.AllocationsPerAddress:
		return PerAddress, false
	}
	r.count++
	r.perWho[user]++
	r.perNet[from]++
	return 0, true
}

func (r *Relay) give(user string, from netip.Addr) {
	from = network(from)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count--
	if r.perWho[user]--; r.perWho[user] == 0 {
		delete(r.perWho, user)
	}
	if r.perNet[from]--; r.perNet[from] == 0 {
		delete(r.perNet, from)
	}
	r.tellIdle()
}

// failed notes a wrong password.
func (r *Relay) failed(from netip.Addr) {
	r.stats.refuse(Forged)
	r.guests.fail(from, r.o.Now())
}

// mayAnswer decides about an answer of n bytes over UDP to somebody without an allocation there. An address that may
// be forged gets no more than it sent: a server that sends more is a weapon against the one whose address was forged.
// What a client repeats, as it has to over UDP anyway, adds up until there is enough for the answer.
func (r *Relay) mayAnswer(to netip.Addr, n int) bool {
	if r.o.Known != nil && r.o.Known(to) {
		if !r.guests.answer(to, r.o.Now()) {
			r.stats.refuse(Throttled)
			return false
		}
		return true
	}
	if !r.guests.spend(to, n) {
		r.stats.refuse(Withheld)
		return false
	}
	return true
}

// debug tells where somebody asked for it.
func (r *Relay) debug(msg string, args ...any) {
	if r.o.Log.Enabled(context.Background(), slog.LevelDebug) {
		r.o.Log.Debug(msg, args...)
	}
}
