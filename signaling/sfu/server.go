package sfu

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/logging"

	"github.com/petrelchat/petrel/chat"
)

// sfuParty is the forwarder's name as a party.
const sfuParty = "sfu"

const (
	opsQueue    = 1024 // signals and the like that wait for Server.run
	speechQueue = 4096 // signals that wait for Options.Send
	beat        = 20 * time.Millisecond
)

// Server forwards the media of calls. Its methods may be called from any goroutine and don't block.
type Server struct {
	opt         Options
	log         *slog.Logger
	pionLog     logging.LoggerFactory
	cert        tls.Certificate
	fingerprint string
	addrs       []netip.AddrPort
	socks       []*socket
	tcp         net.Listener // nil: UDP alone
	index       index
	ops         chan func(now time.Time)
	speech      chan speech
	rooms       map[string]*room // Server.run's
	seats       seats
	stats       counters

	ctx     context.Context
	cancel  context.CancelFunc
	mu      sync.Mutex // guards closing against new goroutines
	closing bool
	wg      sync.WaitGroup
}

// speech is a signal to a party.
type speech struct {
	call, party, kind, re string
	body                  []byte
}

// counters are what Stats reads.
type counters struct {
	in, out, bad, resent, dropped atomic.Uint64
	rooms, parties                atomic.Int64
}

// Stats are figures since the start, and of now.
type Stats struct {
	In, Out uint64 // packets of media that were taken, and sent, reports included
	Bad     uint64 // packets that could not be decrypted
	Resent  uint64 // packets that were sent again because they were missed
	Dropped uint64 // messages of data channels beyond a limit
	Calls   int
	Parties int
}

