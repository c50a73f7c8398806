package tui

import (
	"context"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
)

// peerOf takes the id of a direct conversation apart.
func peerOf(conv, me string) (direct bool, peer string) {
	a, b, ok := chat.Parties(conv)
	if a == me {
		a = b
	}
	return ok, a
}

// older brings in what stands before the window: from the store, and when that has no more, from the server.
func (m *model) older() tea.Cmd {
	t := m.open
	if t.past != nil {
		return m.readPast(false)
	}
	t.more = t.loading
	switch first := firstSeq(t.msgs); {
	case t.loading || first == 0 || t.thread != 0:
		return nil
	case !t.top:
		return m.read(client.Page{Before: first, Limit: pageLoad}, prepend)
	case !t.row.Earlier || t.asking:
		return nil
	}
	t.asking = true
	ctx, c, conv, gen := m.ctx, m.c, t.id, t.gen
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		more, err := c.Earlier(ctx, conv, pageLoad)
		return earlierMsg{t, gen, more, err}
	}
}

// newer brings in what stands behind a window that doesn't reach the end.
func (m *model) newer() tea.Cmd {
	t := m.open
	if t.past != nil {
		return m.readPast(true)
	}
	if last := lastSeq(t.msgs); !t.loading && last > 0 {
		return m.read(client.Page{After: last, Limit: pageLoad}, appended)
	}
	return nil
}

// earlierMsg says that the server gave older messages to the store.
type earlierMsg struct {
	of   *talk
	gen  int
	more bool
	err  error
}

func (m *model) earlierCame(msg earlierMsg) tea.Cmd {
	t := msg.of
	if msg.gen != t.gen {
		return nil // the window is elsewhere by now
	}
	t.asking = false
	if t == m.open {
		m.tell(msg.err)
	}
	if msg.err != nil {
		return nil
	}
	t.top, t.row.Earlier = false, msg.more
	if t != m.open {
		return nil
	}
	return m.older()
}

// end goes back to the newest message.
func (m *model) end() tea.Cmd {
	t := m.open
	if t == nil {
		return nil
	}
	t.sel, t.follow = "", true
	if !t.tail {
		t.gen++
		t.tail, t.top, t.past, t.asking = true, false, nil, false
		return m.reload()
	}
	return nil
}

// see tells the server what is in view: it was read. A terminal that is not looked at shows nothing.
func (m *model) see() tea.Cmd {
	t := m.open
	if t == nil || t.thread != 0 || !t.entered || m.away || m.help || m.page != chatPage || m.narrow() && m.focus == onList {
		return nil
	}
	last, at := uint64(0), 0
	view := m.viewHeight()
	bottom := t.topRow(view) + view
	for i, b := range t.blocks {
		if at += len(b.rows); at > bottom {
			break
		}
		if t.msgs[i].Seq > 0 {
			last = t.msgs[i].Seq
		}
	}
	if t.tail && t.follow { // acts behind the newest message have nothing to show, but are seen
		last = max(last, t.row.Head)
	}
	if last <= t.marked || t.row.Left {
		return nil
	}
	t.marked = last
	ctx, c, conv := m.ctx, m.c, t.id
	m.jobs.add(func() error { return c.MarkRead(ctx, conv, last) }, nil)
	return nil
}

// draftRests is how long a text rests before it is kept as a draft.
const draftRests = time.Second

// typedMsg says that nothing was typed for a while, if count is still that of the text.
type typedMsg struct {
	conv  string
	count int
}

// typingAgain is how often others are told that one still types; they forget it after twice that.
const typingAgain = 3 * time.Second

// typing is called after each change of the text.
func (m *model) typing() tea.Cmd {
	t := m.open
	t.dirty++
	on, now := t.edit.text != "" && t.changes == nil && !strings.HasPrefix(t.edit.text, "/"), m.o.Now()
	if on && now.Sub(t.told) >= typingAgain || !on && !t.told.IsZero() {
		if t.told = now; !on {
			t.told = time.Time{}
		}
		ctx, c, conv := m.ctx, m.c, t.id
		m.courtesy.wait = nil // what was to be told before is out of date
		m.courtesy.add(func() error { return c.SetTyping(ctx, conv, on) }, func(error) tea.Cmd { return nil })
	}
	conv, n := t.id, t.dirty
	return tea.Tick(draftRests, func(time.Time) tea.Msg { return typedMsg{conv, n} })
}

