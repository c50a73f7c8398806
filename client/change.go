package client

import (
	"errors"
	"slices"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
)

// change is one transaction: it reads and writes the store, keeps the records of conversations that it touches until
// the end, and gathers what is to be told when it is on disk. It is used by one goroutine.
type change struct {
	*core
	tx    store.Tx
	convs map[string]*log

	told    []Update
	seqs    map[string][]uint64 // messages that changed, by conversation
	queued  int                 // by how much the counts of the outbox changed
	failed  int
	covered int         // events that were not here before
	owed    []owing     // what a sync found missing
	whole   []string    // conversations of which nothing is missing any more
	silent  [][2]string // who has sent something, by conversation: they don't type any more
	began   bool        // there is a conversation that was not known before
	wishes  map[[2]string]bool
	ring    wakesSet

	punctual map[string]int // conversations without late acts, see lateActs.forget
}

// wakesSet says whose bell to ring after the commit.
type wakesSet struct{ outbox, chores, gaps, janitor, sync bool }

// log is a conversation in a change: its record and which parts of the log are here.
type log struct {
	row     store.Conversation
	spans   []store.Span
	known   bool // the record was there before
	lazy    bool // what is missing in the middle is loaded on demand only
	changed bool
	asked   bool   // whether the members are known was looked at
	recount bool   // what is unread is to be counted anew at the end
	before  uint64 // the head when it was loaded
}

func newChange(c *core, tx store.Tx) *change {
	return &change{core: c, tx: tx, convs: make(map[string]*log), seqs: make(map[string][]uint64)}
}

// conv returns a conversation to be changed; one that is not known begins here.
func (ch *change) conv(id string) (*log, error) {
	if l := ch.convs[id]; l != nil {
		return l, nil
	}
	row, err := ch.tx.Conversation(id)
	l := &log{row: row, known: err == nil, lazy: ch.catchup, before: row.Head}
	switch {
	case errors.Is(err, store.ErrNotFound):
		l.row = store.Conversation{ID: id, Kind: kindOf(id)}
	case err != nil:
		return nil, err
	}
	if l.spans, err = ch.tx.Spans(id); err != nil {
		return nil, err
	}
	ch.convs[id] = l
	return l, nil
}

// kindOf is the kind of a conversation by its id.
func kindOf(conv string) string {
	if chat.IsDirect(conv) {
		return "direct"
	}
	return "group"
}

// finish writes the records that changed.
func (ch *change) finish() error {
	for id, l := range ch.convs {
		if err := ch.settleLate(id); err != nil {
			return err
		}
		if l.recount {
			if err := ch.recount(l); err != nil {
				return err
			}
		}
		if id != store.OwnLog && l.changed {
			ch.began = ch.began || !l.known
			if err := ch.tx.PutConversation(l.row); err != nil {
				return err
			}
			ch.tellAbout(UpdateConversation, id)
		}
		if l.missing() == 0 {
			ch.whole = append(ch.whole, id)
		}
	}
	return nil
}

// tell passes on what changed, after the commit.
func (ch *change) tell() {
	for conv, seqs := range ch.seqs {
		slices.Sort(seqs)
		ch.told = append(ch.told, Update{Kind: UpdateMessages, Conv: conv, Seqs: slices.Compact(seqs)})
	}
	for conv, n := range ch.punctual {
		ch.late.forget(conv, n)
	}
	ch.board.owes(ch.owed)
	if ch.board.moved(ch.queued, ch.failed, ch.covered, ch.whole) {
		ch.ring.sync = true
	}
	ch.news.tell(ch.told...)
	if ch.began {
		ch.greet()
	}
	for _, s := range ch.silent {
		ch.live.typing(s[0], s[1], false)
	}
	for _, b := range []struct {
		on   bool
		bell chan struct{}
	}{
		{ch.ring.outbox, ch.wake.outbox}, {ch.ring.chores, ch.wake.chores}, {ch.ring.gaps, ch.wake.gaps},
		{ch.ring.janitor, ch.wake.janitor}, {ch.ring.sync, ch.wake.sync},
	} {
		if b.on {
			ring(b.bell)
		}
	}
}

func (ch *change) tellAbout(kind UpdateKind, conv string) {
	ch.told = append(ch.told, Update{Kind: kind, Conv: conv})
}

