package signaling

import (
	"errors"
	"slices"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/signaling/call"
	"github.com/petrelchat/petrel/storage"
)

// turn is one thing that somebody wants, or that happened, on its way through a call.
type turn struct {
	cmd   *call.Command
	vital bool    // it ends something: a disk that is almost full takes it
	sig   *signal // what is to be passed on
	stand Session // is told how things stand, and of the signals behind after
	after uint64  // the seq of a signal
	done  func(next *call.State, err error)
	users []string // who have a reserved place
	crowd bool     // tells the crowd what it has not been told
}

// In a call of many each change concerns everybody, and when many come at once that is the square of them. So a crowd is told
// how the call stands every crowdEvery ms, and only who does something, and who is out, at once.
const (
	crowdFrom  = 8 // parties
	crowdEvery = 250
)

func crowded(prev, next *call.State) bool {
	return !next.Direct && len(next.Parties) > crowdFrom && prev.Live() && next.Live() && prev.SFU == next.SFU
}

// carry has the core decide, brings what follows to the disk, and has everybody told behind it. l.mu is held. An error
// means that nothing happened; refusals go to turn.done like success, when what they rest upon is durable.
func (s *Service) carry(l *live, t *turn) error {
	prev, now := l.state.Load(), s.now()
	next, effects, refusal := call.Decide(prev, t.cmd, now, &s.limits.Load().core)
	if next == prev && len(effects) == 0 && t.done == nil && t.stand == nil && !t.crowd {
		return nil
	}
	if t.crowd && !slices.ContainsFunc(effects, func(e call.Effect) bool { return e.Kind == call.TellState }) {
		effects = append(effects, call.Effect{Kind: call.TellState})
	}
	m := s.move(l, t, prev, next, effects, now)
	b := &storage.Batch{Vital: t.vital || refusal != nil}
	m.store(b)
	err := s.o.Commit.Commit(b, func(uint64) { s.happen(l, t, m, refusal) })
	if err != nil {
		s.index.settle(l, prev, prev, t.users...)
		return err
	}
	l.boxes = m.boxes
	s.spend(l, prev, next, t.cmd, now) // before anybody finds that the call is over
	l.state.Store(next)
	s.index.settle(l, prev, next, t.users...)
	s.count(prev, next, refusal != nil)
	if prev.Phase != call.Ended && next.Phase == call.Ended {
		s.index.end(l)
		s.retire(l)
	}
	switch {
	case !m.told:
	case !m.late:
		l.late = 0
	case l.late == 0:
		l.late = now + crowdEvery
	}
	s.timers.set(l, l.deadline(), s.work.poke)
	return nil
}

// spend notes for whom a call is over: all, when it ended, and who left it. Who was only given up may come back by the same start.
func (s *Service) spend(l *live, prev, next *call.State, c *call.Command, now int64) {
	if next == prev {
		return
	}
	for i := range prev.Parties {
		p := &prev.Parties[i]
		if p.Key == "" || i < len(next.Parties) && next.Parties[i].ID == p.ID || next.Party(p.ID) != nil {
			continue
		}
		left := c.User == p.User && (c.Verb == call.Hangup || c.Verb == call.Leave || c.Verb == call.Cancel || c.Verb == call.Removed)
		if left || next.Phase == call.Ended {
			s.index.spend(l.conv, spent{p.User, p.Key, now})
		}
	}
}

// deadline is the ms at which something is due in a call; 0: never. l.mu is held.
func (l *live) deadline() int64 {
	d := l.state.Load().Deadline()
	if l.late != 0 && (d == 0 || l.late < d) {
		return l.late
	}
	return d
}

func (s *Service) count(prev, next *call.State, refused bool) {
	f := &s.figures
	if refused {
		f.refused.Add(1)
	}
	f.parties.Add(int64(len(next.Parties) - len(prev.Parties)))
	if prev.Phase == 0 && next.Phase != 0 {
		f.started.Add(1)
		f.live.Add(1)
	}
	if prev.Phase != call.Ended && next.Phase == call.Ended {
		f.live.Add(-1)
		f.unwritten.Add(1)
		f.mu.Lock()
		f.ended[string(next.Outcome)]++
		f.mu.Unlock()
	}
}

// move is what becomes of a call in one step: what is stored, and what is told once that is on disk.
type move struct {
	l          *live
	prev, next *call.State
	boxes      map[string]box
	keep       []kept        // signals to store
	drop       []storage.Key // signals to delete
	out        []out         // to tell
	rung       []rung        // whom their own log and push services are to tell
	forget     []string      // parties whom the SFU is to forget
	sfu        *signal       // for the SFU
	from       call.Party    // of sfu
	roster     bool
	rosterBody []byte
	finish     bool
	told, late bool // the state is told; but not to the crowd yet
}

type kept struct {
	key   storage.Key
	value []byte
}

type rung struct {
	user string
	r    Rung
}

