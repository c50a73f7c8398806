package tui

import (
	"context"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/petrelchat/petrel/client"
)

// finder is the page of the search.
type finder struct {
	input   editor
	conv    string // only there; "": everywhere
	asked   string // what is being looked for, or was
	round   int    // counts searches: an answer to an older one is thrown away
	hits    []hit
	at, top int
	busy    bool
	note    string // where was searched, what went wrong
	wide    bool   // everywhere is looked, also while a conversation is open
}

// hit is a message that was found.
type hit struct {
	conv, from string
	seq        uint64
	at         time.Time
	text       row
}

type foundMsg struct {
	round int
	hits  []hit
	note  string
	final bool
}

// searchPatience is how long the server's answer is waited for: what this device has is shown at once.
const (
	searchPatience = 10 * time.Second
	hitsMost       = 100
)

// showSearch opens the page; words that begin with * are looked for everywhere.
func (m *model) showSearch(words string) tea.Cmd {
	m.page = searchPage
	rest, everywhere := strings.CutPrefix(words, "*")
	m.scope(everywhere || m.open == nil)
	words = strings.TrimSpace(rest)
	if words != "" {
		m.find.input.set(words)
	}
	return m.search()
}

// scope sets where to look.
func (m *model) scope(wide bool) {
	m.find.wide, m.find.conv = wide || m.open == nil, ""
	if !m.find.wide {
		m.find.conv = m.open.id
	}
}

// search looks for what is typed: here, and on the server.
func (m *model) search() tea.Cmd {
	f := &m.find
	f.round++
	f.asked = strings.TrimSpace(f.input.text)
	f.hits, f.at, f.top, f.note, f.busy = nil, 0, 0, "", f.asked != ""
	if f.asked == "" {
		return nil
	}
	ctx, act, round, what, conv := m.ctx, m.act, f.round, f.asked, f.conv
	return tea.Batch(func() tea.Msg {
		hits, err := act.findHere(ctx, what, conv)
		return foundMsg{round, hits, noteOf("on this device", len(hits), err), false}
	}, func() tea.Msg {
		hits, note, err := act.findThere(ctx, what, conv)
		if err != nil {
			return foundMsg{round, nil, "only on this device: " + words(err), true}
		}
		return foundMsg{round, hits, note, true}
	})
}

func noteOf(where string, n int, err error) string {
	if err != nil {
		return words(err)
	}
	return count(n, "message", "messages") + " " + where
}

// findHere searches the store of this device.
func (a actor) findHere(ctx context.Context, words, conv string) (hits []hit, err error) {
	found, err := a.c.Find(ctx, words, conv, hitsMost)
	for _, x := range found {
		hits = append(hits, hit{x.Conv, x.From, x.Seq, x.At, row{{lookText, summary(&x)}}})
	}
	return hits, err
}

// findThere asks the server, which has all messages.
func (a actor) findThere(ctx context.Context, words, conv string) (hits []hit, note string, err error) {
	ctx, cancel := context.WithTimeout(ctx, searchPatience)
	defer cancel()
	page, err := a.c.History().SearchPage(ctx, client.SearchQuery{Words: words, Conv: conv}, client.ListOptions{Limit: hitsMost})
	if err != nil {
		return nil, "", err
	}
	for _, x := range page.Items {
		h := hit{conv: x.Conv, from: x.From, seq: x.Seq, at: x.At.Time()}
		for i, part := range x.Snippet {
			h.text = append(h.text, span{[]look{lookText, lookNote}[i%2], part})
		}
		hits = append(hits, h)
	}
	note = noteOf("on the server", len(hits), nil)
	if page.More {
		note = "the newest " + note
	}
	if page.Behind {
		note += ", which is still reading"
	}
	return hits, note, nil
}

// take shows what was found. What the server found takes the place of what is here; while it doesn't answer, that stays.
func (f *finder) take(msg foundMsg) {
	if msg.round != f.round || !msg.final && !f.busy {
		return
	}
	if msg.final {
		f.busy = false
	}
	f.note = msg.note
	if !msg.final || msg.hits != nil || strings.HasSuffix(msg.note, "on the server") {
		f.hits = msg.hits
		f.at = max(min(f.at, len(f.hits)-1), 0)
	}
}

// searchKey takes a key on the page of the search.
func (m *model) searchKey(k tea.KeyPressMsg) tea.Cmd {
	f := &m.find
	switch k.String() {
	case "esc":
		m.page = chatPage
		m.jumps++
	case "tab", "shift+tab":
		m.scope(!f.wide)
		return m.search()
	case "up", "ctrl+p":
		f.at = max(f.at-1, 0)
	case "down", "ctrl+n":
		f.at = max(min(f.at+1, len(f.hits)-1), 0)
	case "pgup":
		f.at = max(f.at-10, 0)
	case "pgdown":
		f.at = max(min(f.at+10, len(f.hits)-1), 0)
	case "enter":
		if strings.TrimSpace(f.input.text) != f.asked {
			return m.search()
		}
		if f.at < len(f.hits) {
			h := f.hits[f.at]
			return m.jump(h.conv, h.seq)
		}
	default:
		f.input.key(k)
	}
	return nil
}

// searchLines paints the page.
func (m *model) searchLines(width, height int) (lines []string, cursor place) {
	f := &m.find
	where := "everywhere"
	if f.conv != "" {
		where = "here"
	}
	prompt := "Search " + where + ": "
	x := len(prompt)
	typed, at := f.input.layout(m.p.method, 10_000)
	room := max(width-x-1, 2)
	shown, skip := window(m.p.method, typed[0], at.x, room)
	lines = append(lines, m.p.line(row{{lookTitle, prompt}, {lookText, shown}}, width))
	note := f.note
	switch {
	case f.busy && note == "":
		note = "searching…"
	case f.busy:
		note += ", asking the server…"
	case f.asked == "":
		note = "Enter: search · Tab: here or everywhere · Esc: back"
	}
	lines = append(lines, m.p.line(row{{lookDim, note}}, width))
	view := max((height-2)/2, 1)
	f.top = max(min(f.top, f.at), f.at-view+1)
	for i := f.top; i < len(f.hits) && len(lines)+1 < height; i++ {
		h := &f.hits[i]
		head := row{m.p.name(h.from, h.from == m.c.Me()), {lookDim, " " + m.p.seen(h.at, m.o.Now())}}
		if f.conv == "" {
			head = append(head, span{lookDim, " in " + m.titleOf(h.conv)})
		}
		paint := lookText
		if i == f.at {
			paint = lookChosen
		}
		lines = append(lines, m.p.over(head, width, paint), m.p.over(append(row{{lookText, "  "}}, h.text...), width, paint))
	}
	return lines, place{x + at.x - skip, 0}
}

// titleOf is what a conversation is called.
func (m *model) titleOf(conv string) string {
	for i := range m.list.rows {
		if m.list.rows[i].ID == conv {
			return m.list.rows[i].Title
		}
	}
	if direct, peer := peerOf(conv, m.c.Me()); direct {
		return peer
	}
	return conv
}
