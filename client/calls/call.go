package calls

import (
	"context"
	"crypto/rand"
	"errors"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
)

// Call is a call that this device takes part in, or that rings here. All its methods may be called from any goroutine.
type Call struct {
	m        *Manager
	id       string // set once, under Manager.mu
	conv     string
	key      string // idempotency key of the start
	incoming bool
	board    board

	mu    sync.Mutex
	queue []func()
	shut  bool
	bell  chan struct{}
	quits chan struct{} // closed by stop
	once  sync.Once
	done  chan struct{} // closed when the goroutine has ended
	held  atomic.Bool   // what arrives is thrown away
	seams seams

	owned
}

// owned is what only the call's goroutine touches.
type owned struct {
	local     Local
	state     told // the newest
	party     string
	listed    bool   // a state showed the party
	seq       uint64 // of the last signal
	gap       uint64 // seq at which a gap was asked about
	online    bool
	gen       int
	fresh     bool // this party's media began anew: it offers to everybody
	hold      bool
	watch     Watch
	spoke     map[string]time.Time // when it was heard to speak last, by party
	quality   map[string]Quality   // by party
	ended     bool
	ringing   bool      // said so
	forsaken  bool      // its acceptance was given up before it was answered
	vanishing bool      // it is being looked up what became of it
	until     time.Time // it rings no longer

	pending  []*verb // what the server has not answered
	peers    map[string]*peer
	epochs   map[string]uint64    // the newest that was seen, by party
	own      uint64               // epoch of this party, from when it is asked for
	waits    map[string]time.Time // since when a party lacks a connection that it was to make
	early    []*told              // signals from before connections could be made
	ice      servers
	heardAt  time.Time // media of anybody
	onlyAt   time.Time // signalling
	vouched  time.Time
	rebuilt  time.Time
	here     string         // addresses of the device
	hurried  time.Time      // the connection, which is away
	backAt   time.Time      // the connection, which is not the first
	asked    time.Time      // for signals, without a connection having ended
	measured time.Time      // when quality was
	wg       sync.WaitGroup // readers of tracks, who asks for ICE servers
}

func newCall(m *Manager, conv string, l Local) *Call {
	now := time.Now()
	c := &Call{
		m: m, conv: conv, key: rand.Text()[:12], bell: make(chan struct{}, 1), quits: make(chan struct{}), done: make(chan struct{}),
		owned: owned{local: l, watch: l.Watch, peers: make(map[string]*peer), epochs: make(map[string]uint64), heardAt: now, onlyAt: now},
	}
	c.board.now = Status{Conv: conv, Media: l.Media}
	return c
}

// ID is the call's.
func (c *Call) ID() string { return c.id }

// Conv is the conversation that the call is in.
func (c *Call) Conv() string { return c.conv }

// From is who called.
func (c *Call) From() string { return c.board.status().From }

// Status is how the call stands.
func (c *Call) Status() Status { return c.board.status() }

// Updates yields how the call stands, now and whenever that changes, at least once a second while media flow. It ends behind StateEnded, or with ctx.
func (c *Call) Updates(ctx context.Context) iter.Seq[Status] { return c.board.updates(ctx) }

// Wait waits until ok says so of the status. If the call ends without, the error is an *EndedError.
func (c *Call) Wait(ctx context.Context, ok func(Status) bool) error {
	var last Status
	for last = range c.Updates(ctx) {
		if ok(last) {
			return nil
		}
	}
	if last.State == StateEnded {
		return &EndedError{last.Outcome, last.Reason}
	}
	return ctx.Err()
}

// Done is closed when the call is over and nobody reads its tracks any more.
func (c *Call) Done() <-chan struct{} { return c.done }

