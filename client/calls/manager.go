package calls

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/pion/transport/v4"
	"github.com/pion/webrtc/v4"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
)

// Options say how a device takes part in calls. The zero value is a good one.
type Options struct {
	// RelayOnly sends media through a relay always, so that nobody learns this device's addresses. The server may say so too.
	RelayOnly bool
	// Servers are ICE servers beside those that the server names.
	Servers []webrtc.ICEServer
	// Loopback takes addresses of this machine alone for ways to others: for servers that run there.
	Loopback bool
	// Net is the network that media take. A connection over an address that its interfaces don't have any more begins ICE anew. nil: the machine's.
	Net transport.Net
	// Tune changes what connections are made of: ports, interfaces, but not the network. nil: nothing to change.
	Tune func(*webrtc.SettingEngine)
	// Codecs takes the place of the codecs: Opus, VP8 and H.264.
	Codecs func(*webrtc.MediaEngine) error
	Log    *slog.Logger // nil: none. Neither addresses nor keys are logged
}

// Manager has the calls of a device. All its methods may be called from any goroutine.
type Manager struct {
	c        *client.Client
	o        Options
	net      network
	engine   *engine
	log      *slog.Logger
	incoming chan *Call
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	wg       sync.WaitGroup // goroutines of calls
	closing  sync.WaitGroup // connections that are being closed; added to by those goroutines alone

	mu       sync.Mutex
	closed   bool
	online   bool
	gen      int // counts connections
	calls    map[string]*Call
	starting []*Call              // that have no id yet
	said     func(payload []byte) // tests count what is published; nil: nobody
	elder    map[string]uint64    // calls that are over here, and the version at which they were
	forsaken map[string]bool      // conversations in which a call may live that was given up before its start was answered
}

// elderMost bounds the calls that are remembered as over.
const elderMost = 256

// incomingMost bounds the calls that wait for somebody to range over Incoming. The server lets few ring at once.
const incomingMost = 64

