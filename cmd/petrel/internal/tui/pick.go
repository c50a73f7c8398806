package tui

import (
	"strconv"
	"strings"
	"time"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/cmd/petrel/internal/termtext"
)

// messageKey takes a key while a message is chosen.
func (m *model) messageKey(k tea.KeyPressMsg) tea.Cmd {
	t := m.open
	x := t.message()
	switch {
	case key.Matches(k, m.keys.next, m.keys.prev):
		return m.turnFocus(key.Matches(k, m.keys.prev))
	case key.Matches(k, m.keys.back), x == nil:
		m.focus, t.sel = onEditor, ""
	case key.Matches(k, m.keys.up):
		was := t.sel
		m.pick(-1)
		if t.sel == was { // the first one that is shown
			return m.scroll(-t.height)
		}
	case key.Matches(k, m.keys.down):
		was := t.sel
		m.pick(1)
		if t.sel == was {
			if t.tail {
				m.focus, t.sel = onEditor, ""
			}
			return m.scroll(t.height)
		}
	case key.Matches(k, m.keys.first):
		return m.scroll(-t.height)
	case key.Matches(k, m.keys.last):
		m.focus = onEditor
		return m.end()
	default:
		return m.actUpon(k, x)
	}
	return nil
}

// actUpon does something to the chosen message.
func (m *model) actUpon(k tea.KeyPressMsg, x *client.Message) tea.Cmd {
	t := m.open
	switch {
	case x.Deleted && key.Matches(k, m.keys.reply, m.keys.react, m.keys.edit, m.keys.remove, m.keys.pinMessage):
		m.say("It is deleted.", true)
	case key.Matches(k, m.keys.reply):
		t.re, t.changes, m.focus, t.sel = x, nil, onEditor, ""
	case key.Matches(k, m.keys.react):
		m.question(askEmoji)
	case key.Matches(k, m.keys.edit), key.Matches(k, m.keys.remove):
		switch {
		case !x.Mine:
			m.say("That is not yours: you can change and delete your own messages only.", true)
		case key.Matches(k, m.keys.remove):
			m.question(askDelete)
		default:
			m.saveDraft()
			t.changes, t.re, m.focus, t.sel = x, nil, onEditor, ""
			t.edit.set(x.Text)
		}
	case key.Matches(k, m.keys.pinMessage):
		if x.Pinned {
			return m.do("unpin", "")
		}
		return m.do("pin", "")
	case key.Matches(k, m.keys.retry):
		return m.again(x)
	case key.Matches(k, m.keys.thread):
		return m.showThread(x)
	case key.Matches(k, m.keys.quoted):
		switch {
		case x.Re > 0:
			return m.jump(t.id, x.Re)
		case x.Replies > 0:
			return m.showThread(x)
		}
	}
	return nil
}

// again tries a refused message again, and takes a waiting one back.
func (m *model) again(x *client.Message) tea.Cmd {
	ctx, c, id := m.ctx, m.c, x.ID
	switch x.State {
	case client.StateFailed:
		m.jobs.add(func() error { _, err := c.Retry(ctx, id); return err }, nil)
	case client.StateQueued, client.StateSending:
		m.jobs.add(func() error { return c.Cancel(ctx, id) }, nil)
	default:
		m.say("This one has been sent.", false)
	}
	return nil
}

// ask is a question at the bottom that takes all keys.
type ask struct {
	kind  asked
	input editor
	at    client.Target // of a message
	on    *client.Message
}

type asked uint8

const (
	askConversation asked = iota
	askEmoji
	askDelete
)

func (m *model) question(kind asked) {
	m.ask = &ask{kind: kind}
	if m.open != nil {
		m.ask.at, m.ask.on = m.open.chosen(), m.open.message()
	}
}

// suggestions is how many emoji can be chosen by their number.
const suggestions = 6

