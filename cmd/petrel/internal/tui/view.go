package tui

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/cmd/petrel/internal/termtext"
)

const (
	narrowBelow = 60 // columns: below, list and conversation take turns
	editorMost  = 5  // rows of the text that is typed
)

// narrow reports whether the list and the conversation take turns.
func (m *model) narrow() bool { return m.w < narrowBelow }

func (m *model) listWidth() int {
	if m.narrow() {
		return m.w
	}
	return max(min(m.w/3, 34), 20)
}

// paneWidth is the width of what stands beside the list.
func (m *model) paneWidth() int {
	if m.narrow() {
		return max(m.w, 4)
	}
	return max(m.w-m.listWidth()-1, 4)
}

// viewHeight is how many rows of messages are in view.
func (m *model) viewHeight() int {
	return max(m.h-1-1-m.bottomHeight(), 1) // the line of status, the head
}

// bottomHeight is how many rows the text that is typed takes, with what stands above it.
func (m *model) bottomHeight() int {
	if m.open == nil {
		return 0
	}
	lines, _ := m.open.edit.layout(m.p.method, m.paneWidth()-2)
	return 1 + max(min(len(lines), editorMost, m.h/3), 1)
}

// lay sets everything anew for another size of the screen.
func (m *model) lay() {
	if m.open != nil {
		m.set(m.open)
	}
}

// View implements tea.Model.
func (m *model) View() tea.View {
	var v tea.View
	v.AltScreen, v.ReportFocus, v.WindowTitle = true, true, "petrel"
	if m.o.Mouse {
		v.MouseMode = tea.MouseModeCellMotion
	}
	if m.w < 8 || m.h < 4 {
		v.Content = strings.Repeat("\n", max(m.h-1, 0))
		return v
	}
	height := m.h - 1
	var lines []string
	cursor, shown := place{}, false
	switch {
	case m.help:
		lines = m.helpLines(m.w, height)
	case m.narrow() && m.focus == onList && m.page == chatPage:
		lines = m.listLines(m.w, height)
	case m.narrow():
		lines, cursor, shown = m.paneLines(m.w, height)
	default:
		left := m.listLines(m.listWidth(), height)
		right, at, on := m.paneLines(m.paneWidth(), height)
		cursor, shown = place{at.x + m.listWidth() + 1, at.y}, on
		for i := range left {
			lines = append(lines, left[i]+m.p.paint(lookDim, "│")+right[i])
		}
	}
	status, at, asks := m.bottom()
	if asks {
		cursor, shown = place{at, height}, true
	}
	lines = append(lines[:max(height-len(status)+1, 0)], status...)
	v.Content = strings.Join(lines, "\n")
	if shown && (!m.help || asks) && cursor.x < m.w {
		v.Cursor = tea.NewCursor(cursor.x, cursor.y)
	}
	return v
}

// paneLines paints what stands beside the list, height rows of it.
func (m *model) paneLines(width, height int) (lines []string, cursor place, shown bool) {
	switch {
	case m.page == searchPage:
		lines, cursor = m.searchLines(width, height)
		shown = true
	case m.open == nil:
		lines = append(lines, m.p.line(row{{lookDim, " Ctrl+N opens a conversation, F1 is the help."}}, width))
	case m.page == memberPage:
		lines = m.memberLines(width, height)
	default:
		lines, cursor, shown = m.talkLines(width, height)
	}
	for len(lines) < height {
		lines = append(lines, m.p.line(nil, width))
	}
	return lines[:height], cursor, shown
}

// talkLines paints the conversation: its head, the messages, and what is typed.
func (m *model) talkLines(width, height int) (lines []string, cursor place, shown bool) {
	t := m.open
	lines = append(lines, m.p.line(m.head(width), width))
	view := m.viewHeight()
	top := t.topRow(view)
	for range view - min(t.height-top, view) { // few messages stand at the bottom
		lines = append(lines, m.p.line(nil, width))
	}
	at := 0
	for _, b := range t.blocks {
		for i, r := range b.rows {
			if at >= top && at < top+view {
				lines = append(lines, m.messageLine(r, width, b.key == t.sel && i >= b.rules))
			}
			at++
		}
		if at >= top+view {
			break
		}
	}
	lines = append(lines, m.p.line(m.above(width), width))
	typed, c := t.edit.layout(m.p.method, width-2)
	room := m.bottomHeight() - 1
	from := max(min(c.y-room+1, len(typed)-room), 0)
	for i := from; i < min(from+room, len(typed)); i++ {
		sign := "  "
		if i == 0 {
			sign = "> "
		}
		lines = append(lines, m.p.line(row{{lookDim, sign}, {lookText, typed[i]}}, width))
	}
	return lines, place{2 + c.x, 2 + view + c.y - from}, m.focus == onEditor
}

