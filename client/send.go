package client

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/protocol"
)

// Post is what somebody writes. One of Text, Attachments and Ext must be there.
type Post struct {
	Text     string
	Re       Target        // what it replies to; the zero value: nothing
	Mentions []string      // user ids of members
	Expire   time.Duration // after which it disappears, whole seconds; 0: the conversation's setting
	// ID is the idempotency key, at most 64 bytes: the same post with the same ID is sent once, also if Post is called
	// again after a crash. "": a random one is made.
	ID          string
	Ext         []byte // CBOR map, at most 4 KiB
	Attachments []Attachment
}

// Send writes a text to a conversation: see [Client.Post].
func (c *Client) Send(ctx context.Context, conv, text string) (Message, error) {
	return c.Post(ctx, conv, Post{Text: text})
}

// Post writes to a conversation. When it returns, the message is on this device's disk and will be sent, now or when there is
// a connection, also if the program ends before. The message that it returns has the ID by which Cancel, Retry and Sent know it.
// The conversation with one other user is named by [Client.Direct]. What can't be right is refused at once, with a
// *chat.Refusal; what the server refuses later becomes StateFailed, and an UpdateRefused.
func (c *Client) Post(ctx context.Context, conv string, p Post) (m Message, err error) {
	ms, err := c.PostAll(ctx, conv, p)
	if len(ms) > 0 {
		m = ms[0]
	}
	return m, err
}

