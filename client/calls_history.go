package client

import (
	"context"
	"iter"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
)

// HistoryCalls are the calls that read what the server has of conversations: see [Caller]. What the caller may not see, or is
// there no more, is an event of kind gone with its seq; one that is too long for the caller's connection is of kind large.
// A conversation that the caller may not read is not-found.
type HistoryCalls struct{ Via Caller }

// HistoryQuery chooses a part of a conversation's log. With Conv only it is the newest events.
type HistoryQuery struct {
	Conv   string  `json:"conv"`
	Before uint64  `json:"before,omitempty"` // what stands before this seq; 0: the end of the log
	After  *uint64 `json:"after,omitempty"`  // what follows this seq, from there on; 0 in it: from the beginning; nil: backwards
	Limit  int     `json:"limit,omitempty"`  // 50, at most 500
}

// HistoryPage is a part of a log, ascending.
type HistoryPage struct {
	Events []chat.Event
	Head   uint64 // seq of the newest event
	More   bool   // there is more in the direction of reading
}

type wireHistory struct {
	Events protocol.Events `json:"events"`
	Head   uint64          `json:"head"`
	More   bool            `json:"more"`
}

// Page reads one page of a log.
func (h HistoryCalls) Page(ctx context.Context, q HistoryQuery) (HistoryPage, error) {
	reply, err := call[wireHistory](ctx, h.Via, "history", &q)
	return HistoryPage{reply.Events.List, reply.Head, reply.More}, err
}

// mostHistory is the longest page of history: whoever reads all has no use for short ones.
const mostHistory = 500

// After goes through the events that follow a seq, ascending, up to the head; 0: from the beginning.
func (h HistoryCalls) After(ctx context.Context, conv string, seq uint64) iter.Seq2[chat.Event, error] {
	return h.read(ctx, HistoryQuery{Conv: conv, After: &seq, Limit: mostHistory}, func(p *HistoryPage, q *HistoryQuery) {
		last := p.Events[len(p.Events)-1].Seq
		q.After = &last
	})
}

// Before goes through the events that stand before a seq, the newest first; 0: from the end of the log.
func (h HistoryCalls) Before(ctx context.Context, conv string, seq uint64) iter.Seq2[chat.Event, error] {
	return h.read(ctx, HistoryQuery{Conv: conv, Before: seq, Limit: mostHistory}, func(p *HistoryPage, q *HistoryQuery) {
		q.Before = p.Events[0].Seq
	})
}

func (h HistoryCalls) read(ctx context.Context, q HistoryQuery, next func(*HistoryPage, *HistoryQuery)) iter.Seq2[chat.Event, error] {
	return func(yield func(chat.Event, error) bool) {
		for q := q; ; { // ranged over twice, it begins anew
			p, err := h.Page(ctx, q)
			if err == nil && p.More && len(p.Events) == 0 {
				err = errSamePage
			}
			if err != nil {
				yield(chat.Event{}, err)
				return
			}
			for i := range p.Events {
				if q.After == nil {
					i = len(p.Events) - 1 - i
				}
				if !yield(p.Events[i], nil) {
					return
				}
			}
			if !p.More {
				return
			}
			next(&p, &q)
		}
	}
}

// ThreadPage is a page of a thread, with what the whole thread amounts to. Whoever may not see its beginning gets
// numbers of what they see.
type ThreadPage struct {
	PageOf[ThreadPost]
	Root         uint64   // seq of the first post
	Count        uint64   // replies that are there
	Users        []string // the first 50 of those who wrote them, in byte order
	Participants uint64   // how many wrote them
	LastSeq      uint64   // the newest reply, which may have been deleted since; 0: none
	LastAt       Millis   // when it was written
	Unread       uint64   // replies of others behind the caller's read cursor, at most 1,000
}

// ThreadPost is a post of a thread, with its newest text.
type ThreadPost struct {
	Depth  uint64 // 0: the first post, 1: a reply to it, 2: a reply to that …
	Edited Millis // when the text became this; 0: it was never edited
	Event  chat.Event
}