// Accept answers a call that rings, with what this device brings in. The first device of a user that accepts has the call; on others it is
// refused as conflict. A group's call that runs is joined.
func (c *Call) Accept(ctx context.Context, l Local) error {
	if err := l.validate(); err != nil {
		return err
	}
	return c.do(ctx, func(done func(error)) {
		if c.party != "" {
			done(nil)
			return
		}
		if !c.online {
			done(client.ErrOffline)
			return
		}
		// If the connection ends before the answer comes, nobody knows who has the call: so it is said again for as long as somebody waits.
		wanted := func() bool { return ctx.Err() == nil && !c.ended && c.party == "" }
		c.sayWhile(wanted, "accept", request{Media: l.media()}, func(a client.CallAck, err error) {
			switch {
			case c.party != "": // a start of the same call has it
				err = nil
			case err == nil:
				c.joined(a.Party, &l)
			default:
				c.forsaken = errors.Is(err, client.ErrOffline)
				c.notAhead()
			}
			done(err)
		})
		c.ahead(&l)
	})
}

// Decline refuses a call that rings: all devices of the user fall silent. reason is "busy" or "". What this device takes part in, by an Accept or a
// Start of the same call, is not declined any more: that is refused as conflict.
func (c *Call) Decline(ctx context.Context, reason string) error {
	return c.leave(ctx, request{Reason: reason}, "decline", Declined)
}

// Silence lets the call ring on the user's other devices only. It is refused like Decline.
func (c *Call) Silence(ctx context.Context) error {
	return c.leave(ctx, request{Device: true}, "decline", Declined)
}

// Cancel takes a call back that nobody has accepted.
func (c *Call) Cancel(ctx context.Context) error { return c.leave(ctx, request{}, "cancel", Cancelled) }

// Hangup ends this device's part in the call, and a direct call for both. It ends here at once; if there is no connection, the server is told when there
// is, or finds out.
func (c *Call) Hangup(ctx context.Context) error { return c.leave(ctx, request{}, "hangup", "") }

func (c *Call) leave(ctx context.Context, r request, verb, outcome string) error {
	err := c.do(ctx, func(done func(error)) {
		if c.ended {
			done(nil)
			return
		}
		if verb == "decline" && c.party != "" { // the server would let it pass, and wait for this device's media
			done(chat.Refuse(chat.Conflict, "this device takes part in the call: hang up"))
			return
		}
		c.say(verb, r, func(_ client.CallAck, err error) { done(err) })
		c.over(c.outcome(outcome), verbReason(verb))
		if !c.online {
			done(nil)
		}
	})
	if err == ErrEnded || notFound(err) { // it is over, perhaps by this very word, whose answer was lost
		return nil
	}
	return err
}

func verbReason(verb string) string {
	if verb == "hangup" {
		return verb
	}
	return ""
}

// Hold stops, or lets flow again, what this device sends and what others send to it.
func (c *Call) Hold(ctx context.Context, on bool) error {
	return c.do(ctx, func(done func(error)) {
		if c.party == "" {
			done(chat.Refuse(chat.Conflict, "the call is not accepted yet"))
			return
		}
		c.hold = on
		c.held.Store(on)
		c.gateAll()
		c.board.set(func(s *Status) { s.Hold = on })
		c.say(verbSignal, request{Type: "negotiate", Body: negotiation{Hold: &on}}, func(_ client.CallAck, err error) { done(err) })
	})
}

// SetTracks changes what this device sends: audio becomes video, the camera another one. media are the kinds that it takes part with, nil: those of
// the tracks.
func (c *Call) SetTracks(ctx context.Context, media []string, tracks ...webrtc.TrackLocal) error {
	l := Local{Tracks: tracks, Media: media}
	if err := l.validate(); err != nil {
		return err
	}
	return c.do(ctx, func(done func(error)) {
		if c.party == "" {
			done(chat.Refuse(chat.Conflict, "the call is not accepted yet"))
			return
		}
		c.local.Tracks, c.local.Media = slices.Clone(tracks), l.media()
		c.say(verbSignal, request{Type: "negotiate", Body: negotiation{Media: c.local.Media}}, func(_ client.CallAck, err error) { done(err) })
		for _, p := range c.peers {
			p.retrack()
		}
	})
}

