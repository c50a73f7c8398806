package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/cmd/petrel/internal/profile"
)

type historyCmd struct {
	talkFlags
	Conv    string `arg:"" help:"The id of a group, or @user."`
	Limit   int    `short:"n" help:"How many messages." default:"50"`
	Before  uint64 `help:"What stands before this number." placeholder:"SEQ"`
	After   uint64 `help:"What follows this number." placeholder:"SEQ"`
	All     bool   `help:"From the beginning."`
	Thread  uint64 `help:"Only the thread that this message belongs to." placeholder:"SEQ"`
	Events  bool   `help:"The log itself: edits, reactions and deletions as events of their own."`
	Offline bool   `help:"Only what this device has; the server is not asked."`
}

// Help is what petrel help history adds.
func (historyCmd) Help() string {
	return `What this device has not read yet is asked of the server and kept, so that it is there the next time, without a connection too. ` +
		`If the server can't be reached what this device has is printed, and the exit code is 3.`
}

func (c historyCmd) Run(ctx context.Context, con console) (err error) {
	switch {
	case c.Limit < 1:
		return usagef("-n: %d must be 1 at least; --all is everything", c.Limit)
	case c.All && (c.Before != 0 || c.After != 0 || c.Thread != 0):
		return usagef("--all is everything: leave out --before, --after and --thread")
	case c.Thread != 0 && (c.Before != 0 || c.After != 0 || c.Events):
		return usagef("--thread is the whole thread: leave out --before, --after and --events")
	}
	use := profile.Use{Store: profile.Commands, Busy: patience(con, c.Timeout)}
	if c.Offline {
		use.Tune = stayOffline
	}
	t, err := c.openUse(ctx, con, use)
	if err != nil {
		return err
	}
	defer t.close(ctx, &err)
	conv, err := t.conv(c.Conv)
	if err != nil {
		return err
	}
	h := history{talk: t, c: &c, conv: conv}
	var away error
	if !c.Offline {
		if away = h.fetch(ctx); away != nil && exitCode(away) != exitNotNow {
			return away
		}
	}
	if err := h.print(ctx); err != nil {
		return errors.Join(away, err)
	}
	if away != nil {
		return exitError{exitNotNow, fmt.Errorf("this is what this device has: %w", away)}
	}
	return nil
}

// history is one conversation that is read.
type history struct {
	*talk
	c    *historyCmd
	conv string

	waiting []client.Message // what --all prints last: the outbox, as the newest page has it
}

// fetchPage is how many events are asked for at a time; the contract has no longer pages.
const fetchPage = 500

// fetch brings what is to be printed to this device.
func (h *history) fetch(ctx context.Context) error {
	if err := h.online(ctx); err != nil {
		return err
	}
	bar := newProgress(h.con, "reading "+h.conv)
	defer bar.end()
	limit, cancel := h.bounded(ctx)
	defer cancel()
	err := h.Wait(limit, func(s client.Status) bool {
		bar.show(s.Done, s.Total)
		return s.State == client.UpToDate || s.State == client.Offline
	})
	if err != nil {
		return h.late(err)
	}
	if err := h.load(ctx, bar); !errors.Is(err, client.ErrNotFound) {
		return err
	}
	return chat.NoSuchConversation()
}

// load brings what is to be printed from the server, as far as it is not here.
func (h *history) load(ctx context.Context, bar *progress) error {
	if h.c.Thread != 0 {
		if err := h.reach(ctx, bar, h.c.Thread); err != nil {
			return err
		}
		root, err := h.root(ctx)
		if err != nil {
			return err
		}
		return h.reach(ctx, bar, root)
	}
	if h.c.All || h.c.After != 0 {
		return h.reach(ctx, bar, h.c.After+1)
	}
	if h.c.Before > 1 {
		if err := h.reach(ctx, bar, h.c.Before-1); err != nil {
			return err
		}
	}
	for {
		row, err := h.Conversation(ctx, h.conv)
		if err != nil || !row.Earlier {
			return err
		}
		n, err := h.count(ctx)
		if err != nil || n >= h.c.Limit {
			return err
		}
		bar.show(n, h.c.Limit)
		if err := h.earlier(ctx, max(h.c.Limit-n, 50)); err != nil {
			return err
		}
	}
}

