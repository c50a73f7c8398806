package tui

import (
	"hash/fnv"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/petrelchat/petrel/cmd/petrel/internal/termtext"
)

// look is how a span of text looks. What a look says is said without colour too, by a sign or a word beside it.
type look uint8

const (
	lookText look = iota
	lookDim
	lookBold
	lookTitle // who writes, what is open
	lookMine
	lookGood  // read, online
	lookAlert // refused, offline
	lookNote  // mentions, unread
	lookChosen
	lookBar // the line of status
	looks
)

// span is a piece of a row. Its text may be anybody's: the painter cleans it.
type span struct {
	look look
	text string
}

// row is a line of the screen before it is painted.
type row []span

// painter turns rows into lines of exactly so many columns. The 16 colours of the terminal's own theme are used, which
// its user can read; where there are to be none (NO_COLOR) bubbletea leaves them out.
type painter struct {
	method termtext.Method
	colour bool // false: what colour alone would say is said in words
	styles [looks]lipgloss.Style
	zone   *time.Location
}

func newPainter(zone *time.Location) painter {
	s := lipgloss.NewStyle()
	p := painter{zone: zone, colour: true}
	p.styles = [looks]lipgloss.Style{
		lookText: s, lookDim: s.Faint(true), lookBold: s.Bold(true), lookTitle: s.Bold(true).Foreground(lipgloss.Color("6")),
		lookMine: s.Bold(true).Foreground(lipgloss.Color("2")), lookGood: s.Foreground(lipgloss.Color("2")),
		lookAlert: s.Bold(true).Foreground(lipgloss.Color("1")), lookNote: s.Bold(true).Foreground(lipgloss.Color("3")),
		lookChosen: s.Reverse(true), lookBar: s.Reverse(true),
	}
	return p
}

// line paints a row: cut or filled to width columns, and cleaned.
func (p *painter) line(r row, width int) string {
	return p.over(r, width, lookText)
}

// over paints a row all in one look, lookText: each span in its own.
func (p *painter) over(r row, width int, all look) string {
	var b strings.Builder
	left := max(width, 0)
	for _, s := range r {
		text := termtext.Cut(p.method, termtext.Line(s.text), left)
		if text == "" {
			continue
		}
		left -= termtext.Width(p.method, text)
		l := s.look
		if all != lookText {
			l = all
		}
		b.WriteString(p.paint(l, text))
	}
	if left > 0 {
		b.WriteString(p.paint(all, strings.Repeat(" ", left)))
	}
	return b.String()
}

func (p *painter) paint(l look, text string) string {
	if l == lookText {
		return text
	}
	return p.styles[l].Render(text)
}

// sides is a row with something at its right end, which keeps its place when the left part is too long.
func (p *painter) sides(left, right row, width int) row {
	room := width - p.width(right)
	if len(right) > 0 {
		room--
	}
	var out row
	for _, s := range left {
		if room <= 0 {
			break
		}
		s.text = termtext.Cut(p.method, termtext.Line(s.text), room)
		room -= termtext.Width(p.method, s.text)
		out = append(out, s)
	}
	if len(right) == 0 {
		return out
	}
	return append(append(out, span{lookText, strings.Repeat(" ", max(room, 0)+1)}), right...)
}

// width is how many columns a row takes.
func (p *painter) width(r row) (n int) {
	for _, s := range r {
		n += termtext.Width(p.method, termtext.Line(s.text))
	}
	return n
}

// wrap breaks a text into rows of one look.
func (p *painter) wrap(l look, text string, width int) []row {
	var rows []row
	for _, line := range termtext.Wrap(p.method, termtext.Block(text), width) {
		rows = append(rows, row{{l, line}})
	}
	return rows
}

// name is how somebody's name is shown; the same user has the same look all the time.
func (p *painter) name(user string, mine bool) span {
	if mine {
		return span{lookMine, "you"}
	}
	h := fnv.New32a()
	h.Write([]byte(user))
	return span{[]look{lookTitle, lookNote, lookBold}[h.Sum32()%3], user}
}

// clock is a time of day.
func (p *painter) clock(t time.Time) string { return t.In(p.zone).Format("15:04") }

// day names the day of t, as seen from now.
func (p *painter) day(t, now time.Time) string {
	t, now = t.In(p.zone), now.In(p.zone)
	switch t.Format(time.DateOnly) {
	case now.Format(time.DateOnly):
		return "Today"
	case now.AddDate(0, 0, -1).Format(time.DateOnly):
		return "Yesterday"
	}
	if t.Year() == now.Year() {
		return t.Format("Monday 2 January")
	}
	return t.Format("Monday 2 January 2006")
}

// seen says when somebody was last there.
func (p *painter) seen(t, now time.Time) string {
	if d := p.day(t, now); d != "Today" {
		return d + " " + p.clock(t)
	}
	return p.clock(t)
}

// methodFor is how the terminal counts columns once it says that it has mode 2027.
func methodFor(grapheme bool) termtext.Method {
	if grapheme {
		return ansi.GraphemeWidth
	}
	return ansi.WcWidth
}
