package client_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/client/store"
)

// intact asserts that the log is here from the first to the last seq, each once, in order.
func (d *device) intact(conv string) {
	d.t.Helper()
	err := d.store.View(soon(d.t), func(r store.Reader) error {
		row, err := r.Conversation(conv)
		if err != nil {
			return err
		}
		spans, err := r.Spans(conv)
		if err != nil {
			return err
		}
		if len(spans) != 1 || spans[0].Last != row.Head {
			return fmt.Errorf("%s: head %d, parts %v", conv, row.Head, spans)
		}
		evs, err := r.Events(store.EventQuery{Conv: conv, Limit: 1_000_000})
		if err != nil {
			return err
		}
		ids := make(map[string]bool)
		for i := range evs {
			if i > 0 && evs[i].Seq <= evs[i-1].Seq { // of what was gone before it came there is no event
				return fmt.Errorf("%s: seq %d after %d", conv, evs[i].Seq, evs[i-1].Seq)
			}
			if id := evs[i].ID; id != "" {
				if ids[id] {
					return fmt.Errorf("%s: id %s twice", conv, id)
				}
				ids[id] = true
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		d.t.Error(d.o.User, d.o.Device, err)
	}
}

// show is a conversation as a person sees it, for comparing devices of one user: what is theirs alone is left out.
func (d *device) show(conv string) string {
	d.t.Helper()
	var b strings.Builder
	for _, m := range d.messages(conv) {
		if m.State == client.StateFailed || m.Deleted {
			continue // the first stays where it was written; of the second there may be nothing
		}
		fmt.Fprintf(&b, "%d %s %d %q re=%d thread=%d edited=%v deleted=%v pinned=%v replies=%d %v\n",
			m.Seq, m.From, m.Kind, m.Text, m.Re, m.Thread, !m.Edited.IsZero(), m.Deleted, m.Pinned, m.Replies, m.Reactions)
	}
	return b.String()
}

type newStore func(testing.TB) store.Store

func num(i int) string { return fmt.Sprintf("m%05d", i) }

// long reports whether the long forms of tests are wanted: they take minutes.
func long() bool { return os.Getenv("PETREL_LONG") != "" }

func contextWithin(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

func declined(err error) bool {
	var no *chat.Refusal
	return errors.As(err, &no) || errors.Is(err, client.ErrNotFound)
}

// log is what the store has of a conversation, event by event; ids are there on the sender's own devices only.
func (d *device) log(conv string, ids bool) string {
	d.t.Helper()
	var b strings.Builder
	must(d.t, d.store.View(soon(d.t), func(r store.Reader) error {
		evs, err := r.Events(store.EventQuery{Conv: conv, Limit: 1_000_000})
		for _, e := range evs {
			if !ids {
				e.ID = ""
			}
			if e.Gone {
				continue // what is left of a body: only who was there has it
			}
			fmt.Fprintf(&b, "%d %s %d %d %q re=%d thread=%d %s %s\n", e.Seq, e.From, e.At, e.Kind, e.Text, e.Re, e.Thread, e.Emoji, e.ID)
		}
		return err
	}))
	return b.String()
}

// posts are the texts as they were written.
func (d *device) posts(conv string) (out []string) {
	d.t.Helper()
	must(d.t, d.store.View(soon(d.t), func(r store.Reader) error {
		evs, err := r.Events(store.EventQuery{Conv: conv, Kinds: []chat.Kind{chat.KindPost}, Limit: 1_000_000})
		for _, e := range evs {
			if !e.Gone {
				out = append(out, e.Text)
			}
		}
		return err
	}))
	return out
}

// differ is the first lines in which two texts differ.
func differ(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range max(len(x), len(y)) {
		var p, q string
		if i < len(x) {
			p = x[i]
		}
		if i < len(y) {
			q = y[i]
		}
		if p != q {
			return fmt.Sprintf("line %d of %d and %d:\n%s\n%s", i, len(x), len(y), p, q)
		}
	}
	return ""
}

// outbox are the texts that wait, in their order.
func (d *device) outbox() (texts []string) {
	d.t.Helper()
	must(d.t, d.store.View(soon(d.t), func(r store.Reader) error {
		out, err := r.Outbox(store.OutboxQuery{Limit: 1_000_000})
		for _, o := range out {
			texts = append(texts, o.Event.Text)
		}
		return err
	}))
	return texts
}

// waiting counts what is in the outbox, what was acknowledged and has not come back included.
func (d *device) waiting() (n int) {
	d.t.Helper()
	must(d.t, d.store.View(soon(d.t), func(r store.Reader) error {
		counts, err := r.OutboxCounts()
		for _, m := range counts {
			n += m
		}
		return err
	}))
	return n
}

// underWay counts what the outbox has but what was refused.
func (d *device) underWay() (n int) {
	d.t.Helper()
	must(d.t, d.store.View(soon(d.t), func(r store.Reader) error {
		all, err := r.Outbox(store.OutboxQuery{States: []store.OutState{store.Queued, store.Sending, store.Sent}})
		n = len(all)
		return err
	}))
	return n
}
