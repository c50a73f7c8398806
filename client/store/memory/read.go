package memory

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/client/store/internal/find"
)

type reader struct{ *data }

var _ store.Tx = (*tx)(nil)

func (r *reader) Conversation(id string) (store.Conversation, error) {
	c, ok := r.convs[id]
	if !ok {
		return c, fmt.Errorf("%w: conversation %q", store.ErrNotFound, id)
	}
	c.Info = slices.Clone(c.Info)
	return c, nil
}

func (r *reader) Conversations(q store.ConversationQuery) ([]store.Conversation, error) {
	var out []store.Conversation
	for _, c := range r.convs {
		if (q.List == store.ListAll || c.List() == q.List) && (!q.Dirty || c.Dirty()) && (q.After == nil || q.After.Before(&c)) {
			c.Info = slices.Clone(c.Info)
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b store.Conversation) int { return compare(a.Before(&b), b.Before(&a)) })
	return out[:min(len(out), store.LimitOf(q.Limit))], nil
}

func (r *reader) Event(conv string, seq uint64) (store.Event, error) {
	if l := r.logs[conv]; l != nil {
		if e, ok := l.events[seq]; ok {
			return e, nil
		}
	}
	return store.Event{}, fmt.Errorf("%w: event %d of %q", store.ErrNotFound, seq, conv)
}

func (r *reader) Events(q store.EventQuery) ([]store.Event, error) {
	l := r.logs[q.Conv]
	if l == nil {
		return nil, nil
	}
	lo, hi := 0, len(l.seqs)
	if q.Before > 0 {
		hi, _ = slices.BinarySearch(l.seqs, q.Before)
	}
	if q.After > 0 {
		lo, _ = slices.BinarySearch(l.seqs, min(q.After, store.MaxSeq)+1)
	}
	part := l.seqs[lo:max(lo, hi)]
	var out []store.Event
	for i := 0; i < len(part) && len(out) < store.LimitOf(q.Limit); i++ {
		at := i
		if q.After == 0 {
			at = len(part) - 1 - i
		}
		e := l.events[part[at]]
		if (q.Kinds == nil || slices.Contains(q.Kinds, e.Kind)) && (q.Thread == 0 || e.Thread == q.Thread) {
			out = append(out, e)
		}
	}
	if q.After == 0 {
		slices.Reverse(out)
	}
	return out, nil
}

func (r *reader) About(q store.AboutQuery) (map[uint64]store.Acts, error) {
	out := make(map[uint64]store.Acts)
	l := r.logs[q.Conv]
	if l == nil {
		return out, nil
	}
	for _, seq := range q.Seqs {
		if a := l.acts(seq, &q); !a.Empty() {
			out[seq] = a
		}
	}
	return out, nil
}

// acts folds what acts upon an event.
func (l *log) acts(seq uint64, q *store.AboutQuery) store.Acts {
	f := store.NewFold(q.Me)
	if post, ok := l.events[seq]; ok {
		if newest := l.newest(&post, q.Now); newest != &post {
			f.Act(newest)
		}
	}
	more := true
	for _, s := range slices.Backward(l.about[seq]) {
		switch e := l.events[s]; e.Kind {
		case chat.KindDelete, chat.KindPin, chat.KindUnpin:
			f.Act(&e)
		case chat.KindReact, chat.KindUnreact:
			more = more && f.React(&e)
		}
	}
	return f.Acts()
}

func (r *reader) Replies(conv string, roots []uint64) (map[uint64]int, error) {
	out := make(map[uint64]int)
	if l := r.logs[conv]; l != nil {
		for _, e := range l.events {
			if e.Kind == chat.KindPost && !e.Gone && e.Thread != 0 && slices.Contains(roots, e.Thread) {
				out[e.Thread]++
			}
		}
	}
	return out, nil
}

func (r *reader) EventByID(conv, id string) (store.Event, error) {
	if l := r.logs[conv]; l != nil && id != "" {
		for _, seq := range l.seqs {
			if e := l.events[seq]; e.ID == id {
				return e, nil
			}
		}
	}
	return store.Event{}, fmt.Errorf("%w: event with id %q of %q", store.ErrNotFound, id, conv)
}

