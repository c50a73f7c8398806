package tui

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
)

// A thread is shown as a conversation is, in its place: a talk of its own whose messages are those of the thread, with the conversation
// behind it. What is typed there goes into the thread.

// threadMost is how many posts of a thread are shown.
const threadMost = 1000

// showThread opens the thread that begins with a message, or that it belongs to.
func (m *model) showThread(x *client.Message) tea.Cmd {
	switch root := max(x.Thread, x.Seq); {
	case m.open.thread != 0:
		m.say("This is the thread. Esc: back to the conversation.", false)
		return nil
	case root == 0:
		m.say("This message is not sent yet: a thread can begin when it is.", true)
		return nil
	case x.Thread != 0:
		return m.openThread(x.Thread)
	default:
		return m.openThread(root)
	}
}

// openThread opens a thread by its first post, as far as that is known.
func (m *model) openThread(root uint64) tea.Cmd {
	m.jumps++
	back := m.open
	if back.thread != 0 {
		back = back.back
		m.leaveThread()
	}
	m.saveDraft()
	t := &talk{id: back.id, thread: root, back: back, row: back.row, presence: back.presence, typing: back.typing, tail: true, top: true, follow: true, entered: true}
	t.edit.lines = true
	t.edit.set(m.threadTexts[threadKey(t)])
	m.open, m.focus, m.page = t, onEditor, chatPage
	cmd := m.reload()
	if back.row.Earlier || back.past != nil { // not all of the log is on this device
		cmd = tea.Batch(cmd, m.askThread())
	}
	return cmd
}

// threadAt opens the thread of a message by its number; without one, of the chosen message or the newest.
func (m *model) threadAt(args string) tea.Cmd {
	ctx, act, conv, at := m.ctx, m.act, m.open.id, m.open.chosen()
	if at.Zero() {
		if last := lastSeq(m.open.msgs); last > 0 {
			at = client.At(last)
		}
	}
	return func() tea.Msg {
		root, err := act.threadRoot(ctx, conv, at, args)
		return threadRootMsg{conv, root, err}
	}
}

type threadRootMsg struct {
	conv string
	root uint64
	err  error
}

func (m *model) threadFound(msg threadRootMsg) tea.Cmd {
	m.tell(msg.err)
	if msg.err != nil || m.open == nil || m.open.id != msg.conv {
		return nil
	}
	return m.openThread(msg.root)
}

// leaveThread goes back to the conversation. What was typed stays with the thread.
func (m *model) leaveThread() tea.Cmd {
	t := m.open
	if t.changes == nil {
		m.threadTexts[threadKey(t)] = t.edit.text
	}
	m.open, m.focus = t.back, onEditor
	if m.open.sel != "" {
		m.focus = onMessages
	}
	m.open.typing = without(m.c.Typing(t.id), m.c.Me())
	m.set(m.open)
	return m.reload()
}

func threadKey(t *talk) string { return fmt.Sprintf("%s#%d", t.id, t.thread) }

// threadHead says which thread is open.
func (m *model) threadHead() (left, right row) {
	t := m.open
	left = row{{lookDim, "‹ "}, {lookTitle, "Thread"}, {lookDim, " in "}, {lookTitle, t.row.Title}}
	n := count(threadReplies(t.msgs), "reply", "replies")
	if t.partly {
		n += ", on this device"
	}
	return left, row{{lookDim, n}}
}

// threadReplies counts those that are stored.
func threadReplies(msgs []client.Message) (n int) {
	for i := range msgs {
		if msgs[i].Seq > 0 && msgs[i].Thread != 0 {
			n++
		}
	}
	return n
}

// readThread reads the thread from this device.
func (m *model) readThread() tea.Cmd {
	t := m.open
	t.loading, t.stale = true, false
	ctx, c, conv, root, gen := m.ctx, m.c, t.id, t.thread, t.gen
	return func() tea.Msg {
		w := windowMsg{of: t, gen: gen, how: replace, tail: true, top: true}
		w.row, w.err = c.Conversation(ctx, conv)
		if w.known = w.err == nil; w.known {
			w.msgs, w.err = threadHere(ctx, c, conv, root)
		}
		return w
	}
}

// threadMsg is what the server has of a thread.
type threadMsg struct {
	of    *talk
	root  uint64
	posts []client.Message
	err   error
}

// askThread asks the server for what is not on this device.
func (m *model) askThread() tea.Cmd {
	t := m.open
	t.partly = true // until it answers
	if m.c.Status().State == client.Offline {
		return nil
	}
	ctx, c, conv, root := m.ctx, m.c, t.id, t.thread
	return func() tea.Msg {
		r, posts, err := threadThere(ctx, c, conv, root)
		return threadMsg{t, r, posts, err}
	}
}

func (m *model) threadCame(msg threadMsg) tea.Cmd {
	t := msg.of
	if t != m.open {
		return nil
	}
	if msg.err != nil {
		m.tell(msg.err)
		if len(t.msgs) == 0 { // there is none
			return m.leaveThread()
		}
		return nil
	}
	t.partly, t.posts, t.thread = false, msg.posts, msg.root
	return m.reload()
}

