package tui

import (
	"context"
	"errors"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/petrelchat/petrel/client"
)

const (
	pageLoad   = 100  // messages that are read at a time
	windowMost = 1000 // messages that are shown without reading again
)

// talk is the conversation that is shown: a window onto its messages, and what is being typed there.
type talk struct {
	id       string
	row      client.Conversation
	typing   []string
	presence client.Presence

	msgs    []client.Message
	tail    bool // the window reaches the newest message
	top     bool // there are none before the window
	fresh   uint64
	entered bool // the first window is there
	marked  uint64

	blocks []block
	height int    // rows of all blocks
	follow bool   // the newest message is kept in view
	topKey string // else: the block in the first row of the view,
	topOff int    // and how many rows of it are above

	sel string // key of the chosen message; "": none

	edit    editor
	re      *client.Message // it will be a reply to
	changes *client.Message // it will be the new text of
	told    time.Time       // when others were told that one types; zero: they don't know
	dirty   int             // counts changes of the text, for the draft

	loading bool // a window is being read
	stale   bool // read it again when it came
	more    bool // older ones are wanted when it came
	asking  bool // the server is asked for them
	gen     int  // counts the places at which the window stood: what was read for another one is thrown away

	past *client.Past // the window is read from the server, far from what is on this device; nil: it is of the store

	thread uint64           // seq of the first post of the thread that is shown instead; 0: the conversation itself
	back   *talk            // the conversation behind a thread
	posts  []client.Message // of a thread: what the server has of it
	partly bool             // of a thread: there may be more than is on this device
}

// windowMsg is what was read of the store.
type windowMsg struct {
	of    *talk // who asked for it, and
	gen   int   // at which place its window stood
	past  *client.Past
	row   client.Conversation
	known bool
	msgs  []client.Message
	tail  bool
	top   bool
	how   how
	seek  uint64 // choose this message
	err   error
}

// how a page that was read goes together with the window.
type how uint8

const (
	replace how = iota
	prepend
	appended
)

// show opens a conversation and reads it.
func (m *model) show(conv string) tea.Cmd {
	m.begin(conv)
	return m.reload()
}

// begin opens a conversation.
func (m *model) begin(conv string) {
	m.page, m.ask, m.help = chatPage, nil, false
	if m.focus == onList {
		m.focus = onEditor
	}
	m.jumps++
	if m.open != nil && m.open.id == conv {
		if m.open.thread != 0 {
			m.leaveThread()
		}
		return
	}
	m.saveDraft()
	t := &talk{id: conv, tail: true, follow: true, row: client.Conversation{ID: conv, Title: conv}}
	t.edit.lines = true
	t.typing = without(m.c.Typing(conv), m.c.Me())
	m.open = t
	m.list.choose(conv)
}

// reload reads the window again: one read at a time, and once more if something changed meanwhile.
func (m *model) reload() tea.Cmd {
	t := m.open
	if t == nil {
		return nil
	}
	if t.loading {
		t.stale = true
		return nil
	}
	switch {
	case t.thread != 0:
		return m.readThread()
	case t.past != nil:
		return m.reloadPlace()
	}
	limit := max(len(t.msgs), pageLoad)
	if first := firstSeq(t.msgs); !t.tail && first > 0 {
		return m.read(client.Page{After: first - 1, Limit: limit}, replace)
	}
	return m.read(client.Page{Limit: min(limit+pageLoad/2, windowMost)}, replace)
}

// read reads a page for the window.
func (m *model) read(p client.Page, h how) tea.Cmd {
	t := m.open
	t.loading, t.stale = true, false
	ctx, c, conv, gen := m.ctx, m.c, t.id, t.gen
	return func() tea.Msg {
		w := readPage(ctx, c, conv, p, h)
		w.of, w.gen = t, gen
		return w
	}
}

// readPage reads the store. The newest page has what waits in the outbox at its end, others don't: a window that comes to
// the end in another way is read once more.
func readPage(ctx context.Context, c *client.Client, conv string, p client.Page, h how) windowMsg {
	w := windowMsg{how: h, tail: p.Before == 0 && p.After == 0}
	w.row, w.err = c.Conversation(ctx, conv)
	w.known = w.err == nil
	if w.err != nil {
		if errors.Is(w.err, client.ErrNotFound) { // one that was never talked in is empty
			w.err = nil
		}
		return w
	}
	w.msgs, w.err = c.Messages(ctx, conv, p)
	if short := len(w.msgs) < p.Limit; p.After > 0 {
		w.tail = short
	} else {
		w.top = short
	}
	return w
}

// loaded takes a window that was read.
func (m *model) loaded(w windowMsg) tea.Cmd {
	t := m.open
	w.of.loading = false
	switch {
	case w.of != t: // it is read again when it is shown again
		return nil
	case w.gen != t.gen:
		return m.reload()
	}
	m.tell(w.err)
	if w.known {
		t.row = w.row
		t.presence = m.c.Presence(w.row.Peer)
	} else {
		t.row.Direct, t.row.Peer = peerOf(t.id, m.c.Me())
		if t.row.Direct {
			t.row.Title = t.row.Peer
		}
	}
	if w.err == nil {
		if t.thread != 0 {
			w.msgs = mergeThread(t.posts, w.msgs)
		}
		t.take(w)
	}
	if !t.entered {
		m.enter(t)
	}
	if w.seek > 0 {
		if i := slices.IndexFunc(t.msgs, func(x client.Message) bool { return x.Seq >= w.seek }); i >= 0 {
			t.sel, t.follow, m.focus = keyOf(&t.msgs[i]), false, onMessages
		}
	}
	m.set(t)
	if w.seek > 0 && t.sel != "" {
		m.reveal(t, true)
	}
	switch {
	case t.stale || w.tail && w.how == appended:
		return m.reload()
	case t.past != nil || t.thread != 0:
		return nil
	case t.more, t.follow && t.height < m.viewHeight() && m.status.State >= client.CatchingUp: // a new device has the newest ones only
		return m.older()
	}
	return nil
}