// askRows are the question, and what helps to answer it.
func (m *model) askRows() (prompt string, help row) {
	switch m.ask.kind {
	case askConversation:
		return "To: ", row{{lookDim, "user · #group · title · invitation · +Title : user user (new group)"}}
	case askDelete:
		return "Delete for everyone? y/n ", nil
	}
	for i, sc := range termtext.Complete(m.ask.input.text, suggestions) {
		help = append(help, span{lookBold, strconv.Itoa(i+1) + " "}, span{lookText, sc.Emoji + " "}, span{lookDim, sc.Name + "  "})
	}
	return "React: ", help
}

func (m *model) askKey(k tea.KeyPressMsg) tea.Cmd {
	a := m.ask
	if key.Matches(k, m.keys.back) {
		m.ask = nil
		return nil
	}
	if a.kind == askDelete {
		m.ask = nil
		if s := k.String(); s == "y" || s == "Y" {
			return m.on(a, "delete", "")
		}
		return nil
	}
	if n, err := strconv.Atoi(k.String()); err == nil && n >= 1 && n <= suggestions && a.kind == askEmoji && a.input.text == "" {
		a.input.key(k)
		return tea.Tick(keycapRests, func(time.Time) tea.Msg { return digitMsg{a, n} })
	}
	if k.String() != "enter" && !(k.String() == "tab" && a.kind == askEmoji) {
		a.input.key(k)
		return nil
	}
	text := strings.TrimSpace(a.input.text)
	if a.kind == askEmoji {
		e, ok := termtext.Emoji(text)
		if found := termtext.Complete(text, 1); !ok && len(found) > 0 {
			e, ok = found[0].Emoji, true
		}
		if !ok {
			m.say("That is no emoji, and no name of one: type :heart:, or Esc.", true)
			return nil
		}
		return m.reactWith(a, e)
	}
	m.ask = nil
	switch {
	case text == "":
		return nil
	case strings.HasPrefix(text, "+"):
		return m.do("create", text[1:])
	}
	return m.do("to", text)
}

// keycapRests is how long a digit waits for the rest of an emoji that begins with it (1️⃣), before it is the number of one that
// is suggested.
const keycapRests = 50 * time.Millisecond

type digitMsg struct {
	of *ask
	n  int
}

// digit takes the suggestion with the number that was typed, if nothing followed it.
func (m *model) digit(msg digitMsg) tea.Cmd {
	found := termtext.Complete("", suggestions)
	if m.ask != msg.of || m.ask.input.text != strconv.Itoa(msg.n) || msg.n > len(found) {
		return nil
	}
	return m.reactWith(m.ask, found[msg.n-1].Emoji)
}

// reactWith puts an emoji on a message, or takes away what is there.
func (m *model) reactWith(a *ask, emoji string) tea.Cmd {
	m.ask = nil
	name := "react"
	if a.on != nil {
		for _, r := range a.on.Reactions {
			if r.Emoji == emoji && r.Mine {
				name = "unreact"
			}
		}
	}
	return m.on(a, name, emoji)
}

// on carries out a command on the message that a question was about.
func (m *model) on(a *ask, name, args string) tea.Cmd {
	ctx, act, conv, at := m.ctx, m.act, m.open.id, a.at
	return func() tea.Msg {
		out, err := act.do(ctx, conv, at, name, args)
		return doneMsg{out, err}
	}
}

// memberKey takes a key on the page of the members.
func (m *model) memberKey(k tea.KeyPressMsg) tea.Cmd {
	most := max(len(m.members.rows)-1, 0)
	switch s := k.String(); {
	case key.Matches(k, m.keys.back), key.Matches(k, m.keys.members), s == "tab", s == "q":
		m.page = chatPage
	case key.Matches(k, m.keys.up):
		m.members.top = max(m.members.top-1, 0)
	case key.Matches(k, m.keys.down):
		m.members.top = min(m.members.top+1, most)
	case key.Matches(k, m.keys.pageUp):
		m.members.top = max(m.members.top-m.viewHeight(), 0)
	case key.Matches(k, m.keys.pageDown):
		m.members.top = min(m.members.top+m.viewHeight(), most)
	}
	return nil
}
