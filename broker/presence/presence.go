package presence

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// DefaultCoalesce is the coalescing window when Options names none.
const DefaultCoalesce = 3 * time.Second

// MaxGroup is the size up to which the members of a group see each other's presence.
const MaxGroup = 200

// Options of a Presence.
type Options struct {
	Store storage.Reader

	// Commit applies a batch, whose changes are then visible in Store, and calls done after the sync,
	// on a goroutine of its own choice. An error means that nothing was stored and that done will not
	// be called.
	Commit func(b *storage.Batch, done func()) error

	// Tell sends a payload on the subject's presence topic to the sessions of users that subscribe to
	// it. It must not wait for a connection. The slices are the callee's.
	Tell func(users []string, subject string, payload []byte)

	// Peers returns who may see a user's presence, the user included. nil: Peers of this package, with
	// the groups read once for many users. It is called by the goroutine only.
	Peers func(user string) ([]string, error)

	// Wanted reports whether any session at all subscribes to anybody's presence; if not, nobody is
	// looked up. nil: always.
	Wanted func() bool

	Now      func() time.Time // nil: time.Now
	Coalesce time.Duration    // 0: DefaultCoalesce
	Log      *slog.Logger     // nil: nothing is logged
}

// Presence is the owner of the users' presence and profiles. Its methods may be called from any
// goroutine.
type Presence struct {
	o        Options
	coalesce atomic.Int64
	wake     chan struct{} // holds one token: something waits in what mu guards
	stop     chan struct{}
	stopped  chan struct{} // nil before Start

	mu      sync.Mutex
	closed  bool
	devices map[string]int   // sessions of the users that are online
	changed map[string]int64 // who came or went since the goroutine looked; ms of the last time
	ops     []op

	view  sync.RWMutex
	users map[string]*user // written by the goroutine, with view locked

	loop loop  // the goroutine's own
	died int64 // ms; when the previous run was last known to be alive
}

// user is in memory while online, within a window, or while their record could not be written. The
// fields belong to the goroutine, but for those that Presence.view guards.
type user struct {
	name    string
	online  bool
	away    bool
	text    string
	seen    int64     // ms
	since   time.Time // of the publication that opened the window
	window  bool      // in loop.windows
	ready   bool      // in loop.ready
	unsaved bool      // in loop.unsaved

	shown protocol.Presence // as published last, with seen; guarded by view
	hide  bool              // last seen is nobody's business; guarded by view
}

// New returns a Presence that does nothing yet.
func New(o Options) *Presence {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Coalesce <= 0 {
		o.Coalesce = DefaultCoalesce
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Wanted == nil {
		o.Wanted = func() bool { return true }
	}
	p := &Presence{
		o: o, wake: make(chan struct{}, 1), stop: make(chan struct{}),
		devices: make(map[string]int), changed: make(map[string]int64), users: make(map[string]*user),
	}
	p.coalesce.Store(int64(o.Coalesce))
	p.loop.unsaved = make(map[string]struct{})
	p.loop.circle = circle{r: o.Store, max: MaxGroup, groups: make(map[string][]string)}
	return p
}

// Start reads when the previous run ended and starts the goroutine. Call it once, before the first
// session; Close stops it. Errors: what the store returns.
func (p *Presence) Start() error {
	var err error
	if p.died, err = readAlive(p.o.Store); err != nil {
		return err
	}
	p.stopped = make(chan struct{})
	go func() {
		defer close(p.stopped)
		p.run()
	}()
	return nil
}

// Close carries out what waits, hands a commit that says everybody is offline to Commit, and stops the
// goroutine. It publishes nothing and does not wait for that commit's sync: close the pipeline after
// it, and the sessions before. What is asked afterwards is refused.
func (p *Presence) Close() {
	p.mu.Lock()
	again := p.closed
	p.closed = true
	p.mu.Unlock()
	if !again {
		close(p.stop)
	}
	if p.stopped != nil {
		<-p.stopped
	}
}

// SetCoalesce changes the coalescing window, also of users that are within one. 0: what the
// goroutine finds changed is published at once.
func (p *Presence) SetCoalesce(d time.Duration) {
	p.coalesce.Store(int64(max(d, 0)))
	p.poke()
}

// Came notes a session that counts for its user's presence. It returns at once, whatever the caller
// has locked.
func (p *Presence) Came(user string) { p.count(user, +1) }

// Went notes that such a session ended.
func (p *Presence) Went(user string) { p.count(user, -1) }

// Here reports whether a session that counts is connected now, whatever was published last.
func (p *Presence) Here(user string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.devices[user] > 0
}

func (p *Presence) count(user string, by int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.devices[user]
	is := was + by
	if p.closed || user == "" || is < 0 {
		return
	}
	if is == 0 {
		delete(p.devices, user)
	} else {
		p.devices[user] = is
	}
	if (was == 0) != (is == 0) {
		p.changed[user] = p.o.Now().UnixMilli()
		p.poke()
	}
}

func (p *Presence) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// SetStatus carries out a publish to u/{user}/status. done is called once: with nil after the sync, or
// with a *chat.Refusal or the error of Commit. It may be called before SetStatus returns, or on the
// goroutine that Commit calls done on; it must not wait for a commit.
func (p *Presence) SetStatus(user string, payload []byte, done func(error)) {
	state, text, err := protocol.ParseStatus(payload)
	if err != nil {
		done(err)
		return
	}
	if state != protocol.StateAway {
		state = ""
	}
	p.UpdateProfile(user, func(r *storage.Profile) { r.State, r.Text = state, text }, done)
}

// waitingMax bounds the changes of profiles that wait for the goroutine.
const waitingMax = 8192

// UpdateProfile changes a user's profile by fn, which gets the record as it is (zero when there is
// none); changes of one user are carried out one after the other. Online and Seen are not fn's to
// change, Modified is set after it. fn runs on the goroutine: it must return at once and call nothing
// of Presence. done is called once, as for SetStatus.
func (p *Presence) UpdateProfile(user string, fn func(r *storage.Profile), done func(error)) {
	if err := p.submit(op{user: user, fn: fn, done: done}); err != nil {
		done(err)
	}
}

func (p *Presence) submit(o op) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return chat.Refuse(chat.Unavailable, "the server is shutting down; try again when it is back")
	case len(p.ops) >= waitingMax:
		return chat.Refuse(chat.Unavailable, "too many profiles are being changed; try again in a few seconds")
	}
	p.ops = append(p.ops, o)
	p.poke()
	return nil
}