// touch notes that messages changed.
func (ch *change) touch(conv string, seqs ...uint64) {
	if conv != store.OwnLog {
		ch.seqs[conv] = append(ch.seqs[conv], seqs...)
	}
}

// wish notes something that is to be done with the server, once there is a connection. It outlives the program.
func (ch *change) wish(conv, name string, value []byte) error {
	if name == wishGap {
		ch.ring.gaps = true
	} else {
		ch.ring.chores = true
	}
	return ch.tx.PutWish(store.Wish{Conv: conv, Name: name, Value: value, At: ch.millis()})
}

// The names of wishes.
const (
	wishGap      = "gap"      // parts of the log are missing
	wishMembers  = "members"  // who the members are is not known, or out of date
	wishInfo     = "info"     // likewise title and settings of a group
	wishSettings = "settings" // all private settings are to be read
	wishHidden   = "hidden"   // so is what the user deleted for themselves
	wishLost     = "lost"     // which of the posts that were put aside the server has lost is to be found out
	wishRead     = "read"     // Conversation.ReadWanted is to be told
	wishDraft    = "draft"    // so is Conversation.Draft
	wishMute     = "mute"
	wishArchive  = "archive"
	wishPin      = "pin"
)

// Keys of what is kept beside conversations.
const (
	metaUser       = "client/user"
	metaDevice     = "client/device"
	metaToken      = "client/sync"       // of the last sync
	metaSynced     = "client/synced"     // when that was, ms
	metaDevices    = "client/devices"    // "one" if the user has no other device
	metaSubscribed = "client/subscribed" // what the session has subscribed to, if that is certain
	metaWire       = "client/wire/"      // + id: what the codec made of an outgoing event
	metaLink       = "client/link/"      // + name: what the connection remembers
)

// last is the highest seq up to which the newest part reaches.
func (l *log) last() uint64 {
	if n := len(l.spans); n > 0 {
		return l.spans[n-1].Last
	}
	return 0
}

// has reports whether a seq is accounted for here.
func (l *log) has(seq uint64) bool {
	_, found := l.find(seq)
	return found
}

func (l *log) find(seq uint64) (int, bool) {
	return slices.BinarySearchFunc(l.spans, seq, func(s store.Span, seq uint64) int {
		switch {
		case s.Last < seq:
			return -1
		case s.First > seq:
			return 1
		}
		return 0
	})
}

// cover notes that first to last are here, as the store does by itself, and returns how many were not.
func (l *log) cover(first, last uint64) (fresh uint64) {
	from, _ := slices.BinarySearchFunc(l.spans, first, func(s store.Span, seq uint64) int {
		if s.Last+1 < seq {
			return -1
		}
		return 1
	})
	fresh = last - first + 1
	merged, to := store.Span{First: first, Last: last}, from
	for ; to < len(l.spans) && l.spans[to].First <= last+1; to++ {
		s := l.spans[to]
		if lo, hi := max(s.First, first), min(s.Last, last); lo <= hi {
			fresh -= hi - lo + 1
		}
		merged.First, merged.Last = min(merged.First, s.First), max(merged.Last, s.Last)
	}
	l.spans = slices.Replace(l.spans, from, to, merged)
	return fresh
}

// uncovered counts the seqs from first to last that are not here.
func (l *log) uncovered(first, last uint64) (n uint64) {
	if first > last {
		return 0
	}
	n = last - first + 1
	for _, s := range l.spans {
		if lo, hi := max(s.First, first), min(s.Last, last); lo <= hi {
			n -= hi - lo + 1
		}
	}
	return n
}

// missing counts the events that there should be and are not: between the parts, and up to the head.
func (l *log) missing() uint64 {
	if len(l.spans) == 0 {
		return min(l.row.Head, 1) // the newest are still to come
	}
	if l.lazy {
		return l.uncovered(l.last(), max(l.row.Head, l.last()))
	}
	return l.uncovered(l.spans[0].First, max(l.row.Head, l.last()))
}

// gap returns the newest range that is missing; ok is false if there is none.
func (l *log) gap() (first, last uint64, ok bool) {
	n := len(l.spans)
	switch {
	case n == 0:
		return 0, l.row.Head, l.row.Head > 0
	case l.row.Head > l.last():
		return l.last() + 1, l.row.Head, true
	case n > 1 && !l.lazy:
		return l.spans[n-2].Last + 1, l.spans[n-1].First - 1, true
	}
	return 0, 0, false
}
