package client

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/internal/link"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/protocol"
)

// draftRest is how long a draft is left alone while somebody types.
const draftRest = time.Second

// chores tells the server what was changed here, and asks it for what is not known: wishes. Of each only the last
// value counts, so they are no queue, and a wish that was carried out twice does no harm.
type chores struct{ *core }

// run is the goroutine of chores. It ends with ctx.
func (w *chores) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake.chores:
		}
		_, up, conn := w.sess.now()
		if !up {
			continue
		}
		wait, err := w.round(conn, draftRest)
		if err != nil && conn.Err() == nil {
			w.log.Debug("a wish could not be carried out; it is tried again", "error", err)
			wait = 3 * time.Second
		}
		if wait > 0 && pause(conn, wait) {
			ring(w.wake.chores)
		}
	}
}

// last carries out what can be before the client is closed.
func (w *chores) last(ctx context.Context) error {
	_, err := w.round(ctx, 0)
	return err
}

// round carries out what is wished; drafts when they have rested. A wait is after which there is more to do.
func (w *chores) round(ctx context.Context, rest time.Duration) (wait time.Duration, err error) {
	var wishes []store.Wish
	err = w.read(ctx, func(r store.Reader) error {
		wishes, err = r.Wishes()
		return err
	})
	if err != nil {
		return 0, err
	}
	var failed error
	for _, wish := range wishes {
		if left := time.UnixMilli(wish.At).Add(rest).Sub(w.now()); wish.Name == wishDraft && left > 0 && left <= rest {
			wait = max(wait, left)
			continue
		}
		err := w.carryOut(ctx, wish)
		no := new(chat.Refusal)
		switch {
		case err == nil:
		case errors.As(err, &no) && no.Code != chat.Unavailable && no.Code != chat.RateLimited:
			if err := w.refused(ctx, wish, no); err != nil {
				return 0, err
			}
		case retriable(err) || ctx.Err() != nil:
			return 0, err
		default:
			failed = err // the others go on
		}
	}
	return wait, failed
}

func (w *chores) carryOut(ctx context.Context, wish store.Wish) error {
	switch wish.Name {
	case wishRead:
		return w.tellRead(ctx, wish)
	case wishDraft:
		return w.tellDraft(ctx, wish)
	case wishMute, wishArchive, wishPin:
		return w.tellSetting(ctx, wish)
	case wishMembers:
		return w.askMembers(ctx, wish)
	case wishInfo:
		return w.askInfo(ctx, wish)
	case wishSettings:
		return w.askSettings(ctx, wish)
	case wishHidden:
		return w.askHidden(ctx, wish)
	case wishLost:
		return w.askLost(ctx, wish)
	}
	return nil // gaps are the filler's
}

// refused gives a wish up. What the server has instead is asked for.
func (w *chores) refused(ctx context.Context, wish store.Wish, no *chat.Refusal) error {
	w.log.Info("a wish was refused", "wish", wish.Name, "conv", wish.Conv, "code", no.Code)
	return w.persist(ctx, func(ch *change) error {
		switch wish.Name {
		case wishLost:
			if err := ch.tx.PutMeta(metaLost+wish.Conv, nil); err != nil {
				return err
			}
		case wishMute, wishArchive, wishPin:
			ch.told = append(ch.told, Update{Kind: UpdateRefused, Conv: wish.Conv, Err: no})
			if err := ch.wish("", wishSettings, nil); err != nil {
				return err
			}
		case wishDraft, wishRead:
			l, err := ch.conv(wish.Conv)
			if err != nil {
				return err
			}
			if l.known {
				l.changed = true
				if wish.Name == wishDraft {
					l.row.DraftDirty = false // it stays on this device
				} else {
					l.row.ReadWanted = 0
					l.recount = true
				}
			}
		}
		return ch.tx.DeleteWish(wish.Conv, wish.Name, wish.At)
	})
}

func (w *chores) conversation(ctx context.Context, id string) (row store.Conversation, err error) {
	err = w.read(ctx, func(r store.Reader) error {
		row, err = r.Conversation(id)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	})
	return row, err
}

// tellRead tells how far was read.
func (w *chores) tellRead(ctx context.Context, wish store.Wish) error {
	row, err := w.conversation(ctx, wish.Conv)
	if err != nil {
		return err
	}
	seq := row.ReadWanted
	if seq > row.Read {
		p := link.Publish{Topic: "c/" + wish.Conv + "/read", QoS: 1, Payload: strconv.AppendUint(nil, seq, 10)}
		if err := w.publish(ctx, p); err != nil {
			return err
		}
	}
	return w.persist(ctx, func(ch *change) error {
		l, err := ch.conv(wish.Conv)
		if err != nil {
			return err
		}
		ch.readUpTo(l, seq)
		if l.row.ReadWanted > l.row.Read {
			ch.ring.chores = true
			return nil // read on meanwhile
		}
		return ch.tx.DeleteWish(wish.Conv, wish.Name, wish.At)
	})
}

