package delivery

import (
	"encoding/binary"
	"errors"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/broker/plain"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// plainOwner owns the queues of plain messages: one goroutine, so that what a publisher sends stays in
// order for everybody. A message at QoS ≥ 1 is stored once, with one reference for each session that
// gets it; the last acknowledgement frees it.
type plainOwner struct {
	r        *Registry
	index    *plain.Index
	queue    *plain.Queue
	retained *plain.Retained
	journal  *hub.Journal
	in       chan plainWork
	slots    chan struct{}
	limits   *Limits // those in force
	next     uint64  // the number of the next message
	turns    uint64
	matches  plain.Matches
	done     atomic.Uint64 // all messages up to this number are durable and were offered

	batch  *storage.Batch
	comps  []func()
	ends   []uint64      // sessions that ended and have more to free
	undone []func(error) // who is refused when the batch cannot be stored
	works  []plainWork   // what the batch has besides publishes
	last   uint64        // highest number in the batch
	swept  string        // where the sweep of the retained messages goes on
}

// plainWork is one thing to do: exactly one of the first group is set.
type plainWork struct {
	publish *PlainPublish
	reserve []reservation
	release []uint64
	rec     *sent
	comp    uint16
	end     bool
	retain  []retainedFor
	sweep   bool
	s       *Session // whose; for end, reserve, release, rec, comp, retain
	sid     uint64   // for end of a session that is not in memory
	run     func()   // after the sync
}

// PlainPublish is a message for plain subscribers.
type PlainPublish struct {
	Message *plain.Message
	Mark    storage.Journal
	With    storage.Batch

	retainOnly bool
	// Done is called once: with a refusal on the owner's goroutine, with nil after the sync.
	Done func(error)
}

type reservation struct {
	alloc uint64
	item  item
}

type retainedFor struct {
	m      *plain.Message
	target plain.Target
}

func newPlainOwner(r *Registry) (*plainOwner, error) {
	p := &plainOwner{
		r: r, index: plain.NewIndex(), queue: plain.NewQueue(r.o.Store, plain.Limits{}, 10_000),
		in: make(chan plainWork, 1024), slots: make(chan struct{}, 4), batch: new(storage.Batch),
		next: firstMessage(r.o.Store.LastCommit()),
	}
	p.queue.LimitUsers(sessionUsers{r})
	p.journal = hub.NewJournal(func() uint64 { return r.o.Hub.NextJournal() })
	p.done.Store(p.next - 1)
	for range cap(p.slots) {
		p.slots <- struct{}{}
	}
	var err error
	if p.retained, err = plain.LoadRetained(r.o.Store, 0); err != nil {
		return nil, err
	}
	prefix := storage.In(storage.SpaceMeta).Str("ending")
	err = r.o.Store.Scan(prefix, nil, func(k storage.Key, _ []byte) bool {
		if sid, _, ok := storage.TakeU64(k[len(prefix):]); ok {
			p.ends = append(p.ends, sid)
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	left, err := orphans(r.o.Store)
	if err != nil {
		return nil, err
	}
	p.ends = append(p.ends, left...)
	return p, p.loadFilters()
}

// firstMessage is the number of the first message of a run of the server that began after a commit.
func firstMessage(commit uint64) uint64 { return (commit+1)<<24 + 1 }

// loadFilters fills the index with the plain filters of the sessions that are away.
func (p *plainOwner) loadFilters() error {
	prefix := storage.In(storage.SpaceFilter)
	var bad error
	err := p.r.o.Store.Scan(prefix, nil, func(k storage.Key, v []byte) bool {
		sid, rest, ok := storage.TakeU64(k[len(prefix):])
		filter, _, ok2 := storage.TakeStr(rest)
		if !ok || !ok2 || len(v) < filterHead {
			bad = storage.ErrRecord
			return false
		}
		share, bare := splitShare(filter)
		p.index.Add(bare, indexSub(sid, v[0], binary.BigEndian.Uint32(v[1:filterHead]), share))
		return true
	})
	if err == nil {
		err = bad
	}
	return err
}

func indexSub(sid uint64, options byte, id uint32, share string) plain.Sub {
	return plain.Sub{SID: sid, QoS: options & 3, NoLocal: options&4 != 0, RetainAsPublished: options&8 != 0,
		RetainHandling: options >> 4 & 3, SubID: id, Share: share}
}

// filterHead is how long options and identifier are in the record of a filter; the user follows.
const filterHead = 5

func filterRecord(options byte, id uint32, user string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{options}, id), user...)
}

// doneNumber waits for a dispatch that is under way: a message that is read from the queue before it was
// offered would be sent twice.
func (p *plainOwner) doneNumber() uint64 {
	p.r.barrier()
	return p.done.Load()
}

func (p *plainOwner) close() { close(p.in) }

// give hands the owner something to do. It blocks while the owner has as much as it can take. false: the
// disk has failed, and the owner does nothing any more.
func (p *plainOwner) give(w plainWork) bool {
	select {
	case p.in <- w:
		return true
	case <-p.r.o.Pipeline.Stopped():
		return false
	}
}

// slot waits until one more batch may be on its way to the disk; false: the disk has failed.
func (p *plainOwner) slot() bool {
	select {
	case <-p.slots:
		return true
	case <-p.r.o.Pipeline.Stopped():
		return false
	}
}

func errNotStored() error {
	return chat.Refuse(chat.Unavailable, "the server cannot store messages now; try again later")
}

func (p *plainOwner) run() {
	idle := time.NewTicker(50 * time.Millisecond)
	defer idle.Stop()
	for {
		select {
		case first, ok := <-p.in:
			if !p.slot() {
				return
			}
			if !ok {
				p.flush()
				return
			}
			p.takeLimits()
			runtime.Gosched() // others go on, and the batch grows
			p.handle(first)
			for more := true; more && p.batch.Len() < 2048; {
				select {
				case next, ok := <-p.in:
					if more = ok; ok {
						p.handle(next)
					}
				default:
					more = false
				}
			}
			p.flush()
		case <-idle.C:
			if p.journal.Tick() || len(p.ends) > 0 {
				if !p.slot() {
					return
				}
				ends := p.ends
				p.ends = nil
				for _, sid := range ends {
					p.end(sid)
				}
				p.flush()
			}
		}
	}
}

// takeLimits takes over the registry's limits if they have changed.
func (p *plainOwner) takeLimits() {
	if l := p.r.limits.Load(); l != p.limits {
		p.limits = l
		p.queue.SetLimits(l.Queue)
		p.retained.SetMost(l.Retained)
	}
}

// flush commits the batch. It holds one slot.
func (p *plainOwner) flush() {
	p.queue.Seal(p.batch)
	key := p.journal.Into(p.batch)
	b, comps, last := p.batch, p.comps, p.last
	undone, works := p.undone, p.works
	p.batch, p.comps, p.undone, p.works = new(storage.Batch), nil, nil, nil
	b.Vital = len(undone) == 0 // who reads goes on when the disk is full
	err := p.r.o.Pipeline.Commit(b, func(commit uint64) {
		p.slots <- struct{}{}
		p.r.Begin()
		if last > 0 {
			p.done.Store(last)
		}
		for _, run := range comps {
			run()
		}
		p.r.End(commit)
		p.journal.Release(key)
	})
	p.journal.Committed(err == nil)
	if err == nil {
		p.queue.Committed()
		p.retained.Committed()
		return
	}
	p.slots <- struct{}{}
	p.queue.Aborted()
	p.retained.Aborted()
	p.r.o.Log.Error("plain messages could not be stored", "error", err)
	for _, done := range undone {
		done(errNotStored())
	}
	if errors.Is(err, storage.ErrFull) && len(undone) > 0 && len(works) > 0 {
		<-p.slots
		for _, w := range works { // it only came together with what a full disk does not take
			p.handle(w)
		}
		p.flush()
	}
}

// handle adds one piece of work to the batch.
func (p *plainOwner) handle(w plainWork) {
	if w.publish == nil {
		p.works = append(p.works, w)
	}
	switch {
	case w.publish != nil:
		p.publish(w.publish)
	case w.reserve != nil:
		p.reserve(w.s, w.reserve)
	case w.release != nil:
		for _, n := range w.release {
			p.free(w.s.SID, n)
		}
	case w.rec != nil:
		p.received(w.s, w.rec)
	case w.comp != 0:
		p.batch.Delete(storage.In(storage.SpaceReleased).U64(w.s.SID).U16(w.comp))
	case w.retain != nil:
		p.enqueue(w.s, w.retain)
	case w.end:
		p.end(w.sid)
	case w.sweep:
		p.sweep()
	}
	if w.run != nil {
		p.comps = append(p.comps, w.run)
	}
}
