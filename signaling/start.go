package signaling

import (
	"cmp"
	"hash/fnv"
	"slices"
	"strconv"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/signaling/call"
)

// asked is a request on its way: everything of it that is not about one verb.
type asked struct {
	x     Session
	d     Device
	f     *fields
	media call.Media
	retry string  // what a start without an id is known by
	lim   *limits // those that hold for it
	done  func(Answer)
}

func (s *Service) asked(x Session, done func(Answer)) *asked {
	return &asked{x: x, d: x.Device(), lim: s.limits.Load(), done: done}
}

func (s *Service) refuse(done func(Answer), err error) {
	s.figures.refused.Add(1)
	done(Answer{Err: err})
}

// maxDevice is the length of a client id in bytes with which a device can call: it is in the record of the call.
const maxDevice = 256

// read reads the payload.
func (a *asked) read(payload []byte, limit int) (err error) {
	if len(a.d.Client) > maxDevice {
		return chat.Refuse(chat.BadRequest, "a device calls with a client id of at most %d bytes", maxDevice)
	}
	a.f, a.media, err = parse(payload, limit, a.lim.Parties)
	return err
}

// command is what all verbs have of a request.
func (a *asked) command(v call.Verb) *call.Command {
	return &call.Command{
		Verb: v, User: a.d.User, Device: a.d.Client, Member: true, Media: a.media, HasMedia: a.f.Media != nil, Key: a.f.ID,
		Retry: a.retry, ForDevice: a.f.Device, Reason: a.f.Reason, Party: a.f.Party, Hears: a.f.Hears, Fresh: a.f.Fresh,
	}
}

// answer is turn.done of a request: it names the call, and the party that the user has in it.
func (a *asked) answer(id string) func(*call.State, error) {
	return func(st *call.State, err error) {
		if err != nil {
			a.done(Answer{Err: err})
			return
		}
		r := Answer{Call: id}
		if p := st.PartyOf(a.d.User); p != nil && p.Device == a.d.Client {
			r.Party = p.ID
		}
		a.done(r)
	}
}

// Start implements Calls. It may wait until the disk has caught up.
func (s *Service) Start(x Session, conv string, p Packet, payload []byte, done func(Answer)) {
	a := s.asked(x, done)
	err := a.read(payload, MaxPayload)
	if err != nil {
		s.refuse(done, err)
		return
	}
	if a.f.Media == nil {
		a.media = call.Audio
	}
	if !s.rates.start(s.now(), a.d.User, conv, a.lim.StartsPerPair, a.lim.StartsPerUser) {
		s.refuse(done, chat.Refuse(chat.RateLimited, "at most %d calls a minute, and %d to the same conversation: wait for a minute",
			a.lim.StartsPerUser, a.lim.StartsPerPair))
		return
	}
	a.retry = p.key(a.d.Client, payload)
	gate := &s.gates[s.index.slot(conv)]
	gate.Lock()
	defer gate.Unlock()
	late := func() bool {
		return (a.f.ID != "" || p.Dup) && s.index.isSpent(conv, a.d.User, cmp.Or(a.f.ID, a.retry), s.now())
	}
	if late() { // nor does it enter the call that another one has begun meanwhile
		s.refuse(done, call.RefuseOver())
		return
	}
	if l := s.index.conv(conv); l != nil && s.startIn(a, l) {
		return
	}
	if late() { // that call has just ended
		s.refuse(done, call.RefuseOver())
		return
	}
	if err := s.begin(a, conv); err != nil {
		s.refuse(done, err)
	}
}

// key is what a start without an id is known by when it comes again (MQTT 5 section 4.4): the packet id and what it says. A client may
// use the packet id for another start as soon as it has the PUBACK, so it counts only where DUP says that this may be a retry.
func (p Packet) key(device string, payload []byte) string {
	if p.ID == 0 {
		return ""
	}
	h := fnv.New64a()
	_, _ = h.Write(append([]byte(device+"\x00"), payload...)) // never fails
	return "\x00" + strconv.FormatUint(uint64(p.ID), 36) + "." + strconv.FormatUint(h.Sum64(), 36)
}

