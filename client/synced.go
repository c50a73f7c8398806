package client

import (
	"strconv"

	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/protocol"
)

// synced stores a page of sync and its token in one piece: what the token stands for is here, or is noted as missing.
func (ch *change) synced(p *syncPage) error {
	own := uint64(0)
	if p.Own != nil {
		own = p.Own.Head
		if err := ch.takeOwn(p.Own.Events); err != nil {
			return err
		}
		if p.Own.Gap {
			for _, name := range []string{wishSettings, wishHidden} {
				if err := ch.wish("", name, nil); err != nil {
					return err
				}
			}
		}
	}
	told := make(map[string]bool, len(p.Convs))
	for i := range p.Convs {
		row := &p.Convs[i]
		if !protocol.ValidConv(row.Conv) {
			continue
		}
		told[row.Conv] = true
		if err := ch.syncedRow(row, own); err != nil {
			return err
		}
	}
	for i := range p.Receipts {
		if err := ch.meanwhile(&p.Receipts[i]); err != nil {
			return err
		}
	}
	if p.Reads != nil {
		if err := ch.reads(p.Reads, told); err != nil {
			return err
		}
	}
	if !p.More {
		if _, err := ch.settleHere(""); err != nil {
			return err
		}
		if err := ch.tx.PutMeta(metaSynced, strconv.AppendInt(nil, ch.millis(), 10)); err != nil {
			return err
		}
	}
	return ch.tx.PutMeta(metaToken, []byte(p.Since))
}

// syncedRow takes one conversation of a sync. own is the head of the user's own log at that time.
func (ch *change) syncedRow(r *syncRow, own uint64) error {
	l, err := ch.conv(r.Conv)
	if err != nil {
		return err
	}
	row := &l.row
	l.changed = true
	turned := ch.sess.turned(r.Conv) // a delivery of this connection told the same, and may be newer
	if r.Left {
		if !turned {
			row.Left, row.Role = true, ""
		}
		return nil
	}
	if r.Head > store.MaxSeq {
		return nil
	}
	if row.Head > max(r.Head, ch.sess.heard(r.Conv)) {
		// This device has seen more than there is, and not just now: the server lost the end of the log.
		if err := ch.diverged(l); err != nil {
			return err
		}
	}
	newer := row.Head > r.Head
	if !newer && row.Left {
		row.Left = false
	}
	if r.Pending != row.Pending {
		row.Pending, l.recount = r.Pending, true
	}
	if err := ch.take(r.Conv, r.Events, fromSync); err != nil {
		return err
	}
	if r.Info != nil && !newer {
		l.setInfo(*r.Info)
		row.Role = r.Info.Role
	}
	ch.headMoved(l, r.Head)
	if base := r.Head - min(r.Unread, r.Head); !r.Pending && row.Kind == "group" && base > row.Read {
		row.Read, l.recount = base, true // nobody owes a look to what was before
	}
	if r.Read > row.Read && r.Read <= store.MaxSeq {
		row.Read, l.recount = r.Read, true
	}
	row.Delivered = max(row.Delivered, min(r.Delivered, store.MaxSeq))
	if !turned {
		if err := ch.putAway(l, r); err != nil {
			return err
		}
	}
	if l.missing() > 0 {
		ch.owed = append(ch.owed, owing{r.Conv, l.missing()})
		return ch.wish(r.Conv, wishGap, nil)
	}
	return nil
}

// putAway takes how a conversation is put away. What was changed here and not told yet wins.
func (ch *change) putAway(l *log, r *syncRow) error {
	for _, s := range []struct {
		name string
		set  func()
	}{
		{wishMute, func() { l.row.Mute = r.Mute }},
		{wishArchive, func() { l.row.Archived = r.Archived }},
		{wishPin, func() { l.row.Pinned = r.Pinned }},
	} {
		waiting, err := ch.wished(l.row.ID, s.name)
		if err != nil {
			return err
		}
		if !waiting {
			s.set()
		}
	}
	return nil
}

// meanwhile takes what was delivered and read of the user's.
func (ch *change) meanwhile(m *meanwhile) error {
	if !protocol.ValidConv(m.Conv) {
		return nil
	}
	for _, u := range m.Users {
		read := uint64(0)
		if u.Read != nil {
			read = *u.Read
		}
		if err := ch.receipt(m.Conv, u.User, u.Delivered, read); err != nil {
			return err
		}
	}
	if m.Seq != 0 {
		return ch.tally(m.Conv, &m.Tally)
	}
	return nil
}

// reads takes the read cursors that a restarted server tells: of conversations that are neither told nor in it, all was read.
func (ch *change) reads(reads map[string]uint64, told map[string]bool) error {
	q := store.ConversationQuery{Limit: 200}
	for {
		page, err := ch.tx.Conversations(q)
		if err != nil {
			return err
		}
		for i := range page {
			row := &page[i]
			if told[row.ID] || row.Left || row.Pending {
				continue
			}
			read, behind := reads[row.ID]
			if !behind {
				read = row.Head
			}
			if read <= row.Read || read > store.MaxSeq || ch.sess.heard(row.ID) > 0 {
				continue
			}
			l, err := ch.conv(row.ID)
			if err != nil {
				return err
			}
			l.row.Read, l.changed, l.recount = read, true, true
		}
		if len(page) < q.Limit {
			return nil
		}
		q.After = &page[len(page)-1]
	}
}