// threadHere is a thread as far as it is on this device, with what waits to go there.
func threadHere(ctx context.Context, c *client.Client, conv string, root uint64) ([]client.Message, error) {
	msgs, err := c.ThreadOf(ctx, conv, root)
	if err != nil {
		return nil, err
	}
	newest, err := c.Messages(ctx, conv, client.Page{Limit: 1})
	if err != nil {
		return nil, err
	}
	seqs, ids := map[uint64]bool{root: true}, make(map[string]bool)
	for i := range msgs {
		seqs[msgs[i].Seq] = true
		if msgs[i].ID != "" {
			ids[msgs[i].ID] = true
		}
	}
	for i := range newest {
		x := &newest[i]
		waits := x.Mine && x.Thread == 0 && x.Kind == chat.KindPost && !seqs[x.Seq] && !ids[x.ID]
		if waits && (x.Re != 0 && seqs[x.Re] || x.ReID != "" && ids[x.ReID]) {
			msgs, ids[x.ID] = append(msgs, *x), true
		}
	}
	return msgs, nil
}

// threadThere is a thread as the server has it: the seq of its first post, and the posts. root may be any of them.
func threadThere(ctx context.Context, c *client.Client, conv string, root uint64) (first uint64, posts []client.Message, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var o client.ListOptions
	for more := true; more && len(posts) < threadMost; {
		p, err := c.History().ThreadPage(ctx, conv, root, o)
		if err != nil {
			return root, nil, err
		}
		for i := range p.Items {
			posts = append(posts, postOf(conv, c.Me(), &p.Items[i]))
		}
		first, more, o.After = p.Root, p.More && len(p.Items) > 0, p.Next
	}
	return first, posts, nil
}

// postOf makes a message of a post that the server gave. What was done to it but for edits is not known.
func postOf(conv, me string, p *client.ThreadPost) client.Message {
	ev := p.Event
	x := client.Message{
		Conv: conv, Seq: ev.Seq, ID: ev.ID, From: ev.From, Mine: ev.From == me, At: client.Millis(ev.At).Time(), Kind: chat.KindPost,
		Text: ev.Text, Re: ev.Re, Thread: ev.Thread, Mentions: ev.Mentions, Media: ev.Media, Forward: ev.Fwd, Event: ev,
	}
	if p.Edited != 0 {
		x.Edited = p.Edited.Time()
	}
	switch ev.Kind {
	case chat.KindGone:
		x.Deleted = true
	case chat.KindLarge:
		x.Large = true
	}
	return x
}

// mergeThread puts what is here, which knows more of each post, to what the server has.
func mergeThread(there, here []client.Message) []client.Message {
	all := slices.Clone(here)
	for i := range there {
		if !slices.ContainsFunc(here, func(x client.Message) bool { return x.Seq == there[i].Seq }) {
			all = append(all, there[i])
		}
	}
	slices.SortStableFunc(all, func(a, b client.Message) int {
		switch {
		case a.Seq == b.Seq:
			return 0
		case a.Seq == 0 || b.Seq != 0 && a.Seq > b.Seq: // what waits stands at the end
			return 1
		}
		return -1
	})
	return all
}

// threadRoot finds the first post of the thread of a message: #N in args, or at.
func (a actor) threadRoot(ctx context.Context, conv string, at client.Target, args string) (uint64, error) {
	at, _, err := a.target(ctx, conv, at, strings.TrimSpace(args), "thread")
	if err != nil {
		return 0, err
	}
	x, err := a.c.Message(ctx, conv, at)
	switch {
	case errors.Is(err, client.ErrNotFound) && at.Seq != 0:
		row, err := a.c.Conversation(ctx, conv)
		if err == nil && !row.Earlier { // all there is is here
			err = noMessage(at.Seq)
		}
		return at.Seq, err // else the server knows
	case err != nil:
		return 0, err
	case x.Thread != 0:
		return x.Thread, nil
	case x.Seq == 0:
		return 0, fault("This message is not sent yet: a thread can begin when it is.")
	}
	return x.Seq, nil
}

// thread is a whole thread, from both.
func (a actor) thread(ctx context.Context, conv string, root uint64) (first uint64, msgs []client.Message, note string, err error) {
	var there []client.Message
	row, err := a.c.Conversation(ctx, conv)
	if err != nil {
		return root, nil, "", err
	}
	if row.Earlier {
		if a.c.Status().State == client.Offline {
			err = client.ErrOffline
		} else {
			first, there, err = threadThere(ctx, a.c, conv, root)
		}
		if err != nil {
			note = " on this device (" + words(err) + ")"
		} else {
			root = first
		}
	}
	here, err := threadHere(ctx, a.c, conv, root)
	if err == nil && note != "" && len(here) == 0 {
		err = notHere(root)
	}
	return root, mergeThread(there, here), note, err
}

// keepThreadText makes what was typed in a thread the draft of its conversation, when the program ends and that has none.
func (m *model) keepThreadText() {
	t := m.open
	if t == nil || t.thread == 0 {
		return
	}
	m.open = t.back
	if text := t.edit.text; t.changes == nil && strings.TrimSpace(text) != "" && m.open.edit.text == "" && m.open.changes == nil {
		m.open.edit.set(text)
		m.open.dirty++
	}
}
