package store

import (
	"cmp"
	"slices"

	"github.com/petrelchat/petrel/chat"
)

// AboutQuery names the posts of which [Reader.About] tells what was done to them.
type AboutQuery struct {
	Conv string
	Seqs []uint64
	Me   string // whose reactions are Reaction.Mine; "": nobody's
	Now  int64  // an edit that has disappeared by then is passed over; 0: whatever is stored counts
}

// Acts reports whether an event acts upon the one it names: an edit, a deletion, a reaction, a pin.
func (e *Event) Acts() bool { return e.Kind >= chat.KindEdit && e.Kind <= chat.KindUnpin && e.Re != 0 }

// Acts is what holds of all that was done to a post. However much that was, it is small: a thousand long edits are one.
type Acts struct {
	Edit      *Event     // the newest one of the post's author that has a body; nil: none, or the post is not here
	Delete    *Event     // the newest deletion; nil: none
	Pin       *Event     // the newest pin or unpin; nil: none
	Reactions []Reaction // those that were not taken back, at most ReactionEmoji, by when the first of their users put them there
}

// Empty reports whether nothing was done that is still to be seen.
func (a *Acts) Empty() bool {
	return a.Edit == nil && a.Delete == nil && a.Pin == nil && len(a.Reactions) == 0
}

// Reaction is one emoji on a post.
type Reaction struct {
	Emoji string
	Count int      // how many users put it there
	Users []string // the last of them, at most ReactionUsers, in the order in which they did
	Mine  bool     // AboutQuery.Me is one of them, whether in Users or not
}

// Bounds of what is told of the reactions to one post.
const (
	ReactionEmoji = 100    // different emoji
	ReactionUsers = 50     // users of each who are named
	ReactionsMost = 20_000 // events that are looked at, the newest ones: older ones are not counted
)

// Fold makes the Acts of one post. [NewFold] begins one; one goroutine at a time uses it. An engine gives it what is stored: the newest
// edit, deletion and pin, and the reactions newest first, since the newest word of each user about each emoji holds.
type Fold struct {
	me   string
	acts Acts
	seen map[[2]string]bool
	all  map[string]*tallied
	n    int
}

type tallied struct {
	Reaction
	first uint64 // seq of the first of them
}

// NewFold begins with a post of which nothing is known. me: see AboutQuery.
func NewFold(me string) *Fold { return &Fold{me: me} }

// Act takes an edit, a deletion or a pin. The newest of each holds.
func (f *Fold) Act(e *Event) {
	to := &f.acts.Pin
	switch e.Kind {
	case chat.KindEdit:
		to = &f.acts.Edit
	case chat.KindDelete:
		to = &f.acts.Delete
	}
	if *to == nil || (*to).Seq <= e.Seq {
		*to = e
	}
}

// React takes the next older reaction, and reports whether more are wanted.
func (f *Fold) React(e *Event) (more bool) {
	if e.Gone || e.Emoji == "" || f.n >= ReactionsMost {
		return f.n < ReactionsMost
	}
	if f.seen == nil {
		f.seen, f.all = make(map[[2]string]bool), make(map[string]*tallied)
	}
	f.n++
	if key := [2]string{e.Emoji, e.From}; !f.seen[key] {
		f.seen[key] = true
		if e.Kind == chat.KindReact {
			f.count(e)
		}
	}
	return f.n < ReactionsMost
}

func (f *Fold) count(e *Event) {
	r := f.all[e.Emoji]
	if r == nil {
		r = &tallied{Reaction: Reaction{Emoji: e.Emoji}}
		f.all[e.Emoji] = r
	}
	r.first = e.Seq
	r.Count++
	r.Mine = r.Mine || f.me != "" && e.From == f.me
	if len(r.Users) < ReactionUsers {
		r.Users = append(r.Users, e.From)
	}
}

// Acts returns the result, when all that is stored was given.
func (f *Fold) Acts() Acts {
	order := make([]*tallied, 0, len(f.all))
	for _, r := range f.all {
		order = append(order, r)
	}
	slices.SortFunc(order, func(a, b *tallied) int { return cmp.Compare(a.first, b.first) })
	for _, r := range order[:min(len(order), ReactionEmoji)] {
		slices.Reverse(r.Users)
		f.acts.Reactions = append(f.acts.Reactions, r.Reaction)
	}
	return f.acts
}
