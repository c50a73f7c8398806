package memory

import (
	"fmt"
	"slices"

	"github.com/petrelchat/petrel/client/store"
)

func (t *tx) PutConversation(c store.Conversation) error {
	if c.ID == "" {
		return fmt.Errorf("%w: a conversation has an id", store.ErrInvalid)
	}
	c.Info = slices.Clone(c.Info)
	set(t, t.convs, c.ID, c)
	return nil
}

func (t *tx) DeleteConversation(id string) error {
	unset(t, t.convs, id)
	unset(t, t.logs, id)
	for k := range t.members {
		if k.conv == id {
			unset(t, t.members, k)
		}
	}
	for k := range t.wishes {
		if k.conv == id {
			unset(t, t.wishes, k)
		}
	}
	for k := range t.due {
		if k.conv == id {
			unset(t, t.due, k)
		}
	}
	return nil
}

func (t *tx) PutMembers(conv string, members []store.Member) error {
	if conv == "" {
		return fmt.Errorf("%w: a member has a conversation", store.ErrInvalid)
	}
	for _, m := range members {
		if m.User == "" {
			return fmt.Errorf("%w: a member has a user id", store.ErrInvalid)
		}
	}
	for _, m := range members {
		key := memberKey{conv, m.User}
		old := t.members[key]
		m.Delivered, m.Read = max(m.Delivered, old.Delivered), max(m.Read, old.Read)
		set(t, t.members, key, m)
	}
	return nil
}

func (t *tx) DeleteMember(conv, user string) error {
	unset(t, t.members, memberKey{conv, user})
	return nil
}

func (t *tx) Enqueue(o *store.Outgoing) error {
	if o.ID == "" {
		return fmt.Errorf("%w: an outgoing message has an id", store.ErrInvalid)
	}
	if _, ok := t.out[o.ID]; ok {
		return fmt.Errorf("%w: %s", store.ErrExists, o.ID)
	}
	t.lastN++ // not taken back: a number is used once
	o.N = t.lastN
	t.setOutgoing(*o)
	return nil
}

func (t *tx) PutOutgoing(o store.Outgoing) error {
	old, ok := t.out[o.ID]
	if !ok {
		return fmt.Errorf("%w: %s is not in the outbox", store.ErrNotFound, o.ID)
	}
	o.N = old.N
	t.setOutgoing(o)
	return nil
}

func (t *tx) setOutgoing(o store.Outgoing) { set(t, t.out, o.ID, cloneOutgoing(o)) }

func cloneOutgoing(o store.Outgoing) store.Outgoing {
	o.Attachments = slices.Clone(o.Attachments)
	for i := range o.Attachments {
		a := &o.Attachments[i]
		a.Data, a.Media = slices.Clone(a.Data), slices.Clone(a.Media)
	}
	return o
}

func (t *tx) DeleteOutgoing(id string) error {
	unset(t, t.out, id)
	return nil
}

func (t *tx) PutWish(w store.Wish) error {
	if w.Name == "" {
		return fmt.Errorf("%w: a wish has a name", store.ErrInvalid)
	}
	key := wishKey{w.Conv, w.Name}
	if old, ok := t.wishes[key]; ok && old.At > w.At {
		return nil
	}
	w.Value = slices.Clone(w.Value)
	set(t, t.wishes, key, w)
	return nil
}

func (t *tx) DeleteWish(conv, name string, at int64) error {
	key := wishKey{conv, name}
	if old, ok := t.wishes[key]; ok && old.At <= at {
		unset(t, t.wishes, key)
	}
	return nil
}

func (t *tx) PutMeta(key string, value []byte) error {
	switch {
	case key == "":
		return fmt.Errorf("%w: a value has a key", store.ErrInvalid)
	case value == nil:
		unset(t, t.meta, key)
	default:
		set(t, t.meta, key, append([]byte{}, value...))
	}
	return nil
}
