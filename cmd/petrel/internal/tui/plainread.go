package tui

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/petrelchat/petrel/client"
)

// more reads out messages before those that were read out, and gets them from the server if need be.
func (p *plain) more(ctx context.Context, args string) {
	n := shownMost
	if args != "" {
		var err error
		if n, err = strconv.Atoi(args); err != nil || n < 1 || n > lookBack {
			p.say("Say how many: /more, or /more %d at most", lookBack)
			return
		}
	}
	if p.conv == "" {
		p.say("Open a conversation first: /to USER or GROUP")
		return
	}
	c, conv, first := p.c, p.conv, p.first
	if first == 0 {
		p.say("There are no older messages.")
		return
	}
	p.beside(ctx, func() func() {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		page := client.Page{Before: first, Limit: n}
		msgs, err := c.Messages(ctx, conv, page)
		if err == nil && len(msgs) < n {
			if row, e := c.Conversation(ctx, conv); e == nil && row.Earlier {
				if _, err = c.Earlier(ctx, conv, pageLoad); err == nil {
					msgs, err = c.Messages(ctx, conv, page)
				}
			}
		}
		return func() {
			if conv == p.conv && first == p.first {
				p.older(msgs)
			}
			if err != nil {
				p.say("%s", words(err))
			}
		}
	})
}

func (p *plain) older(msgs []client.Message) {
	if len(msgs) == 0 {
		p.say("There are no older messages.")
		return
	}
	p.say("-- older --")
	for i := range msgs {
		p.message(&msgs[i], "")
	}
	p.first = firstSeq(msgs)
	p.say("-- newer messages were read out before --")
}

// around reads out what stands around a message, wherever that is.
func (p *plain) around(ctx context.Context, args string) {
	seq, err := strconv.ParseUint(strings.TrimPrefix(args, "#"), 10, 64)
	switch {
	case p.conv == "":
		p.say("Open a conversation first: /to USER or GROUP")
		return
	case err != nil || seq == 0:
		p.say("Say around which message: /around #12")
		return
	}
	c, conv := p.c, p.conv
	p.beside(ctx, func() func() {
		w, err := reachHere(ctx, c, conv, seq)
		if errors.Is(err, client.ErrNotFound) {
			if c.Status().State == client.Offline {
				err = notHere(seq)
			} else {
				w, err = reachThere(ctx, c, conv, seq)
			}
		}
		return func() {
			if err != nil {
				p.say("%s", words(err))
				return
			}
			p.place(w.msgs, seq)
		}
	})
}

// place reads out the messages next to one.
func (p *plain) place(msgs []client.Message, seq uint64) {
	at := slices.IndexFunc(msgs, func(x client.Message) bool { return x.Seq >= seq })
	if at < 0 || msgs[at].Seq != seq {
		p.say("#%d is gone: this is what was around it.", seq)
	}
	if at < 0 {
		at = len(msgs)
	}
	p.say("-- around #%d --", seq)
	for i := max(at-shownMost/2, 0); i < min(at+shownMost/2+1, len(msgs)); i++ {
		p.message(&msgs[i], "")
	}
	p.say("-- that was around #%d --", seq)
}

// readThread reads a thread out, and makes it the place where what is typed goes; without a number, it leaves the one that is open.
func (p *plain) readThread(ctx context.Context, args string) {
	switch {
	case p.conv == "":
		p.say("Open a conversation first: /to USER or GROUP")
		return
	case p.thread != 0 && args == "":
		p.thread = 0
		p.say("-- %s --", p.title(&p.row))
		return
	}
	act, conv := p.act, p.conv
	p.beside(ctx, func() func() {
		var msgs []client.Message
		var note string
		root, err := act.threadRoot(ctx, conv, client.Target{}, args)
		if err == nil {
			root, msgs, note, err = act.thread(ctx, conv, root)
		}
		return func() {
			switch {
			case err != nil:
				p.say("%s", words(err))
				return
			case conv != p.conv:
				return
			}
			p.thread = root
			p.say("-- thread of #%d, %s%s: what you type goes there; /thread leaves it --", root, count(threadReplies(msgs), "reply", "replies"), note)
			for i := range msgs {
				p.message(&msgs[i], "")
			}
		}
	})
}

