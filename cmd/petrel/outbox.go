package main

import (
	"context"
	"fmt"
	"time"

	"github.com/petrelchat/petrel/client"
)

type outboxCmd struct {
	List    outboxListCmd    `cmd:"" default:"withargs" help:"Show what waits to be sent and what was refused."`
	Flush   outboxFlushCmd   `cmd:"" help:"Send what waits."`
	Cancel  outboxCancelCmd  `cmd:"" help:"Take a message back that waits."`
	Retry   outboxRetryCmd   `cmd:"" help:"Queue a message again that was refused."`
	Discard outboxDiscardCmd `cmd:"" help:"Remove a message that was refused."`
}

type outboxListCmd struct {
	talkFlags
	Conv string `arg:"" optional:"" help:"Only of this conversation."`
}

func (c outboxListCmd) Run(ctx context.Context, con console) (err error) {
	t, err := c.open(ctx, con, mustKeepOffline)
	if err != nil {
		return err
	}
	defer t.close(ctx, &err)
	conv := c.Conv
	if conv != "" {
		if conv, err = t.conv(conv); err != nil {
			return err
		}
	}
	all, err := t.Outbox(ctx, conv)
	if err != nil {
		return err
	}
	l := t.newList("ID\tCONVERSATION\tWRITTEN\tSTATE\tWHAT")
	for i := range all {
		m := &all[i]
		state := m.State.String()
		if m.State == client.StateFailed {
			state += ": " + m.Reason
		}
		if err := l.row(newMessageJSON(m), m.ID, m.Conv, stamp(m.At, time.Now()), state, cut(what(m), 60)); err != nil {
			return err
		}
	}
	return l.end()
}

// what a message in the outbox is to do.
func what(m *client.Message) string {
	if m.Text != "" && m.Event.Re == 0 {
		return m.Text
	}
	if line := happened(&m.Event); line != "post" {
		return line
	}
	return m.Text
}

type outboxFlushCmd struct{ talkFlags }

func (c outboxFlushCmd) Run(ctx context.Context, con console) (err error) {
	t, err := c.open(ctx, con, mustKeep)
	if err != nil {
		return err
	}
	defer t.close(ctx, &err)
	begun := t.Status()
	if begun.Queued > 0 {
		if err := t.patiently(ctx); err != nil {
			return err
		}
		if err := t.drain(ctx, begun.Queued); err != nil {
			return err
		}
	}
	now := t.Status()
	n := begun.Queued - now.Queued - (now.Failed - begun.Failed)
	err = t.say(struct {
		Sent   int `json:"sent"`
		Queued int `json:"queued"`
		Failed int `json:"failed"`
	}{n, now.Queued, now.Failed}, "%d sent, %d queued, %d refused", n, now.Queued, now.Failed)
	if err == nil && now.Failed > begun.Failed {
		err = fmt.Errorf("%d were refused: petrel outbox says why", now.Failed-begun.Failed)
	}
	return err
}

// drain waits until nothing waits in the outbox, as long as something moves.
func (t *talk) drain(ctx context.Context, total int) error {
	bar := newProgress(t.con, "sending")
	defer bar.end()
	for left := t.Status().Queued; left > 0; {
		wait, cancel := t.bounded(ctx)
		err := t.Wait(wait, func(s client.Status) bool { return s.Queued < left || s.Permanent })
		cancel()
		s := t.Status()
		if err != nil || s.Permanent {
			if err == nil {
				err = t.patiently(ctx) // says why
			}
			return fmt.Errorf("%d still queued: %w", s.Queued, t.late(err))
		}
		left = s.Queued
		bar.show(total-left, total)
	}
	return nil
}

type outboxCancelCmd struct {
	talkFlags
	ID string `arg:"" name:"id" help:"As petrel outbox shows it."`
}

func (c outboxCancelCmd) Run(ctx context.Context, con console) error {
	return c.change(ctx, con, c.ID, "cancelled", (*talk).cancel)
}

type outboxRetryCmd struct {
	talkFlags
	ID string `arg:"" name:"id" help:"As petrel outbox shows it."`
}

func (c outboxRetryCmd) Run(ctx context.Context, con console) error {
	return c.change(ctx, con, c.ID, "queued again as", (*talk).retry)
}

type outboxDiscardCmd struct {
	talkFlags
	ID string `arg:"" name:"id" help:"As petrel outbox shows it."`
}

func (c outboxDiscardCmd) Run(ctx context.Context, con console) error {
	return c.change(ctx, con, c.ID, "discarded", (*talk).discard)
}

// What follows returns the id that the message has then.

func (t *talk) cancel(ctx context.Context, id string) (string, error) { return id, t.Cancel(ctx, id) }

func (t *talk) retry(ctx context.Context, id string) (string, error) {
	m, err := t.Retry(ctx, id)
	return m.ID, err
}

func (t *talk) discard(ctx context.Context, id string) (string, error) {
	return id, t.Discard(ctx, id)
}

// change does something with one message of the outbox.
func (f talkFlags) change(ctx context.Context, con console, id, done string, do func(*talk, context.Context, string) (string, error)) (err error) {
	t, err := f.open(ctx, con, mustKeepOffline)
	if err != nil {
		return err
	}
	defer t.close(ctx, &err)
	if id, err = do(t, ctx, id); err != nil {
		return err
	}
	return t.say(struct {
		ID   string `json:"id"`
		Done string `json:"done"`
	}{id, done}, "%s %s", done, id)
}
