package tui

import (
	"strings"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/cmd/petrel/internal/termtext"
)

// keyMap are the keys, with the words of the help. Those of the editor are in editor.key.
type keyMap struct {
	help, quit, next, prev, search, begin, members, back, pageUp, pageDown, later, sooner key.Binding // everywhere

	up, down, enter, turn, mute, pin, archive key.Binding // list

	choose, send, newline, complete key.Binding // editor

	first, last, reply, edit, remove, react, pinMessage, retry, quoted, thread key.Binding // messages
}

func bind(keys, help string, more ...string) key.Binding {
	return key.NewBinding(key.WithKeys(append([]string{keys}, more...)...), key.WithHelp(keys, help))
}

func newKeys() keyMap {
	return keyMap{
		help: bind("f1", "this help"), quit: bind("ctrl+c", "leave petrel; what is typed is kept", "ctrl+q"),
		next: bind("tab", "list, text, messages"), prev: bind("shift+tab", "the other way round"),
		search: bind("ctrl+f", "search"), begin: bind("ctrl+n", "open or begin a conversation", "ctrl+o"), members: bind("ctrl+g", "who is here", "f2"),
		back: bind("esc", "back"), pageUp: bind("pgup", "scroll back"), pageDown: bind("pgdown", "scroll on"),
		later: bind("alt+down", "next conversation"), sooner: bind("alt+up", "previous conversation"),

		up: bind("up", "choose", "k"), down: bind("down", "choose", "j"), enter: bind("enter", "open", "right", "l"),
		turn: bind("v", "requests, archive, left, inbox"), mute: bind("m", "mute, or not"), pin: bind("p", "keep on top, or not"), archive: bind("a", "archive, or bring back"),

		choose: bind("up", "choose a message"), send: bind("enter", "send"), newline: bind("alt+enter", "new line", "ctrl+j"), complete: bind("tab", "complete @name or :emoji"),

		first: bind("home", "older messages", "g"), last: bind("end", "newest message", "G"),
		reply: bind("r", "reply"), edit: bind("e", "change your message"), remove: bind("d", "delete your message", "delete"),
		react: bind("+", "react", ":"), pinMessage: bind("p", "pin, or not"), retry: bind("x", "retry what was refused, take back what waits"),
		quoted: bind("enter", "go to what it replies to"), thread: bind("t", "its thread: read it, write into it"),
	}
}

// helps are the keys by where they work, for the help.
func (k *keyMap) helps() []struct {
	where string
	keys  []key.Binding
} {
	return []struct {
		where string
		keys  []key.Binding
	}{
		{"Everywhere", []key.Binding{k.next, k.begin, k.search, k.members, k.sooner, k.later, k.pageUp, k.pageDown, k.back, k.help, k.quit}},
		{"Text", []key.Binding{k.send, k.newline, k.complete, k.choose}},
		{"Messages", []key.Binding{k.reply, k.thread, k.react, k.edit, k.remove, k.pinMessage, k.retry, k.quoted, k.first, k.last}},
		{"List", []key.Binding{k.enter, k.mute, k.pin, k.archive, k.turn}},
	}
}

// key takes a key press.
func (m *model) key(k tea.KeyPressMsg) tea.Cmd {
	switch {
	case key.Matches(k, m.keys.quit):
		return m.stop()
	case m.help:
		m.helpKey(k)
		return nil
	case key.Matches(k, m.keys.help):
		m.help, m.helpTop = true, 0
		return nil
	case m.ask != nil:
		return m.askKey(k)
	case key.Matches(k, m.keys.search):
		return m.showSearch("")
	case key.Matches(k, m.keys.begin):
		m.question(askConversation)
		return nil
	case m.page == searchPage:
		return m.searchKey(k)
	case key.Matches(k, m.keys.later, m.keys.sooner):
		return m.neighbour(key.Matches(k, m.keys.later))
	case m.page == memberPage:
		return m.memberKey(k)
	case key.Matches(k, m.keys.members) && m.open != nil:
		return m.showMembers()
	case key.Matches(k, m.keys.pageUp) && m.open != nil:
		return m.scroll(-max(m.viewHeight()-2, 1))
	case key.Matches(k, m.keys.pageDown) && m.open != nil:
		return m.scroll(max(m.viewHeight()-2, 1))
	}
	switch m.focus {
	case onList:
		return m.listKey(k)
	case onMessages:
		return m.messageKey(k)
	}
	return m.editorKey(k)
}