// New listens and starts. Close ends it.
func New(o Options) (*Server, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	s := &Server{opt: o, log: o.Log, ops: make(chan func(time.Time), opsQueue), speech: make(chan speech, speechQueue), rooms: map[string]*room{}}
	s.seats.calls = map[string]map[string]bool{}
	s.pionLog = silent{}
	s.index.byUfrag, s.index.byAddr = map[string]*creds{}, map[netip.AddrPort]*route{}
	var err error
	if s.cert, s.fingerprint, err = newCertificate(time.Now()); err != nil {
		return nil, err
	}
	if len(o.Conns) > 0 {
		for _, c := range o.Conns {
			s.socks = append(s.socks, newSocket(c))
		}
	} else if s.socks, s.tcp, err = listen(o.Listen); err != nil {
		return nil, err
	}
	if s.addrs, err = public(o.Public, s.socks[0].LocalAddr()); err != nil {
		closeAll(s.socks)
		return nil, err
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for _, sock := range s.socks {
		s.wg.Go(func() { s.read(sock) })
	}
	if s.tcp != nil {
		s.wg.Go(s.acceptTCP)
	}
	s.wg.Go(s.run)
	s.wg.Go(s.speak)
	return s, nil
}

// public is what clients are told: the configured addresses, or those of the sockets.
func public(configured []string, local net.Addr) ([]netip.AddrPort, error) {
	at, ok := addrPort(local)
	if !ok {
		return nil, errors.New("sfu: the socket has no address")
	}
	if len(configured) > 0 {
		var out []netip.AddrPort
		for _, c := range configured {
			a, err := parsePublic(c, at.Port())
			if err != nil {
				return nil, err
			}
			out = append(out, a)
		}
		return out, nil
	}
	if !at.Addr().IsUnspecified() {
		return []netip.AddrPort{at}, nil
	}
	return interfaces(at)
}

// interfaces are the host's addresses, but for loopback and link-local ones if there are others.
func interfaces(at netip.AddrPort) ([]netip.AddrPort, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var out, inner []netip.AddrPort
	for _, a := range all {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, _ := netip.AddrFromSlice(n.IP)
		switch ip = ip.Unmap(); {
		case !ip.IsValid() || at.Addr().Is4() && !ip.Is4() || ip.IsLinkLocalUnicast():
		case ip.IsLoopback():
			inner = append(inner, netip.AddrPortFrom(ip, at.Port()))
		default:
			out = append(out, netip.AddrPortFrom(ip, at.Port()))
		}
	}
	if len(out) == 0 {
		out = inner
	}
	if len(out) == 0 {
		return nil, errors.New("sfu: this host has no address to listen on; name one in public")
	}
	return out, nil
}

// Addrs are the addresses that clients are told.
func (s *Server) Addrs() []netip.AddrPort { return s.addrs }

// Available says that there is a forwarder.
func (s *Server) Available() error { return nil }

// Signal takes a signal from a party of a call; the body of an offer is its SDP. Offers are answered through Options.Send; candidates are not needed, because
// the client finds the server. What can't be used is refused.
func (s *Server) Signal(call, partyID, user, kind string, body []byte) error {
	switch kind {
	case "offer":
		o, err := parseOffer(string(body))
		if err != nil {
			return err
		}
		if err := o.fits(s.opt); err != nil {
			return err
		}
		if !s.seats.has(call, partyID, s.opt.Parties) {
			return chat.Refuse(chat.Unavailable, "the SFU takes %d parties of a call, and they are all there", s.opt.Parties)
		}
		return s.try(func(now time.Time) { s.offered(call, partyID, user, o, now) })
	case "candidates", "negotiate":
		return nil
	case "answer":
		return bad("the SFU makes no offers, so there is nothing to answer: send it an offer")
	}
	return bad("the SFU takes offers and candidates")
}

// Gone ends what a party has in a call; an empty party ends the call.
func (s *Server) Gone(call, partyID string) {
	s.mu.Lock()
	closing := s.closing
	s.mu.Unlock()
	if closing {
		return
	}
	op := func(now time.Time) { s.left(call, partyID, now) }
	select {
	case s.ops <- op:
	default:
		// An end must not be lost, and the caller must not wait.
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.closing {
			s.wg.Go(func() { s.post(op) })
		}
	}
}

// Stats returns figures for metrics.
func (s *Server) Stats() Stats {
	c := &s.stats
	return Stats{In: c.in.Load(), Out: c.out.Load(), Bad: c.bad.Load(), Resent: c.resent.Load(), Dropped: c.dropped.Load(),
		Calls: int(c.rooms.Load()), Parties: int(c.parties.Load())}
}

// try hands work to Server.run, or refuses it.
func (s *Server) try(op func(time.Time)) error {
	select {
	case <-s.ctx.Done():
		return chat.Refuse(chat.Unavailable, "the SFU has ended: try again when the server is back")
	default:
	}
	select {
	case s.ops <- op:
		return nil
	default:
		return chat.Refuse(chat.Unavailable, "the SFU has too much to do: try again in a moment")
	}
}

// post hands work to Server.run, and waits for room.
func (s *Server) post(op func(time.Time)) {
	select {
	case s.ops <- op:
	case <-s.ctx.Done():
	}
}

// run owns the calls: who takes part, what is shown to whom. While there are none it sleeps.
func (s *Server) run() {
	t := time.NewTicker(beat)
	defer t.Stop()
	w := newWriter(s.socks[0], &s.stats.out)
	beats := true
	for n := 1; ; {
		if busy := len(s.rooms) > 0; busy != beats {
			if beats = busy; busy {
				t.Reset(beat)
			} else {
				t.Stop()
			}
		}
		select {
		case <-s.ctx.Done():
			for _, r := range s.rooms {
				for _, p := range r.order {
					s.release(p)
				}
			}
			return
		case op := <-s.ops:
			op(time.Now())
		case now := <-t.C:
			s.tick(w, n, now)
			w.flush()
			n++
		}
	}
}

// say queues a signal to a party.
func (s *Server) say(p *party, kind, re string, body []byte) {
	select {
	case s.speech <- speech{p.room.id, p.id, kind, re, body}:
	default:
		s.log.Warn("signals of the SFU can't be sent fast enough: one is lost, and its party will offer again", "call", p.room.id, "party", p.id)
	}
}

// speak hands signals to Options.Send, one at a time, in order.
func (s *Server) speak() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case m := <-s.speech:
			s.opt.Send(m.call, m.party, m.kind, m.re, m.body)
		}
	}
}

// Close ends all calls' media, and returns when every goroutine has.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return nil
	}
	s.closing = true
	s.mu.Unlock()
	s.cancel()
	var err error
	if s.tcp != nil {
		err = s.tcp.Close()
	}
	for _, sock := range s.socks {
		err = errors.Join(err, sock.Close())
	}
	s.wg.Wait()
	return err
}

// silent is a logger of pion's that says nothing: its lines know neither call nor party.
type silent struct{}

func (silent) NewLogger(string) logging.LeveledLogger {
	return logging.NewDefaultLeveledLoggerForScope("", logging.LogLevelDisabled, discard{})
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