// Send sends a message of at most 16 KiB to everybody in the call, on the data channel. The call's media must have "data" on both sides, or go
// through the SFU, which takes 100 a second. Who is not connected does not get it. If somebody has 256 KiB before them that they did not take yet, they
// don't get it either, and the error is a *chat.Refusal, rate-limited.
func (c *Call) Send(ctx context.Context, data []byte) error {
	if len(data) > messageMost {
		return chat.Refuse(chat.TooLarge, "a message on the data channel has at most 16 KiB")
	}
	return c.do(ctx, func(done func(error)) {
		var err error
		for _, p := range c.peers {
			if p.data == nil || p.data.ReadyState() != webrtc.DataChannelStateOpen || c.bridges(p) {
				continue
			}
			if p.data.BufferedAmount() > behindMost {
				err = chat.Refuse(chat.RateLimited, "somebody takes messages slower than they come: send this one again in a while")
				continue
			}
			if e := p.data.Send(data); e != nil {
				c.m.log.Debug("a message was not sent", "call", c.id, "party", p.party, "error", e)
			}
		}
		done(err)
	})
}

const (
	messageMost = 16 << 10  // bytes of a message on the data channel
	behindMost  = 256 << 10 // bytes that wait for a slow receiver
)

// bridges reports whether a connection of the mesh has been replaced by that to the SFU, and only waits to be closed.
func (c *Call) bridges(p *peer) bool {
	sfu := c.peers[sfuParty]
	return !p.sfu && sfu != nil && sfu.up && sfu.data != nil && sfu.data.ReadyState() == webrtc.DataChannelStateOpen
}

// do has the call's goroutine do something, and waits for done.
func (c *Call) do(ctx context.Context, fn func(done func(error))) error {
	answer := make(chan error, 1)
	if !c.post(func() {
		fn(func(err error) {
			select {
			case answer <- err:
			default:
			}
		})
	}) {
		return ErrEnded
	}
	select {
	case err := <-answer:
		return err
	case <-c.done:
		select {
		case err := <-answer:
			return err
		default:
			return ErrEnded
		}
	case <-ctx.Done():
		return ctx.Err()
	}
}

// queueMost bounds what waits for a call's goroutine: more than the server keeps of signals comes from no honest server.
const queueMost = 4096

// post gives the call's goroutine something to do.
func (c *Call) post(fn func()) bool {
	c.mu.Lock()
	ok := !c.shut && len(c.queue) < queueMost
	if ok {
		c.queue = append(c.queue, fn)
	}
	c.mu.Unlock()
	if ok {
		select {
		case c.bell <- struct{}{}:
		default:
		}
	}
	return ok
}

// stop ends the goroutine, whatever is still to be said.
func (c *Call) stop() { c.once.Do(func() { close(c.quits) }) }

// goodbye is how long a call that is over tries to tell the server.
const goodbye = 2 * time.Minute

// run is the call's goroutine.
func (c *Call) run() {
	defer close(c.done)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var deadline <-chan time.Time
	for {
		select {
		case <-c.bell:
		case now := <-tick.C:
			c.tick(now)
		case <-deadline:
			c.stop()
		case <-c.quits:
			c.over(Failed, "closed")
			c.end()
			return
		}
		c.mu.Lock()
		work := c.queue
		c.queue = nil
		c.mu.Unlock()
		for _, fn := range work {
			fn()
		}
		if c.ended && len(c.pending) == 0 {
			c.end()
			return
		}
		if c.ended && deadline == nil {
			t := time.NewTimer(goodbye)
			defer t.Stop()
			deadline = t.C
			tick.Stop()
		}
	}
}

// end lets go of everything.
func (c *Call) end() {
	c.mu.Lock()
	c.shut, c.queue = true, nil
	c.mu.Unlock()
	c.wg.Wait()
	c.m.gone(c, c.state.Seq)
}
