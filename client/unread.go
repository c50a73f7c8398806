package client

import (
	"slices"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
)

// What is unread is a function of what is here: posts of others behind the read cursor, and everything behind it that is
// not here yet. So two devices that have the same show the same.

// readOf is how far the user has read: what was read here counts at once.
func readOf(row *store.Conversation) uint64 { return max(row.Read, row.ReadWanted) }

// unreadMoved keeps the count when first to last come to be covered, of which posts are counted, or when the head moves.
// It is called before they are covered.
func (ch *change) unreadMoved(l *log, first, last uint64, posts int) {
	row := &l.row
	read := readOf(row)
	if row.Pending || last <= read {
		return
	}
	n := int64(row.Unread)
	if last > row.Head {
		n += int64(last - max(row.Head, read)) // not here, so far
	}
	n -= int64(l.uncovered(max(first, read+1), last))
	row.Unread, l.changed = int(max(n+int64(posts), 0)), true
}

// headMoved takes a head that the server told.
func (ch *change) headMoved(l *log, head uint64) {
	if head <= l.row.Head || head > store.MaxSeq {
		return
	}
	if read := readOf(&l.row); !l.row.Pending && head > read {
		l.row.Unread += int(min(head-max(l.row.Head, read), 1<<30))
	}
	l.row.Head, l.changed = head, true
}

// readUpTo moves the read cursor as the server knows it.
func (ch *change) readUpTo(l *log, seq uint64) {
	if seq > l.row.Read {
		l.row.Read, l.changed = seq, true
	}
}

// wroteAt moves the read cursor over what the user wrote themselves, if nothing unread stands before it, as the server does.
func (ch *change) wroteAt(l *log, seq uint64) {
	row := &l.row
	switch {
	case row.ReadWanted > row.Read && seq == row.ReadWanted+1:
		row.ReadWanted, l.changed = seq, true // is told together with what is before it
	case row.ReadWanted <= row.Read && seq == row.Read+1:
		row.Read, l.changed = seq, true
	}
}

// recount counts anew: after the read cursor moved, or a body went.
func (ch *change) recount(l *log) error {
	row := &l.row
	l.changed = true
	read := readOf(row)
	row.Unread, row.Mentions = 0, 0
	if row.Pending || read >= row.Head {
		return nil
	}
	row.Unread = int(min(l.uncovered(read+1, row.Head), 1<<30))
	for after := read; ; {
		page, err := ch.tx.Events(store.EventQuery{Conv: row.ID, After: after, Kinds: []chat.Kind{chat.KindPost}, Limit: 500})
		if err != nil {
			return err
		}
		for i := range page {
			n := ch.counts(&page[i])
			if row.Unread += n; n > 0 && slices.Contains(page[i].Mentions, ch.me) {
				row.Mentions++
			}
			after = page[i].Seq
		}
		if len(page) < 500 || row.Unread > 10_000 {
			return nil
		}
	}
}
