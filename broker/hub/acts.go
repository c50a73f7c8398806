package hub

import (
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// lookUpActs fetches what the decision needs to know of what was done to the target before.
func (w *owner) lookUpActs(conv string, cmd *chat.Command) (err error) {
	subject := cmd.Target.Seq
	if cmd.Target.Kind == chat.KindEdit {
		subject = cmd.Target.Re
		if cmd.Subject, err = w.event(conv, subject); err != nil {
			return err
		}
	}
	a := &cmd.Acts
	switch cmd.Event.Kind {
	case chat.KindEdit:
		return w.views.scan(storage.ActsOf(conv, subject), func(storage.Key, []byte) bool {
			a.Edits++
			return a.Edits < chat.MaxEdits
		})
	case chat.KindReact, chat.KindUnreact:
		return w.lookUpReactions(storage.ReactionsOf(conv, subject), cmd)
	case chat.KindPin, chat.KindUnpin:
		v, ok, err := w.views.get(storage.PinKey(conv, subject))
		if err != nil {
			return err
		}
		if ok {
			p, err := storage.DecodePin(v)
			a.Pinned = p.Seq
			return err
		}
		if cmd.Event.Kind == chat.KindPin {
			return w.views.scan(storage.PinsOf(conv), func(storage.Key, []byte) bool {
				a.Pins++
				return a.Pins < chat.MaxPins
			})
		}
	}
	return nil
}

func (w *owner) lookUpReactions(at storage.Key, cmd *chat.Command) error {
	emoji, ok := chat.Emoji(cmd.Event.Emoji)
	if !ok {
		return nil // it will be refused
	}
	a := &cmd.Acts
	var err error
	if a.Reacted, err = count(w.views, key(at).Str(emoji).Str(cmd.Actor)); err != nil || a.Reacted != 0 || cmd.Event.Kind == chat.KindUnreact {
		return err
	}
	var mine, all, used uint64
	for _, n := range []struct {
		k    storage.Key
		into *uint64
	}{{key(at).Str("").Str(cmd.Actor), &mine}, {key(at).Str(""), &all}, {key(at).Str(emoji), &used}} {
		if *n.into, err = count(w.views, n.k); err != nil {
			return err
		}
	}
	a.Mine, a.Emoji, a.Used = int(mine), int(all), used > 0
	return nil
}

// act adds what events do to others to the batch: bodies that go, records that change. With an error nothing
// was added.
func (w *owner) act(conv string, cmd *chat.Command, events []chat.Event) error {
	for i := range events {
		ev := &events[i]
		if ev.Re == 0 {
			continue
		}
		var err error
		if ev.Kind == chat.KindDelete {
			post := cmd.Target
			if cmd.Subject != nil {
				post = cmd.Subject
			}
			err = w.erase(conv, post)
		} else if err = addToViews(w.views, conv, ev); err == nil {
			w.views.keep(w.batch)
		}
		w.views.drop()
		if err != nil {
			return w.unreadable(conv, err)
		}
	}
	return nil
}

// prior returns what is stored under an idempotency key, nil if nothing is.
func (w *owner) prior(conv, user, id string) (*chat.Prior, error) {
	if p, ok := w.retries[retryKey{conv, user, id}]; ok {
		return &p, nil
	}
	v, ok, err := w.h.o.Store.Get(RetryKey(conv, user, id))
	if err != nil || !ok {
		return nil, err
	}
	p, err := storage.DecodePrior(v)
	if err != nil {
		return nil, err
	}
	return &p, nil
}
