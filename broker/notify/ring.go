package notify

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
)

// Ring is a call that rings.
type Ring struct {
	User string // who is called
	Call string
	Conv string
	From string
	At   int64 // ms since 1970
	Exp  int64 // ms: it rings until then
	// Here reports whether a device of that client id is connected and rings by itself; nil: none is.
	Here func(client string) bool
}

const (
	ringsMax  = 1024 // rings that are on their way at a time
	ringTries = 3    // at a push service that is busy
)

// ringing are the rings on their way.
type ringing struct {
	n  atomic.Int64
	wg sync.WaitGroup
}

// Ring tells a user's devices that are away that somebody calls. It returns at once; nothing of it is stored, for it
// is of no use later: what is missed is told by the event of the call. It waits for no window, and no limit of
// notifications holds it back, but quiet hours do.
func (s *Service) Ring(r Ring) {
	if users, _ := s.subs.among(nil, []string{r.User}); len(users) == 0 {
		return
	}
	if s.rings.n.Add(1) > ringsMax || s.ctx.Err() != nil {
		s.rings.n.Add(-1)
		s.Stats.Dropped[droppedExpired].Add(1)
		return
	}
	r.User, r.Conv = strings.Clone(r.User), strings.Clone(r.Conv)
	s.rings.wg.Add(1)
	go func() {
		defer s.rings.wg.Done()
		defer s.rings.n.Add(-1)
		s.ring(&r)
	}()
}

func (s *Service) ring(r *Ring) {
	now := s.now()
	w := &worker{Service: s, user: r.User, job: &job{now: now}, settings: s.settings.Load()}
	err := w.prepare()
	if err != nil {
		s.o.Log.Error("notifying of a call failed", "user", r.User, "error", err)
		return
	}
	if w.own.Quiet != nil {
		if _, quiet := w.own.Quiet.Until(time.UnixMilli(now)); quiet {
			return
		}
	}
	left := time.Duration(r.Exp-now) * time.Millisecond
	if left <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, left)
	defer cancel()
	var wg sync.WaitGroup
	for i := range w.regs {
		reg := &w.regs[i]
		if r.Here != nil && r.Here(reg.Name) {
			continue
		}
		n := w.renderRing(r, reg)
		wg.Go(func() { s.sendRing(ctx, reg, n) })
	}
	wg.Wait()
}

// renderRing makes the notification of a ring for one registration. It has the topic of the conversation, so that the
// one of the missed call replaces it.
func (w *worker) renderRing(r *Ring, reg *Registration) *Notification {
	n := &Notification{
		ID: w.keys.id(w.user, r.Conv+"/"+r.Call, 0), Topic: w.keys.topic(w.user, r.Conv), About: AboutCall, Call: r.Call, Exp: r.Exp,
		Count: 1, At: r.At, Urgent: true,
		Private: w.settings.Private || w.own.Private || reg.Private,
	}
	var err error
	if n.Badge, err = w.unread(); err != nil {
		w.o.Log.Error("counting what is unread failed", "user", w.user, "error", err)
	}
	p := phrasesOf(reg.Lang)
	if n.Private {
		n.Body = p.ring
		return n
	}
	n.Conv = r.Conv
	n.Title = w.name(r.From)
	n.Body = n.Title + ": " + p.ring
	if _, _, direct := chat.Parties(r.Conv); !direct {
		title := w.title(r.Conv)
		n.Title, n.Body = title, n.Body+" ("+title+")"
	}
	return n
}

// sendRing sends to one registration, and again as long as it rings if the service is busy.
func (s *Service) sendRing(ctx context.Context, reg *Registration, n *Notification) {
	kind := KindIndex(reg.Kind)
	for try := range ringTries {
		n.TTL = max(time.Duration(n.Exp-s.now())*time.Millisecond, time.Second)
		err := s.send(reg, n)
		var later *Later
		switch {
		case err == nil:
			s.Stats.Sent[kind].Add(1)
			return
		case errors.Is(err, ErrGone):
			s.Stats.Removed.Add(1)
			if _, err := s.remove(reg.User, reg.Name, reg.Created); err != nil {
				s.o.Log.Error("removing a registration failed", "user", reg.User, "kind", reg.Kind, "error", err)
			}
			return
		case !errors.As(err, &later) || try == ringTries-1:
			s.Stats.Failed[kind].Add(1)
			s.o.Log.Warn("a notification of a call was refused", "user", reg.User, "kind", reg.Kind, "error", err)
			return
		}
		s.Stats.Retried[kind].Add(1)
		t := time.NewTimer(backOff(try, later.After))
		select {
		case <-ctx.Done():
			t.Stop()
			s.Stats.Failed[kind].Add(1)
			return
		case <-t.C:
		}
	}
}

// took reports whether a user was in a call that ended, or turned it down: then they have not missed it.
func took(ev *chat.Event, user string) bool {
	end, ok := protocol.CallEndOf(ev)
	return ok && (end.Outcome == "declined" || slices.Contains(end.With, user))
}