// search reads out what was found: on the server, or on this device when there is no answer.
func (p *plain) search(ctx context.Context, args string) {
	what, everywhere := strings.CutPrefix(args, "*")
	what = strings.TrimSpace(what)
	conv := p.conv
	if everywhere {
		conv = ""
	}
	if what == "" {
		p.say("Say what to look for: /search climb, or everywhere: /search * climb")
		return
	}
	act := p.act
	p.beside(ctx, func() func() {
		hits, note, err := act.findThere(ctx, what, conv)
		if err != nil {
			why := words(err)
			if hits, err = act.findHere(ctx, what, conv); err == nil {
				note = noteOf("on this device ("+why+")", len(hits), nil)
			} else {
				note = words(err)
			}
		}
		return func() { p.found(hits, note, conv) }
	})
}

func (p *plain) found(hits []hit, note, conv string) {
	p.say("Found %s.", note)
	for _, h := range hits {
		var text strings.Builder
		for _, s := range h.text {
			text.WriteString(s.text)
		}
		where := ""
		if conv == "" {
			where = "[" + h.conv + "] "
			if direct, peer := peerOf(h.conv, p.c.Me()); direct {
				where = "[" + peer + "] "
			}
		}
		p.say("%s#%d %s, %s: %s", where, h.seq, h.from, p.p.seen(h.at, p.o.Now()), text.String())
	}
}

// title is a conversation in words.
func (p *plain) title(c *client.Conversation) string {
	if !c.Direct {
		return "group " + c.Title
	}
	if s := p.c.Presence(c.Peer).State; s != "" {
		return c.Title + ", " + s
	}
	return c.Title
}

// list reads out the conversations.
func (p *plain) list(ctx context.Context, which string) {
	lists := map[string]client.List{"": client.ListInbox, "archive": client.ListArchive, "requests": client.ListRequests, "former": client.ListFormer}
	l, ok := lists[which]
	if !ok {
		p.say("There are these lists: /list, /list archive, /list requests, /list former")
		return
	}
	rows, err := p.c.Conversations(ctx, client.ConversationsQuery{List: l, Limit: listStep})
	switch {
	case err != nil:
		p.say("%s", words(err))
	case len(rows) == 0:
		p.say("No conversations here.")
	}
	for i := range rows {
		c := &rows[i]
		notes := []string{p.title(c)}
		for _, n := range []struct {
			is   bool
			text string
		}{
			{c.Pinned, "on top"}, {c.Unread > 0, fmt.Sprint(c.Unread, " unread")}, {c.Mentions > 0, "you are mentioned"}, {c.Muted, "muted"},
			{c.Pending, "message request"}, {c.Queued > 0, fmt.Sprint(c.Queued, " waiting")}, {c.Draft != "", "draft"},
		} {
			if n.is {
				notes = append(notes, n.text)
			}
		}
		if !c.Direct && !strings.EqualFold(c.Title, c.ID) {
			notes = append(notes, "/to "+c.ID)
		}
		p.say("* %s", strings.Join(notes, ", "))
	}
}

// who reads out the members.
func (p *plain) who(ctx context.Context) {
	members, err := p.c.Members(ctx, p.conv)
	if p.conv == "" || err != nil {
		p.say("Open a conversation first: /to USER or GROUP")
		return
	}
	for i := range members {
		x := &members[i]
		if x.Left {
			continue
		}
		notes := []string{x.User}
		if x.Role != "" && x.Role != "member" {
			notes = append(notes, x.Role)
		}
		if s := p.c.Presence(x.User).State; s != "" && x.User != p.c.Me() {
			notes = append(notes, s)
		}
		for _, s := range progress(x, p.row.Head) {
			notes = append(notes, s.text)
		}
		p.say("* %s", strings.Join(notes, ", "))
	}
}