func (m *model) keepDraft(msg typedMsg) tea.Cmd {
	if m.open != nil && m.open.id == msg.conv && m.open.dirty == msg.count {
		m.saveDraft()
	}
	return nil
}

// saveDraft keeps what was typed and not sent. A changed text of a message that is there is none.
func (m *model) saveDraft() {
	t := m.open
	if t == nil || t.thread != 0 || t.changes != nil || !t.entered || t.dirty == 0 {
		return
	}
	text := t.edit.text
	if t.row.Draft == text {
		return
	}
	t.row.Draft, m.drafts[t.id] = text, text
	ctx, c, conv := m.ctx, m.c, t.id
	m.jobs.add(func() error { return c.SetDraft(context.WithoutCancel(ctx), conv, text) }, func(err error) tea.Cmd {
		if m.drafts[conv] == text {
			delete(m.drafts, conv)
		}
		m.tell(err)
		return nil
	})
}

// send sends what was typed, as a message, a reply or a new text.
func (m *model) send() tea.Cmd {
	t := m.open
	line := strings.TrimRight(t.edit.text, " \n")
	if strings.TrimSpace(line) == "" {
		return nil
	}
	name, args, text, isCommand := parse(line)
	if isCommand && !strings.Contains(line, "\n") {
		return m.command(name, args)
	}
	if isCommand {
		text = line
	}
	ctx, act, conv := context.WithoutCancel(m.ctx), m.act, t.id
	if old := t.changes; old != nil {
		m.jobs.add(func() error {
			_, err := act.do(ctx, conv, old.Target(), "edit", text)
			return err
		}, nil)
	} else {
		re := client.At(t.thread)
		if t.re != nil {
			re = t.re.Target()
		}
		m.jobs.add(func() error { return act.post(ctx, conv, text, re) }, func(err error) tea.Cmd {
			m.tell(err)
			if now := m.open; err != nil && now != nil && now.id == conv && now.thread == t.thread && now.edit.text == "" { // nothing that was typed is lost
				now.edit.set(text)
			}
			return nil
		})
	}
	t.edit.set("")
	t.re, t.changes, t.fresh = nil, nil, 0
	return tea.Batch(m.typing(), m.end())
}

// command carries out what was typed behind a slash.
func (m *model) command(name, args string) tea.Cmd {
	if !known(name) {
		m.say(unknownCommand(name), true)
		return nil
	}
	t := m.open
	t.edit.set("")
	cmd := m.typing()
	switch name {
	case "quit":
		return tea.Batch(cmd, m.stop())
	case "help":
		m.help = true
	case "list":
		m.focus = onList
	case "who":
		return tea.Batch(cmd, m.showMembers())
	case "search":
		return tea.Batch(cmd, m.showSearch(args))
	case "status":
		m.say(statusWords(m.status, m.o.Now()), false)
	case "more":
		return tea.Batch(cmd, m.older())
	case "thread":
		return tea.Batch(cmd, m.threadAt(args))
	case "quiet", "around":
		m.say("That is for plain lines: petrel chat --plain.", true)
	default:
		return tea.Batch(cmd, m.do(name, args))
	}
	return cmd
}

// members of the conversation that is open.
type members struct {
	conv string
	rows []client.Member
	here map[string]client.Presence
	top  int
}

type membersMsg struct {
	conv string
	rows []client.Member
	here map[string]client.Presence
}

func (m *model) showMembers() tea.Cmd {
	m.page, m.members.top = memberPage, 0
	if m.members.conv != m.open.id {
		m.members.rows = nil
	}
	return m.loadMembers()
}

func (m *model) loadMembers() tea.Cmd {
	if m.page != memberPage || m.open == nil {
		return nil
	}
	ctx, c, conv := m.ctx, m.c, m.open.id
	return func() tea.Msg {
		msg := membersMsg{conv: conv, here: make(map[string]client.Presence)}
		msg.rows, _ = c.Members(ctx, conv)
		msg.rows = slices.DeleteFunc(msg.rows, func(x client.Member) bool { return x.Left })
		for _, x := range msg.rows {
			msg.here[x.User] = c.Presence(x.User)
		}
		return msg
	}
}

func (m *members) take(msg membersMsg) { m.conv, m.rows, m.here = msg.conv, msg.rows, msg.here }

func (m *members) presence(user string, c *client.Client) {
	if _, ok := m.here[user]; ok {
		m.here[user] = c.Presence(user)
	}
}
