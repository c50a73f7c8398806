package client

import (
	"context"
	"errors"
	"time"
	"unicode/utf8"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/internal/link"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/protocol"
)

// What follows works without a connection: it holds on this device at once, and the server is told the newest value
// when there is one.

// MarkRead notes that the user has read a conversation up to seq; a later one is taken for the newest. The cursor never goes back.
func (c *Client) MarkRead(ctx context.Context, conv string, seq uint64) error {
	return c.update(ctx, func(ch *change) error {
		l, err := ch.existing(conv)
		if err != nil {
			return err
		}
		if seq = min(seq, l.row.Head); seq <= readOf(&l.row) {
			return nil
		}
		l.row.ReadWanted, l.recount = seq, true
		return ch.wish(conv, wishRead, nil)
	})
}

// existing is a conversation that must be known.
func (ch *change) existing(conv string) (*log, error) {
	l, err := ch.conv(conv)
	if err == nil && !l.known {
		return nil, ErrNotFound
	}
	return l, err
}

// SetDraft keeps what the user is writing, on all devices; "" clears it. The direct conversation with somebody need not have
// begun.
func (c *Client) SetDraft(ctx context.Context, conv, text string) error {
	if err := c.writable(conv); err != nil {
		return err
	}
	if len(text) > protocol.MaxText || !utf8.ValidString(text) {
		return chat.Refuse(chat.TooLarge, "a draft is UTF-8 of at most %d bytes", protocol.MaxText)
	}
	return c.update(ctx, func(ch *change) error {
		l, err := ch.conv(conv)
		if err != nil {
			return err
		}
		if !l.known && l.row.Kind == "group" {
			return ErrNotFound
		}
		if l.row.Draft == text {
			return nil
		}
		l.row.Draft, l.row.DraftAt, l.row.DraftDirty, l.changed = text, ch.millis(), true, true
		return ch.wish(conv, wishDraft, nil)
	})
}

// Mute lets a conversation notify nobody: until a time, or for good if that is zero. muted false ends it.
func (c *Client) Mute(ctx context.Context, conv string, muted bool, until time.Time) error {
	return c.put(ctx, conv, wishMute, func(row *store.Conversation) {
		switch {
		case !muted:
			row.Mute = 0
		case until.IsZero():
			row.Mute = -1
		default:
			row.Mute = max(until.UnixMilli(), 0)
		}
	})
}

// Archive moves a conversation to the archive, or back.
func (c *Client) Archive(ctx context.Context, conv string, archived bool) error {
	return c.put(ctx, conv, wishArchive, func(row *store.Conversation) { row.Archived = archived })
}

// PinConversation keeps a conversation on top of the list.
func (c *Client) PinConversation(ctx context.Context, conv string, pinned bool) error {
	return c.put(ctx, conv, wishPin, func(row *store.Conversation) { row.Pinned = pinned })
}

func (c *Client) put(ctx context.Context, conv, name string, set func(*store.Conversation)) error {
	return c.update(ctx, func(ch *change) error {
		l, err := ch.existing(conv)
		if err != nil {
			return err
		}
		set(&l.row)
		l.changed = true
		return ch.wish(conv, name, nil)
	})
}

// What follows is for the moment: without a connection it is ErrOffline.

// SetTyping shows the others that the user types, or stopped. Call it as often as there is a key; the server tells
// them at most every two seconds.
func (c *Client) SetTyping(ctx context.Context, conv string, typing bool) error {
	if err := c.writable(conv); err != nil {
		return err
	}
	p := link.Publish{Topic: "c/" + conv + "/typing"}
	if typing {
		p.Payload = []byte{'1'}
	}
	return c.fleet(ctx, p, 0)
}

// SetStatus sets the user's own presence: state is "online" or "away", text at most 256 bytes; both empty clear it.
func (c *Client) SetStatus(ctx context.Context, state, text string) error {
	if state != "" && state != protocol.StateOnline && state != protocol.StateAway {
		return chat.Refuse(chat.BadRequest, "state is online or away")
	}
	if len(text) > protocol.MaxStatus || !utf8.ValidString(text) {
		return chat.Refuse(chat.BadRequest, "text is UTF-8 of at most %d bytes", protocol.MaxStatus)
	}
	p := link.Publish{Topic: "u/" + c.me + "/status"}
	if state != "" || text != "" {
		p.Payload = protocol.Presence{State: orElse(state, protocol.StateOnline), Text: text}.Append(nil)
	}
	return c.fleet(ctx, p, 1)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// fleet publishes what is not kept.
func (c *Client) fleet(ctx context.Context, p link.Publish, qos byte) error {
	if err := c.alive(); err != nil {
		return err
	}
	p.QoS = qos
	err := (&chores{c.core}).publish(ctx, p)
	if errors.Is(err, link.ErrDown) || errors.Is(err, link.ErrLost) {
		return ErrOffline
	}
	return err
}

// Presence returns whether somebody is there, as far as is known now; an UpdatePresence tells when more is known.
func (c *Client) Presence(user string) Presence {
	p, first := c.live.presence(user)
	if first {
		c.greet() // from now on it is of interest
	}
	return p
}

// Typing returns who is typing in a conversation now, oneself aside.
func (c *Client) Typing(conv string) []string { return c.live.who(conv) }
