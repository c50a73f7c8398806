package hub

import (
	"slices"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// decide carries out one command in the owner's memory and adds what follows to the batch.
func (w *owner) decide(r *Request) {
	if r.Unless != nil {
		if err := r.Unless(); err != nil {
			r.Done(Result{Err: err})
			return
		}
	}
	c, err := w.load(r.Conv, r.Direct)
	if err != nil {
		r.Done(Result{Err: err})
		return
	}
	if r.AutoJoin && c.st.Head > 0 {
		if m, ok := c.st.Member(r.Cmd.Actor); !ok || m.Role == chat.RoleNone {
			join := chat.Command{Op: chat.OpJoin, Actor: r.Cmd.Actor}
			if d, err := c.st.Decide(join, w.h.o.Now(), *w.h.limits.Load()); err == nil && !d.Pending {
				w.append(r.Conv, c, d.Events, 0)
				w.gate(r.Conv, c, d.Gate)
			}
		}
	}
	cmd := r.Cmd
	if cmd.Op == chat.OpAppend || cmd.Op == chat.OpCall {
		err := w.lookUp(r.Conv, &cmd)
		if err == nil {
			err = w.approach(r.Conv, c, &cmd)
		}
		if err != nil {
			r.Done(Result{Err: err})
			return
		}
	}
	w.address(c, &cmd)
	d, err := c.st.Decide(cmd, w.h.o.Now(), *w.h.limits.Load())
	if err != nil {
		r.Done(Result{Err: err})
		return
	}
	if err := w.act(r.Conv, &cmd, d.Events); err != nil {
		r.Done(Result{Err: err})
		return
	}
	w.append(r.Conv, c, d.Events, r.Origin)
	w.trail(r.Conv, d.Events, cmd.Target)
	w.gate(r.Conv, c, d.Gate)
	w.mark(r.Conv, c, d.Marks)
	w.noteBlock(r.Conv, c, &cmd)
	res := Result{Seq: d.Seq, Duplicate: d.Duplicate, Pending: d.Pending, At: c.st.LastAt}
	if cmd.Op == chat.OpCall && len(d.Events) > 0 {
		for _, user := range cmd.Members { // they know of it
			w.readOwn(r.Conv, c, user, d.Seq)
		}
	}
	if len(d.Events) > 0 && (cmd.Op == chat.OpAppend || cmd.Op == chat.OpCall) && cmd.Event.ID != "" {
		p := chat.Prior{Seq: d.Seq, Hash: cmd.Hash}
		w.retries[retryKey{r.Conv, cmd.Actor, cmd.Event.ID}] = p
		w.batch.Set(RetryKey(r.Conv, cmd.Actor, cmd.Event.ID), storage.AppendPrior(nil, p))
	}
	r.Mark.Seq = d.Seq
	w.journal.Add(r.Mark)
	w.batch.Ops = append(w.batch.Ops, r.With.Ops...)
	w.tell(r.Own)
	w.comps = append(w.comps, completion{done: r.Done, res: res})
}

// RetryKey is where the idempotency key of an event is stored.
func RetryKey(conv, user, id string) storage.Key {
	return storage.In(storage.SpaceRetry).Str(conv).Str(user).Str(id)
}

// lookUp fetches what the decision needs to know from the log: the prior event with the same id, and
// the event that this one is about.
func (w *owner) lookUp(conv string, cmd *chat.Command) error {
	ev := &cmd.Event
	var err error
	if ev.ID != "" {
		if cmd.Prior, err = w.prior(conv, cmd.Actor, ev.ID); err != nil {
			return w.unreadable(conv, err)
		}
	}
	if ev.Re == 0 || cmd.Prior != nil {
		return nil
	}
	if cmd.Target, err = w.event(conv, ev.Re); err == nil && cmd.Target != nil {
		err = w.lookUpActs(conv, cmd)
	}
	if err != nil {
		return w.unreadable(conv, err)
	}
	return nil
}

func (w *owner) unreadable(conv string, err error) error {
	w.h.o.Log.Error("reading a conversation failed", "conv", conv, "error", err)
	return chat.Refuse(chat.Unavailable, "the conversation cannot be read now; try again later")
}

// append applies events to the owner's state and puts them, and all that must be atomic with them,
// into the batch.
func (w *owner) append(id string, c *conv, events []chat.Event, origin uint64) {
	if len(events) == 0 {
		return
	}
	w.convs[id] = c
	w.posted = true
	w.touched[id] = struct{}{}
	fresh := c.st.Head == 0
	for i := range events {
		ev := &events[i]
		before := c.st.MemberList()
		ch := c.st.Apply(ev)
		w.batch.Append(id, ev.Seq, w.h.o.Codec.EncodeStored(nil, ev))
		if ch.Info || fresh {
			w.batch.Set(storage.In(storage.SpaceConv).Str(id),
				storage.Marshal(storage.Conv{Info: c.st.Info, Ended: c.st.Ended}))
		}
		w.recordMembers(id, c, ch.Members)
		if ev.Expire > 0 {
			w.batch.Set(ExpireKey(id, DueOf(ev)), nil)
		}
		if ev.From != "" {
			w.readOwn(id, c, ev.From, ev.Seq)
		}
		d := &Delivery{Log: id, Event: ev, Members: c.st.MemberList(), Origin: origin, Begins: begins(c, ev)}
		if ev.Kind == chat.KindEnd {
			d.Members = before
		} else {
			d.Former = endsStay(ev)
		}
		w.comps = append(w.comps, completion{deliver: d})
		w.tellOwn(id, ev, before)
		w.tellRequest(id, ev)
		fresh = false
	}
}

// readOwn moves a user's cursors over an event of their own, or one that they took part in, when nothing of
// others lies between: nobody has their own message unread. The record is written once for the batch.
func (w *owner) readOwn(id string, c *conv, user string, seq uint64) {
	if m, ok := c.st.Member(user); !ok || m.Role == chat.RoleNone {
		return
	}
	cur := c.cursors[user]
	if cur.Read+1 != seq {
		return
	}
	c.cursors[user] = chat.Cursor{Read: seq, Delivered: max(cur.Delivered, seq)}
	w.ownRead[ownRead{id, user}] = c.cursors[user]
}

type ownRead struct{ conv, user string }

// tellOwn writes what an event means to a user into that user's own log, in the same batch.
func (w *owner) tellOwn(conv string, ev *chat.Event, before []string) {
	tell := func(user string, kind chat.Kind, role chat.Role) {
		own := &ownEvent{user: user, ev: chat.Event{From: ev.From, At: ev.At, Kind: kind, Conv: conv}}
		if role != chat.RoleNone {
			own.ev.Member = &chat.MemberChange{User: user, Role: role, By: ev.From}
		}
		w.batch.AppendNext(storage.OwnLog(user), w.h.o.Codec.EncodeStored(nil, &own.ev), &own.seq)
		w.comps = append(w.comps, completion{own: own})
	}
	switch ev.Kind {
	case chat.KindCreate, chat.KindJoin, chat.KindAdd:
		if ev.Member != nil {
			tell(ev.Member.User, chat.KindAdded, ev.Member.Role)
		}
	case chat.KindLeave, chat.KindRemove, chat.KindBan:
		if user := endsStay(ev); user != "" {
			tell(user, chat.KindRemoved, chat.RoleNone)
		}
	case chat.KindEnd:
		for _, u := range before {
			tell(u, chat.KindEnded, chat.RoleNone)
		}
	}
}

// authorsMax bounds how far back a cursor move looks for the authors of what it moved over.
const authorsMax = 256

// move carries out a cursor move.
func (w *owner) move(m *Move) {
	answer := func(err error) {
		if m.Done != nil {
			m.Done(Result{Err: err})
		}
	}
	c, err := w.load(m.Conv, chat.IsDirect(m.Conv))
	if err != nil {
		answer(err)
		return
	}
	mem, ok := c.st.Member(m.User)
	if !ok || mem.Role == chat.RoleNone || c.st.Head == 0 {
		answer(chat.NoSuchConversation())
		return
	}
	if m.Read > c.st.Head {
		answer(chat.Refuse(chat.BadRequest, "the conversation ends at seq %d; read at most up to there", c.st.Head))
		return
	}
	old := c.cursors[m.User]
	next, ok := chat.MoveCursor(old, c.st.Head, m.Delivered, m.Read)
	if !ok {
		w.comps = append(w.comps, completion{done: m.Done})
		return
	}
	c.cursors[m.User] = next
	delete(w.ownRead, ownRead{m.Conv, m.User})
	w.touched[m.Conv] = struct{}{}
	w.batch.Set(storage.In(storage.SpaceCursor).Str(m.Conv).Str(m.User), storage.AppendCursor(nil, next))
	w.audit(m.Conv, m.User, old, next)
	moved := &CursorMoved{
		Conv: m.Conv, User: m.User, Old: old, Cursor: next, ReadNow: next.Read > old.Read, Large: c.st.Count() > LargeGroup,
	}
	if o := &w.h.o; o.Wanted == nil || o.Wanted() {
		moved.Wanted = true
		if !moved.Large && !c.st.Silent() {
			moved.Authors = w.authors(m.Conv, c, m.User, old, next)
		}
		moved.Hidden = len(moved.Authors) > 0 && o.Hides != nil && o.Hides(m.User)
	}
	w.comps = append(w.comps, completion{done: m.Done, move: m, moved: moved})
}

// authors returns which members wrote the events that the cursors moved over, the mover aside.
func (w *owner) authors(id string, c *conv, mover string, old, cur chat.Cursor) []string {
	from, to := old.Delivered, cur.Delivered
	if cur.Read > old.Read {
		from = old.Read // which is never ahead of delivered
		if cur.Delivered == old.Delivered {
			to = cur.Read
		}
	}
	if from+authorsMax < to {
		from = to - authorsMax
	}
	var authors []string
	add := func(ev *chat.Event) {
		if ev.From == mover || ev.From == "" {
			return
		}
		if m, ok := c.st.Member(ev.From); !ok || m.Role == chat.RoleNone {
			return // what happens in the conversation is no longer theirs to know
		}
		if !slices.Contains(authors, ev.From) {
			authors = append(authors, ev.From)
		}
	}
	err := w.h.o.Store.Read(id, from+1, to, func(e storage.Entry) bool {
		if ev, err := w.h.o.Codec.DecodeStored(e.Data); err == nil {
			add(&ev)
		}
		return true
	})
	if err != nil {
		w.h.o.Log.Error("reading authors failed", "conv", id, "error", err)
	}
	return authors
}