// move works out what follows from a decision. It writes no more than the next State's Party.Seq.
func (s *Service) move(l *live, t *turn, prev, next *call.State, effects []call.Effect, now int64) *move {
	m := &move{l: l, prev: prev, next: next, boxes: l.boxes}
	w := writer{s: s, st: next, now: now}
	for _, e := range effects {
		switch e.Kind {
		case call.TellRing:
			m.out = append(m.out, w.ring(e.User))
			m.rung = append(m.rung, rung{e.User, Rung{
				Call: l.id, Conv: l.conv, From: next.From, Media: next.Media.Names(), Exp: next.Exp(e.User),
			}})
		case call.TellState:
			m.told, m.late = true, crowded(prev, next) && !t.crowd
			m.out = append(m.out, w.states(prev, effects, m.late, t.cmd.User)...)
			if !next.Direct && !m.late {
				m.roster, m.rosterBody = true, w.roster()
			}
		case call.TellTaken:
			m.out = append(m.out, w.taken(e.User, e.Device))
		case call.TellMissed:
			m.out = append(m.out, w.missed(e.User))
		case call.PassOn:
			m.pass(t.sig, e, &w)
		case call.Forget:
			m.empty(e.Party)
			if next.SFU != 0 {
				m.forget = append(m.forget, e.Party)
			}
		case call.Finish:
			m.finish = true
			for party := range m.boxes {
				m.empty(party)
			}
		}
	}
	if t.stand != nil {
		m.out = append(m.out, w.stand(l, m.boxes, t.stand, t.after, m.tells(t.stand.Device().User))...)
	}
	return m
}

// tells reports whether a user's devices are told of the state anyway.
func (m *move) tells(user string) bool {
	return slices.ContainsFunc(m.out, func(o out) bool { return o.user == user && o.party == "" })
}

// own makes the boxes the move's own, to be changed.
func (m *move) own() {
	c := make(map[string]box, len(m.boxes)+1)
	for k, v := range m.boxes {
		c[k] = v
	}
	m.boxes = c
}

// pass numbers a signal for the party that it is for, and keeps it.
func (m *move) pass(sig *signal, e call.Effect, w *writer) {
	from := call.Party{ID: e.From, User: call.SFUParty}
	if p := m.next.Party(e.From); p != nil {
		from = *p
	}
	if e.Party == call.SFUParty {
		m.sfu, m.from = sig, from
		return
	}
	to := m.next.Party(e.Party)
	m.own()
	b := m.boxes[to.ID]
	b.last++
	b.first = max(b.first, 1)
	for ; b.last-b.first >= maxKept; b.first++ {
		m.drop = append(m.drop, storage.SignalKey(m.l.id, to.ID, b.first))
	}
	m.boxes[to.ID] = b
	o, value := w.signal(sig, to, &from, b.last)
	m.out = append(m.out, o)
	m.keep = append(m.keep, kept{storage.SignalKey(m.l.id, to.ID, b.last), value})
}

// empty lets go of what is kept for a party. The numbers go on.
func (m *move) empty(party string) {
	b, ok := m.boxes[party]
	if !ok {
		return
	}
	m.own()
	for ; b.first <= b.last; b.first++ {
		if b.first > 0 {
			m.drop = append(m.drop, storage.SignalKey(m.l.id, party, b.first))
		}
	}
	if p := m.next.Party(party); p != nil {
		p.Seq = b.last // Decide has made a State of its own for what forgets
		m.boxes[party] = b
		return
	}
	delete(m.boxes, party)
}

func (m *move) store(b *storage.Batch) {
	if m.next.Version != m.prev.Version {
		b.Set(storage.CallKey(m.l.id), storage.Marshal(m.next))
	}
	for _, k := range m.drop {
		b.Delete(k)
	}
	for _, k := range m.keep {
		b.Set(k.key, k.value)
	}
}

// happen runs on the pipeline's goroutine, when the move is on disk: now it is told. It must not block.
func (s *Service) happen(l *live, t *turn, m *move, refusal error) {
	if m.next.Version > m.prev.Version {
		l.durable.Store(m.next)
	}
	now := s.now()
	for i := range m.out {
		s.tell(&m.out[i], now)
	}
	for _, r := range m.rung {
		if now < r.r.Exp {
			s.o.World.Rang(r.user, r.r)
		}
	}
	if m.roster {
		s.o.World.Roster(l.conv, m.rosterBody)
	}
	s.figures.signals.Add(uint64(len(m.keep)))
	if m.finish {
		s.work.finish(l)
	}
	answer := func(err error) {
		if t.done != nil {
			t.done(m.next, err)
		}
	}
	if s.o.Forwarder == nil || m.next.SFU == 0 || m.sfu == nil && !m.finish && len(m.forget) == 0 {
		answer(refusal)
		return
	}
	// Reading an offer takes its time, which the pipeline's goroutine does not have.
	s.work.add(job{sfu: func() {
		err := s.forward(l, m)
		if refusal != nil {
			err = refusal
		}
		answer(err)
	}})
}

// forward tells the SFU what concerns it.
func (s *Service) forward(l *live, m *move) error {
	f := s.o.Forwarder
	for _, p := range m.forget {
		f.Gone(l.id, p)
	}
	if m.finish {
		f.Gone(l.id, "")
	}
	if m.sfu == nil {
		return nil
	}
	s.figures.signals.Add(1)
	err := f.Signal(l.id, m.from.ID, m.from.User, m.sfu.kind, m.sfu.plain)
	if err == nil {
		return nil
	}
	if r := (*chat.Refusal)(nil); errors.As(err, &r) {
		return r
	}
	s.log.Warn("the SFU did not take a signal", "call", l.id, "party", m.from.ID, "type", m.sfu.kind, "error", err)
	return chat.Refuse(chat.BadRequest, "the SFU did not take this %s: begin anew with resume and fresh", m.sfu.kind)
}