// PostAll is Post for several messages, in this order, with one sync of the disk for all of them. If one can't be right, those before it
// are queued and returned with the error, and those after it are not queued.
func (c *Client) PostAll(ctx context.Context, conv string, posts ...Post) (ms []Message, err error) {
	var outs []store.Outgoing
	var wrong error
	for i := range posts {
		out, err := c.outgoingPost(conv, &posts[i])
		if wrong = err; err != nil {
			break
		}
		outs = append(outs, out)
	}
	if len(outs) == 0 {
		return nil, wrong
	}
	err = c.update(ctx, func(ch *change) error {
		ms = ms[:0]
		for i := range outs {
			m, err := ch.enqueue(outs[i])
			if no := new(chat.Refusal); errors.As(err, &no) {
				wrong = no // nothing of it was written
				return nil
			}
			if err != nil {
				return err
			}
			ms = append(ms, m)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ms, wrong
}

func (c *core) outgoingPost(conv string, p *Post) (out store.Outgoing, err error) {
	ev := chat.Event{Kind: chat.KindPost, ID: p.ID, Text: p.Text, Mentions: slices.Clone(p.Mentions), Ext: slices.Clone(p.Ext)}
	if p.Expire < 0 || p.Expire%time.Second != 0 {
		return out, chat.Refuse(chat.BadRequest, "expire is whole seconds")
	}
	ev.Expire = uint64(p.Expire / time.Second)
	return c.outgoing(conv, ev, p.Re, p.Attachments)
}

// Edit gives a message of one's own a new text. One that is only queued is changed in place.
func (c *Client) Edit(ctx context.Context, conv string, t Target, text string) (Message, error) {
	if t.Seq == 0 {
		if m, ok, err := c.rewrite(ctx, conv, t.ID, text); ok || err != nil {
			return m, err
		}
	}
	return c.act(ctx, conv, t, chat.Event{Kind: chat.KindEdit, Text: text})
}

// Delete withdraws a message for everyone. One that is only queued is taken out of the outbox.
func (c *Client) Delete(ctx context.Context, conv string, t Target) (Message, error) {
	if t.Seq == 0 {
		m, err := c.Message(ctx, conv, t)
		if err != nil {
			return m, err
		}
		if m.State == StateQueued || m.State == StateFailed {
			err := c.remove(ctx, t.ID)
			if !errors.Is(err, ErrMaybeSent) && !errors.Is(err, ErrNotQueued) { // else it left just now
				m.Deleted = err == nil
				return m, err
			}
		}
	}
	return c.act(ctx, conv, t, chat.Event{Kind: chat.KindDelete})
}

// React puts an emoji on a message.
func (c *Client) React(ctx context.Context, conv string, t Target, emoji string) (Message, error) {
	return c.act(ctx, conv, t, chat.Event{Kind: chat.KindReact, Emoji: emoji})
}

// Unreact takes an emoji away that the user put on a message.
func (c *Client) Unreact(ctx context.Context, conv string, t Target, emoji string) (Message, error) {
	return c.act(ctx, conv, t, chat.Event{Kind: chat.KindUnreact, Emoji: emoji})
}

// Pin pins a message for all members.
func (c *Client) Pin(ctx context.Context, conv string, t Target) (Message, error) {
	return c.act(ctx, conv, t, chat.Event{Kind: chat.KindPin})
}

// Unpin takes a pin away.
func (c *Client) Unpin(ctx context.Context, conv string, t Target) (Message, error) {
	return c.act(ctx, conv, t, chat.Event{Kind: chat.KindUnpin})
}

// act queues what is done to a message. It is sent after the message, if that is queued itself.
func (c *Client) act(ctx context.Context, conv string, t Target, ev chat.Event) (Message, error) {
	if t.Zero() {
		return Message{}, chat.Refuse(chat.BadRequest, "the message that this is about is missing: name it by seq or id")
	}
	if ev.Kind == chat.KindReact || ev.Kind == chat.KindUnreact {
		emoji, ok := chat.Emoji(ev.Emoji)
		if !ok {
			return Message{}, chat.Refuse(chat.BadRequest, "a reaction is exactly one emoji")
		}
		ev.Emoji = emoji
	}
	out, err := c.outgoing(conv, ev, t, nil)
	if err != nil {
		return Message{}, err
	}
	var m Message
	err = c.update(ctx, func(ch *change) error {
		m, err = ch.enqueue(out)
		return err
	})
	return m, err
}

// outgoing checks an event and makes an entry of the outbox of it.
func (c *core) outgoing(conv string, ev chat.Event, t Target, att []Attachment) (out store.Outgoing, err error) {
	if err := c.writable(conv); err != nil {
		return out, err
	}
	if ev.ID == "" {
		ev.ID = newID()
	}
	if ev.Re = t.Seq; ev.Re > store.MaxSeq {
		return out, chat.Refuse(chat.BadRequest, "there is no such message: check its seq")
	}
	if err := checkEvent(ev, t, att); err != nil {
		return out, err
	}
	out = store.Outgoing{ID: ev.ID, Conv: conv, Event: ev, Attachments: slices.Clone(att), At: c.millis()}
	if t.Seq == 0 {
		out.ReID = t.ID
	}
	return out, nil
}

// checkEvent refuses what the server would.
func checkEvent(ev chat.Event, t Target, att []Attachment) error {
	if ev.Re == 0 && t.ID != "" {
		ev.Re = 1 // will be known
	}
	if len(att) > 0 && ev.Text == "" {
		ev.Text = "." // media will be there
	}
	if len(att) > 64 {
		return chat.Refuse(chat.TooLarge, "a message has at most 64 attachments")
	}
	return validEvent(&ev)
}

// enqueue puts an event at the end of the outbox. One with the same id that is there, or has been sent, stands for it.
func (ch *change) enqueue(out store.Outgoing) (m Message, err error) {
	if old, err := ch.tx.EventByID(out.Conv, out.ID); err == nil {
		return ch.message(&old), nil
	} else if !errors.Is(err, store.ErrNotFound) {
		return m, err
	}
	if old, err := ch.tx.Outgoing(out.ID); err == nil {
		if old.Conv != out.Conv {
			return m, chat.Refuse(chat.Conflict, "another message in the outbox has this id: use a new one")
		}
		return ch.pending(&old), nil
	} else if !errors.Is(err, store.ErrNotFound) {
		return m, err
	}
	if out.ReID != "" {
		if _, err := resolve(ch.tx, &out); err != nil {
			return m, err
		}
	}
	l, err := ch.conv(out.Conv)
	if err != nil {
		return m, err
	}
	if l.known || l.row.Kind == "direct" {
		if out.Event.Kind == chat.KindPost {
			l.row.At = max(l.row.At, out.At) // to the top of the list
		}
		l.changed = true
	}
	if err := ch.tx.Enqueue(&out); err != nil {
		return m, err
	}
	ch.queued++
	ch.toldOut(&out)
	return ch.pending(&out), nil
}

// writable refuses conversations that can't be or are others'.
func (c *core) writable(conv string) error {
	if !protocol.ValidConv(conv) {
		return chat.Refuse(chat.BadRequest, "a conversation is a group's id, or that of two users as Client.Direct gives it")
	}
	if a, b, direct := chat.Parties(conv); direct && a != c.me && b != c.me {
		return chat.NoSuchConversation()
	}
	return nil
}

// newID makes an idempotency key: 10 random bytes in letters and digits. It goes over the wire twice, and need differ
// only from those that the same user gives to other events of the same conversation.
func newID() string {
	b := make([]byte, 10)
	_, _ = rand.Read(b) // never fails
	return strings.ToLower(base32.StdEncoding.EncodeToString(b))
}