// startIn is a start in a conversation that has a call. It is false if that call has just ended.
func (s *Service) startIn(a *asked, l *live) bool {
	st := l.state.Load()
	if !st.Live() {
		return false
	}
	if !st.Concerns(a.d.User) || !s.member(a.d.User, l) {
		if err := s.o.World.MayStart(a.d.User, l.conv); err != nil {
			s.refuse(a.done, err)
			return true
		}
	}
	c := a.command(call.Start)
	c.Conv, c.Direct = l.conv, st.Direct
	var ring []string
	if !st.Direct && len(a.f.Ring) > 0 {
		var err error
		if ring, err = s.callees(a, l.conv); err != nil {
			s.refuse(a.done, err)
			return true
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.state.Load().Live() {
		return false
	}
	s.enter(a, l, c, ring)
	return true
}

// enter carries out what may make the user a party of a call that lives. l.mu is held.
func (s *Service) enter(a *asked, l *live, c *call.Command, ring []string) {
	t := &turn{cmd: c, done: a.answer(l.id)}
	if st := l.state.Load(); st.PartyOf(a.d.User) == nil {
		if err := s.index.reserve(a.d.User, a.d.Client, l, a.lim.PerUser, false); err != nil {
			s.refuse(a.done, err)
			return
		}
		t.users = append(t.users, a.d.User)
	}
	c.NewParty, c.SFU = s.o.NewParty(), s.sfu()
	c.Here = s.here(a.d) // after the place is there: whoever goes from now on is found in it
	s.invite(c, l, ring, t)
	if err := s.carry(l, t); err != nil {
		s.refuse(a.done, err)
	}
}

// invite gives those who are to be rung a place, and looks who of them is busy.
func (s *Service) invite(c *call.Command, l *live, ring []string, t *turn) {
	for _, u := range ring {
		waiting, busy := s.index.ring(u, l)
		c.Ring = append(c.Ring, call.Callee{User: u, Waiting: waiting, Busy: busy})
		t.users = append(t.users, u)
	}
}

// begin starts a call where there is none.
func (s *Service) begin(a *asked, conv string) error {
	if err := s.o.World.MayStart(a.d.User, conv); err != nil {
		return err
	}
	ring, err := s.callees(a, conv)
	if err != nil {
		return err
	}
	l := newLive(&call.State{})
	l.conv = conv
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.id == "" || !s.index.add(l) {
		l.id = s.o.NewID(s.o.Now())
	}
	if err := s.index.reserve(a.d.User, a.d.Client, l, a.lim.PerUser, true); err != nil {
		s.index.forget(l, 0)
		return err
	}
	c := a.command(call.Start)
	c.Call, c.Conv, c.Direct, c.NewParty = l.id, conv, chat.IsDirect(conv), s.o.NewParty()
	c.Here = s.here(a.d)
	t := &turn{cmd: c, done: a.answer(l.id), users: []string{a.d.User}}
	s.invite(c, l, ring, t)
	if c.Direct && len(ring) == 0 {
		// Who wants no calls to ring is called all the same, in silence: the caller is not to know.
		c.Ring = []call.Callee{{User: other(conv, a.d.User), Silent: true}}
	}
	if err := s.carry(l, t); err != nil {
		s.index.forget(l, 0)
		return err
	}
	return nil
}

func other(conv, user string) string {
	a, b, _ := chat.Parties(conv)
	if a == user {
		return b
	}
	return a
}

// manyMembers bounds the members among whom those are looked for who are named to be rung.
const manyMembers = 4096

// callees are those who are rung: in a direct conversation the other one, in a group who is named, or all of a small one.
func (s *Service) callees(a *asked, conv string) ([]string, error) {
	if chat.IsDirect(conv) {
		users, _, err := s.o.World.Members(a.d.User, conv, 1)
		return users, err
	}
	if len(a.f.Ring) == 0 {
		users, more, err := s.o.World.Members(a.d.User, conv, a.lim.Rung+1)
		users = slices.DeleteFunc(users, func(u string) bool { return u == a.d.User })
		if more || len(users) > a.lim.Rung {
			return nil, err // they see it in c/{conv}/call
		}
		return users, err
	}
	users, _, err := s.o.World.Members(a.d.User, conv, manyMembers)
	if err != nil {
		return nil, err
	}
	var ring []string
	for _, u := range a.f.Ring {
		if u != a.d.User && slices.Contains(users, u) && !slices.Contains(ring, u) {
			ring = append(ring, u)
		}
	}
	return ring, nil
}
