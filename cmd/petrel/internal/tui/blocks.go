package tui

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
)

// block is a message as rows.
type block struct {
	key   string
	rows  []row
	rules int // so many of the first rows are not the message's: the day, where it begins to be new
}

// keyOf names a message for as long as it is shown: its seq comes later than its id.
func keyOf(m *client.Message) string {
	if m.ID != "" && m.Mine {
		return m.ID
	}
	return fmt.Sprint("#", m.Seq)
}

// gap is the time after which the name of who writes on is shown again.
const gap = 5 * time.Minute

// typesetter makes blocks of the messages of a conversation.
type typesetter struct {
	p      *painter
	width  int
	now    time.Time
	direct bool
	fresh  uint64 // seq of the last message that had been read when the conversation was opened; 0: none is new
	thread uint64 // seq of the first post, if only a thread is shown
	byKey  map[uint64]*client.Message
}

// set makes the block of a message that follows prev; nil: it is the first one here.
func (t *typesetter) set(m, prev *client.Message) block {
	var rows []row
	day := prev == nil || t.p.day(prev.At, t.now) != t.p.day(m.At, t.now)
	if day {
		rows = append(rows, t.rule(t.p.day(m.At, t.now), lookDim))
	}
	unread := t.fresh > 0 && m.Seq > t.fresh && !m.Mine && (prev == nil || prev.Seq <= t.fresh)
	if unread {
		rows = append(rows, t.rule("new", lookNote))
	}
	rules := len(rows)
	if m.Kind != chat.KindPost {
		for _, r := range t.p.wrap(lookDim, happened(m), t.width-4) {
			rows = append(rows, append(row{{lookDim, "  · "}}, r...))
		}
		return block{keyOf(m), rows, rules}
	}
	if day || unread || prev.Kind != chat.KindPost || prev.From != m.From || m.At.Sub(prev.At) > gap {
		rows = append(rows, row{t.p.name(m.From, m.Mine), {lookDim, " " + t.p.clock(m.At)}})
	}
	rows = append(rows, t.quote(m)...)
	rows = append(rows, t.body(m)...)
	if r := t.reactions(m); r != nil {
		rows = append(rows, r)
	}
	if m.Replies > 0 && t.thread == 0 {
		rows = append(rows, row{{lookDim, fmt.Sprintf("  ↳ %s", count(m.Replies, "reply", "replies"))}})
	}
	return block{keyOf(m), rows, rules}
}

// rule is a line with a word in its middle.
func (t *typesetter) rule(word string, l look) row {
	side := max((t.width-len(word)-2)/2, 1)
	return row{{l, strings.Repeat("─", side) + " " + word + " " + strings.Repeat("─", max(t.width-side-len(word)-2, 1))}}
}

// quote shows what a message replies to.
func (t *typesetter) quote(m *client.Message) []row {
	if m.Re == 0 && m.ReID == "" || t.thread != 0 && m.Re == t.thread { // in a thread, all reply to its beginning
		return nil
	}
	who, text := "", "an earlier message"
	if q := t.byKey[m.Re]; q != nil {
		who, text = q.From+": ", summary(q)
		if q.Mine {
			who = "you: "
		}
	}
	return []row{{{lookDim, "  ┃ " + who + text}}}
}

// body is the text with what is to be said of it, and at the right end how far a message of one's own has come.
func (t *typesetter) body(m *client.Message) []row {
	text, l := said(m)
	rows := t.p.wrap(l, text, t.width-2)
	for i := range rows {
		rows[i] = append(row{{lookText, "  "}}, rows[i]...)
	}
	if notes := t.notes(m); notes != "" {
		rows = t.append(rows, row{{lookDim, notes}})
	}
	if sign := t.sign(m); sign != nil {
		last := len(rows) - 1
		if t.p.width(rows[last])+t.p.width(sign)+1 <= t.width {
			rows[last] = t.p.sides(rows[last], sign, t.width)
		} else {
			rows = append(rows, t.p.sides(nil, sign, t.width))
		}
	}
	if m.State == client.StateFailed {
		for _, r := range t.p.wrap(lookAlert, "not sent: "+m.Reason, t.width-4) {
			rows = append(rows, append(row{{lookAlert, "  "}}, r...))
		}
	}
	return rows
}

// append adds to the last row what has room there, else a row.
func (t *typesetter) append(rows []row, more row) []row {
	last := len(rows) - 1
	if t.p.width(rows[last])+t.p.width(more)+1 <= t.width {
		rows[last] = append(append(rows[last], span{lookText, " "}), more...)
		return rows
	}
	return append(rows, append(row{{lookText, "  "}}, more...))
}

// said is what a message says, in words if it has none.
func said(m *client.Message) (string, look) {
	switch {
	case m.Deleted:
		return "(deleted)", lookDim
	case m.Large:
		return "(too large for this device)", lookDim
	case m.Text == "" && len(m.Media) > 0:
		return "(attachment)", lookDim
	case m.Text == "" && len(m.Event.Enc) > 0:
		return "(encrypted)", lookDim
	}
	return m.Text, lookText
}

