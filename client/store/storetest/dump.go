package storetest

import (
	"fmt"
	"testing"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
)

// state is all that a store holds of the conversations "c", "d" and "new", in a form that can be compared.
type state struct {
	Convs   []store.Conversation
	Events  []store.Event
	About   []map[uint64]store.Acts
	Spans   []string
	Members []string
	Outbox  []store.Outgoing
	Out     map[string]int
	Wishes  []store.Wish
	Meta    []string
	Due     int64
	Found   []string
}

// dump reads everything.
func dump(t testing.TB, s store.Store) *state {
	t.Helper()
	out := &state{}
	View(t, s, func(r store.Reader) (err error) {
		*out, err = read(r)
		return err
	})
	return out
}

func read(r store.Reader) (out state, err error) {
	const all = 1_000_000
	if out.Convs, err = r.Conversations(store.ConversationQuery{Limit: all}); err != nil {
		return out, err
	}
	for _, conv := range []string{"c", "d", "new"} {
		if err := out.log(r, conv); err != nil {
			return out, err
		}
	}
	if out.Outbox, err = r.Outbox(store.OutboxQuery{Limit: all}); err != nil {
		return out, err
	}
	if out.Out, err = r.OutboxCounts(); err != nil {
		return out, err
	}
	if out.Wishes, err = r.Wishes(); err != nil {
		return out, err
	}
	keys, err := r.MetaKeys("")
	if err != nil {
		return out, err
	}
	for _, k := range keys {
		v, err := r.Meta(k)
		if err != nil {
			return out, err
		}
		out.Meta = append(out.Meta, fmt.Sprintf("%s=%q", k, v))
	}
	out.Due, _, err = r.NextDue()
	return out, err
}

func (out *state) log(r store.Reader, conv string) error {
	const all = 1_000_000
	events, err := r.Events(store.EventQuery{Conv: conv, Limit: all})
	if err != nil {
		return err
	}
	out.Events = append(out.Events, events...)
	seqs := seqsOf(events)
	for seq := range uint64(12) { // of those that are not here too
		seqs = append(seqs, seq)
	}
	for _, now := range []int64{0, 3000} {
		about, err := r.About(store.AboutQuery{Conv: conv, Seqs: seqs, Me: "bob", Now: now})
		if err != nil {
			return err
		}
		if len(about) > 0 {
			out.About = append(out.About, about)
		}
	}
	replies, err := r.Replies(conv, seqs)
	if err != nil {
		return err
	}
	if len(replies) > 0 {
		out.Found = append(out.Found, fmt.Sprintf("%s replies %v", conv, replies))
	}
	spans, err := r.Spans(conv)
	if err != nil {
		return err
	}
	for _, s := range spans {
		out.Spans = append(out.Spans, fmt.Sprintf("%s %d-%d", conv, s.First, s.Last))
	}
	members, err := r.Members(conv)
	if err != nil {
		return err
	}
	for _, m := range members {
		text := conv + " " + m.User
		if m != (store.Member{User: m.User}) {
			text = fmt.Sprintf("%s %+v", conv, m)
		}
		out.Members = append(out.Members, text)
	}
	pins, err := r.Events(store.EventQuery{Conv: conv, Kinds: []chat.Kind{chat.KindPin, chat.KindUnpin}, Limit: all})
	for _, e := range pins {
		out.Found = append(out.Found, fmt.Sprintf("%s pin %d", conv, e.Seq))
	}
	return err
}