func (r *reader) Spans(conv string) ([]store.Span, error) {
	if l := r.logs[conv]; l != nil {
		return slices.Clone(l.spans), nil
	}
	return nil, nil
}

func (r *reader) NextDue() (at int64, ok bool, err error) {
	for _, due := range r.due {
		if !ok || due < at {
			at, ok = due, true
		}
	}
	return at, ok, nil
}

// newest returns the event whose text a post has at that time; 0: whatever is stored counts.
func (l *log) newest(post *store.Event, now int64) *store.Event {
	seqs := l.about[post.Seq]
	for i := len(seqs) - 1; i >= 0; i-- {
		if e := l.events[seqs[i]]; e.Seq > post.Seq && e.Kind == chat.KindEdit && !e.Gone && e.From == post.From && (now == 0 || !e.Expired(now)) {
			return &e
		}
	}
	return post
}

func (r *reader) Search(q store.SearchQuery) ([]store.Hit, error) {
	query, err := find.Parse(q.Text)
	if err != nil || query.Empty() {
		return nil, err
	}
	var out []store.Hit
	for conv, l := range r.logs {
		if q.Conv != "" && conv != q.Conv {
			continue
		}
		for _, e := range l.events {
			if e.Kind != chat.KindPost || e.Gone || q.From != "" && e.From != q.From || q.After != nil && newerFirst(&e, q.After) <= 0 {
				continue
			}
			src := l.newest(&e, 0)
			if q.Now > 0 && (e.Expired(q.Now) || src.Expired(q.Now)) {
				continue
			}
			if marks, ok := query.Match(src.Text); ok {
				out = append(out, store.Hit{Event: e, Text: src.Text, Marks: marks})
			}
		}
	}
	slices.SortFunc(out, func(a, b store.Hit) int { return newerFirst(&a.Event, &b.Event) })
	return out[:min(len(out), store.LimitOf(q.Limit))], nil
}

func newerFirst(a, b *store.Event) int {
	return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(a.Conv, b.Conv), cmp.Compare(b.Seq, a.Seq))
}

func (r *reader) Members(conv string) ([]store.Member, error) {
	var out []store.Member
	for k, m := range r.members {
		if k.conv == conv {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b store.Member) int { return strings.Compare(a.User, b.User) })
	return out, nil
}

func (r *reader) Member(conv, user string) (store.Member, error) {
	m, ok := r.members[memberKey{conv, user}]
	if !ok {
		return m, fmt.Errorf("%w: member %q of %q", store.ErrNotFound, user, conv)
	}
	return m, nil
}

func (r *reader) Outbox(q store.OutboxQuery) ([]store.Outgoing, error) {
	var out []store.Outgoing
	for _, o := range r.out {
		if (q.Conv == "" || o.Conv == q.Conv) && (q.ReID == "" || o.ReID == q.ReID) && o.N > q.After &&
			(q.States == nil || slices.Contains(q.States, o.State)) {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b store.Outgoing) int { return cmp.Compare(a.N, b.N) })
	out = out[:min(len(out), store.LimitOf(q.Limit))]
	for i := range out {
		out[i] = cloneOutgoing(out[i])
	}
	return out, nil
}

func (r *reader) Outgoing(id string) (store.Outgoing, error) {
	o, ok := r.out[id]
	if !ok {
		return o, fmt.Errorf("%w: %s is not in the outbox", store.ErrNotFound, id)
	}
	return cloneOutgoing(o), nil
}

func (r *reader) OutboxCounts() (map[string]int, error) {
	out := make(map[string]int)
	for _, o := range r.out {
		out[o.Conv]++
	}
	return out, nil
}

func (r *reader) Wishes() ([]store.Wish, error) {
	out := slices.Collect(maps.Values(r.wishes))
	for i := range out {
		out[i].Value = slices.Clone(out[i].Value)
	}
	slices.SortFunc(out, func(a, b store.Wish) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Conv, b.Conv), cmp.Compare(a.Name, b.Name))
	})
	return out, nil
}

func (r *reader) Meta(key string) ([]byte, error) { return bytes.Clone(r.meta[key]), nil }

func (r *reader) MetaKeys(prefix string) ([]string, error) {
	var out []string
	for k := range r.meta {
		if strings.HasPrefix(k, prefix) {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out, nil
}
