package client

import (
	"errors"
	"sync"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/internal/link"
	"github.com/petrelchat/petrel/client/store"
)

// answer is how a publish from the outbox ended.
type answer struct {
	id    string
	conv  string // "" if it was not sent
	fresh bool   // see flying
	ack   link.Ack
	err   error // link.ErrLost: nobody knows
}

// later reports whether the server wants it again later.
func (a *answer) later() bool { return a.err == nil && a.ack.Retry() }

// echo takes an event of the user's own that came back: if it is from this device's outbox, it has arrived. So
// a lost PUBACK is no loss.
func (ch *change) echo(ev *store.Event) error {
	out, err := ch.tx.Outgoing(ev.ID)
	if err != nil || out.Conv != ev.Conv {
		return ignoreNotFound(err)
	}
	if ch.codec != nil {
		ev.Text, ev.Mentions, ev.Media = out.Event.Text, out.Event.Mentions, out.Event.Media // the cipher is for others
	}
	return ch.arrived(&out)
}

// arrived removes from the outbox what the log has.
func (ch *change) arrived(out *store.Outgoing) error {
	if err := ch.tx.DeleteOutgoing(out.ID); err != nil {
		return err
	}
	switch out.State {
	case store.Queued, store.Sending:
		ch.queued--
	case store.Failed:
		ch.failed--
	}
	ch.toldOut(out)
	if ch.codec == nil {
		return nil
	}
	return ch.tx.PutMeta(metaWire+out.ID, nil)
}

func (ch *change) toldOut(out *store.Outgoing) {
	ch.ring.outbox = true
	ch.told = append(ch.told, Update{Kind: UpdateOutbox, Conv: out.Conv, ID: out.ID})
	if out.Event.Re != 0 {
		ch.touch(out.Conv, out.Event.Re)
	}
}

// settleHere removes from the outbox what the log of a conversation has, or of all for "": what a lost connection left behind, acts that were done
// already, and what is gone already, for which a stub stands. left is how much of what was acknowledged is still to come.
func (ch *change) settleHere(conv string) (left int, err error) {
	const most = 1000
	sent, err := ch.tx.Outbox(store.OutboxQuery{Conv: conv, States: []store.OutState{store.Sent}, Limit: most})
	if err != nil {
		return 0, err
	}
	for i := range sent {
		l, err := ch.conv(sent[i].Conv)
		if err != nil {
			return 0, err
		}
		if !l.has(sent[i].Seq) {
			left++
		} else if err := ch.arrived(&sent[i]); err != nil {
			return 0, err
		}
	}
	if len(sent) == most {
		left++ // perhaps
	}
	return left, nil
}

// lateActs knows conversations with acts whose acknowledgement names an event that is not here yet. That need not be their own: what has the result already
// makes no event, and the seq is the other one's, or the head of the log at that time. So nothing with their id will come. After a restart the first sync
// settles them.
type lateActs struct {
	mu sync.Mutex
	of map[string]int // counts notes
}

func (a *lateActs) note(conv string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.of == nil {
		a.of = make(map[string]int)
	}
	a.of[conv]++
}

// in returns 0, or what forget takes.
func (a *lateActs) in(conv string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.of[conv]
}

// forget forgets a conversation, unless there was another note since.
func (a *lateActs) forget(conv string, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.of[conv] == n {
		delete(a.of, conv)
	}
}

// settleLate settles the acts of a conversation whose events have come.
func (ch *change) settleLate(conv string) error {
	n := ch.late.in(conv)
	if n == 0 {
		return nil
	}
	left, err := ch.settleHere(conv)
	if left == 0 && err == nil {
		if ch.punctual == nil {
			ch.punctual = make(map[string]int)
		}
		ch.punctual[conv] = n
	}
	return err
}

// acknowledged takes a PUBACK that says stored. The event itself comes on its own, or is here already.
func (ch *change) acknowledged(id string, seq uint64) error {
	out, err := ch.tx.Outgoing(id)
	if errors.Is(err, store.ErrNotFound) {
		return nil // it came back before the PUBACK
	}
	if err != nil || out.State == store.Sent {
		return err
	}
	l, err := ch.conv(out.Conv)
	if err != nil {
		return err
	}
	// A reaction that was there already makes no event. And what is older than all that is here came in an
	// earlier attempt, of which this device has lost its memory: nothing will come.
	if seq == 0 || seq > store.MaxSeq || l.has(seq) || len(l.spans) > 0 && seq < l.spans[0].First {
		return ch.arrived(&out)
	}
	if out.State == store.Failed {
		ch.failed--
	} else {
		ch.queued--
	}
	if out.Event.Kind != chat.KindPost {
		ch.late.note(out.Conv)
	}
	out.State, out.Seq, out.Code, out.Reason = store.Sent, seq, "", ""
	ch.toldOut(&out)
	return ch.tx.PutOutgoing(out)
}

// failedAs ends the attempts to send something.
func (ch *change) failedAs(id string, r *chat.Refusal) error {
	out, err := ch.tx.Outgoing(id)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil || out.State == store.Sent || out.State == store.Failed {
		return err
	}
	out.State, out.Code, out.Reason = store.Failed, string(r.Code), r.Reason
	ch.queued--
	ch.failed++
	ch.toldOut(&out)
	ch.told = append(ch.told, Update{Kind: UpdateRefused, Conv: out.Conv, ID: out.ID, Err: r})
	return ch.tx.PutOutgoing(out)
}

// resolve finds the seq of what an outgoing event is about, while that may be in the outbox itself. ok is false if it has to
// wait; a *chat.Refusal says that it will never be.
func resolve(r store.Reader, out *store.Outgoing) (ok bool, err error) {
	if out.ReID == "" || out.Event.Re != 0 {
		return true, nil
	}
	ev, err := r.EventByID(out.Conv, out.ReID)
	switch {
	case err == nil:
		out.Event.Re = ev.Seq
		return true, nil
	case !errors.Is(err, store.ErrNotFound):
		return false, err
	}
	about, err := r.Outgoing(out.ReID)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && about.Conv != out.Conv:
		return false, chat.Refuse(chat.NotFound, "the message that this is about was taken back")
	case err != nil:
		return false, err
	}
	switch about.State {
	case store.Sent:
		out.Event.Re = about.Seq
		return true, nil
	case store.Failed:
		return false, chat.Refuse(chat.NotFound, "the message that this is about was not sent: %s", about.Reason)
	}
	if out.N != 0 && about.N > out.N { // Retry sees to it that this does not happen: they would wait for each other
		return false, chat.Refuse(chat.NotFound, "the message that this is about is queued after it: try again")
	}
	return false, nil
}
