package broker

import (
	"context"
	"encoding/json"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/broker/rpc"
	"github.com/petrelchat/petrel/hooks"
	"github.com/petrelchat/petrel/signaling"
)

// calls joins the authority on calls to the server: clients' publishes go in, and what it has to tell goes out. A nil
// *calls is that of a server without.
type calls struct {
	*signaling.Service
	*callWorld
}

// buildCalls makes the service; startCalls lets it begin.
func (s *Server) buildCalls(c *config.Config) error {
	if !c.Calls.Enabled {
		return nil
	}
	forwarder, err := s.buildSFU(c)
	if err != nil {
		return err
	}
	w := newCallWorld(s)
	service, err := signaling.New(signaling.Options{
		Store: s.store, Commit: s.pipeline, World: w, Forwarder: forwarder, Now: s.now, Limits: callLimits(c), Log: s.log,
	})
	if err != nil {
		return err
	}
	s.calls = &calls{service, w}
	w.service = service
	s.views.calls = s.calls
	return nil
}

func callLimits(c *config.Config) signaling.Limits {
	l := &c.Calls
	return signaling.Limits{
		PerUser: l.PerUser, Parties: l.Parties, Rung: l.Rung,
		StartsPerPair: l.StartsPerPair, StartsPerUser: l.StartsPerUser, SignalsPerUser: l.Signals,
	}
}

// reloadCalls is what a running server takes over.
func reloadCalls(old, c config.Calls) config.Calls {
	c.Enabled, c.Parties = old.Enabled, old.Parties
	return c
}

// set takes over the limits of the settings.
func (c *calls) set(cfg *config.Config) {
	if c != nil {
		c.SetLimits(callLimits(cfg))
	}
}

// startCalls takes up the calls of the last run. Connections come after it, and are gone before it is closed.
func (s *Server) startCalls() error {
	if s.calls == nil {
		return nil
	}
	s.calls.start()
	s.later(s.calls.close)
	if err := s.calls.Open(); err != nil {
		return err
	}
	s.later(s.calls.Service.Close)
	s.later(s.closeSFU)
	return nil
}

// port is what connections see of calls.
func (c *calls) port() hooks.Calls {
	if c == nil {
		return nil
	}
	return callPort{c}
}

// asked is what requests see of calls.
func (c *calls) asked() rpc.Calls {
	if c == nil {
		return nil
	}
	return c.Service
}

var _ rpc.Calls = (*signaling.Service)(nil)

// callPort lets connections call.
type callPort struct{ c *calls }

var _ hooks.Calls = callPort{}

// device is a connection as the service sees it. Two of them are equal if the connection is the same.
type device struct{ of hooks.Device }

var _ signaling.Session = device{}

// Device implements signaling.Session.
func (d device) Device() signaling.Device {
	user, client := d.of.Who()
	return signaling.Device{User: user, Client: client}
}

// Tell implements signaling.Session.
func (d device) Tell(party string, payload []byte) { d.of.Tell(party, payload) }

func answered(done func(hooks.CallAnswer)) func(signaling.Answer) {
	return func(a signaling.Answer) { done(hooks.CallAnswer(a)) }
}

// Start implements hooks.Calls.
func (p callPort) Start(d hooks.Device, conv string, in hooks.CallPacket, payload []byte, done func(hooks.CallAnswer)) {
	p.c.Service.Start(device{d}, conv, signaling.Packet(in), payload, answered(done))
}

// Do implements hooks.Calls.
func (p callPort) Do(d hooks.Device, call, verb string, payload []byte, done func(hooks.CallAnswer)) {
	p.c.Do(device{d}, call, signaling.Verb(verb), payload, answered(done))
}

// Came implements hooks.Calls.
func (p callPort) Came(d hooks.Device) { p.c.Came(device{d}) }

// Went implements hooks.Calls.
func (p callPort) Went(d hooks.Device) { p.c.Went(device{d}) }

// ConvOf implements hooks.Calls.
func (p callPort) ConvOf(call string) string { return p.c.ConvOf(call) }

// SendCurrent implements hooks.Calls.
func (p callPort) SendCurrent(user, conv string, send func(conv string, payload []byte)) error {
	return p.c.sendCurrent(user, conv, send)
}

// hangUp ends a user's part in all calls: the account is gone.
func (s *Server) hangUp(ctx context.Context, user string) error {
	if s.calls == nil {
		return nil
	}
	b, err := s.calls.State(ctx, user, "")
	if err != nil {
		return err
	}
	var state struct {
		Calls []struct {
			Conv string `json:"conv"`
		} `json:"calls"`
	}
	if err := json.Unmarshal(b, &state); err != nil {
		return err
	}
	for _, c := range state.Calls {
		s.calls.Left(c.Conv, user)
	}
	return nil
}

// callMetrics shows what calls there are.
func (s *Server) callMetrics(m meters) {
	if s.calls == nil {
		return
	}
	read := func(of func(*signaling.Stats) uint64) func() float64 {
		return number(func() uint64 {
			st := s.calls.Stats()
			return of(&st)
		})
	}
	m.gauge("petrel_calls", "Calls that live now.", read(func(st *signaling.Stats) uint64 { return uint64(st.Live) }))
	m.gauge("petrel_call_parties", "Parties of the calls that live now.", read(func(st *signaling.Stats) uint64 { return uint64(st.Parties) }))
	m.gauge("petrel_calls_unwritten", "Calls that ended and are not in the log of their conversation yet.", read(func(st *signaling.Stats) uint64 { return uint64(st.Unwritten) }))
	m.counter("petrel_calls_started_total", "Calls that began.", read(func(st *signaling.Stats) uint64 { return st.Started }))
	m.counter("petrel_call_signals_total", "Signals that were passed on.", read(func(st *signaling.Stats) uint64 { return st.Signals }))
	m.counter("petrel_calls_refused_total", "Publishes about calls that were refused.", read(func(st *signaling.Stats) uint64 { return st.Refused }))
	for _, outcome := range []string{"answered", "missed", "declined", "busy", "cancelled", "failed"} {
		m.counter("petrel_calls_ended_total", "Calls that ended, by how.", read(func(st *signaling.Stats) uint64 { return st.Ended[outcome] }), "outcome", outcome)
	}
}
