package notify

import (
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// sweep finds what came after the position before the last run ended. No record names the logs that have it, so
// it looks at the head of each conversation, some at a time.
type sweep struct {
	since uint64 // position
	upTo  uint64 // commit from which on events are handed over
	after storage.Key
	pause int64 // ms, before which not to go on
}

// sweepStep is how many heads are looked at in a turn.
const sweepStep = 256

// sweepPause is how long a store that cannot be read is left alone, ms.
const sweepPause = 5000

func (s *Service) sweepOn() {
	l := &s.loop
	w := l.sweep
	now := s.now()
	if now < w.pause {
		return
	}
	var convs []string
	after := append(storage.Key(nil), w.after...)
	err := s.o.Store.Scan(storage.In(storage.SpaceConv), w.after, func(k storage.Key, _ []byte) bool {
		if conv, _, ok := storage.TakeStr(k[1:]); ok {
			convs = append(convs, conv)
		}
		after = append(after[:0], k...)
		return len(convs) < sweepStep
	})
	for _, conv := range convs {
		if err == nil {
			err = s.sweepOne(conv, now)
		}
	}
	if err != nil {
		s.o.Log.Error("looking for what is to be notified failed; it is tried again", "error", err)
		w.pause = now + sweepPause
		return
	}
	if w.after = after; len(convs) < sweepStep {
		l.sweep = nil
	}
}

func (s *Service) sweepOne(conv string, now int64) error {
	w := s.loop.sweep
	head, commit, err := s.o.Head(conv)
	if err != nil || commit <= w.since {
		return err
	}
	first, err := s.o.Store.After(conv, w.since)
	if err != nil || first > head {
		return err
	}
	return s.readOver(conv, first, head, w.since+1, now)
}

// readOver notes the events of a log for the members of now. No event's commit is before the given one. What does
// not decode is passed over.
func (s *Service) readOver(conv string, from, to, commit uint64, now int64) error {
	var members []string
	prefix := storage.In(storage.SpaceMember).Str(conv)
	err := s.o.Store.Scan(prefix, nil, func(k storage.Key, v []byte) bool {
		user, _, ok := storage.TakeStr(k[len(prefix):])
		if m, err := storage.DecodeMember(v); ok && err == nil && m.Role != chat.RoleNone {
			members = append(members, user)
		}
		return true
	})
	if err != nil {
		return err
	}
	users, _ := s.subs.among(nil, members)
	if len(users) == 0 {
		return nil
	}
	return s.o.Store.Read(conv, from, to, func(e storage.Entry) bool {
		ev, err := s.o.Decode(e.Data)
		if err != nil {
			s.o.Log.Error("an event that is to be notified can't be read", "conv", conv, "seq", e.Seq, "error", err)
			return true
		}
		if ev.Kind != chat.KindPost && ev.Kind != chat.KindCall {
			return true
		}
		for _, u := range users {
			if u != ev.From {
				s.note(u, conv, e.Seq, max(commit, 1), urgentFor(u, ev.Kind, ev.Mentions), now)
			}
		}
		return true
	})
}
