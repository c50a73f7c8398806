package client

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
)

// pick is an entry whose turn has come, and how it goes over the wire.
type pick struct {
	out   store.Outgoing
	wire  []byte // what the codec made of it; nil: there is none
	no    *chat.Refusal
	send  bool // it goes out: mark said so
	fresh bool // no server can have it from before
}

// pick chooses what to send next. In a conversation nothing overtakes what waits.
func (s *sender) pick(ctx, conn context.Context) (picks []pick, next time.Duration, err error) {
	next = time.Hour
	room := min(s.window-len(s.flight.of), sendBatch)
	if room <= 0 {
		return nil, next, nil
	}
	if s.rescan {
		s.cursor, s.rescan = 0, false
	}
	now := s.millis()
	blocked := make(map[string]bool)
	var ups []store.Outgoing
	end := false
	err = s.read(ctx, func(r store.Reader) error {
		for room > 0 && !end {
			page, err := r.Outbox(store.OutboxQuery{States: []store.OutState{store.Queued, store.Sending}, After: s.cursor, Limit: sendBatch})
			if err != nil {
				return err
			}
			end = len(page) < sendBatch
			for i := range page {
				if room == 0 {
					end = true
					break
				}
				out := &page[i]
				s.cursor = out.N
				if _, under := s.flight.of[out.ID]; under {
					continue
				}
				if !blocked[out.Conv] && !s.flight.stopped(out.Conv) {
					p, ready, err := s.ready(r, out, now, &next)
					if err != nil {
						return err
					}
					if ready {
						picks = append(picks, p)
						room--
						continue
					}
					if needsUpload(out) && resting(out, now) == 0 {
						ups = append(ups, *out)
					}
				}
				blocked[out.Conv], s.rescan = true, true
			}
		}
		return nil
	})
	if err != nil {
		return nil, next, err
	}
	for i := range ups {
		s.upload(conn, &ups[i])
	}
	return s.encodeAll(ctx, picks), next, nil
}

// resting is how long an entry waits for its next attempt. Nothing is planned for longer than retryMost: who is told so had a clock
// that was put back since.
func resting(out *store.Outgoing, now int64) time.Duration {
	if rest := time.Duration(out.Next-now) * time.Millisecond; rest > 0 && rest <= retryMost {
		return rest
	}
	return 0
}

// ready reports whether an entry can be sent now.
func (s *sender) ready(r store.Reader, out *store.Outgoing, now int64, next *time.Duration) (p pick, ok bool, err error) {
	p.out = *out
	if rest := resting(out, now); rest > 0 {
		*next = min(*next, rest)
		return p, false, nil
	}
	if out.State == store.Sending && now-out.At > retryKnown.Milliseconds() && s.board.status().State != UpToDate {
		*next = min(*next, 5*time.Second) // what comes back may show that it was sent
		return p, false, nil
	}
	if needsUpload(out) {
		if s.uploader == nil {
			p.no = chat.Refuse(chat.BadRequest, "this program can't send attachments: it was made without an Uploader")
			return p, true, nil
		}
		return p, false, nil
	}
	ok, err = resolve(r, out)
	if errors.As(err, &p.no) {
		return p, true, nil
	}
	p.out.Event.Re = out.Event.Re
	return p, ok, err
}

// mark notes on disk that an entry is about to be sent. It is not if it was cancelled or changed meanwhile.
func (ch *change) mark(p *pick) error {
	if p.no != nil {
		return ch.failedAs(p.out.ID, p.no)
	}
	out, err := ch.tx.Outgoing(p.out.ID)
	switch {
	case err != nil:
		return ignoreNotFound(err)
	case out.State != store.Queued && out.State != store.Sending:
		return nil
	}
	re := out.Event.Re
	no := new(chat.Refusal)
	if ok, err := resolve(ch.tx, &out); errors.As(err, &no) || err == nil && !ok {
		return nil // looked at again: what it is about changed just now
	} else if err != nil {
		return err
	}
	if p.wire != nil && !reflect.DeepEqual(out.Event, p.out.Event) {
		ch.ring.outbox = true // written anew while the codec was at work
		return nil
	}
	if p.wire != nil {
		if err := ch.tx.PutMeta(metaWire+out.ID, p.wire); err != nil {
			return err
		}
	}
	p.fresh = out.State == store.Queued
	changed := p.fresh || re != out.Event.Re
	out.State = store.Sending
	p.out, p.send = out, true
	if p.fresh {
		ch.told = append(ch.told, Update{Kind: UpdateOutbox, Conv: out.Conv, ID: out.ID})
	}
	if !changed {
		return nil
	}
	return ch.tx.PutOutgoing(out)
}
