package tui

import (
	"context"
	"errors"
	"fmt"
	"slices"

	tea "charm.land/bubbletea/v2"

	"github.com/petrelchat/petrel/client"
)

// jumpNear is how many events behind a message are brought to this device with it. One that is farther away is looked
// at over the network: to keep it, all that lies between would have to be loaded.
const jumpNear = 1000

// jumpMsg is what came of a jump: the messages around the one that is sought, or why not.
type jumpMsg struct {
	round int
	conv  string
	seq   uint64
	w     windowMsg
	asked bool // the server was
	err   error
}

// jump shows a message wherever it stands: at once if it is on this device, else when the server has answered. Until then, and if it
// can't be had, everything stays as it is.
func (m *model) jump(conv string, seq uint64) tea.Cmd {
	m.jumps++
	if t := m.open; t != nil && t.id == conv && m.chooseSeq(t, seq) {
		m.page = chatPage
		return nil
	}
	ctx, c, round := m.ctx, m.c, m.jumps
	return func() tea.Msg {
		w, err := reachHere(ctx, c, conv, seq)
		return jumpMsg{round, conv, seq, w, false, err}
	}
}

// chooseSeq chooses a message that is in the window.
func (m *model) chooseSeq(t *talk, seq uint64) bool {
	i := slices.IndexFunc(t.msgs, func(x client.Message) bool { return x.Seq == seq })
	if i < 0 {
		return false
	}
	t.sel, t.follow, m.focus = keyOf(&t.msgs[i]), false, onMessages
	m.reveal(t, true)
	return true
}

// jumped goes to what was found, or asks the server for it.
func (m *model) jumped(j jumpMsg) tea.Cmd {
	switch {
	case j.round != m.jumps: // the user went elsewhere meanwhile
		return nil
	case j.err == nil:
		return m.land(j)
	case j.asked || !errors.Is(j.err, client.ErrNotFound):
		m.tell(j.err)
		return nil
	case m.c.Status().State == client.Offline:
		m.tell(notHere(j.seq))
		return nil
	}
	m.say(fmt.Sprintf("Fetching #%d and what is around it from the server…", j.seq), false)
	ctx, c := m.ctx, m.c
	return func() tea.Msg {
		j.w, j.err = reachThere(ctx, c, j.conv, j.seq)
		j.asked = true
		return j
	}
}

func notHere(seq uint64) error {
	return fault(fmt.Sprintf("#%d is not on this device, and there is no connection to the server: try again when there is one.", seq))
}

func noMessage(seq uint64) error { return fault(fmt.Sprintf("There is no message #%d here.", seq)) }

// land shows the place of the message in its conversation.
func (m *model) land(j jumpMsg) tea.Cmd {
	m.begin(j.conv)
	t := m.open
	m.notice = notice{}
	t.gen++ // what is being read of another place comes too late
	t.past, t.loading, t.asking, t.more = j.w.past, true, false, false
	j.w.of, j.w.gen, j.w.seek = t, t.gen, j.seq
	cmd := m.loaded(j.w)
	if x := t.message(); x == nil || x.Seq != j.seq {
		m.say(fmt.Sprintf("#%d is gone: this is what was around it.", j.seq), true)
	}
	return cmd
}

// reachHere reads what is around a message from this device; client.ErrNotFound if it is not here.
func reachHere(ctx context.Context, c *client.Client, conv string, seq uint64) (windowMsg, error) {
	if _, err := c.Message(ctx, conv, client.At(seq)); err != nil {
		return windowMsg{}, err
	}
	w := readPage(ctx, c, conv, client.Page{After: seq - min(seq, pageLoad/2), Limit: pageLoad}, replace)
	return w, w.err
}

// reachThere gets what is around a message from the server. What is near comes to this device, what is far is only looked at.
func reachThere(ctx context.Context, c *client.Client, conv string, seq uint64) (w windowMsg, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	row, err := c.Conversation(ctx, conv)
	if err == nil && row.Head >= seq && row.Head-seq <= jumpNear {
		for more := row.Earlier; more; {
			if more, err = c.Earlier(ctx, conv, jumpNear/2); err != nil {
				return w, err
			}
			if w, err = reachHere(ctx, c, conv, seq); !errors.Is(err, client.ErrNotFound) {
				return w, err
			}
		}
	}
	past, err := c.Past(ctx, conv, seq, pageLoad)
	if err != nil {
		return w, err
	}
	if _, newer := past.More(); seq > row.Head && !newer {
		return w, noMessage(seq)
	}
	w = readPlace(ctx, c, conv, past)
	return w, w.err
}

// readPlace reads the window onto a place that is far away, as it was fetched.
func readPlace(ctx context.Context, c *client.Client, conv string, past *client.Past) windowMsg {
	w := windowMsg{past: past, how: replace}
	row, err := c.Conversation(ctx, conv)
	w.row, w.known = row, err == nil
	older, _ := past.More()
	w.top = !older
	w.msgs, w.err = past.Messages(ctx)
	return w
}

// reloadPlace reads it once more: something was done to its messages, here or by others.
func (m *model) reloadPlace() tea.Cmd {
	t := m.open
	t.loading, t.stale = true, false
	ctx, c, conv, past, gen := m.ctx, m.c, t.id, t.past, t.gen
	return func() tea.Msg {
		w := readPlace(ctx, c, conv, past)
		w.of, w.gen = t, gen
		return w
	}
}

// pastMsg is what was read on of a place that is far away.
type pastMsg struct {
	of    *talk
	gen   int
	msgs  []client.Message
	older bool
	err   error
}

// readPast reads on from a place that is far away, in one direction.
func (m *model) readPast(on bool) tea.Cmd {
	t := m.open
	if t.asking {
		return nil
	}
	older, newer := t.past.More()
	switch {
	case on && !newer: // from here on this device has it
		t.past, t.tail, t.top = nil, true, false
		t.gen++
		return m.reload()
	case !on && !older:
		return nil
	}
	t.asking = true
	ctx, past, gen := m.ctx, t.past, t.gen
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		p := pastMsg{of: t, gen: gen}
		if on {
			p.err = past.Newer(ctx, pageLoad)
		} else {
			p.err = past.Older(ctx, pageLoad)
		}
		if p.err == nil {
			p.msgs, p.err = past.Messages(ctx)
			p.older, _ = past.More()
		}
		return p
	}
}

// pastCame takes what was read on.
func (m *model) pastCame(p pastMsg) tea.Cmd {
	if p.gen != p.of.gen {
		return nil // the window is elsewhere by now
	}
	p.of.asking = false
	if p.err == nil {
		p.of.msgs, p.of.top = p.msgs, !p.older
		p.of.gen++ // what was read of the store meanwhile has less
	}
	if p.of == m.open {
		m.tell(p.err)
		m.set(p.of)
	}
	return nil
}