// helpKey scrolls the help; any other key ends it.
func (m *model) helpKey(k tea.KeyPressMsg) {
	switch {
	case key.Matches(k, m.keys.up):
		m.helpTop--
	case key.Matches(k, m.keys.down):
		m.helpTop++
	case key.Matches(k, m.keys.pageUp):
		m.helpTop -= m.h - 2
	case key.Matches(k, m.keys.pageDown), k.String() == "space":
		m.helpTop += m.h - 2
	default:
		m.help = false
	}
}

// turnFocus gives the keys to the next part of the screen.
func (m *model) turnFocus(back bool) tea.Cmd {
	order := []focus{onList, onEditor, onMessages}
	if m.open == nil {
		m.focus = onList
		return nil
	}
	step := 1
	if back {
		step = 2
	}
	m.focus = order[(int(m.focus)+step)%3]
	if m.focus == onMessages && !m.pick(-1) {
		m.focus = order[(int(m.focus)+step)%3]
	}
	if m.focus != onMessages {
		m.open.sel = ""
	}
	return nil
}

// neighbour opens the conversation below or above the open one.
func (m *model) neighbour(below bool) tea.Cmd {
	by := -1
	if below {
		by = 1
	}
	cmd := m.move(by)
	if m.list.at < len(m.list.rows) {
		return tea.Batch(cmd, m.show(m.list.rows[m.list.at].ID))
	}
	return cmd
}

func (m *model) listKey(k tea.KeyPressMsg) tea.Cmd {
	l := &m.list
	var chosen *client.Conversation
	if l.at < len(l.rows) {
		chosen = &l.rows[l.at]
	}
	switch s := k.String(); {
	case key.Matches(k, m.keys.next, m.keys.prev):
		return m.turnFocus(key.Matches(k, m.keys.prev))
	case key.Matches(k, m.keys.up):
		return m.move(-1)
	case key.Matches(k, m.keys.down):
		return m.move(1)
	case key.Matches(k, m.keys.first):
		return m.move(-len(l.rows))
	case key.Matches(k, m.keys.last):
		return m.move(len(l.rows))
	case key.Matches(k, m.keys.turn):
		return m.turn()
	case s == "n":
		m.question(askConversation)
	case s == "/":
		return m.showSearch("*")
	case s == "?":
		m.help = true
	case s == "q":
		return m.stop()
	case key.Matches(k, m.keys.back) && m.open != nil && !m.narrow():
		m.focus = onEditor
	case chosen == nil:
	case key.Matches(k, m.keys.enter):
		cmd := m.show(chosen.ID)
		m.focus = onEditor
		return cmd
	case key.Matches(k, m.keys.mute):
		m.put(chosen.ID, "mute", "unmute", chosen.Muted)
	case key.Matches(k, m.keys.pin):
		m.put(chosen.ID, "top", "untop", chosen.Pinned)
	case key.Matches(k, m.keys.archive):
		m.put(chosen.ID, "archive", "unarchive", chosen.Archived)
	}
	return nil
}

// put does something to a conversation of the list, or undoes it.
func (m *model) put(conv, do, undo string, done bool) {
	if done {
		do = undo
	}
	ctx, act := m.ctx, m.act
	var out outcome
	m.jobs.add(func() (err error) {
		out, err = act.do(ctx, conv, client.Target{}, do, "")
		return err
	}, func(err error) tea.Cmd { return m.done(doneMsg{out, err}) })
}