// summary is a message in one line.
func summary(m *client.Message) string {
	if m.Kind != chat.KindPost {
		return happened(m)
	}
	text, _ := said(m)
	return text
}

func (t *typesetter) notes(m *client.Message) string {
	var notes []string
	if m.Text != "" && len(m.Media) > 0 {
		notes = append(notes, "attachment")
	}
	if m.Forward != nil {
		notes = append(notes, "forwarded")
	}
	if !m.Edited.IsZero() {
		notes = append(notes, "edited")
	}
	if m.Pinned {
		notes = append(notes, "pinned")
	}
	if !m.Expires.IsZero() && !m.Deleted {
		notes = append(notes, "until "+t.p.seen(m.Expires, t.now))
	}
	if m.Changing {
		notes = append(notes, "changing…")
	}
	if notes == nil {
		return ""
	}
	return "(" + strings.Join(notes, ", ") + ")"
}

// sign shows how far a message of one's own has come.
func (t *typesetter) sign(m *client.Message) row {
	if m.Deleted {
		return nil
	}
	switch m.State {
	case client.StateQueued:
		return row{{lookDim, "… queued"}}
	case client.StateSending:
		return row{{lookDim, "↑"}}
	case client.StateFailed:
		return row{{lookAlert, "✗"}}
	case client.StateSent, client.StateDelivered, client.StateRead:
		return t.arrived(m)
	}
	return nil
}

// arrived: in a group, how many have it or have read it, until all have.
func (t *typesetter) arrived(m *client.Message) row {
	readBy := func(n string) row {
		if t.p.colour {
			return row{{lookGood, n + "✓✓"}}
		}
		return row{{lookBold, n + "✓✓ read"}} // without colours, words tell it from what was delivered
	}
	switch {
	case m.State == client.StateRead:
		return readBy("")
	case !t.direct && m.Read > 0:
		return readBy(fmt.Sprintf("%d of %d ", m.Read, m.Of))
	case m.State == client.StateDelivered:
		return row{{lookDim, "✓✓"}}
	case !t.direct && m.Delivered > 0:
		return row{{lookDim, fmt.Sprintf("%d of %d ✓✓", m.Delivered, m.Of)}}
	}
	return row{{lookDim, "✓"}}
}

// reactionsMost is how many different ones are shown of a message.
const reactionsMost = 12

func (t *typesetter) reactions(m *client.Message) row {
	if len(m.Reactions) == 0 || m.Deleted {
		return nil
	}
	r := row{{lookText, "  "}}
	for i, x := range m.Reactions {
		if i == reactionsMost {
			r = append(r, span{lookDim, "…"})
			break
		}
		l := lookDim
		if x.Mine {
			l = lookMine
		}
		r = append(r, span{l, fmt.Sprintf("%s %d", x.Emoji, x.Count)}, span{lookText, "  "})
	}
	return r
}

// happened tells of a change of members or settings.
func happened(m *client.Message) string {
	e := &m.Event
	who := m.From
	if m.Mine {
		who = "you"
	}
	var whom, by, role string
	if e.Member != nil {
		whom, by, role = e.Member.User, e.Member.By, e.Member.Role.String()
	}
	switch m.Kind {
	case chat.KindCreate:
		return who + " created this group" + called(e)
	case chat.KindInfo:
		if e.Info != nil && e.Info.Title != nil {
			return who + " called this group " + *e.Info.Title
		}
		return who + " changed the settings"
	case chat.KindJoin:
		if by != "" && by != whom {
			return whom + " joined, invited by " + by
		}
		return whom + " joined"
	case chat.KindAdd:
		return by + " added " + whom
	case chat.KindLeave:
		return whom + " left"
	case chat.KindRemove:
		return by + " removed " + whom
	case chat.KindRole:
		return fmt.Sprintf("%s is %s now", whom, role)
	case chat.KindBan:
		return by + " banned " + whom
	case chat.KindUnban:
		return by + " lifted the ban of " + whom
	case chat.KindMute:
		if e.Member != nil && e.Member.Until == 0 {
			return whom + " may write again"
		}
		return by + " muted " + whom
	case chat.KindEnd:
		return "this group was deleted"
	case chat.KindCall:
		return "a call ended"
	case chat.KindGone:
		return "(gone)"
	case chat.KindLarge:
		return "(too large for this device)"
	}
	return "something that this version does not know happened: update petrel to see it"
}

func called(e *chat.Event) string {
	if e.Info != nil && e.Info.Title != nil {
		return ", " + *e.Info.Title
	}
	return ""
}

// count is a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + many
}

// typists says who types.
func typists(users []string) string {
	switch len(users) {
	case 0:
		return ""
	case 1:
		return users[0] + " is typing…"
	case 2, 3:
		return strings.Join(users[:len(users)-1], ", ") + " and " + users[len(users)-1] + " are typing…"
	}
	return fmt.Sprintf("%s and %d others are typing…", users[0], len(users)-1)
}

// without leaves a user out of a list.
func without(users []string, user string) []string {
	return slices.DeleteFunc(slices.Clone(users), func(u string) bool { return u == user })
}
