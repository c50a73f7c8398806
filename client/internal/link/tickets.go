package link

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"slices"
	"sync/atomic"
)

// tickets keeps the TLS session ticket of a link's server in a Memory, so that the first handshake after a restart of
// the program is as short as any other. It is the session cache of crypto/tls.
type tickets struct {
	memory Memory
	name   string      // where it is kept
	short  atomic.Bool // the newest handshake offers less, for it has a ticket
	weak   atomic.Bool // what the newest connection gets is not kept
}

var _ tls.ClientSessionCache = (*tickets)(nil)

func newTickets(m Memory, o *Options) *tickets {
	return &tickets{memory: m, name: "tls/" + o.Server.Host}
}

// Get is called by crypto/tls at the beginning of a handshake. A ticket that can't be read is as good as none.
func (t *tickets) Get(string) (*tls.ClientSessionState, bool) {
	stored := t.memory.Get(t.name)
	if len(stored) < 4 {
		return nil, false
	}
	n := int(binary.BigEndian.Uint32(stored))
	if n > len(stored)-4 {
		return nil, false
	}
	state, err := tls.ParseSessionState(slices.Clone(stored[4+n:]))
	if err != nil {
		return nil, false
	}
	client, err := tls.NewResumptionState(slices.Clone(stored[4:4+n]), state)
	return client, err == nil
}

// Put is called by crypto/tls when the server gave a ticket, nil when one turned out useless. The newest is kept.
func (t *tickets) Put(_ string, client *tls.ClientSessionState) {
	if client == nil {
		t.memory.Put(t.name, nil)
		return
	}
	ticket, state, err := client.ResumptionState()
	if err != nil || state == nil || t.weak.Load() {
		return
	}
	secret, err := state.Bytes()
	if err != nil {
		return
	}
	stored := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(ticket)+len(secret)), uint32(len(ticket)))
	t.memory.Put(t.name, append(append(stored, ticket...), secret...))
}

// config is own, or a good default, prepared for one handshake with a server.
//
// A resumed handshake offers X25519 alone: the key share of the hybrid with ML-KEM takes more than a
// thousand bytes, and adds nothing there. The keys of a resumed session also depend on the secret of the first
// one (RFC 8446 §7.1), and that one was agreed with the hybrid: shook sees to it that no other ticket is kept.
func (t *tickets) config(own *tls.Config, host string) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if own != nil {
		c = own.Clone()
	}
	if c.ServerName == "" {
		c.ServerName = host
	}
	c.ClientSessionCache = t
	t.weak.Store(false)
	t.short.Store(false)
	if len(c.CurvePreferences) == 0 {
		if _, have := t.Get(""); have {
			c.CurvePreferences = []tls.CurveID{tls.X25519}
			t.short.Store(true)
		}
	}
	return c
}

// shook is told of each handshake with a config of ours.
func (t *tickets) shook(s *tls.ConnectionState) {
	if !s.DidResume && t.short.Load() {
		// The server did not take the ticket, and what was made instead is not worth keeping.
		t.weak.Store(true)
		t.memory.Put(t.name, nil)
	}
}

// failed is told of each handshake that failed: it may have been for what a resumed one offers.
func (t *tickets) failed(ctx context.Context) {
	if ctx.Err() == nil && t.short.Load() {
		t.memory.Put(t.name, nil)
	}
}
