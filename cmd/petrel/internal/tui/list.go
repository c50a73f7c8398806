package tui

import (
	"fmt"
	"slices"

	tea "charm.land/bubbletea/v2"

	"github.com/petrelchat/petrel/client"
)

// list is the conversations, pinned ones first, then the newest.
type list struct {
	which    client.List
	rows     []client.Conversation
	requests int // message requests that wait
	here     map[string]client.Presence
	types    map[string]bool
	at       int    // the chosen row
	id       string // its conversation, which keeps the choice when rows move
	top      int
	limit    int
	loading  bool
	stale    bool
	loaded   bool
}

type listMsg struct {
	which    client.List
	rows     []client.Conversation
	requests int
	here     map[string]client.Presence
	types    map[string]bool
	err      error
}

// listStep is how many conversations are read more at the end of the list.
const listStep = 200

// loadList reads the list: one read at a time, and once more if something changed meanwhile.
func (m *model) loadList() tea.Cmd {
	l := &m.list
	if l.loading {
		l.stale = true
		return nil
	}
	l.loading, l.stale = true, false
	l.limit = max(l.limit, listStep)
	ctx, c, which, limit := m.ctx, m.c, l.which, l.limit
	return func() tea.Msg {
		msg := listMsg{which: which, here: make(map[string]client.Presence), types: make(map[string]bool)}
		msg.rows, msg.err = c.Conversations(ctx, client.ConversationsQuery{List: which, Limit: limit})
		if msg.err != nil {
			return msg
		}
		if asked, err := c.Conversations(ctx, client.ConversationsQuery{List: client.ListRequests, Limit: listStep}); err == nil {
			msg.requests = len(asked)
		}
		for _, row := range msg.rows {
			msg.types[row.ID] = len(without(c.Typing(row.ID), c.Me())) > 0
			if row.Direct {
				msg.here[row.Peer] = c.Presence(row.Peer)
			}
		}
		return msg
	}
}

func (m *model) listed(msg listMsg) tea.Cmd {
	l := &m.list
	l.loading = false
	m.tell(msg.err)
	if msg.err == nil && msg.which == l.which {
		l.rows, l.requests, l.here, l.types = msg.rows, msg.requests, msg.here, msg.types
		l.loaded = true
		if i := slices.IndexFunc(l.rows, func(c client.Conversation) bool { return c.ID == l.id }); i >= 0 {
			l.at = i
		}
		l.at = max(min(l.at, len(l.rows)-1), 0)
	}
	if l.stale {
		return m.loadList()
	}
	return nil
}

func (l *list) choose(conv string) {
	l.id = conv
	if i := slices.IndexFunc(l.rows, func(c client.Conversation) bool { return c.ID == conv }); i >= 0 {
		l.at = i
	}
}

func (l *list) typing(conv string, c *client.Client) {
	if _, ok := l.types[conv]; ok {
		l.types[conv] = len(without(c.Typing(conv), c.Me())) > 0
	}
}

func (l *list) presence(user string, c *client.Client) {
	if _, ok := l.here[user]; ok {
		l.here[user] = c.Presence(user)
	}
}

// move chooses another row.
func (m *model) move(by int) tea.Cmd {
	l := &m.list
	if len(l.rows) == 0 {
		return nil
	}
	l.at = max(min(l.at+by, len(l.rows)-1), 0)
	l.id = l.rows[l.at].ID
	if l.at >= l.limit-1 {
		l.limit += listStep
		return m.loadList()
	}
	return nil
}

// turn shows the next of the lists: inbox, requests, archive, former.
func (m *model) turn() tea.Cmd {
	next := map[client.List]client.List{client.ListInbox: client.ListRequests, client.ListRequests: client.ListArchive, client.ListArchive: client.ListFormer}
	m.list.which = next[m.list.which]
	m.list.rows, m.list.at, m.list.top, m.list.limit = nil, 0, 0, 0
	return m.loadList()
}

func (l *list) title() string {
	switch l.which {
	case client.ListRequests:
		return "Requests"
	case client.ListArchive:
		return "Archive"
	case client.ListFormer:
		return "Left"
	}
	return "Chats"
}

// lines paints the list, width columns and height rows.
func (m *model) listLines(width, height int) []string {
	l := &m.list
	head := row{{lookTitle, l.title()}}
	if l.which == client.ListInbox && l.requests > 0 {
		head = append(head, span{lookNote, " " + count(l.requests, "request", "requests") + " (v)"})
	}
	out := []string{m.p.line(m.p.sides(head, row{{lookDim, m.c.Me()}}, width), width)}
	view := height - 1
	if l.at < l.top {
		l.top = l.at
	}
	if l.at >= l.top+view {
		l.top = l.at - view + 1
	}
	if len(l.rows) == 0 && l.loaded {
		empty := map[client.List]string{client.ListInbox: "No conversations yet. Press n to begin one, F1 for help."}
		text := empty[l.which]
		if text == "" {
			text = "Nothing here. Press v for the next list."
		}
		for _, r := range m.p.wrap(lookDim, text, width) {
			out = append(out, m.p.line(r, width))
		}
	}
	for i := l.top; i < len(l.rows) && len(out) < height; i++ {
		r := m.listRow(&l.rows[i], width)
		if i == l.at && (m.focus == onList || m.open != nil && m.open.id == l.rows[i].ID) {
			if m.focus == onList {
				out = append(out, m.p.over(r, width, lookChosen))
				continue
			}
			r[0] = span{lookBold, "▌"}
		}
		out = append(out, m.p.line(r, width))
	}
	for len(out) < height {
		out = append(out, m.p.line(nil, width))
	}
	return out[:height]
}

// listRow is a conversation in the list: a sign for who is there, its name, and what is to be known.
func (m *model) listRow(c *client.Conversation, width int) row {
	sign := span{lookDim, "  "}
	switch {
	case !c.Direct:
		sign = span{lookDim, "# "}
	case m.list.here[c.Peer].State == "online":
		sign = span{lookGood, "● "}
	case m.list.here[c.Peer].State == "away":
		sign = span{lookDim, "◐ "}
	}
	name := span{lookText, c.Title}
	if c.Unread > 0 && !c.Muted {
		name.look = lookBold
	}
	if c.Muted {
		name.look = lookDim
	}
	left := row{{lookText, " "}, sign, name}
	if c.Pinned {
		left[0].text = "^"
	}
	if m.list.types[c.ID] {
		left = append(left, span{lookGood, " …"})
	}
	return m.p.sides(left, badges(c), width)
}

// badges are the signs behind a conversation's name; the help says what they mean.
func badges(c *client.Conversation) (r row) {
	add := func(l look, text string) {
		if len(r) > 0 {
			r = append(r, span{lookText, " "})
		}
		r = append(r, span{l, text})
	}
	if c.Draft != "" {
		add(lookDim, "✎")
	}
	if c.Queued > 0 {
		add(lookDim, fmt.Sprintf("↑%d", c.Queued))
	}
	if c.Muted {
		add(lookDim, "muted")
	}
	if c.Pending {
		add(lookNote, "?")
	}
	if c.Mentions > 0 {
		add(lookNote, "@")
	}
	if c.Unread > 0 {
		l := lookNote
		if c.Muted {
			l = lookDim
		}
		add(l, thousands(min(c.Unread, 9999)))
	}
	return r
}
