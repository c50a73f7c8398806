package broker

import (
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/petrelchat/petrel/broker/delivery"
	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// receipts tells the authors of large groups how far their posts have come: counts of their newest one, at most
// once every tallyEvery for each conversation, however many members read at once. A move costs a note here;
// the counting is done once for all of them, on the owner of the conversation.
type receipts struct {
	registry *delivery.Registry
	store    storage.Reader
	readers  *readers
	log      *slog.Logger
	hub      *hub.Hub

	mu    sync.Mutex
	dirty map[string]span
	wake  chan struct{}
	stop  chan struct{}
	wg    sync.WaitGroup
}

// span is what cursors moved over in a conversation: the events from..to.
type span struct{ from, to uint64 }

const (
	tallyEvery   = 2 * time.Second
	tallyAuthors = 256 // events, the newest, that are looked at for their authors
)

func newReceipts(r *delivery.Registry, store storage.Reader, known *readers, log *slog.Logger) *receipts {
	return &receipts{registry: r, store: store, readers: known, log: log, dirty: make(map[string]span),
		wake: make(chan struct{}, 1), stop: make(chan struct{})}
}

// note takes a move. It runs on the pipeline's goroutine.
func (r *receipts) note(m *hub.CursorMoved) {
	now := span{m.Old.Delivered + 1, m.Cursor.Delivered}
	if m.ReadNow {
		now.from, now.to = min(now.from, m.Old.Read+1), max(now.to, m.Cursor.Read)
	}
	r.mu.Lock()
	s, was := r.dirty[m.Conv]
	if was {
		now.from, now.to = min(now.from, s.from), max(now.to, s.to)
	}
	r.dirty[m.Conv] = now
	r.mu.Unlock()
	if was {
		return
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// start starts the goroutine that counts; close stops it.
func (r *receipts) start(h *hub.Hub) {
	r.hub = h
	r.wg.Add(1)
	go func() { defer r.wg.Done(); r.run() }()
}

func (r *receipts) close() {
	close(r.stop)
	r.wg.Wait()
}

// run waits before it counts, so that the first of many readers does not cost a message.
func (r *receipts) run() {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-r.wake:
		}
		pause.Reset(tallyEvery)
		select {
		case <-r.stop:
			return
		case <-pause.C:
		}
		r.mu.Lock()
		dirty := r.dirty
		r.dirty = make(map[string]span)
		r.mu.Unlock()
		for conv, s := range dirty {
			if err := r.tell(conv, s); err != nil {
				r.log.Error("counting receipts failed", "conv", conv, "error", err)
			}
		}
	}
}

// tell sends each author who is online the counts of their newest post among what cursors moved over.
func (r *receipts) tell(conv string, s span) error {
	posts, err := r.newest(conv, s)
	if err != nil || len(posts) == 0 {
		return err
	}
	_, _, direct := chat.Parties(conv)
	if err := r.hub.Query(conv, direct, func(v hub.View) { tally(v, posts, r.readers.hides) }); err != nil {
		return nil // the hub has logged it, or ends
	}
	topic := []byte(protocol.ReceiptsTopic(conv))
	for _, p := range posts {
		if !p.member {
			continue // what happens in the conversation is no longer theirs to know
		}
		t := protocol.Tally{Seq: p.seq, Delivered: p.delivered, Read: &p.read, Of: p.of}
		if r.readers.hides(p.author) {
			t.Read = nil
		}
		r.registry.Tell([]string{p.author}, protocol.FilterReceipts, conv, topic, t.Append(nil), false)
	}
	return nil
}

// newest returns the newest post of each author who is online, ascending.
func (r *receipts) newest(conv string, s span) (posts []counted, err error) {
	if s.from+tallyAuthors <= s.to {
		s.from = s.to - tallyAuthors + 1
	}
	seen := make(map[string]bool)
	var bad error
	err = r.store.ReadBack(conv, s.from, s.to, func(e storage.Entry) bool {
		var ev chat.Event
		if ev, bad = protocol.DecodeStored(e.Data); bad != nil {
			return false
		}
		if ev.From != "" && !seen[ev.From] {
			seen[ev.From] = true
			if r.registry.Online(ev.From) > 0 {
				posts = append(posts, counted{seq: e.Seq, author: ev.From})
			}
		}
		return true
	})
	slices.Reverse(posts)
	return posts, errors.Join(err, bad)
}

// counted is a post and how far it has come.
type counted struct {
	seq                 uint64
	author              string
	member              bool
	delivered, read, of uint64
}

// tally counts for all posts, which are ascending, in one pass over the members: each of them adds to the
// posts between where they may see from and where their cursors stand.
func tally(v hub.View, posts []counted, hides func(string) bool) {
	delivered, read, of := make([]int, len(posts)+1), make([]int, len(posts)+1), make([]int, len(posts)+1)
	from := func(seq uint64) int { // the first post that is not before seq
		i, _ := slices.BinarySearchFunc(posts, seq, func(p counted, seq uint64) int {
			if p.seq < seq {
				return -1
			}
			return 1
		})
		return i
	}
	for _, user := range v.State.MemberList() {
		m, _ := v.State.Member(user)
		cur := v.Cursors[user]
		first, last := from(m.Since), from(max(cur.Delivered, cur.Read)+1)
		of[first]++
		if last > first {
			delivered[first]++
			delivered[last]--
		}
		if last = from(cur.Read + 1); last > first && !hides(user) {
			read[first]++
			read[last]--
		}
	}
	var d, r, o int
	for i := range posts {
		p := &posts[i]
		d, r, o = d+delivered[i], r+read[i], o+of[i]
		p.delivered, p.read, p.of = uint64(d), uint64(r), uint64(o)
		p.withoutAuthor(v, hides)
	}
}

// withoutAuthor takes the author out of the counts of a post.
func (p *counted) withoutAuthor(v hub.View, hides func(string) bool) {
	m, ok := v.State.Member(p.author)
	if p.member = ok && m.Role != chat.RoleNone; !p.member || m.Since > p.seq {
		return
	}
	p.of--
	cur := v.Cursors[p.author]
	if max(cur.Delivered, cur.Read) >= p.seq {
		p.delivered--
	}
	if cur.Read >= p.seq && !hides(p.author) {
		p.read--
	}
}
