package delivery

import (
	"errors"
	"math"
	"slices"

	"github.com/petrelchat/petrel/broker/plain"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// Start lets the session take part: from now on it is offered events, and what it missed is sent.
// CONNACK must have been written.
func (s *Session) Start() error {
	r := s.r
	r.mu.Lock()
	r.sids[s.SID] = s
	r.users[s.key.User] = append(r.users[s.key.User], s)
	r.crowds.came(s.key.User)
	for _, x := range s.index.live {
		r.views[x.f.Kind]++
	}
	upTo := r.dispatched
	s.mu.Lock()
	s.live = true
	since := s.commit
	s.mu.Unlock()
	if r.o.Watcher != nil && !s.c.Quiet && s.key.User != "" {
		r.o.Watcher.Came(s.key.User)
	}
	r.mu.Unlock()

	if err := s.missed(since, upTo); err != nil {
		return err
	}
	if s.durable && len(s.subs) > 0 {
		// That the session is connected must be on disk before anything is sent: after a crash, what is sent
		// again would else look as if it had never been.
		if err := r.o.Pipeline.Barrier(); err != nil {
			return err
		}
	}
	if err := s.sendAgain(); err != nil {
		return err
	}
	s.mu.Lock()
	s.resuming = false
	s.commit = upTo
	s.mu.Unlock()
	s.pump()
	s.link.out.flush()
	return s.attachShares()
}

func (s *Session) lagging() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.lag) > 0
}

// missed finds the logs that got something between two commits, and where the session goes on in them.
func (s *Session) missed(since, upTo uint64) error {
	if err := s.missedPlain(); err != nil {
		return err
	}
	if !s.index.any() || since >= upTo && !s.lagging() {
		return s.clip()
	}
	if s.index.own != nil && s.index.own.qos > 0 {
		if err := s.missedLog(storage.OwnLog(s.key.User), []byte{viewOwn}, since, chat.Member{}); err != nil {
			return err
		}
	}
	err := s.r.memberships(s.key.User, func(conv string, m chat.Member) error {
		if m.Pending() || !s.allows(conv) {
			return nil
		}
		vs := s.index.views(conv)
		if len(vs) == 0 {
			return nil
		}
		if err := s.boundLag(conv, vs, m); err != nil || s.r.o.Hub.Unchanged(conv, since) {
			return err
		}
		return s.missedLog(conv, vs, since, m)
	})
	if err != nil {
		return err
	}
	return s.clip()
}