// Profile returns a user's profile (zero when there is none). Online is what was published last; Seen
// is told whether or not the user hides it.
func (p *Presence) Profile(user string) (storage.Profile, error) {
	p.view.RLock()
	defer p.view.RUnlock()
	r, err := p.read(user)
	if u := p.users[user]; u != nil {
		r.Online = u.shown.State != protocol.StateOffline
		return r, err
	}
	return p.asOffline(r), err
}

// Current returns the presence that was published last, as the viewer may see it who may see it at all: who
// hides when they were last seen does not learn it of others.
func (p *Presence) Current(viewer, subject string) (protocol.Presence, error) {
	p.view.RLock()
	defer p.view.RUnlock()
	hides, err := p.hides(viewer)
	if err != nil {
		return protocol.Presence{}, err
	}
	return p.current(subject, hides && viewer != subject)
}

// hides reports whether a user hides when they were last seen. view is held.
func (p *Presence) hides(user string) (bool, error) {
	if u := p.users[user]; u != nil {
		return u.hide, nil
	}
	r, err := p.read(user)
	return r.NoSeen, err
}

// current is Current with view held. blind: the viewer does not learn when the subject was last seen.
func (p *Presence) current(subject string, blind bool) (protocol.Presence, error) {
	if u := p.users[subject]; u != nil {
		return visible(u.shown, u.hide || blind), nil
	}
	r, err := p.read(subject)
	if err != nil {
		return protocol.Presence{}, err
	}
	return visible(offline(p.asOffline(r)), r.NoSeen || blind), nil
}

// SendCurrent calls send with the current presence of subject, or, if that is "", of everybody whom
// viewer may see. Nothing is sent of whom viewer may not see. The session must be subscribed already:
// then it misses nothing, and a publication never is older than what send got before. It reads one
// record for each person that it sends, on the caller's goroutine; send must not wait, and must not
// call Presence.
func (p *Presence) SendCurrent(viewer, subject string, send func(subject string, payload []byte)) error {
	if subject != "" {
		if may, err := p.MaySee(viewer, subject); err != nil || !may {
			return err
		}
		return p.sendOne(viewer, subject, send)
	}
	peers, err := Peers(p.o.Store, viewer, MaxGroup)
	if err != nil {
		return err
	}
	for _, s := range peers {
		if err := p.sendOne(viewer, s, send); err != nil {
			return err
		}
	}
	return nil
}

func (p *Presence) sendOne(viewer, subject string, send func(subject string, payload []byte)) error {
	p.view.RLock()
	defer p.view.RUnlock()
	hides, err := p.hides(viewer)
	if err != nil {
		return err
	}
	pr, err := p.current(subject, hides && viewer != subject)
	if err == nil {
		send(subject, pr.Append(nil))
	}
	return err
}

// presence is what there is to publish about a user.
func (u *user) presence() protocol.Presence {
	switch {
	case !u.online:
		return protocol.Presence{State: protocol.StateOffline, Seen: u.seen, Text: u.text}
	case u.away:
		return protocol.Presence{State: protocol.StateAway, Text: u.text}
	}
	return protocol.Presence{State: protocol.StateOnline, Text: u.text}
}

// take takes over what the record says about the user's status.
func (u *user) take(r storage.Profile) { u.away, u.text = r.State == protocol.StateAway, r.Text }

func offline(r storage.Profile) protocol.Presence {
	return protocol.Presence{State: protocol.StateOffline, Seen: r.Seen, Text: r.Text}
}

func visible(pr protocol.Presence, hide bool) protocol.Presence {
	if hide {
		pr.Seen = 0
	}
	return pr
}
