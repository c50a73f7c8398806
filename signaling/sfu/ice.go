package sfu

import (
	"crypto/rand"
	"crypto/subtle"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/pion/stun/v4"
)

const routesPerParty = 8 // addresses that proved to be a party's at a time

// index finds the party that a packet is from.
type index struct {
	mu      sync.RWMutex
	byUfrag map[string]*creds
	byAddr  map[netip.AddrPort]*route
}

// creds are what a party's STUN requests are checked with. An ICE restart makes new ones.
type creds struct {
	p          *party
	ufrag, pwd string // ours
	remote     string // the client's ufrag
}

// newCreds draws a ufrag and a password. // RFC 8445 §5.3: at least 24 and 128 bits
func newCreds(p *party, remote string) *creds {
	return &creds{p: p, ufrag: rand.Text()[:12], pwd: rand.Text(), remote: remote}
}

func (x *index) find(key netip.AddrPort) *route {
	x.mu.RLock()
	r := x.byAddr[key]
	x.mu.RUnlock()
	return r
}

func (x *index) add(c *creds) {
	x.mu.Lock()
	x.byUfrag[c.ufrag] = c
	x.mu.Unlock()
}

func (x *index) drop(c *creds) {
	if c == nil {
		return
	}
	x.mu.Lock()
	delete(x.byUfrag, c.ufrag)
	x.mu.Unlock()
}

// forget takes a route away; a party whose packets went there is silent until it is heard from elsewhere.
func (x *index) forget(r *route) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.forgetLocked(r)
}

func (x *index) forgetLocked(r *route) {
	if x.byAddr[r.key] == r {
		delete(x.byAddr, r.key)
	}
	for i, o := range r.p.routes {
		if o == r {
			r.p.routes = append(r.p.routes[:i], r.p.routes[i+1:]...)
			break
		}
	}
	r.p.via.CompareAndSwap(r, nil)
}

// forgetParty takes all of a party away.
func (x *index) forgetParty(p *party) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for len(p.routes) > 0 {
		x.forgetLocked(p.routes[0])
	}
	for u, c := range x.byUfrag {
		if c.p == p {
			delete(x.byUfrag, u)
		}
	}
	p.gone.Store(true)
}

// origin is where a packet came from.
type origin struct {
	key  netip.AddrPort
	addr net.Addr
	sock *socket
	tcp  *stream
}

// reply sends a packet back.
func (o origin) reply(b []byte) {
	if o.tcp != nil {
		o.tcp.send(b)
		return
	}
	_, _ = o.sock.WriteTo(b, o.addr)
}

// learn makes the address the party's; nominated: packets go there from now on.
func (x *index) learn(c *creds, o origin, nominated bool) *route {
	x.mu.Lock()
	defer x.mu.Unlock()
	p := c.p
	if p.gone.Load() {
		return nil
	}
	var r *route
	if o.tcp != nil {
		if r = o.tcp.rt; r != nil && r.p != p {
			x.forgetLocked(r)
			r = nil
		}
	} else if r = x.byAddr[o.key]; r != nil && r.p != p {
		x.forgetLocked(r) // the address went to somebody else, who knows their password
		r = nil
	}
	if r == nil {
		if len(p.routes) >= routesPerParty {
			old := p.routes[0]
			if old == p.via.Load() {
				old = p.routes[1]
			}
			x.forgetLocked(old)
		}
		r = &route{p: p, key: o.key, addr: o.addr, sock: o.sock, tcp: o.tcp}
		p.routes = append(p.routes, r)
		if o.tcp == nil {
			x.byAddr[o.key] = r
		}
	}
	if v := p.via.Load(); v == nil || nominated && v != r {
		p.via.Store(r)
	}
	return r
}

// isSTUN: the first byte tells STUN, DTLS and (S)RTP apart. // RFC 7983 §7
func isSTUN(b []byte) bool { return len(b) >= 20 && b[0] < 4 }
func isDTLS(b []byte) bool { return len(b) > 0 && b[0] >= 20 && b[0] < 64 }
func isRTP(b []byte) bool  { return len(b) >= 12 && b[0] >= 128 && b[0] < 192 }

// isRTCP tells RTCP from RTP on one port. // RFC 5761 §4
func isRTCP(b []byte) bool { return b[1] >= 192 && b[1] < 224 }

// stun answers a binding request and returns the route that it proved, nil if it proved none. Whatever is not a request with the
// right password gets no answer: nobody's address is worth a packet that they did not ask for.
func (s *Server) stun(b []byte, o origin, now time.Time) *route {
	m := stun.Message{Raw: b}
	if m.Decode() != nil || m.Type != stun.BindingRequest {
		return nil
	}
	name, err := m.Get(stun.AttrUsername)
	if err != nil {
		return nil
	}
	ours, theirs, _ := strings.Cut(string(name), ":")
	s.index.mu.RLock()
	c := s.index.byUfrag[ours]
	s.index.mu.RUnlock()
	if c == nil || subtle.ConstantTimeCompare([]byte(c.remote), []byte(theirs)) != 1 {
		return nil
	}
	key := stun.NewShortTermIntegrity(c.pwd)
	if key.Check(&m) != nil {
		return nil
	}
	if m.Contains(stun.AttrFingerprint) && stun.Fingerprint.Check(&m) != nil {
		return nil
	}
	answer, err := stun.Build(stun.NewTransactionIDSetter(m.TransactionID), stun.BindingSuccess,
		&stun.XORMappedAddress{IP: o.key.Addr().AsSlice(), Port: int(o.key.Port())}, key, stun.Fingerprint)
	if err != nil {
		return nil
	}
	// The other side is always in control, since this one is lite. // RFC 8445 §6.1.1
	r := s.index.learn(c, o, m.Contains(stun.AttrUseCandidate))
	if r == nil {
		return nil
	}
	r.heard.Store(now.UnixNano())
	c.p.heard.Store(now.UnixNano())
	o.reply(answer.Raw)
	return r
}