func (m *model) editorKey(k tea.KeyPressMsg) tea.Cmd {
	t := m.open
	if t == nil {
		m.focus = onList
		return nil
	}
	switch {
	case key.Matches(k, m.keys.send):
		return m.send()
	case key.Matches(k, m.keys.next) && m.completed():
		return m.typing()
	case key.Matches(k, m.keys.next, m.keys.prev):
		return m.turnFocus(key.Matches(k, m.keys.prev))
	case key.Matches(k, m.keys.back):
		switch {
		case t.re != nil || t.changes != nil:
			if t.changes != nil {
				t.edit.set("")
			}
			t.re, t.changes = nil, nil
		case t.thread != 0:
			return m.leaveThread()
		default:
			m.focus = onList
		}
		return nil
	case k.String() == "up" || k.String() == "down":
		return m.vertical(k.String() == "up")
	}
	was := t.edit.text
	if !t.edit.key(k) {
		return nil
	}
	if t.edit.full {
		m.say("That is too long for one message: what went beyond was left out.", true)
	}
	if t.edit.text != was {
		return m.typing()
	}
	return nil
}

// vertical moves the cursor a line up or down; from the first line up, a message is chosen.
func (m *model) vertical(up bool) tea.Cmd {
	t := m.open
	lines, at := t.edit.layout(m.p.method, m.paneWidth()-2)
	y := at.y + 1
	if up {
		y = at.y - 1
	}
	switch {
	case y < 0:
		if m.pick(-1) {
			m.focus = onMessages
		}
		return nil
	case y >= len(lines):
		t.edit.at = len(t.edit.text)
		return nil
	}
	for t.edit.at > 0 && up || t.edit.at < len(t.edit.text) && !up {
		if up {
			t.edit.at = t.edit.prev(t.edit.at)
		} else {
			t.edit.at = t.edit.next(t.edit.at)
		}
		if _, now := t.edit.layout(m.p.method, m.paneWidth()-2); now.y == y && (up && now.x <= at.x || !up && now.x >= at.x) || (now.y < y) == up && now.y != y && now.y != at.y {
			break
		}
	}
	return nil
}

// completed completes a name or an emoji before the cursor.
func (m *model) completed() bool {
	e := &m.open.edit
	word := e.word()
	switch {
	case strings.HasPrefix(word, ":") && len(word) > 2:
		if found := termtext.Complete(word[1:], 1); len(found) > 0 {
			e.complete(found[0].Emoji)
			return true
		}
	case strings.HasPrefix(word, "@") && len(word) > 1:
		for _, user := range m.users() {
			if strings.HasPrefix(strings.ToLower(user), strings.ToLower(word[1:])) {
				e.complete("@" + user + " ")
				return true
			}
		}
	}
	return false
}

// users are those who may be meant here: who wrote what is shown, and the members as far as they were looked at.
func (m *model) users() (all []string) {
	if m.open.row.Direct {
		all = append(all, m.open.row.Peer)
	}
	for i := len(m.open.msgs) - 1; i >= 0; i-- {
		if x := &m.open.msgs[i]; !x.Mine {
			all = append(all, x.From)
		}
	}
	if m.members.conv == m.open.id {
		for _, x := range m.members.rows {
			all = append(all, x.User)
		}
	}
	return all
}

// pick chooses the message before or after the chosen one; from none, the newest. It reports whether one is chosen.
func (m *model) pick(by int) bool {
	t := m.open
	at := len(t.msgs)
	for i := range t.msgs {
		if t.sel != "" && keyOf(&t.msgs[i]) == t.sel {
			at = i
		}
	}
	for at += by; at >= 0 && at < len(t.msgs); at += by {
		if x := &t.msgs[at]; x.Kind == chat.KindPost {
			t.sel = keyOf(x)
			m.reveal(t, false)
			return true
		}
	}
	return t.sel != ""
}

// paste puts text where the keys go.
func (m *model) paste(text string) {
	switch {
	case m.help || m.page == memberPage:
	case m.ask != nil:
		m.ask.input.insert(text)
	case m.page == searchPage:
		m.find.input.insert(text)
	case m.focus != onList && m.open != nil:
		m.focus = onEditor
		m.open.edit.insert(text)
		m.open.dirty++
	}
}