// publish publishes at QoS 1 and waits for the answer.
func (w *chores) publish(ctx context.Context, p link.Publish) error {
	got := make(chan error, 1)
	err := w.line.Publish(p, func(a link.Ack, err error) {
		if r := a.Refusal(); err == nil && r != nil {
			err = r
		}
		got <- err
	})
	if err != nil {
		return err
	}
	select {
	case err := <-got:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *chores) tellDraft(ctx context.Context, wish store.Wish) error {
	row, err := w.conversation(ctx, wish.Conv)
	if err != nil {
		return err
	}
	var reply struct {
		At int64 `json:"at"`
	}
	if row.DraftDirty {
		if err := w.call(ctx, "draft.set", map[string]any{"conv": wish.Conv, "text": row.Draft}, &reply); err != nil {
			return err
		}
	}
	return w.persist(ctx, func(ch *change) error {
		l, err := ch.conv(wish.Conv)
		if err != nil {
			return err
		}
		if l.row.Draft != row.Draft {
			ch.ring.chores = true
			return nil // written on meanwhile
		}
		if l.known && l.row.DraftDirty {
			l.row.DraftDirty, l.changed = false, true
			l.row.DraftAt = max(l.row.DraftAt, reply.At)
		}
		return ch.tx.DeleteWish(wish.Conv, wish.Name, wish.At)
	})
}

// tellSetting tells how a conversation was put away.
func (w *chores) tellSetting(ctx context.Context, wish store.Wish) error {
	row, err := w.conversation(ctx, wish.Conv)
	if err != nil {
		return err
	}
	method, req := "", map[string]any{"conv": wish.Conv}
	switch wish.Name {
	case wishMute:
		if method = "conv.mute"; row.Mute >= 0 {
			req["until"] = row.Mute
		}
	case wishArchive:
		method, req["archived"] = "conv.archive", row.Archived
	case wishPin:
		method, req["pinned"] = "conv.pin", row.Pinned
	}
	if row.ID != "" {
		if err := w.call(ctx, method, req, nil); err != nil {
			return err
		}
	}
	return w.persist(ctx, func(ch *change) error {
		now, err := ch.tx.Conversation(wish.Conv)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if now.Mute != row.Mute || now.Archived != row.Archived || now.Pinned != row.Pinned {
			ch.ring.chores = true
			return nil // changed again meanwhile
		}
		return ch.tx.DeleteWish(wish.Conv, wish.Name, wish.At)
	})
}

// askInfo asks for title and settings of a group.
func (w *chores) askInfo(ctx context.Context, wish store.Wish) error {
	var v struct {
		protocol.InfoView
		Conv  string `json:"conv"`
		Muted int64  `json:"muted"`
	}
	if kindOf(wish.Conv) == "group" {
		if err := w.call(ctx, "group.get", map[string]any{"conv": wish.Conv}, &v); err != nil {
			return err
		}
	}
	return w.persist(ctx, func(ch *change) error {
		l, err := ch.conv(wish.Conv)
		if err != nil {
			return err
		}
		if kindOf(wish.Conv) == "group" && l.known {
			changes, err := ch.tx.Events(store.EventQuery{Conv: wish.Conv, After: v.Head, Kinds: regulations(), Limit: 1})
			if err != nil {
				return err
			}
			if len(changes) > 0 {
				ch.ring.chores = true
				return nil // something happened meanwhile: ask again
			}
			l.setInfo(v.InfoView)
			l.row.Role = v.Role
		}
		return ch.tx.DeleteWish(wish.Conv, wish.Name, wish.At)
	})
}

// askSettings reads all private settings: the own log did not tell them one by one.
func (w *chores) askSettings(ctx context.Context, wish store.Wish) error {
	after := ""
	for {
		var p struct {
			Settings []struct {
				Name  string   `json:"name"`
				Conv  string   `json:"conv"`
				Value rawValue `json:"value"`
				At    int64    `json:"at"`
			} `json:"settings"`
			After string `json:"after"`
			More  bool   `json:"more"`
		}
		req := map[string]any{}
		if after != "" {
			req["after"] = after
		}
		if err := w.call(ctx, "setting.list", req, &p); err != nil {
			return err
		}
		err := w.persist(ctx, func(ch *change) error {
			for _, s := range p.Settings {
				if s.Conv == "" || !protocol.ValidConv(s.Conv) || ch.sess.turned(s.Conv) {
					continue
				}
				if err := ch.applySetting(s.Conv, s.Name, s.Value, s.At); err != nil {
					return err
				}
			}
			if p.More {
				return nil
			}
			return ch.tx.DeleteWish(wish.Conv, wish.Name, wish.At)
		})
		if after = p.After; err != nil || !p.More {
			return err
		}
	}
}

// askHidden reads what the user deleted for themselves: the own log did not tell it one by one.
func (w *chores) askHidden(ctx context.Context, wish store.Wish) error {
	after := ""
	for {
		var p struct {
			Hidden []HiddenPost `json:"hidden"`
			After  string       `json:"after"`
			More   bool         `json:"more"`
		}
		req := map[string]any{}
		if after != "" {
			req["after"] = after
		}
		if err := w.call(ctx, "hidden", req, &p); err != nil {
			return err
		}
		err := w.persist(ctx, func(ch *change) error {
			if err := ch.hide(p.Hidden); err != nil || p.More {
				return err
			}
			return ch.tx.DeleteWish(wish.Conv, wish.Name, wish.At)
		})
		if after = p.After; err != nil || !p.More {
			return err
		}
	}
}
