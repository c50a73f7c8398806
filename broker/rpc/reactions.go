package rpc

import (
	"slices"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

type reactionsParams struct {
	Conv  string `json:"conv"`
	Seq   uint64 `json:"seq"`
	Emoji string `json:"emoji"` // only this one, with all its users
	After string `json:"after"` // the last emoji of the page before; with emoji, the last user
	Limit *int64 `json:"limit"`
}

type reactionsReply struct {
	Reactions *list `json:"reactions"`
	More      bool  `json:"more"`
}

// reactionRow is an emoji and who put it there.
type reactionRow struct {
	Emoji string   `json:"emoji"`
	Count uint64   `json:"count"`
	Me    bool     `json:"me,omitempty"` // the caller is among them
	Users []string `json:"users"`        // in byte order: the first ones, or a page of them
}

// reactionUsers is how many users a row has when all emoji are shown.
const reactionUsers = 10

// pastText is behind every string in the order of keys: no user id and no UTF-8 has it.
const pastText = "\xff"

// reactions sums up the reactions to an event: each emoji in byte order with the number of its users and the
// first of them. With emoji it pages through the users of that one.
func reactions(c *call, p *reactionsParams) (any, error) {
	normal, most := 50, 200
	if p.Emoji != "" {
		normal, most = 100, 1000
	}
	limit, err := pageOf(p.Limit, normal, most)
	if err != nil {
		return nil, err
	}
	s, err := c.see(p.Conv)
	if err != nil {
		return nil, err
	}
	post, err := c.postAt(p.Conv, p.Seq, s)
	if err != nil {
		return nil, err
	}
	at := storage.ReactionsOf(p.Conv, post.Seq)
	reply := reactionsReply{Reactions: c.list(32)}
	if p.Emoji != "" {
		err = c.oneReaction(at, p, limit, &reply)
	} else {
		err = c.allReactions(at, p.After, limit, &reply)
	}
	if err != nil {
		return nil, err
	}
	return reply, c.o.Barrier()
}

func (c *call) oneReaction(at storage.Key, p *reactionsParams, limit int, reply *reactionsReply) error {
	row, err := c.reaction(at, canonical(p.Emoji))
	if err != nil || row.Count == 0 {
		return err
	}
	// A user takes at most 67 bytes.
	if row.Users, reply.More, err = c.reactors(at, row.Emoji, p.After, min(limit, max(1, (c.max-256)/67))); err == nil {
		_, err = reply.Reactions.add(&row)
	}
	return err
}

func (c *call) allReactions(at storage.Key, after string, limit int, reply *reactionsReply) error {
	if after != "" {
		after = canonical(after)
	}
	for last := after; ; {
		emoji, err := c.nextEmoji(at, last)
		if err != nil || emoji == "" {
			return err
		}
		if reply.More = len(reply.Reactions.items) == limit; reply.More {
			return nil
		}
		row, err := c.reaction(at, emoji)
		if err == nil {
			row.Users, _, err = c.reactors(at, emoji, "", reactionUsers)
		}
		if err != nil {
			return err
		}
		ok, err := reply.Reactions.add(&row)
		if err != nil || !ok {
			reply.More = !ok
			return err
		}
		last = emoji
	}
}

// nextEmoji returns the first emoji behind another; "" when there is none.
func (c *call) nextEmoji(at storage.Key, after string) (emoji string, err error) {
	err = c.o.Store.Scan(at, slices.Clone(at).Str(after).Raw(pastText), func(k storage.Key, _ []byte) bool {
		emoji, _, _ = storage.TakeStr(k[len(at):])
		return false
	})
	return emoji, err
}

// reaction returns the row of an emoji, without its users.
func (c *call) reaction(at storage.Key, emoji string) (row reactionRow, err error) {
	row = reactionRow{Emoji: emoji, Users: []string{}}
	count := func(k storage.Key) (n uint64, err error) {
		err = c.record(k, func(v []byte) error { n, err = storage.DecodeCount(v); return err })
		return n, err
	}
	if row.Count, err = count(slices.Clone(at).Str(emoji)); err != nil {
		return row, err
	}
	mine, err := count(slices.Clone(at).Str(emoji).Str(c.User))
	row.Me = mine > 0
	return row, err
}

// reactors returns who put an emoji there, behind a user.
func (c *call) reactors(at storage.Key, emoji, after string, limit int) (users []string, more bool, err error) {
	prefix := slices.Clone(at).Str(emoji)
	from := prefix
	if after != "" {
		from = slices.Clone(prefix).Str(after)
	}
	users = []string{}
	err = c.o.Store.Scan(prefix, from, func(k storage.Key, _ []byte) bool {
		user, _, ok := storage.TakeStr(k[len(prefix):])
		if more = ok && len(users) == limit; more {
			return false
		}
		if ok {
			users = append(users, user)
		}
		return true
	})
	return users, more, err
}

// canonical is the form in which an emoji is kept; anything else is its own.
func canonical(emoji string) string {
	if c, ok := chat.Emoji(emoji); ok {
		return c
	}
	return emoji
}
