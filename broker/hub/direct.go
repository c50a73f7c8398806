package hub

import (
	"errors"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// Own is an entry of a user's own log. Its seq is given when it is stored.
type Own struct {
	User  string
	Event chat.Event
}

// Note stores records and entries of users' own logs in one batch, without a command for any conversation.
type Note struct {
	Log  string // whose owner carries it out: notes with the same one are stored in the order of their coming
	With storage.Batch
	Own  []Own
	Done func(Result) // as that of a Request
}

// Note hands a note to an owner and returns.
func (h *Hub) Note(n *Note) {
	if !h.give(n.Log, work{note: n}) {
		n.Done(Result{Err: errStopped()})
	}
}

// Tell stores a note and returns after the sync: nil, a *chat.Refusal, or storage.ErrFull.
func (h *Hub) Tell(n *Note) error {
	ch := make(chan Result, 1)
	n.Done = func(res Result) { ch <- res }
	h.Note(n)
	return await(h, ch, Result{Err: errStopped()}).Err
}

// note carries out a note.
func (w *owner) note(n *Note) {
	w.posted = true
	w.batch.Ops = append(w.batch.Ops, n.With.Ops...)
	w.tell(n.Own)
	w.comps = append(w.comps, completion{done: n.Done})
}

// tell puts entries of users' own logs into the batch.
func (w *owner) tell(list []Own) {
	for i := range list {
		own := &ownEvent{user: list[i].User, ev: list[i].Event}
		if own.ev.At == 0 {
			own.ev.At = w.h.o.Now()
		}
		w.batch.AppendNext(storage.OwnLog(own.user), w.h.o.Codec.EncodeStored(nil, &own.ev), &own.seq)
		w.comps = append(w.comps, completion{own: own})
	}
}

// mark carries out what a decision changes without an event.
func (w *owner) mark(id string, c *conv, marks []chat.Mark) {
	for _, m := range marks {
		if ch := c.st.Mark(m); len(ch.Members) > 0 {
			w.convs[id] = c
			w.posted = true
			w.touched[id] = struct{}{}
			w.recordMembers(id, c, ch.Members)
		}
	}
}

// recordMembers puts members' records into the batch, of both sides.
func (w *owner) recordMembers(id string, c *conv, users []string) {
	for _, u := range users {
		m, _ := c.st.Member(u)
		if w.recordOutsider(id, u, m) {
			continue
		}
		rec := storage.AppendMember(nil, m)
		w.batch.Set(storage.In(storage.SpaceMember).Str(id).Str(u), rec)
		w.batch.Set(storage.In(storage.SpaceMembership).Str(u).Str(id), rec)
	}
	if len(users) > 0 {
		w.comps = append(w.comps, completion{conv: id, changed: users})
	}
}

// blockKey names the side of a direct conversation that has not begun.
type blockKey struct{ conv, user string }

// noteBlock remembers, until the batch is committed, a block that no state of a conversation has.
func (w *owner) noteBlock(id string, c *conv, cmd *chat.Command) {
	if (cmd.Op == chat.OpBlock || cmd.Op == chat.OpUnblock) && c.st.Head == 0 {
		w.blocks[blockKey{id, cmd.Actor}] = cmd.Op == chat.OpBlock
	}
}

// approach looks up what the two of a direct conversation are to each other. It is asked for the first
// message only, and nothing for notes to oneself.
func (w *owner) approach(id string, c *conv, cmd *chat.Command) error {
	if !c.st.Direct || c.st.Head > 0 {
		return nil
	}
	a, b, ok := chat.Parties(id)
	if !ok || a == b || cmd.Actor != a && cmd.Actor != b {
		return nil
	}
	me, other := cmd.Actor, b
	if me == b {
		other = a
	}
	found, err := w.lookUpApproach(id, me, other)
	if err != nil {
		return w.unreadable(id, err)
	}
	cmd.Approach = found
	return nil
}

func (w *owner) lookUpApproach(id, me, other string) (*chat.Approach, error) {
	r := w.h.o.Store
	rec, err := storage.BlockOf(r, me, other)
	if err != nil {
		return nil, err
	}
	mine, theirs := rec.At != 0, rec.By != 0
	if b, ok := w.blocks[blockKey{id, me}]; ok {
		mine = b
	}
	if b, ok := w.blocks[blockKey{id, other}]; ok {
		theirs = b
	}
	found := &chat.Approach{Blocking: mine, Blocked: mine || theirs}
	if found.Blocked {
		return found, nil
	}
	var p storage.Profile
	v, ok, err := r.Get(storage.In(storage.SpaceProfile).Str(other))
	if err == nil && ok {
		err = storage.Unmarshal(v, &p)
	}
	if err != nil {
		return nil, err
	}
	if found.Messages = p.Messages; found.Messages == chat.MessagesDefault && w.h.o.Messages != nil {
		found.Messages = w.h.o.Messages()
	}
	if found.Messages != chat.MessagesRequests && found.Messages != chat.MessagesShared {
		return found, nil // nearly everybody in a server of friends: nothing else is read
	}
	if found.Known, err = storage.IsContact(r, other, me); err == nil && !found.Known {
		found.Known, err = shareGroup(r, me, other)
	}
	return found, err
}

// shareGroup reports whether there is a group that both users are members of.
func shareGroup(r storage.Reader, a, b string) (bool, error) {
	mine := make(map[string]struct{})
	if err := eachGroup(r, a, func(conv string) bool { mine[conv] = struct{}{}; return true }); err != nil || len(mine) == 0 {
		return false, err
	}
	shared := false
	err := eachGroup(r, b, func(conv string) bool {
		_, shared = mine[conv]
		return !shared
	})
	return shared, err
}

// eachGroup calls fn with the groups that a user is a member of, until it returns false.
func eachGroup(r storage.Reader, user string, fn func(conv string) bool) error {
	prefix := storage.In(storage.SpaceMembership).Str(user)
	var bad error
	err := r.Scan(prefix, nil, func(k storage.Key, v []byte) bool {
		conv, _, ok := storage.TakeStr(k[len(prefix):])
		m, err := storage.DecodeMember(v)
		if !ok || err != nil {
			bad = errors.Join(err, storage.ErrRecord)
			return false
		}
		if _, _, direct := chat.Parties(conv); direct || m.Role == chat.RoleNone {
			return true
		}
		return fn(conv)
	})
	return errors.Join(err, bad)
}

// tellRequest tells the recipient that somebody wants to write to them: who, not what.
func (w *owner) tellRequest(id string, ev *chat.Event) {
	if ev.Seq != 1 || ev.Member == nil || ev.Member.Role != chat.RoleNone || !chat.IsDirect(id) {
		return
	}
	w.tell([]Own{{User: ev.Member.User, Event: chat.Event{
		From: ev.From, At: ev.At, Kind: chat.KindRequested, Conv: id, Member: &chat.MemberChange{User: ev.From},
	}}})
}

// begins returns who gets a direct conversation from its beginning with this event, for they accepted it.
func begins(c *conv, ev *chat.Event) string {
	if c.st.Direct && ev.Kind == chat.KindJoin && ev.Member != nil {
		return ev.Member.User
	}
	return ""
}