// messageLine paints a row of a message; the chosen one has a bar before it.
func (m *model) messageLine(r row, width int, chosen bool) string {
	if !chosen {
		return m.p.line(r, width)
	}
	if len(r) > 0 && strings.HasPrefix(r[0].text, "  ") {
		r = append(row{{lookBold, "▌"}, {r[0].look, r[0].text[1:]}}, r[1:]...)
	}
	return m.p.over(r, width, lookChosen)
}

// head says what is open, and who is there.
func (m *model) head(width int) row {
	t := m.open
	if t.thread != 0 {
		left, right := m.threadHead()
		return m.p.sides(left, right, width)
	}
	left := row{{lookTitle, t.row.Title}}
	if !t.row.Direct {
		left[0].text = "# " + left[0].text
	}
	if m.narrow() {
		left = append(row{{lookDim, "‹ "}}, left...)
	}
	var right row
	switch {
	case len(t.typing) > 0 && t.row.Direct:
		right = row{{lookGood, "typing…"}}
	case len(t.typing) > 0:
		right = row{{lookGood, typists(t.typing)}}
	case t.row.Left:
		right = row{{lookDim, "you left"}}
	case t.row.Direct:
		right = presenceRow(t.presence, func(p client.Presence) string { return m.p.seen(p.Seen, m.o.Now()) })
	case t.row.Members > 0:
		right = row{{lookDim, count(t.row.Members, "member", "members")}}
	}
	return m.p.sides(left, right, width)
}

// presenceRow says whether somebody is there.
func presenceRow(p client.Presence, seen func(client.Presence) string) row {
	r := row{{lookDim, p.State}}
	switch {
	case p.State == "online":
		r = row{{lookGood, "● online"}}
	case p.State == "away":
		r = row{{lookDim, "◐ away"}}
	case p.State == "offline" && !p.Seen.IsZero():
		r = row{{lookDim, "last seen " + seen(p)}}
	case p.State == "":
		return nil
	}
	if p.Text != "" {
		r = append(r, span{lookDim, ": " + p.Text})
	}
	return r
}

// above is the row over the text that is typed: what it replies to, or what is unusual here.
func (m *model) above(width int) row {
	t := m.open
	line := func(l look, text string) row {
		text = termtext.Cut(m.p.method, termtext.Line(text), width-4)
		return row{{lookDim, "─ "}, {l, text}, {lookDim, " " + strings.Repeat("─", max(width-3-termtext.Width(m.p.method, text), 0))}}
	}
	switch {
	case t.re != nil:
		return line(lookTitle, "reply to "+t.re.From+": "+summary(t.re)+" (Esc: no reply)")
	case t.changes != nil:
		return line(lookTitle, "new text (Esc: as it was)")
	case t.row.Pending:
		return line(lookNote, t.row.Peer+" wants to write to you: /accept or /decline")
	case t.asking:
		return line(lookDim, "asking the server…")
	case t.thread != 0 && t.follow:
		return line(lookDim, "a reply to this thread (Esc: back)")
	case !t.tail || !t.follow && t.topRow(m.viewHeight()) < t.height-m.viewHeight():
		return line(lookDim, "End: newest message")
	}
	return row{{lookDim, strings.Repeat("─", width)}}
}

// noticeMost is how many rows a notice may take: one that is longer goes over what is above.
const noticeMost = 4

// bottom is the last line: a question, a notice, or how this device stands to the server.
func (m *model) bottom() (lines []string, cursor int, asks bool) {
	if m.ask != nil {
		prompt, help := m.askRows()
		typed, at := m.ask.input.layout(m.p.method, 10_000)
		x := len(prompt)
		room := max(m.w-x-1, 2)
		shown, skip := window(m.p.method, typed[0], at.x, room)
		r := row{{lookTitle, prompt}, {lookText, shown}}
		if typed[0] == "" || m.ask.kind == askEmoji {
			r = append(append(r, span{lookText, "  "}), help...)
		}
		return []string{m.p.line(r, m.w)}, x + at.x - skip, true
	}
	if m.notice.text != "" {
		text := m.notice.text
		if m.notice.bad {
			text = "! " + text
		}
		rows := m.p.wrap(lookBar, text, m.w-2)
		for _, r := range rows[:min(len(rows), noticeMost)] {
			lines = append(lines, m.p.over(append(row{{lookBar, " "}}, r...), m.w, lookBar))
		}
		return lines, 0, false
	}
	left := row{{lookBar, " " + statusWords(m.status, m.o.Now())}}
	hint := row{{lookBar, m.hint()}}
	if m.p.width(left)+1+m.p.width(hint) > m.w { // what is wrong matters more than what the keys do
		hint = nil
	}
	return []string{m.p.over(m.p.sides(left, hint, m.w), m.w, lookBar)}, 0, false
}

