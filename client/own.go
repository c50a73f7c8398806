package client

import (
	"errors"

	"github.com/fxamacker/cbor/v2"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/protocol"
)

// takeOwn stores events of the user's own log, ascending, and does what follows from those that were not here. What
// follows from an older one than the newest was told by sync, or has been superseded; but what was hidden stays hidden.
func (ch *change) takeOwn(ds []protocol.Delivery) error {
	l, err := ch.conv(store.OwnLog)
	if err != nil {
		return err
	}
	for i := range ds {
		d := &ds[i]
		last := max(d.Seq, d.To)
		if d.Seq == 0 || last > store.MaxSeq || l.has(d.Seq) {
			continue
		}
		newest := d.Seq > l.last()
		l.cover(d.Seq, last)
		if d.Kind == chat.KindGone || d.Kind == chat.KindLarge {
			if err := ch.tx.PutSpan(store.OwnLog, store.Span{First: d.Seq, Last: last}); err != nil {
				return err
			}
			continue
		}
		if err := ch.tx.PutEvents([]store.Event{{Conv: store.OwnLog, Event: d.Event}}); err != nil {
			return err
		}
		ev := d.Event
		if err := ch.heed(&ev, newest); err != nil {
			return err
		}
		ch.told = append(ch.told, Update{Kind: UpdateOwn, Conv: ev.Conv, Event: &ev})
	}
	return nil
}

// hide takes away what the user deleted for themselves on another device, as a list of the server's says. What is not here comes
// without its body.
func (ch *change) hide(list []HiddenPost) error {
	for _, h := range list {
		if !protocol.ValidConv(h.Conv) {
			continue
		}
		ev, err := ch.tx.Event(h.Conv, h.Seq)
		if err != nil || ev.Gone {
			if err = ignoreNotFound(err); err != nil {
				return err
			}
			continue
		}
		l, err := ch.conv(h.Conv)
		if err != nil {
			return err
		}
		if err := ch.drop(l, h.Seq); err != nil {
			return err
		}
	}
	return nil
}

// heed does what follows from an entry of the own log.
func (ch *change) heed(ev *chat.Event, newest bool) error {
	if ev.Conv != "" && !protocol.ValidConv(ev.Conv) {
		return nil
	}
	switch ev.Kind {
	case chat.KindHidden:
		if ev.Conv == "" || ev.Re == 0 || ev.Re > store.MaxSeq {
			return nil
		}
		l, err := ch.conv(ev.Conv)
		if err != nil || !l.known {
			return err
		}
		return ch.drop(l, ev.Re)
	case chat.KindDevice:
		if ev.Text != ch.device {
			return ch.tx.PutMeta(metaDevices, nil)
		}
	case chat.KindAdded, chat.KindRemoved, chat.KindEnded:
		if newest && ev.Conv != "" {
			return ch.membership(ev)
		}
	case chat.KindSetting:
		if newest {
			return ch.setting(ev)
		}
	}
	return nil
}

// membership begins or ends a conversation, ahead of what its own log will tell.
func (ch *change) membership(ev *chat.Event) error {
	l, err := ch.conv(ev.Conv)
	if err != nil {
		return err
	}
	l.changed = true
	ch.sess.turn(ev.Conv)
	if l.row.Left = ev.Kind != chat.KindAdded; l.row.Left {
		l.row.Role = ""
		return nil
	}
	if l.row.At == 0 {
		l.row.At = ev.At
	}
	if l.row.Kind == "direct" {
		return nil
	}
	if ev.Member != nil {
		l.row.Role = protocol.RoleName(ev.Member.Role)
	}
	return ch.wish(ev.Conv, wishInfo, nil)
}