// count is how much of what is to be printed is here.
func (h *history) count(ctx context.Context) (int, error) {
	at := client.Page{Before: h.c.Before, Limit: h.c.Limit}
	if h.c.Events {
		events, err := h.Events(ctx, h.conv, at)
		return len(events), err
	}
	messages, err := h.Messages(ctx, h.conv, at)
	return len(messages), err
}

// reach loads the log down to a seq.
func (h *history) reach(ctx context.Context, bar *progress, seq uint64) error {
	for {
		row, err := h.Conversation(ctx, h.conv)
		if err != nil || !row.Earlier {
			return err
		}
		lowest, err := h.Lowest(ctx, h.conv)
		if err != nil || lowest != 0 && lowest <= seq {
			return err
		}
		if lowest != 0 {
			bar.show(int(row.Head-lowest), int(row.Head-min(seq, row.Head)))
		}
		if err := h.earlier(ctx, fetchPage); err != nil {
			return err
		}
	}
}

func (h *history) earlier(ctx context.Context, n int) error {
	limit, cancel := h.bounded(ctx)
	defer cancel()
	_, err := h.Earlier(limit, h.conv, min(n, fetchPage))
	return h.late(err)
}

// root is the first post of the thread that is asked for.
func (h *history) root(ctx context.Context) (uint64, error) {
	m, err := h.Message(ctx, h.conv, client.At(h.c.Thread))
	if errors.Is(err, client.ErrNotFound) {
		return h.c.Thread, nil
	}
	if m.Thread != 0 {
		return m.Thread, err
	}
	return h.c.Thread, err
}

// print prints what is here.
func (h *history) print(ctx context.Context) error {
	switch {
	case h.c.Thread != 0:
		root, err := h.root(ctx)
		if err != nil {
			return err
		}
		messages, err := h.ThreadOf(ctx, h.conv, root)
		if err != nil {
			return err
		}
		return h.show(messages)
	case h.c.All:
		return h.printAll(ctx)
	}
	_, err := h.printPage(ctx, client.Page{Before: h.c.Before, After: h.c.After, Limit: h.c.Limit})
	return err
}

// printAll prints from the oldest event that is here on, page by page.
func (h *history) printAll(ctx context.Context) error {
	row, err := h.Conversation(ctx, h.conv)
	if err != nil {
		return err
	}
	lowest, err := h.Lowest(ctx, h.conv)
	if err != nil {
		return err
	}
	// The first page is asked for from its end: there is nothing to be after.
	end := max(lowest, 1) + fetchPage
	_, err = h.printPage(ctx, client.Page{Before: end, Limit: fetchPage})
	for after := end - 1; err == nil && after <= row.Head; {
		var last uint64
		if last, err = h.printPage(ctx, client.Page{After: after, Limit: fetchPage}); last <= after {
			break
		}
		after = last
	}
	if err != nil {
		return err
	}
	return h.show(h.waiting)
}

// printPage prints a page and returns its highest seq.
func (h *history) printPage(ctx context.Context, at client.Page) (last uint64, err error) {
	if h.c.Events {
		events, err := h.Events(ctx, h.conv, at)
		if err != nil {
			return 0, err
		}
		return highest(events), h.showEvents(events)
	}
	messages, err := h.Messages(ctx, h.conv, at)
	if err != nil {
		return 0, err
	}
	for i := range messages {
		last = max(last, messages[i].Seq)
	}
	if h.c.All { // several pages may end with the outbox
		n := slices.IndexFunc(messages, func(m client.Message) bool { return m.Seq == 0 })
		if n < 0 {
			n = len(messages)
		}
		messages, h.waiting = messages[:n], messages[n:]
	}
	return last, h.show(messages)
}

func highest(events []chat.Event) uint64 {
	if len(events) == 0 {
		return 0
	}
	return events[len(events)-1].Seq
}

func (h *history) show(messages []client.Message) (err error) {
	for i := range messages {
		m := &messages[i]
		if h.json {
			err = writeJSON(h.con.out, newMessageJSON(m))
		} else {
			_, err = fmt.Fprintln(h.con.out, messageLine(m, time.Now()))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (h *history) showEvents(events []chat.Event) (err error) {
	for i := range events {
		if h.json {
			err = writeJSON(h.con.out, eventJSON{h.conv, &events[i]})
		} else {
			_, err = fmt.Fprintln(h.con.out, eventLine(h.conv, &events[i], time.Now()))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