// New makes the device ring: c must have been opened with Options.Calls, and have no other manager. The manager does not close c.
func New(c *client.Client, o Options) (*Manager, error) {
	m := &Manager{
		c: c, o: o, log: o.Log, incoming: make(chan *Call, incomingMost), calls: make(map[string]*Call), elder: make(map[string]uint64),
		forsaken: make(map[string]bool),
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if m.net, err = newNetwork(o.Net); err != nil {
		return nil, fmt.Errorf("calls: %w", err)
	}
	if m.engine, err = newEngine(&o, m.net); err != nil {
		return nil, fmt.Errorf("calls: %w", err)
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	if err := c.HandleCalls(handler{m}); err != nil {
		m.cancel()
		return nil, err
	}
	return m, nil
}

// Start calls whoever is in a conversation: the other one of a direct conversation (client.Client.Direct), or a group, whose running call
// it joins. It returns when the server has stored that, and rings. If the other one was calling at the same moment, it is their call that is
// returned, accepted. Errors: client.ErrOffline at once when there is no connection (calls are not queued), ctx's, and *chat.Refusal.
func (m *Manager) Start(ctx context.Context, conv string, l Local) (*Call, error) {
	if err := l.validate(); err != nil {
		return nil, err
	}
	c := newCall(m, conv, l)
	c.board.now.From = m.c.Me()
	payload, err := json.Marshal(request{Media: l.media(), ID: c.key, Ring: l.Ring})
	if err != nil {
		return nil, err
	}
	if m.said != nil {
		m.said(payload)
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil, client.ErrClosed
	}
	m.starting = append(m.starting, c)
	delete(m.forsaken, conv)
	m.mu.Unlock()
	a, flying := m.ask(ctx, conv, payload)
	if a.err == nil {
		return m.begun(ctx, c, a.ack)
	}
	m.mu.Lock()
	m.unstart(c)
	if flying != nil && !m.closed {
		m.wg.Go(func() { // nobody waits for it: it must not ring on
			select {
			case a := <-flying:
				if errors.Is(a.err, client.ErrOffline) {
					m.forsake(conv)
				}
				m.abandon(c, a.ack.Call)
			case <-m.ctx.Done():
			}
		})
	}
	m.mu.Unlock()
	if flying == nil {
		m.abandon(c, "")
	}
	return nil, a.err
}

// unstart takes a call off those that wait for the answer to their start. m.mu is held.
func (m *Manager) unstart(c *Call) {
	for i, s := range m.starting {
		if s == c {
			m.starting = append(m.starting[:i:i], m.starting[i+1:]...)
			return
		}
	}
}

// abandon ends a call that was started, and is wanted no longer.
func (m *Manager) abandon(c *Call, id string) {
	m.mu.Lock()
	if known := m.calls[id]; known != nil && known != c {
		m.mu.Unlock() // theirs, which rings here
		return
	}
	started := c.id != ""
	m.mu.Unlock()
	switch {
	case started:
		c.post(func() { c.quit("cancel", Cancelled) })
	case id != "":
		_ = m.c.CallVerb(id, "hangup", []byte("{}"), func(client.CallAck, error) {})
	}
}

// begun takes the answer to a start.
func (m *Manager) begun(ctx context.Context, c *Call, a client.CallAck) (*Call, error) {
	if a.Call == "" {
		m.mu.Lock()
		m.unstart(c)
		m.mu.Unlock()
		return nil, chat.Refuse(chat.Unavailable, "the server says nothing of the call: it is too old for calls")
	}
	m.mu.Lock()
	m.unstart(c) // not before: what is told of the call finds it in one of the two
	known := m.calls[a.Call]
	if known == nil && m.closed {
		m.mu.Unlock()
		m.abandon(c, a.Call)
		return nil, client.ErrClosed
	}
	if known == nil {
		m.adopt(c, a.Call)
		known = c
	}
	m.mu.Unlock()
	if err := known.do(ctx, func(done func(error)) { known.joined(a.Party, &c.local); done(nil) }); err != nil {
		return nil, err
	}
	return known, nil
}

// adopt gives a call its id and lets it run. m.mu is held.
func (m *Manager) adopt(c *Call, id string) {
	c.id = id
	c.board.set(func(s *Status) { s.ID, s.Online = id, m.online })
	m.calls[id] = c
	c.online, c.gen = m.online, m.gen
	m.wg.Go(c.run)
}

// Incoming yields the calls that ring here, as they come, each once. It is closed by Close. Who ranges over it decides:
// a call that nobody accepts or declines is missed after a while.
func (m *Manager) Incoming() <-chan *Call { return m.incoming }

// Calls are those that live on this device.
func (m *Manager) Calls() []*Call {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*Call
	for _, c := range m.calls {
		if c.board.status().State != StateEnded {
			all = append(all, c)
		}
	}
	return all
}

// TakeOver moves a call that another device of the user has to this one. The media begin anew here, and the other device hears that
// the call was taken. Which calls there are the server knows: client.CallingCalls.State.
func (m *Manager) TakeOver(ctx context.Context, id string, l Local) (*Call, error) {
	if err := l.validate(); err != nil {
		return nil, err
	}
	states, err := client.CallingCalls{Via: m.c}.State(ctx, id)
	if err != nil {
		return nil, err
	}
	if len(states) != 1 || states[0].Party == "" {
		return nil, chat.Refuse(chat.NotFound, "no device of yours takes part in this call: accept it")
	}
	s := states[0]
	m.mu.Lock()
	if m.closed || m.calls[id] != nil {
		m.mu.Unlock()
		return nil, chat.Refuse(chat.Conflict, "this device has the call already")
	}
	delete(m.elder, id)
	c := newCall(m, s.Conv, l)
	c.fresh = true
	c.board.now.From, c.board.now.State, c.board.now.Incoming = s.From, stateOf(s.State), s.From != m.c.Me()
	m.adopt(c, id)
	m.mu.Unlock()
	err = c.do(ctx, func(done func(error)) {
		r := request{Party: s.Party, Media: l.media()}
		c.say("resume", r, func(_ client.CallAck, err error) {
			if err == nil {
				c.joined(s.Party, nil)
			}
			done(err)
		})
	})
	if err != nil {
		c.post(func() { c.over(Failed, "") })
		return nil, err
	}
	return c, nil
}

// NetworkChanged says that the device is in another network: the connection is tested, and ICE begins anew in all calls.
func (m *Manager) NetworkChanged() {
	m.c.NetworkChanged()
	m.each(func(c *Call) { c.moved() })
}

// Close hangs up, and ends all goroutines; it waits until the server knows and they have ended, or ctx ends. Then the error is ctx's, and what is
// left ends by itself within seconds: nothing is sent any more. For a relay that does not answer it waits three seconds at most, which is no error.
// It may be called more than once.
func (m *Manager) Close(ctx context.Context) error {
	m.mu.Lock()
	first := !m.closed
	m.closed = true
	m.mu.Unlock()
	if !first {
		return nil
	}
	m.each(func(c *Call) { c.quit("hangup", "") })
	ended := make(chan struct{}) // goroutines of calls
	go func() { m.wg.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	_ = m.c.HandleCalls(nil)
	m.cancel()
	m.mu.Lock()
	for _, c := range m.calls {
		c.stop()
	}
	m.mu.Unlock()
	<-ended
	close(m.incoming)
	closed := make(chan struct{})
	go func() { m.closing.Wait(); close(closed) }()
	late := time.NewTimer(closeMost)
	defer late.Stop()
	select {
	case <-closed:
		return nil
	case <-late.C:
		return nil // nothing is sent any more: only a relay is still asked to let go of what it has for this device, and does so by itself too
	case <-ctx.Done():
		return ctx.Err()
	}
}

// closeMost is how long Close waits for connections. One over a relay that does not answer takes longer.
const closeMost = 3 * time.Second

// each has something done in all calls.
func (m *Manager) each(fn func(*Call)) {
	m.mu.Lock()
	all := make([]*Call, 0, len(m.calls))
	for _, c := range m.calls {
		all = append(all, c)
	}
	m.mu.Unlock()
	for _, c := range all {
		c.post(func() { fn(c) })
	}
}

// gone forgets a call that is over. What the server says of it later is old.
func (m *Manager) gone(c *Call, version uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.calls[c.id] == c {
		delete(m.calls, c.id)
	}
	if len(m.elder) >= elderMost {
		clear(m.elder)
	}
	m.elder[c.id] = version
}