// take puts a page that was read to the window. A window that becomes too long loses what is farthest from where one reads.
func (t *talk) take(w windowMsg) {
	switch w.how {
	case prepend:
		t.msgs, t.top = append(w.msgs, t.msgs...), w.top
		if len(t.msgs) > windowMost {
			t.msgs, t.tail = t.msgs[:windowMost], false
		}
	case appended:
		t.msgs, t.tail = append(t.msgs, w.msgs...), w.tail
		if n := len(t.msgs) - windowMost; n > 0 {
			t.msgs, t.top = t.msgs[n:], false
		}
	default:
		if !w.tail || !t.tail || len(t.msgs) == 0 || w.top { // a reload of the end says nothing of the beginning unless it reaches it
			t.top = w.top
		}
		t.msgs, t.tail = w.msgs, w.tail
	}
}

// enter is done once, when a conversation's first window is there.
func (m *model) enter(t *talk) {
	t.entered = true
	if t.row.Unread > 0 {
		t.fresh = t.row.Read
	}
	t.marked = t.row.Read
	draft := t.row.Draft
	if mine, ok := m.drafts[t.id]; ok {
		draft = mine
	}
	if t.edit.text == "" && draft != "" {
		t.edit.set(draft)
	}
}

// set lays the messages out anew, keeping what is in view where it is.
func (m *model) set(t *talk) {
	s := typesetter{p: &m.p, width: m.paneWidth(), now: m.o.Now(), direct: t.row.Direct, fresh: t.fresh, thread: t.thread, byKey: make(map[uint64]*client.Message, len(t.msgs))}
	for i := range t.msgs {
		if x := &t.msgs[i]; x.Seq > 0 {
			s.byKey[x.Seq] = x
		}
	}
	t.blocks, t.height = t.blocks[:0], 0
	var prev *client.Message
	for i := range t.msgs {
		b := s.set(&t.msgs[i], prev)
		prev = &t.msgs[i]
		t.blocks, t.height = append(t.blocks, b), t.height+len(b.rows)
	}
	if t.sel != "" && !slices.ContainsFunc(t.blocks, func(b block) bool { return b.key == t.sel }) {
		t.sel = ""
		if m.focus == onMessages {
			m.focus = onEditor
		}
	}
}

// topRow is the first row in view, of all rows of the blocks.
func (t *talk) topRow(view int) int {
	most := max(t.height-view, 0)
	if t.follow {
		return most
	}
	at := 0
	for _, b := range t.blocks {
		if b.key == t.topKey {
			return min(at+t.topOff, most)
		}
		at += len(b.rows)
	}
	return most
}

// scrollTo puts a row first into view.
func (t *talk) scrollTo(rowAt, view int) {
	most := max(t.height-view, 0)
	rowAt = max(min(rowAt, most), 0)
	t.follow = t.tail && rowAt >= most
	at := 0
	for _, b := range t.blocks {
		if rowAt < at+len(b.rows) {
			t.topKey, t.topOff = b.key, rowAt-at
			return
		}
		at += len(b.rows)
	}
}

// scroll moves the view by so many rows, and reads on at either end.
func (m *model) scroll(by int) tea.Cmd {
	t := m.open
	if t == nil {
		return nil
	}
	view := m.viewHeight()
	was := t.topRow(view)
	t.scrollTo(was+by, view)
	switch {
	case by < 0 && t.topRow(view) == 0:
		cmd := m.older()
		if cmd != nil && len(t.blocks) > 0 { // what comes is put above what is in view
			t.follow, t.topKey, t.topOff = false, t.blocks[0].key, 0
		}
		return cmd
	case by > 0 && !t.tail && t.topRow(view) >= t.height-view:
		return m.newer()
	}
	return nil
}

// reveal brings the chosen message into view; middle: to its middle.
func (m *model) reveal(t *talk, middle bool) {
	view := m.viewHeight()
	at := 0
	for _, b := range t.blocks {
		if b.key == t.sel {
			top := t.topRow(view)
			switch {
			case middle:
				t.scrollTo(at-view/3, view)
			case at < top:
				t.scrollTo(at, view)
			case at+len(b.rows) > top+view:
				t.scrollTo(min(at+len(b.rows)-view, at), view)
			}
			return
		}
		at += len(b.rows)
	}
}

// message returns the chosen message; nil: none is.
func (t *talk) message() *client.Message {
	i := slices.IndexFunc(t.msgs, func(x client.Message) bool { return t.sel != "" && keyOf(&x) == t.sel })
	if i < 0 {
		return nil
	}
	return &t.msgs[i]
}

func (t *talk) chosen() client.Target {
	if x := t.message(); x != nil {
		return x.Target()
	}
	return client.Target{}
}

func firstSeq(msgs []client.Message) uint64 {
	for _, x := range msgs {
		if x.Seq > 0 {
			return x.Seq
		}
	}
	return 0
}

func lastSeq(msgs []client.Message) uint64 {
	for _, x := range slices.Backward(msgs) {
		if x.Seq > 0 {
			return x.Seq
		}
	}
	return 0
}
