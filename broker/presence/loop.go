package presence

import (
	"time"

	"github.com/petrelchat/petrel/protocol"
)

const (
	aliveEvery = 30 * time.Second
	// gatherEvery spaces the commits that say who is online: a storm makes few of them.
	gatherEvery = 50 * time.Millisecond
	batchMax    = 1000 // users in one commit
	publishMax  = 64   // publications before the goroutine looks what else there is
	// The goroutine rests after it worked for slice without a pause, as long as it worked, but no longer
	// than restMax.
	slice   = 2 * time.Millisecond
	restMax = 100 * time.Millisecond
)

// loop is the state that the goroutine alone has.
type loop struct {
	online  int       // users that are
	tick    time.Time // when to say again that the server is alive, and to store what failed
	next    time.Time // when to look again who came and went
	ready   []*user   // may have something to publish
	windows []*user   // within a window, the oldest first
	unsaved map[string]struct{}
	circle  circle
}

func (p *Presence) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for begin := p.o.Now(); ; {
		pause, wake := time.Duration(0), (<-chan struct{})(nil)
		if p.turn() {
			if worked := p.o.Now().Sub(begin); worked >= slice {
				pause = min(worked, restMax)
			}
		} else {
			pause, wake = p.idle(), p.wake
		}
		if pause > 0 {
			timer.Reset(pause)
			select {
			case <-p.stop:
			case <-wake:
			case <-timer.C:
			}
			begin = p.o.Now()
		}
		select {
		case <-p.stop:
			p.finish()
			return
		default:
		}
	}
}

// turn does a bounded amount of work and reports whether there is more.
func (p *Presence) turn() (more bool) {
	l := &p.loop
	clear(l.circle.groups)
	ops, changes, more := p.gather(false)
	p.carryOut(ops)
	now := p.o.Now()
	tick := l.ticks() && !now.Before(l.tick)
	if tick || len(changes) > 0 {
		p.note(changes)
	}
	if tick && len(l.unsaved) > 0 {
		p.note(p.failed())
	}
	for range publishMax {
		if len(l.windows) == 0 || !p.over(l.windows[0], now) {
			break
		}
		u := l.windows[0]
		l.windows[0], l.windows = nil, l.windows[1:]
		u.window = false
		p.queue(u)
	}
	for range min(publishMax, len(l.ready)) {
		u := l.ready[0]
		l.ready[0], l.ready = nil, l.ready[1:]
		u.ready = false
		p.settle(u, now)
	}
	return more || len(l.ready) > 0 || len(l.windows) > 0 && p.over(l.windows[0], now)
}

// failed is whose records could not be written, as changes to be noted.
func (p *Presence) failed() (changes []change) {
	for name := range p.loop.unsaved {
		u := p.users[name]
		changes = append(changes, change{user: name, online: u.online, at: u.seen})
		if len(changes) == batchMax {
			break
		}
	}
	return changes
}

func (l *loop) ticks() bool { return l.online > 0 || len(l.unsaved) > 0 }

// gather takes what waits for the goroutine. all: everything, at once.
func (p *Presence) gather(all bool) (ops []op, changes []change, more bool) {
	now := p.o.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(len(p.ops), batchMax)
	ops, p.ops = p.ops[:n:n], p.ops[n:]
	if len(p.ops) == 0 {
		p.ops = nil // the array goes with ops
	}
	if all || len(p.changed) >= batchMax || len(p.changed) > 0 && !now.Before(p.loop.next) {
		p.loop.next = now.Add(gatherEvery)
		for name, at := range p.changed {
			changes = append(changes, change{user: name, online: p.devices[name] > 0, at: at})
			delete(p.changed, name)
			if len(changes) == batchMax {
				break
			}
		}
	}
	return ops, changes, len(p.ops) > 0 || len(p.changed) >= batchMax
}

func (p *Presence) carryOut(ops []op) {
	for _, o := range ops {
		switch {
		case o.pair != [2]string{}:
			p.refresh(o.pair[0], o.pair[1])
		case o.fn == nil:
			p.bury(o)
		}
	}
	p.update(ops)
}

// idle is for how long there is nothing to do if nobody calls.
func (p *Presence) idle() time.Duration {
	now := p.o.Now()
	wait := time.Hour
	if p.loop.ticks() {
		wait = min(wait, p.loop.tick.Sub(now))
	}
	if len(p.loop.windows) > 0 {
		wait = min(wait, p.loop.windows[0].since.Add(p.window()).Sub(now))
	}
	p.mu.Lock()
	if len(p.changed) > 0 {
		wait = min(wait, p.loop.next.Sub(now))
	}
	p.mu.Unlock()
	return max(wait, 0)
}

func (p *Presence) window() time.Duration { return time.Duration(p.coalesce.Load()) }

// over reports whether a user's window is. A clock that jumped back ends it too.
func (p *Presence) over(u *user, now time.Time) bool {
	d := now.Sub(u.since)
	return d < 0 || d >= p.window()
}

// queue has the user settled in this turn or a later one.
func (p *Presence) queue(u *user) {
	if !u.ready {
		u.ready = true
		p.loop.ready = append(p.loop.ready, u)
	}
}

// settle publishes what is new about a user who is not within a window, and forgets who is offline
// when nothing is.
func (p *Presence) settle(u *user, now time.Time) {
	if u.window {
		return // its end settles
	}
	is := u.presence()
	if is.State == u.shown.State && is.Text == u.shown.Text {
		if !u.online && !u.unsaved {
			p.view.Lock()
			delete(p.users, u.name)
			p.view.Unlock()
		}
		return
	}
	p.view.Lock()
	u.shown = is
	p.view.Unlock()
	u.since, u.window = now, true
	p.loop.windows = append(p.loop.windows, u)
	// Who subscribes from here on gets the new state from SendCurrent.
	if !p.o.Wanted() {
		return
	}
	peers, err := p.peers(u.name)
	if err != nil {
		p.o.Log.Error("looking up who may see a user failed", "user", u.name, "error", err)
		return
	}
	if len(peers) > 0 {
		p.tell(peers, u, is)
	}
}

// tell publishes what is new about a user. Who hides when they were last seen is not told it of others.
func (p *Presence) tell(peers []string, u *user, is protocol.Presence) {
	is = visible(is, u.hide)
	if is.Seen == 0 {
		p.o.Tell(peers, u.name, is.Append(nil))
		return
	}
	var see, blind []string
	for _, name := range peers {
		if v := p.users[name]; v != nil && v.hide && name != u.name { // who is not in memory is offline and gets nothing
			blind = append(blind, name)
		} else {
			see = append(see, name)
		}
	}
	p.o.Tell(see, u.name, is.Append(nil))
	if len(blind) > 0 {
		p.o.Tell(blind, u.name, visible(is, true).Append(nil))
	}
}

func (p *Presence) peers(user string) ([]string, error) {
	if p.o.Peers != nil {
		return p.o.Peers(user)
	}
	return p.loop.circle.peers(user)
}

// finish stores what waits, and that everybody is offline.
func (p *Presence) finish() {
	for {
		ops, changes, _ := p.gather(true)
		if len(ops) == 0 && len(changes) == 0 {
			break
		}
		p.carryOut(ops)
		p.note(changes)
	}
	p.farewell()
}