type wireThreadAsk struct {
	Conv  string `json:"conv"`
	Root  uint64 `json:"root"`
	After uint64 `json:"after,omitempty"`
	Limit int    `json:"limit,omitempty"`
}

type wireThread struct {
	Root   uint64 `json:"root"`
	Events []struct {
		Depth  uint64              `json:"depth"`
		Edited Millis              `json:"edited"`
		Event  protocol.EventReply `json:"event"`
	} `json:"events"`
	Count        uint64   `json:"count"`
	Users        []string `json:"users"`
	Participants uint64   `json:"participants"`
	Last         struct {
		Seq uint64 `json:"seq"`
		At  Millis `json:"at"`
	} `json:"last"`
	Unread uint64 `json:"unread"`
	More   bool   `json:"more"`
}

// Thread goes through a thread, the first post first and the replies in the order in which they came. root may be any post
// of it.
func (h HistoryCalls) Thread(ctx context.Context, conv string, root uint64) iter.Seq2[ThreadPost, error] {
	return each(ctx, func(ctx context.Context, o ListOptions) (PageOf[ThreadPost], error) {
		p, err := h.ThreadPage(ctx, conv, root, o)
		return p.PageOf, err
	})
}

// ThreadPage is one page of [HistoryCalls.Thread]: 50 posts, at most 500.
func (h HistoryCalls) ThreadPage(ctx context.Context, conv string, root uint64, o ListOptions) (ThreadPage, error) {
	after, err := seqAfter(o)
	if err != nil {
		return ThreadPage{}, err
	}
	reply, err := call[wireThread](ctx, h.Via, "thread", wireThreadAsk{conv, root, after, o.Limit})
	posts := make([]ThreadPost, len(reply.Events))
	for i, row := range reply.Events {
		posts[i] = ThreadPost{row.Depth, row.Edited, eventOf(row.Event)}
	}
	return ThreadPage{
		PageOf: pagedBy(posts, reply.More, func(p *ThreadPost) string { return seqName(p.Event.Seq) }),
		Root:   reply.Root, Count: reply.Count, Users: reply.Users, Participants: reply.Participants,
		LastSeq: reply.Last.Seq, LastAt: reply.Last.At, Unread: reply.Unread,
	}, err
}

// ReactionCount is an emoji on a message, and who put it there.
type ReactionCount struct {
	Emoji string   `json:"emoji"`
	Count uint64   `json:"count"` // users
	Me    bool     `json:"me,omitempty"`
	Users []string `json:"users"` // the first ten, in byte order
}

type wireReactionsAsk struct {
	Conv  string `json:"conv"`
	Seq   uint64 `json:"seq"`
	Emoji string `json:"emoji,omitempty"`
	wirePage
}

type wireReactions struct {
	Reactions []ReactionCount `json:"reactions"`
	More      bool            `json:"more"`
}

// Reactions goes through the emoji on a post.
func (h HistoryCalls) Reactions(ctx context.Context, conv string, seq uint64) iter.Seq2[ReactionCount, error] {
	return each(ctx, func(ctx context.Context, o ListOptions) (PageOf[ReactionCount], error) {
		return h.ReactionsPage(ctx, conv, seq, o)
	})
}

// ReactionsPage is one page of [HistoryCalls.Reactions]: 50 emoji, at most 200.
func (h HistoryCalls) ReactionsPage(ctx context.Context, conv string, seq uint64, o ListOptions) (PageOf[ReactionCount], error) {
	reply, err := call[wireReactions](ctx, h.Via, "reactions", wireReactionsAsk{conv, seq, "", o.wire()})
	return pagedBy(reply.Reactions, reply.More, func(r *ReactionCount) string { return r.Emoji }), err
}

