package hub

import (
	"errors"
	"slices"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// work is what an owner is given: exactly one field is set.
type work struct {
	req   *Request
	move  *Move
	query *query
	note  *Note
	chore *chore
}

const (
	ownerQueue  = 1024 // commands that wait for one owner
	batchMax    = 512  // commands decided before a commit
	outstanding = 4    // batches of one owner that wait for the disk
	idleFlush   = 50 * time.Millisecond
)

// owner decides for the conversations that hash onto it. Only its own goroutine touches its state.
type owner struct {
	h     *Hub
	in    chan work
	slots chan struct{} // a token for each batch that may still go to the disk
	convs map[string]*conv

	batch    *storage.Batch
	comps    []completion
	touched  map[string]struct{} // conversations whose state runs ahead of the disk in this batch
	retries  map[retryKey]chat.Prior
	views    *overlay
	erased   map[eventKey]chat.Event // tombstones of this batch
	cuts     map[string]uint64       // what this batch cuts off is before these seqs
	journal  *Journal
	ownRead  map[ownRead]chat.Cursor
	blocks   map[blockKey]bool // of this batch
	patience patience
	posted   bool // the batch has something of publishers, which a full disk refuses
}

type retryKey struct{ conv, user, id string }

// conv is a conversation in its owner's memory.
type conv struct {
	st      *chat.State
	cursors map[string]chat.Cursor
}

// completion is what to do after the sync, in order.
type completion struct {
	deliver *Delivery
	own     *ownEvent
	moved   *CursorMoved
	conv    string   // where the membership of
	changed []string // these users changed
	move    *Move    // whose answer done is
	done    func(Result)
	res     Result
}

type ownEvent struct {
	user string
	ev   chat.Event
	seq  uint64
}

func newOwner(h *Hub) *owner {
	w := &owner{
		h: h, in: make(chan work, ownerQueue), slots: make(chan struct{}, outstanding),
		convs: make(map[string]*conv), touched: make(map[string]struct{}),
		views: newOverlay(h.o.Store), erased: make(map[eventKey]chat.Event), cuts: make(map[string]uint64),
		retries: make(map[retryKey]chat.Prior), ownRead: make(map[ownRead]chat.Cursor), blocks: make(map[blockKey]bool), batch: new(storage.Batch), journal: NewJournal(h.NextJournal),
	}
	for range outstanding {
		w.slots <- struct{}{}
	}
	return w
}

// run gathers what has come meanwhile, decides it, commits it, and goes on while the disk syncs.
func (w *owner) run() {
	idle := time.NewTimer(idleFlush)
	defer idle.Stop()
	for {
		select {
		case first, ok := <-w.in:
			if !ok {
				w.flush()
				return
			}
			w.slot()
			w.handle(first)
			n := 1 + w.gather()
			if d := w.patience.wait(); d > 0 {
				n += w.accompany(d, n)
			}
			w.patience.got(n, time.Now())
			w.flushSlot()
			w.evict()
		case <-idle.C:
			if w.journal.Tick() {
				w.flush()
			}
			idle.Reset(idleFlush)
		}
	}
}

// gather takes what waits already.
func (w *owner) gather() (n int) {
	for n < batchMax {
		select {
		case next, ok := <-w.in:
			if !ok {
				return n // run sees it again
			}
			w.handle(next)
			n++
		default:
			return n
		}
	}
	return n
}

// accompany gathers while the disk has a batch of ours, and then a little longer, for those whom it
// acknowledges.
func (w *owner) accompany(d time.Duration, have int) (n int) {
	held := 1 // tokens; with all of them the disk has nothing of ours
	defer func() {
		for range held - 1 {
			w.freeSlot()
		}
	}()
	var end <-chan time.Time
	for have+n < batchMax {
		if held == outstanding && end == nil {
			t := time.NewTimer(d)
			defer t.Stop()
			end = t.C
		}
		select {
		case next, ok := <-w.in:
			if !ok {
				return n // run sees it again
			}
			w.handle(next)
			n++
		case <-w.slots:
			held++
		case <-w.h.o.Pipeline.Stopped():
			return n
		case <-end:
			return n
		}
	}
	return n
}

func (w *owner) flush() {
	w.slot()
	w.flushSlot()
}

// slot waits until one more batch may go to the disk; when none ever will, the commit says so.
func (w *owner) slot() {
	select {
	case <-w.slots:
	case <-w.h.o.Pipeline.Stopped():
	}
}

func (w *owner) freeSlot() {
	select {
	case w.slots <- struct{}{}:
	default: // slot went on without
	}
}

// flushSlot commits the batch. It holds one token, which the completion gives back.
func (w *owner) flushSlot() {
	for k, cur := range w.ownRead {
		w.batch.Set(storage.In(storage.SpaceCursor).Str(k.conv).Str(k.user), storage.AppendCursor(nil, cur))
	}
	clear(w.ownRead)
	w.batch.Vital = !w.posted // who reads goes on when the disk is full
	w.posted = false
	b, comps, key := w.batch, w.comps, w.journal.Into(w.batch)
	w.batch, w.comps = new(storage.Batch), nil
	if b.Len() == 0 && len(comps) == 0 {
		w.freeSlot()
		return
	}
	sent := time.Now()
	err := w.h.o.Pipeline.Commit(b, func(commit uint64) {
		w.patience.took(time.Since(sent))
		w.freeSlot()
		w.complete(comps, commit)
		w.journal.Release(key)
	})
	w.journal.Committed(err == nil)
	clear(w.retries)
	clear(w.erased)
	clear(w.cuts)
	w.views.reset()
	clear(w.blocks)
	if err == nil {
		clear(w.touched)
		return
	}
	w.freeSlot()
	moves := w.undo(comps, err)
	clear(w.touched)
	for _, m := range moves {
		w.move(m)
	}
	if len(moves) > 0 {
		w.flush()
	}
}

// NextJournal returns the next number of a journal record.
func (h *Hub) NextJournal() uint64 { return h.journal.Add(1) }

// undo answers a batch that was not stored: its conversations are read anew from the disk. It returns the
// cursor moves that only came together with what a full disk does not take.
func (w *owner) undo(comps []completion, err error) (moves []*Move) {
	retry := errors.Is(err, storage.ErrFull) && slices.ContainsFunc(comps, func(c completion) bool { return c.deliver != nil || c.own != nil })
	for id := range w.touched {
		delete(w.convs, id)
	}
	if errors.Is(err, storage.ErrFull) {
		err = chat.Refuse(chat.Unavailable, "the server's disk is full; try again later")
	} else {
		err = chat.Refuse(chat.Unavailable, "the server cannot store messages now; try again later")
	}
	for i := range comps {
		switch c := &comps[i]; {
		case c.move != nil && retry:
			moves = append(moves, c.move)
		case c.done != nil:
			c.done(Result{Err: err})
		}
	}
	return moves
}

// complete runs on the pipeline's goroutine.
func (w *owner) complete(comps []completion, commit uint64) {
	sink := w.h.o.Sink
	sink.Begin()
	for i := range comps {
		c := &comps[i]
		if d := c.deliver; d != nil {
			d.Commit = commit
			w.h.heads.put(d.Log, d.Event.Seq, commit)
			sink.Deliver(d)
		}
		if o := c.own; o != nil {
			o.ev.Seq = o.seq
			log := storage.OwnLog(o.user)
			w.h.heads.put(log, o.seq, commit)
			sink.Deliver(&Delivery{Log: log, Event: &o.ev, Members: []string{o.user}, Commit: commit})
		}
		if c.changed != nil {
			w.h.recent.changed(c.changed, c.conv, commit)
		}
		if c.moved != nil {
			w.h.recent.moved(c.moved.User, c.moved.Conv, commit)
			sink.Moved(c.moved)
		}
		if c.done != nil {
			c.done(c.res)
		}
	}
	sink.End(commit)
}

func (w *owner) handle(x work) {
	switch {
	case x.req != nil:
		w.decide(x.req)
	case x.move != nil:
		w.move(x.move)
	case x.note != nil:
		w.note(x.note)
	case x.chore != nil:
		w.tend(x.chore)
	case x.query != nil:
		c, err := w.load(x.query.conv, x.query.direct)
		if err == nil {
			x.query.run(View{State: c.st, Cursors: c.cursors})
			// What fn saw may still be in this batch: the caller's barrier must come after it.
			q := x.query
			w.comps = append(w.comps, completion{done: func(res Result) { q.done <- res.Err }})
			return
		}
		x.query.done <- err
	}
}

// load returns the conversation, from memory or from the disk.
func (w *owner) load(id string, direct bool) (*conv, error) {
	if c, ok := w.convs[id]; ok {
		return c, nil
	}
	st, cursors, err := LoadState(w.h.o.Store, w.h.o.Codec, id, direct)
	if err != nil {
		w.h.o.Log.Error("loading a conversation failed", "conv", id, "error", err)
		return nil, chat.Refuse(chat.Unavailable, "the conversation cannot be read now; try again later")
	}
	c := &conv{st: st, cursors: cursors}
	if st.Head > 0 { // what does not exist is not worth remembering, and anybody can ask for it
		w.convs[id] = c
	}
	return c, nil
}

// LoadState reads a conversation's state and cursors from a store.
func LoadState(r storage.Reader, codec Codec, id string, direct bool) (*chat.State, map[string]chat.Cursor, error) {
	cursors := make(map[string]chat.Cursor)
	head, _, err := r.Head(id)
	if err != nil {
		return nil, nil, err
	}
	if head == 0 {
		return chat.NewState(id, direct), cursors, nil
	}
	var rec storage.Conv
	if v, ok, err := r.Get(storage.In(storage.SpaceConv).Str(id)); err != nil {
		return nil, nil, err
	} else if ok {
		if err := storage.Unmarshal(v, &rec); err != nil {
			return nil, nil, err
		}
	}
	members := make(map[string]chat.Member)
	var bad error
	prefix := storage.In(storage.SpaceMember).Str(id)
	err = r.Scan(prefix, nil, func(k storage.Key, v []byte) bool {
		user, _, _ := storage.TakeStr(k[len(prefix):])
		members[user], bad = storage.DecodeMember(v)
		return bad == nil
	})
	if err = errors.Join(err, bad); err != nil {
		return nil, nil, err
	}
	prefix = storage.In(storage.SpaceCursor).Str(id)
	err = r.Scan(prefix, nil, func(k storage.Key, v []byte) bool {
		user, _, _ := storage.TakeStr(k[len(prefix):])
		cursors[user], bad = storage.DecodeCursor(v)
		return bad == nil
	})
	if err = errors.Join(err, bad); err != nil {
		return nil, nil, err
	}
	at := rec.Info.Created
	err = r.Read(id, head, head, func(e storage.Entry) bool {
		var ev chat.Event
		ev, bad = codec.DecodeStored(e.Data)
		at = max(at, ev.At)
		return bad == nil
	})
	if err = errors.Join(err, bad); err != nil {
		return nil, nil, err
	}
	st := chat.Restore(id, direct, head, at, rec.Info, rec.Ended, members)
	if direct || rec.Ended {
		return st, cursors, nil
	}
	return st, cursors, loadGate(r, st)
}

// evict forgets conversations beyond the limit, any of them: they are read again when needed.
func (w *owner) evict() {
	for id := range w.convs {
		if len(w.convs) <= w.h.o.CacheMax {
			return
		}
		delete(w.convs, id)
	}
}
