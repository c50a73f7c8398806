package signaling

import (
	"errors"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// history is what the event of a call has in Ext, in the order of deterministic CBOR (RFC 8949 section 4.2).
type history struct {
	Call     string   `cbor:"call"`
	More     bool     `cbor:"more,omitempty"`
	With     []string `cbor:"with,omitempty"`
	Media    []string `cbor:"media"`
	Outcome  string   `cbor:"outcome"`
	Duration int64    `cbor:"duration"`
}

// write brings the event of a call that has ended into the log of its conversation.
func (s *Service) write(l *live) {
	st := l.durable.Load()
	s.log.Debug("a call has ended", "call", l.id, "conv", l.conv, "user", st.From, "outcome", st.Outcome, "reason", st.Reason, "seconds", st.Duration())
	ev := chat.Event{From: st.From, Kind: chat.KindCall, ID: st.ID, Ext: storage.Marshal(history{
		Call: st.ID, More: st.More, With: st.With, Media: st.Media.Names(), Outcome: string(st.Outcome), Duration: st.Duration(),
	})}
	s.o.World.Append(st.Conv, st.From, ev, func(err error) {
		var r *chat.Refusal
		switch {
		case errors.Is(err, storage.ErrFull) || errors.As(err, &r) && (r.Code == chat.Unavailable || r.Code == chat.RateLimited):
			s.work.add(job{over: l, at: s.now() + tryAgain})
			return
		case errors.Is(err, storage.ErrClosed):
			return // at the next start
		case err != nil:
			s.log.Warn("the event of a call was refused", "call", l.id, "conv", l.conv, "error", err)
		}
		s.work.add(job{kept: l})
	})
}

// unload deletes the records of calls whose events are durable.
func (s *Service) unload(all []*live, now int64) {
	b := &storage.Batch{Vital: true}
	for _, l := range all {
		b.Delete(storage.CallKey(l.id))
	}
	n := int64(len(all))
	if err := s.o.Commit.Commit(b, func(uint64) { s.figures.unwritten.Add(-n) }); err != nil {
		for _, l := range all {
			s.work.add(job{kept: l, at: now + tryAgain})
		}
	}
}
