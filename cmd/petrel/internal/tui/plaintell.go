package tui

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
)

// changed takes an update of the client's, and tells what is new.
func (p *plain) changed(ctx context.Context, u client.Update) {
	switch u.Kind {
	case client.UpdateStatus:
		p.status()
	case client.UpdateMessages, client.UpdateOutbox:
		p.news(ctx, u.Conv)
	case client.UpdateConversation:
		if row, err := p.c.Conversation(ctx, p.conv); err == nil && u.Conv == p.conv {
			p.titled(row)
		}
	case client.UpdateMembers:
		if u.Conv == p.conv {
			p.news(ctx, u.Conv)
		}
	case client.UpdateTyping:
		if u.Conv == p.conv && !p.quiet {
			if now := typists(without(p.c.Typing(u.Conv), p.c.Me())); now != p.types {
				if p.types = now; now != "" {
					p.say("%s", now)
				}
			}
		}
	case client.UpdateRefused:
		if u.Err != nil && u.ID == "" { // a message's state tells by itself
			p.say("Refused: %s", words(u.Err))
		}
	}
}

// titled takes what is known of the open conversation, and says how it is called, once that is known or has changed.
func (p *plain) titled(row client.Conversation) {
	old := p.row.Title
	if row.Title == row.ID && !row.Direct { // not known yet
		row.Title = old
	}
	if p.row = row; row.Title != old {
		p.say("-- %s --", p.title(&row))
	}
}

// manyMissed is from how many events on catching up is told of: less is over before it is said.
const manyMissed = 500

// status tells how this device stands to the server, when that changed: not each event of catching up.
func (p *plain) status() {
	s := p.c.Status()
	if s.State == client.Connecting || s.State == client.CatchingUp && s.Total < manyMissed || s.State == client.Offline && s.Err == nil {
		return
	}
	now := s.State.String()
	if s.Err != nil {
		now += ": " + words(s.Err)
	}
	if now != p.state {
		p.state = now
		p.say("%s.", now)
	}
}

// news tells what is new in a conversation: messages, and what happened to those of the one that is open.
func (p *plain) news(ctx context.Context, conv string) {
	msgs, err := p.c.Messages(ctx, conv, client.Page{Limit: lookBack})
	if err != nil {
		if !errors.Is(err, client.ErrNotFound) {
			p.say("%s", words(err))
		}
		return
	}
	row, err := p.c.Conversation(ctx, conv)
	if err != nil {
		return
	}
	if conv == p.conv {
		p.titled(row)
		p.tellAll(msgs, &row)
		p.read(ctx, msgs)
		return
	}
	from, ok := p.began[conv]
	if !ok {
		from = row.Read
	}
	for i := range msgs {
		if x := &msgs[i]; x.Seq > from && !x.Mine && x.Kind == chat.KindPost && !row.Muted {
			p.message(x, "["+row.Title+"] ")
		}
	}
	p.began[conv] = max(from, lastSeq(msgs))
}

// tellAll tells of the newest messages of the open conversation what was not told yet.
func (p *plain) tellAll(msgs []client.Message, row *client.Conversation) {
	before := p.said[row.ID]
	now := make(map[string]told, len(msgs))
	for i := range msgs {
		key := keyOf(&msgs[i])
		now[key] = tellOf(&msgs[i])
		old, known := before[key]
		if !known && p.act.wrote.take(key) && !now[key].way { // it was sent before one looked
			old, known = told{text: now[key].text, way: true}, true
		}
		switch {
		case !known && now[key].way && msgs[i].State != client.StateFailed: // typed just now
			if !p.quiet && p.c.Status().State < client.CatchingUp {
				p.say("queued until there is a connection.")
			}
		case !known && (msgs[i].Seq == 0 || msgs[i].Seq >= p.first):
			p.message(&msgs[i], "")
		case known:
			p.tell(&msgs[i], old, now[key])
		}
	}
	p.said[row.ID] = now
	p.began[row.ID] = max(p.began[row.ID], lastSeq(msgs))
}

// tellOf is what there is to be told of a message.
func tellOf(x *client.Message) told {
	var emoji []string
	for _, r := range x.Reactions {
		who := strings.Join(r.Users, " ")
		if more := r.Count - len(r.Users); more > 0 {
			who += fmt.Sprintf(" and %d more", more)
		}
		emoji = append(emoji, r.Emoji+" "+who)
	}
	return told{
		text: summary(x), state: stateWords(x), reactions: strings.Join(emoji, ", "), deleted: x.Deleted,
		way: x.State == client.StateQueued || x.State == client.StateSending || x.State == client.StateFailed,
	}
}

// stateWords says how far a message of one's own has come.
func stateWords(x *client.Message) string {
	switch {
	case !x.Mine || x.Kind != chat.KindPost || x.Deleted:
		return ""
	case x.State == client.StateFailed:
		return "not sent: " + x.Reason + " (/retry, or /cancel)"
	case x.State == client.StateRead && x.Of > 1:
		return "read by all"
	case x.Of > 1 && x.Read > 0:
		return fmt.Sprintf("read by %d of %d", x.Read, x.Of)
	case x.Of > 1 && x.Delivered > 0 && x.State != client.StateDelivered:
		return fmt.Sprintf("delivered to %d of %d", x.Delivered, x.Of)
	}
	return x.State.String()
}

// tell tells how a message has changed.
func (p *plain) tell(x *client.Message, old, now told) {
	switch {
	case now.deleted && !old.deleted:
		p.say("%s deleted %s.", p.writer(x), name(x))
	case now.text != old.text:
		p.block(fmt.Sprintf("%s is now: ", name(x)), now.text)
	}
	p.progress(x, old, now)
	if now.reactions != old.reactions {
		if now.reactions == "" {
			now.reactions = "none"
		}
		p.say("Reactions to %s: %s", name(x), now.reactions)
	}
}

// progress tells how far a message of one's own has come. That it was sent is told of each, with its number.
func (p *plain) progress(x *client.Message, old, now told) {
	switch {
	case now.state == old.state || now.state == "" || x.State == client.StateSending:
	case x.State == client.StateFailed:
		p.say("%s %s: %s", name(x), now.state, now.text)
	case p.quiet:
	case old.way && !now.way:
		p.block(name(x)+" sent: ", now.text)
		if x.State != client.StateSent {
			p.say("%s: %s", name(x), now.state)
		}
	default:
		p.say("%s: %s", name(x), now.state)
	}
}

// message reads a message out.
func (p *plain) message(x *client.Message, where string) {
	if x.Kind != chat.KindPost {
		p.say("%s%s, %s", where, happened(x), p.p.clock(x.At))
		return
	}
	head := fmt.Sprintf("%s%s %s, %s", where, name(x), p.writer(x), p.p.clock(x.At))
	if s := stateWords(x); s != "" {
		head += ", " + s
	}
	if x.Re > 0 {
		head += fmt.Sprintf(", reply to #%d", x.Re)
	}
	if x.Replies > 0 {
		head += ", " + count(x.Replies, "reply", "replies")
	}
	if slices.Contains(x.Mentions, p.c.Me()) {
		head += ", mentions you"
	}
	if !x.Edited.IsZero() {
		head += ", edited"
	}
	p.block(head+": ", summary(x))
	if r := tellOf(x).reactions; r != "" {
		p.say("    reactions: %s", r)
	}
}

func (p *plain) writer(x *client.Message) string {
	if x.Mine {
		return "you"
	}
	return x.From
}

// name is how a message is called.
func name(x *client.Message) string {
	if x.Seq == 0 {
		return "(new)"
	}
	return "#" + strconv.FormatUint(x.Seq, 10)
}