// missedLog notes that a log goes on after a commit, if it does.
func (s *Session) missedLog(log string, views []byte, since uint64, m chat.Member) error {
	_, commit, err := s.r.o.Hub.Head(log)
	if err != nil || commit <= since {
		return err
	}
	next, err := s.r.o.Store.After(log, since)
	if err != nil {
		return err
	}
	if m.Accepted() {
		next = firstOf(m, next)
	}
	stays, err := s.stays(log, next, m)
	if err != nil || len(stays) == 0 {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range views {
		src := source{log, v}
		if l, ok := s.lag[src]; ok && l.next <= next && !l.fresh {
			continue
		}
		l := s.lags(src, stays[0].from, stays[0].from)
		l.fresh, l.dup = false, s.dup
		l.setStays(stays)
	}
	return nil
}

// boundLag gives the logs that lagged when the session was put away their ends: the user may have left
// since, or left and come back.
func (s *Session) boundLag(conv string, views []byte, m chat.Member) error {
	for _, v := range views {
		s.mu.Lock()
		l, ok := s.lag[source{conv, v}]
		var next uint64
		if ok {
			next = l.next
			ok = !l.fresh // what is only just being offered has its bounds
		}
		s.mu.Unlock()
		if !ok {
			continue
		}
		stays, err := s.stays(conv, next, m)
		if err != nil {
			return err
		}
		s.mu.Lock()
		l.setStays(stays)
		s.mu.Unlock()
	}
	return nil
}

// stay is a time during which the user was a member: the seqs from..to; to 0: it lasts.
type stay struct{ from, to uint64 }

// stays returns when the user was a member from seq next on. The record of a member knows the latest time
// only; of the ones before, the log tells.
func (s *Session) stays(log string, next uint64, m chat.Member) (list []stay, err error) {
	if next >= m.Joined || m.Accepted() {
		if m.Left != 0 && next > m.Left {
			return nil, nil
		}
		return []stay{{next, m.Left}}, nil
	}
	var bad error
	in := stay{from: next}
	err = s.r.o.Store.Read(log, next, m.Joined-1, func(e storage.Entry) bool {
		var ev chat.Event
		if ev, bad = protocol.DecodeStored(e.Data); bad != nil {
			return false
		}
		if ev.Member == nil || ev.Member.User != s.key.User {
			return true
		}
		switch ev.Kind {
		case chat.KindBan:
			if ev.Member.Role != chat.RoleNone { // else they were out already
				list = append(list, stay{in.from, e.Seq})
			}
		case chat.KindLeave, chat.KindRemove:
			list = append(list, stay{in.from, e.Seq})
		case chat.KindJoin, chat.KindAdd:
			in = stay{from: e.Seq}
		}
		return true
	})
	if err = errors.Join(err, bad); err != nil {
		return nil, err
	}
	return append(list, stay{m.Joined, m.Left}), nil
}

// clip carries out "catchup": at most the last N events of each conversation.
func (s *Session) clip() error {
	n := s.c.Catchup
	if n == 0 {
		return nil
	}
	s.mu.Lock()
	srcs := make([]source, 0, len(s.lag))
	for src := range s.lag {
		if src.view != viewPlain && src.view != viewOwn {
			srcs = append(srcs, src)
		}
	}
	s.mu.Unlock()
	for _, src := range srcs {
		head, _, err := s.r.o.Hub.Head(src.log)
		if err != nil {
			return err
		}
		s.mu.Lock()
		if l, ok := s.lag[src]; ok {
			if end := l.end(); end != 0 {
				head = min(head, end)
			}
			if head >= n && l.next < head-n+1 {
				l.from = head - n + 1
			}
		}
		s.mu.Unlock()
	}
	return nil
}

// missedPlain notes that plain messages wait.
func (s *Session) missedPlain() error {
	if !s.durable {
		return nil
	}
	var again []uint64 // these go out with their old packet ids
	for _, x := range s.resend {
		if x.src.view == viewPlain {
			again = append(again, x.seq)
		}
	}
	prefix := storage.In(storage.SpaceRef).U64(s.SID)
	return s.r.o.Store.Scan(prefix, prefix, func(k storage.Key, _ []byte) bool {
		n, _, ok := storage.TakeU64(k[len(prefix):])
		if !ok || slices.Contains(again, n) {
			return true
		}
		s.mu.Lock()
		l := s.lags(source{"", viewPlain}, n, n)
		l.skip = again
		if s.dup > 0 {
			l.dup = firstMessage(s.dup) - 1
		}
		s.mu.Unlock()
		return false
	})
}

// memberships calls fn with the conversations that a user is or was in.
func (r *Registry) memberships(user string, fn func(conv string, m chat.Member) error) error {
	prefix := storage.In(storage.SpaceMembership).Str(user)
	var bad error
	err := r.o.Store.Scan(prefix, nil, func(k storage.Key, v []byte) bool {
		conv, _, ok := storage.TakeStr(k[len(prefix):])
		m, err := storage.DecodeMember(v)
		if !ok || err != nil {
			bad = errors.Join(err, storage.ErrRecord)
			return false
		}
		bad = fn(conv, m)
		return bad == nil
	})
	return errors.Join(err, bad)
}

// sendAgain sends what was in flight when the session was put away, with its old packet ids and DUP
// [MQTT-4.4.0-1], [MQTT-4.4.0-2]. What it did not come to stays in flight.
func (s *Session) sendAgain() error {
	for len(s.resend) > 0 {
		x := s.resend[0]
		it, ok, err := s.reread(x)
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.resend = s.resend[1:]
		if it.empty && x.src.view == viewPlain { // it expired on its way: that counts as sent in time, §3.3.2.3.3
			it.empty, it.expiry = false, 1
		}
		switch {
		case !ok || it.empty:
		case s.win.n >= s.win.max && x.qos == 1: // the client takes fewer at a time than before
			l := s.lags(x.src, x.seq, x.seq)
			l.skip = slices.DeleteFunc(slices.Clone(l.skip), func(n uint64) bool { return n == x.seq })
			l.dup = math.MaxUint64
			s.dup = max(s.dup, s.r.o.Pipeline.Durable()) // also when this connection ends before it is sent
		default:
			s.again(x, it)
		}
		s.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resend = nil
	for pid := range s.released {
		s.link.out.append(func(b []byte) []byte { return appendAck(b, typePubrel, pid, s.c.V5, 0, nil) })
	}
	return nil
}

// again puts one packet back into the window and on the wire. s.mu is held.
func (s *Session) again(x sent, it item) {
	p := publish{topic: it.topic, payload: it.payload, props: it.props, subIDs: it.ids, retain: it.retain,
		expiry: it.expiry, qos: x.qos, dup: true, pid: pidOf(x.alloc)}
	if (s.link.max > 0 || s.link.textMax > 0) && !s.fit(&p, x.src, x.seq) {
		return
	}
	x.size = int32(publishSize(&p))
	s.win.restore(x)
	s.link.out.append(func(b []byte) []byte { return s.link.encode(b, &p) })
}

// reread reads a packet that was in flight.
func (s *Session) reread(x sent) (it item, ok bool, err error) {
	now := s.r.o.Now().UnixMilli()
	if x.src.view == viewPlain {
		err = plain.ReadQueue(s.r.o.Store, s.SID, x.seq-1, x.seq, func(n uint64, ref plain.Ref, m *plain.Message) bool {
			it, ok = plainItem(n, ref, m, now), true
			return false
		})
		return it, ok, err
	}
	m, subscribed := s.matchOf(x.src)
	if !subscribed {
		return it, false, nil
	}
	var bad error
	err = s.r.o.Store.Read(x.src.log, x.seq, x.seq, func(e storage.Entry) bool {
		it, bad = s.eventItem(x.src, e, m, now)
		ok = true
		return false
	})
	if err == nil {
		err = bad
	}
	return it, ok, err
}