// hint says what the keys do where they go now.
func (m *model) hint() string {
	switch {
	case m.help:
		return "↑↓ scroll · Esc back "
	case m.w < 70:
		return "F1 help "
	case m.page != chatPage:
		return "Esc back · F1 help "
	case m.focus == onList:
		return "Enter open · n new · Tab text · F1 help "
	case m.focus == onMessages:
		return "r reply · t thread · + react · e edit · F1 help "
	case m.open != nil && m.open.thread != 0:
		return "↑ messages · Esc back · F1 help "
	}
	return "↑ messages · Tab list · F1 help "
}

// memberLines paints who is here.
func (m *model) memberLines(width, height int) (lines []string) {
	t := m.open
	lines = append(lines, m.p.line(m.p.sides(row{{lookTitle, t.row.Title}}, row{{lookDim, count(len(m.members.rows), "member", "members") + " · Esc back"}}, width), width))
	for i := m.members.top; i < len(m.members.rows) && len(lines) < height; i++ {
		x := &m.members.rows[i]
		here := m.members.here[x.User]
		left := row{{lookText, " "}, m.p.name(x.User, x.User == m.c.Me())}
		if x.Role != "" && x.Role != "member" {
			left = append(left, span{lookDim, " " + x.Role})
		}
		if p := presenceRow(here, func(p client.Presence) string { return m.p.seen(p.Seen, m.o.Now()) }); p != nil {
			left = append(append(left, span{lookText, "  "}), p...)
		}
		lines = append(lines, m.p.line(m.p.sides(left, progress(x, t.row.Head), width), width))
	}
	return lines
}

// progress says how far somebody has come.
func progress(x *client.Member, head uint64) row {
	switch {
	case head == 0:
		return nil
	case x.Read >= head:
		return row{{lookGood, "has read all"}}
	case x.Read > 0:
		return row{{lookDim, fmt.Sprintf("read to #%d", x.Read)}}
	case x.Delivered >= head:
		return row{{lookDim, "has all"}}
	}
	return nil
}

// helpLines paints the help.
func (m *model) helpLines(width, height int) (lines []string) {
	var rows []row
	for _, group := range m.keys.helps() {
		rows = append(rows, row{{lookTitle, group.where}})
		for _, b := range group.keys {
			rows = append(rows, row{{lookBold, fmt.Sprintf(" %-10s", b.Help().Key)}, {lookText, b.Help().Desc}})
		}
	}
	var more []row
	more = append(more, row{{lookTitle, "Signs"}})
	for _, s := range [][2]string{
		{"… ↑ ✓ ✓✓", "queued, sending, sent, delivered; read: coloured or a word"}, {"2 of 3 ✓✓", "in groups: how many have it, or have read it"},
		{"● ◐ #", "online, away, a group"}, {"^ ✎ @ ?", "kept on top, draft, you are mentioned, message request"},
	} {
		more = append(more, row{{lookBold, fmt.Sprintf(" %-10s", s[0])}, {lookText, s[1]}})
	}
	more = append(more, row{{lookTitle, "Commands"}})
	for _, c := range commands() {
		if !c.plain {
			more = append(more, row{{lookBold, " /" + strings.TrimSpace(c.name+" "+c.args)}, {lookDim, "  " + c.help}})
		}
	}
	if width >= 100 {
		for i := range max(len(rows), len(more)) {
			lines = append(lines, m.p.line(at(rows, i), width/2-5)+m.p.line(at(more, i), width-width/2+5))
		}
	} else {
		for _, r := range append(rows, more...) {
			lines = append(lines, m.p.line(r, width))
		}
	}
	m.helpTop = max(min(m.helpTop, len(lines)-height), 0)
	lines = lines[m.helpTop:]
	for len(lines) < height {
		lines = append(lines, m.p.line(nil, width))
	}
	return lines[:height]
}

func at(rows []row, i int) row {
	if i < len(rows) {
		return rows[i]
	}
	return nil
}

// window is the part of a line that has room, with the cursor at column x in it, and how many columns were left out before.
func window(m termtext.Method, line string, x, room int) (shown string, skip int) {
	if x < room {
		return m.Cut(line, 0, room), 0
	}
	skip = x - room + 1
	return m.Cut(line, skip, skip+room), skip
}