// setting takes a private setting that another device (or this one) changed.
func (ch *change) setting(ev *chat.Event) error {
	var s struct {
		Name  string          `json:"name"`
		Value cbor.RawMessage `json:"value"`
	}
	if ev.Conv == "" || cbor.Unmarshal(ev.Ext, &s) != nil {
		return nil // not about a conversation, or not understood by this version
	}
	ch.sess.turn(ev.Conv)
	return ch.applySetting(ev.Conv, s.Name, s.Value, ev.At)
}

// applySetting takes what the server says about how a conversation is put away. What was changed here and not told yet wins.
func (ch *change) applySetting(conv, name string, value []byte, at int64) error {
	l, err := ch.conv(conv)
	if err != nil || !l.known {
		return err
	}
	waiting, err := ch.wished(conv, name)
	if err != nil || waiting {
		return err
	}
	row := &l.row
	ok := false
	switch name {
	case wishMute:
		ok = cbor.Unmarshal(value, &row.Mute) == nil
	case wishArchive:
		ok = cbor.Unmarshal(value, &row.Archived) == nil
	case wishPin:
		ok = cbor.Unmarshal(value, &row.Pinned) == nil
	case wishDraft:
		var text string
		if ok = at > row.DraftAt && !row.DraftDirty && (len(value) == 0 || cbor.Unmarshal(value, &text) == nil); ok {
			if len(value) == 0 { // too long to be told: it is asked for
				return ch.wish(conv, wishSettings, nil)
			}
			row.Draft, row.DraftAt = text, at
		}
	case "conv":
		var all struct {
			Mute             int64
			Archived, Pinned bool
		}
		if ok = cbor.Unmarshal(value, &all) == nil; ok {
			row.Mute, row.Archived, row.Pinned = all.Mute, all.Archived, all.Pinned
		}
	}
	l.changed = l.changed || ok
	return nil
}

// wished reports whether a change of this device's waits to be told.
func (ch *change) wished(conv, name string) (bool, error) {
	if ch.wishes == nil {
		all, err := ch.tx.Wishes()
		if err != nil {
			return false, err
		}
		ch.wishes = make(map[[2]string]bool, len(all))
		for _, w := range all {
			ch.wishes[[2]string{w.Conv, w.Name}] = true
		}
	}
	if name == "conv" {
		return ch.wishes[[2]string{conv, wishMute}] || ch.wishes[[2]string{conv, wishArchive}] || ch.wishes[[2]string{conv, wishPin}], nil
	}
	return ch.wishes[[2]string{conv, name}], nil
}

// receipt takes how far somebody has come.
func (ch *change) receipt(conv, user string, delivered, read uint64) error {
	if delivered > store.MaxSeq || read > store.MaxSeq {
		return nil
	}
	l, err := ch.conv(conv)
	if err != nil || !l.known {
		return err
	}
	if user == ch.me {
		if read > l.row.Read {
			ch.readUpTo(l, read)
			l.recount = true
		}
		if delivered > l.row.Delivered {
			l.row.Delivered, l.changed = delivered, true
		}
		return nil
	}
	m, err := ch.tx.Member(conv, user)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if m.User != "" && m.Delivered >= max(delivered, read) && m.Read >= read {
		return nil
	}
	m.User, m.Delivered, m.Read = user, max(delivered, read), read
	ch.tellAbout(UpdateMembers, conv)
	return ch.tx.PutMembers(conv, []store.Member{m})
}

// tally takes counts of a large conversation.
func (ch *change) tally(conv string, t *protocol.Tally) error {
	l, err := ch.conv(conv)
	if err != nil || !l.known {
		return err
	}
	next := store.Tally{Seq: t.Seq, Delivered: int(min(t.Delivered, 1<<30)), Of: int(min(t.Of, 1<<30))}
	if t.Read != nil {
		next.Read = int(min(*t.Read, 1<<30))
	}
	if next.Seq < l.row.Tally.Seq || next == l.row.Tally {
		return nil
	}
	l.row.Tally, l.changed = next, true
	ch.tellAbout(UpdateMembers, conv)
	return nil
}