// Reactors goes through all users who put one emoji on a post.
func (h HistoryCalls) Reactors(ctx context.Context, conv string, seq uint64, emoji string) iter.Seq2[string, error] {
	return each(ctx, func(ctx context.Context, o ListOptions) (PageOf[string], error) {
		return h.ReactorsPage(ctx, conv, seq, emoji, o)
	})
}

// ReactorsPage is one page of [HistoryCalls.Reactors]: 100 users, at most 1,000.
func (h HistoryCalls) ReactorsPage(ctx context.Context, conv string, seq uint64, emoji string, o ListOptions) (PageOf[string], error) {
	reply, err := call[wireReactions](ctx, h.Via, "reactions", wireReactionsAsk{conv, seq, emoji, o.wire()})
	var users []string
	if len(reply.Reactions) > 0 {
		users = reply.Reactions[0].Users
	}
	return pagedBy(users, reply.More, func(u *string) string { return *u }), err
}

type wireSeqAsk struct {
	Conv  string `json:"conv"`
	Seq   uint64 `json:"seq"`
	After uint64 `json:"after,omitempty"`
	Limit int    `json:"limit,omitempty"`
}

// Edits goes through the versions of a post as they were: the post itself, then its edits.
func (h HistoryCalls) Edits(ctx context.Context, conv string, seq uint64) iter.Seq2[chat.Event, error] {
	return each(ctx, func(ctx context.Context, o ListOptions) (PageOf[chat.Event], error) {
		return h.EditsPage(ctx, conv, seq, o)
	})
}

// EditsPage is one page of [HistoryCalls.Edits]: 50 versions, at most 500.
func (h HistoryCalls) EditsPage(ctx context.Context, conv string, seq uint64, o ListOptions) (PageOf[chat.Event], error) {
	type versions struct {
		Seq      uint64          `json:"seq"`
		Versions protocol.Events `json:"versions"`
		More     bool            `json:"more"`
	}
	after, err := seqAfter(o)
	if err != nil {
		return PageOf[chat.Event]{}, err
	}
	reply, err := call[versions](ctx, h.Via, "edits", wireSeqAsk{conv, seq, after, o.Limit})
	return pagedBy(reply.Versions.List, reply.More, func(e *chat.Event) string { return seqName(e.Seq) }), err
}

// PinnedPost is a post that is pinned, with its newest text.
type PinnedPost struct {
	By     string // who pinned it
	At     Millis // when
	Edited Millis // when the text became this; 0: it was never edited
	Event  chat.Event
}

type wirePinsAsk struct {
	Conv  string `json:"conv"`
	After uint64 `json:"after,omitempty"`
	Limit int    `json:"limit,omitempty"`
}

type wirePins struct {
	Pins []struct {
		By     string              `json:"by"`
		At     Millis              `json:"at"`
		Edited Millis              `json:"edited"`
		Event  protocol.EventReply `json:"event"`
	} `json:"pins"`
	More bool `json:"more"`
}

// Pins goes through what is pinned in a conversation, in the order of the posts.
func (h HistoryCalls) Pins(ctx context.Context, conv string) iter.Seq2[PinnedPost, error] {
	return each(ctx, func(ctx context.Context, o ListOptions) (PageOf[PinnedPost], error) { return h.PinsPage(ctx, conv, o) })
}

// PinsPage is one page of [HistoryCalls.Pins]: 50 posts, at most 100.
func (h HistoryCalls) PinsPage(ctx context.Context, conv string, o ListOptions) (PageOf[PinnedPost], error) {
	after, err := seqAfter(o)
	if err != nil {
		return PageOf[PinnedPost]{}, err
	}
	reply, err := call[wirePins](ctx, h.Via, "pins", wirePinsAsk{conv, after, o.Limit})
	rows := make([]PinnedPost, len(reply.Pins))
	for i, p := range reply.Pins {
		rows[i] = PinnedPost{p.By, p.At, p.Edited, eventOf(p.Event)}
	}
	return pagedBy(rows, reply.More, func(p *PinnedPost) string { return seqName(p.Event.Seq) }), err
}
