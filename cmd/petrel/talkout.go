package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/cmd/petrel/internal/termtext"
	"github.com/petrelchat/petrel/protocol"
)

// writeJSON writes one line of JSON. Control characters above ASCII are escaped too: the line may well end on a terminal,
// and what a message holds is chosen by its sender.
func writeJSON(w io.Writer, v any) error {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(w, escapeC1(b.String()))
	return err
}

// escapeC1 replaces U+007F to U+009F, which JSON allows only within strings.
func escapeC1(s string) string {
	is := func(r rune) bool { return r >= 0x7f && r <= 0x9f }
	if strings.IndexFunc(s, is) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if is(r) {
			fmt.Fprintf(&b, "\\u%04x", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// list prints rows, as a table or as JSON.
type list struct {
	w     *tabwriter.Writer
	out   io.Writer
	json  bool
	heads string
	n     int
}

// newList begins a list. heads are the columns, separated by tabs.
func (t *talk) newList(heads string) *list {
	return &list{w: tabwriter.NewWriter(t.con.out, 0, 0, 2, ' ', 0), out: t.con.out, json: t.json, heads: heads}
}

// row adds a row: v for programs, cells for people. Cells are cleaned.
func (l *list) row(v any, cells ...string) error {
	l.n++
	if l.json {
		return writeJSON(l.out, v)
	}
	if l.n == 1 {
		fmt.Fprintln(l.w, l.heads)
	}
	for i, c := range cells {
		cells[i] = termtext.Line(c)
	}
	_, err := fmt.Fprintln(l.w, strings.Join(cells, "\t"))
	return err
}

// end writes the table, or nothing if it is empty.
func (l *list) end() error { return l.w.Flush() }

// say prints v as JSON, or a sentence, cleaned: parts of it may come from the server.
func (t *talk) say(v any, format string, args ...any) error {
	if t.json {
		return writeJSON(t.con.out, v)
	}
	_, err := fmt.Fprintln(t.con.out, termtext.Line(fmt.Sprintf(format, args...)))
	return err
}

// eventJSON is an event of a conversation as the contract has it, with the conversation's id in front.
type eventJSON struct {
	conv string
	ev   *chat.Event
}

// MarshalJSON implements json.Marshaler.
func (e eventJSON) MarshalJSON() ([]byte, error) {
	conv, err := json.Marshal(e.conv)
	if err != nil {
		return nil, err
	}
	line := append([]byte(`{"conv":`), conv...)
	line = append(line, ',')
	return append(line, protocol.AppendEvent(nil, protocol.ViewJSON, e.ev, true)[1:]...), nil
}

// reactionJSON is an emoji on a message.
type reactionJSON struct {
	Emoji string   `json:"emoji"`
	Count int      `json:"count"`
	Users []string `json:"users"` // the last of them
}

// messageJSON is a message as a person sees it: edits and reactions are part of it.
type messageJSON struct {
	Conv      string         `json:"conv"`
	Seq       uint64         `json:"seq,omitempty"`
	ID        string         `json:"id,omitempty"`
	From      string         `json:"from"`
	At        client.Millis  `json:"at"`
	Kind      string         `json:"kind"`
	Text      string         `json:"text,omitempty"`
	Re        uint64         `json:"re,omitempty"`
	ReID      string         `json:"re_id,omitempty"`
	Thread    uint64         `json:"thread,omitempty"`
	Mentions  []string       `json:"mentions,omitempty"`
	Reactions []reactionJSON `json:"reactions,omitempty"`
	Edited    client.Millis  `json:"edited,omitempty"`
	Expires   client.Millis  `json:"expires,omitempty"`
	Pinned    bool           `json:"pinned,omitempty"`
	Deleted   bool           `json:"deleted,omitempty"`
	State     string         `json:"state,omitempty"`
	Delivered int            `json:"delivered,omitempty"`
	Read      int            `json:"read,omitempty"`
	Of        int            `json:"of,omitempty"`
	Code      chat.Code      `json:"code,omitempty"`
	Reason    string         `json:"reason,omitempty"`
	Member    string         `json:"member,omitempty"`
}

func newMessageJSON(m *client.Message) messageJSON {
	j := messageJSON{
		Conv: m.Conv, Seq: m.Seq, ID: m.ID, From: m.From, At: client.MillisOf(m.At), Kind: protocol.KindName(m.Kind), Text: m.Text,
		Re: m.Re, ReID: m.ReID, Thread: m.Thread, Mentions: m.Mentions, Edited: client.MillisOf(m.Edited), Expires: client.MillisOf(m.Expires),
		Pinned: m.Pinned, Deleted: m.Deleted, State: m.State.String(), Delivered: m.Delivered, Read: m.Read, Of: m.Of, Code: m.Code, Reason: m.Reason,
	}
	for _, r := range m.Reactions {
		j.Reactions = append(j.Reactions, reactionJSON{r.Emoji, r.Count, r.Users})
	}
	if m.Event.Member != nil {
		j.Member = m.Event.Member.User
	}
	return j
}

// messageLine is a message for people: when, its number, who, what, and what became of it.
func messageLine(m *client.Message, now time.Time) string {
	var b strings.Builder
	number := "-"
	if m.Seq != 0 {
		number = fmt.Sprint(m.Seq)
	}
	fmt.Fprintf(&b, "%s %5s  %s", stamp(m.At, now), number, termtext.Line(m.From))
	switch {
	case m.Kind != chat.KindPost:
		b.WriteString(" " + termtext.Line(happened(&m.Event)))
	case m.Deleted:
		b.WriteString(": (deleted)")
	case m.Large:
		b.WriteString(": (too long for this device)")
	default:
		// What follows a line break is indented: nobody can write lines that look like somebody else's.
		b.WriteString(": " + strings.ReplaceAll(termtext.Block(m.Text), "\n", "\n    "))
	}
	var notes []string
	if m.Re != 0 {
		notes = append(notes, fmt.Sprintf("reply to %d", m.Re))
	}
	if !m.Edited.IsZero() {
		notes = append(notes, "edited")
	}
	if m.Pinned {
		notes = append(notes, "pinned")
	}
	for _, r := range m.Reactions {
		notes = append(notes, fmt.Sprintf("%s %d", termtext.Line(r.Emoji), r.Count))
	}
	switch m.State {
	case client.StateQueued, client.StateSending:
		notes = append(notes, m.State.String())
	case client.StateFailed:
		notes = append(notes, "failed: "+termtext.Line(m.Reason))
	}
	if len(notes) > 0 {
		fmt.Fprintf(&b, "  [%s]", strings.Join(notes, ", "))
	}
	return b.String()
}

// eventLine is an event of a log for people.
func eventLine(conv string, e *chat.Event, now time.Time) string {
	head := fmt.Sprintf("%s %s %d  %s", stamp(client.Millis(e.At).Time(), now), termtext.Line(conv), e.Seq, termtext.Line(e.From))
	if e.Kind == chat.KindPost {
		return head + ": " + strings.ReplaceAll(termtext.Block(e.Text), "\n", "\n    ")
	}
	return head + " " + termtext.Line(happened(e))
}

// happened says what an event did that is no post.
func happened(e *chat.Event) string {
	who := ""
	if e.Member != nil {
		who = e.Member.User
	}
	switch e.Kind {
	case chat.KindEdit:
		return fmt.Sprintf("edited %d: %s", e.Re, e.Text)
	case chat.KindDelete:
		return fmt.Sprintf("deleted %d", e.Re)
	case chat.KindReact:
		return fmt.Sprintf("put %s on %d", e.Emoji, e.Re)
	case chat.KindUnreact:
		return fmt.Sprintf("took %s from %d", e.Emoji, e.Re)
	case chat.KindPin, chat.KindUnpin:
		return fmt.Sprintf("%sned %d", protocol.KindName(e.Kind), e.Re)
	case chat.KindCreate:
		return "created the group"
	case chat.KindInfo:
		return "changed the settings"
	case chat.KindJoin:
		return "joined"
	case chat.KindLeave:
		return "left"
	case chat.KindAdd:
		return "added " + who
	case chat.KindRemove:
		return "removed " + who
	case chat.KindBan:
		return "banned " + who
	case chat.KindUnban:
		return "lifted the ban of " + who
	case chat.KindMute:
		return "muted " + who
	case chat.KindRole:
		return fmt.Sprintf("made %s %s", who, protocol.RoleName(e.Member.Role))
	case chat.KindEnd:
		return "deleted the group"
	case chat.KindGone:
		return "(gone)"
	case chat.KindLarge:
		return "(too long for this device)"
	}
	return protocol.KindName(e.Kind)
}

// stamp is a time for people: of the day, and the date unless it is today.
func stamp(at, now time.Time) string {
	if at.IsZero() {
		return "     "
	}
	at = at.In(now.Location())
	if at.Year() == now.Year() && at.YearDay() == now.YearDay() {
		return at.Format("15:04")
	}
	return at.Format("2006-01-02 15:04")
}

// moments is a time in a table.
func moments(m client.Millis, zero string) string {
	switch {
	case m == client.ForGood:
		return "for good"
	case m <= 0:
		return zero
	}
	return m.Time().Local().Format("2006-01-02 15:04")
}

// cut shortens a cell.
func cut(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-1]) + "…"
}
