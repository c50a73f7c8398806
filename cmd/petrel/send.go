package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/cmd/petrel/internal/termtext"
)

type sendCmd struct {
	talkFlags
	To      string        `help:"The user to write to, in place of CONV." placeholder:"USER"`
	Reply   string        `help:"Reply to this message." placeholder:"SEQ" xor:"act"`
	Edit    string        `help:"Replace the text of this message of yours." placeholder:"SEQ" xor:"act"`
	Delete  string        `help:"Delete this message for everyone." placeholder:"SEQ" xor:"act"`
	React   string        `help:"Put an emoji on this message; TEXT is the emoji, or its name, like :heart:." placeholder:"SEQ" xor:"act"`
	Unreact string        `help:"Take it back." placeholder:"SEQ" xor:"act"`
	Pin     string        `help:"Pin this message." placeholder:"SEQ" xor:"act"`
	Unpin   string        `help:"Unpin it." placeholder:"SEQ" xor:"act"`
	Mention []string      `help:"Mention a member; may be repeated." placeholder:"USER"`
	Expire  time.Duration `help:"The message disappears after this time: 1h, 720h." placeholder:"DURATION"`
	ID      string        `name:"id" help:"A name for the message, at most 64 bytes: sent again under the same name, it is there once." placeholder:"ID"`
	Queue   bool          `help:"Queue it and leave at once, without waiting for the server."`
	Lines   bool          `help:"Every line of standard input is a message."`
	Conv    string        `arg:"" optional:"" help:"The id of a group, or @user for the direct conversation with somebody. With --to there is none."`
	Text    []string      `arg:"" optional:"" help:"The text. Without one, or with -, standard input is the text."`
}

// Help is what petrel help send adds.
func (sendCmd) Help() string {
	return `A message is on this device's disk before anything else is tried. If the server can't be reached within --timeout it ` +
		`stays queued, the exit code is 3, and the next petrel send, or petrel outbox flush, sends it: in order, and once. ` +
		`SEQ is the number of a message, as petrel history shows it, or the id of one that is still queued.`
}

func (c sendCmd) Run(ctx context.Context, con console) (err error) {
	if err := c.check(); err != nil {
		return err
	}
	how := mustKeep
	if c.Queue {
		how = mustKeepOffline
	}
	t, err := c.open(ctx, con, how)
	if err != nil {
		return err
	}
	defer t.close(ctx, &err)
	conv, err := c.where(t)
	if err != nil {
		return err
	}
	if c.Lines {
		return c.sendLines(ctx, t, conv)
	}
	text, err := c.text(ctx, con, c.words())
	if err != nil {
		return err
	}
	m, err := c.act(ctx, t, conv, text)
	if err != nil {
		return err
	}
	switch {
	case c.Delete != "" && m.Seq == 0 && m.Deleted: // it was only queued
		return t.say(newMessageJSON(&m), "cancelled %s", m.ID)
	case c.ID != "" && m.Text != text && m.Edited.IsZero():
		return chat.Refuse(chat.Conflict, "another message has the id %q already: choose a new one for a new message", c.ID)
	case c.Queue:
		return t.queued(&m)
	}
	if err := t.patiently(ctx); err != nil {
		return t.stays(&m, err)
	}
	return t.sent(ctx, m)
}

func (c sendCmd) check() error {
	switch acts := c.Edit + c.Delete + c.React + c.Unreact + c.Pin + c.Unpin; {
	case c.Lines && (acts != "" || c.Reply != "" || c.ID != ""):
		return usagef("--lines sends new messages: leave out --id, --reply, --edit and the like")
	case c.Lines && len(c.words()) > 0:
		return usagef("--lines takes the messages from standard input: leave out the text")
	case acts != "" && (len(c.Mention) > 0 || c.Expire != 0 || c.ID != ""):
		return usagef("--mention, --expire and --id are for new messages")
	case c.Expire < 0 || c.Expire%time.Second != 0:
		return usagef("--expire: %v must be whole seconds", c.Expire)
	}
	return nil
}

// where finds the conversation.
func (c sendCmd) where(t *talk) (conv string, err error) {
	switch {
	case c.To != "":
		return t.conv("@" + c.To)
	case c.Conv == "":
		return "", usagef("to whom? petrel send general TEXT, petrel send @bob TEXT, or petrel send --to bob TEXT")
	}
	return t.conv(c.Conv)
}

// words are those of the text.
func (c sendCmd) words() []string {
	if c.To != "" && c.Conv != "" {
		return append([]string{c.Conv}, c.Text...)
	}
	return c.Text
}

// maxText is the longest text of a message, in bytes, as the contract has it.
const maxText = 64 << 10

// text is what the words say, or standard input. Acts that need none read none.
func (c sendCmd) text(ctx context.Context, con console, words []string) (string, error) {
	if silent := cmp.Or(c.Delete, c.Pin, c.Unpin); silent != "" {
		if len(words) > 0 {
			return "", usagef("--delete, --pin and --unpin take no text")
		}
		return "", nil
	}
	text := strings.Join(words, " ")
	if len(words) == 0 || text == "-" {
		if f, ok := con.in.(*os.File); ok && len(words) == 0 && isTerminal(f) {
			fmt.Fprintln(con.err, "petrel: type the message; Ctrl-D ends it")
		}
		b, err := io.ReadAll(io.LimitReader(interruptible(ctx, con.in), maxText+2))
		if ctx.Err() != nil {
			return "", notNow(errors.New("interrupted; nothing is sent"))
		}
		if err != nil {
			return "", err
		}
		text = strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	}
	switch {
	case text == "":
		return "", usagef("there is no text: write it behind the conversation, or pipe it in")
	case len(text) > maxText:
		return "", usagef("the text is longer than 64 KiB: send it in parts")
	}
	return text, nil
}

// act queues what is to be done.
func (c sendCmd) act(ctx context.Context, t *talk, conv, text string) (client.Message, error) {
	switch {
	case c.Edit != "":
		return t.Edit(ctx, conv, target(c.Edit), text)
	case c.Delete != "":
		return t.Delete(ctx, conv, target(c.Delete))
	case c.React != "" || c.Unreact != "":
		emoji, ok := termtext.Emoji(text)
		if !ok {
			emoji = text // the server knows more of them
		}
		if c.React != "" {
			return t.React(ctx, conv, target(c.React), emoji)
		}
		return t.Unreact(ctx, conv, target(c.Unreact), emoji)
	case c.Pin != "":
		return t.Pin(ctx, conv, target(c.Pin))
	case c.Unpin != "":
		return t.Unpin(ctx, conv, target(c.Unpin))
	}
	post := client.Post{Text: text, Mentions: c.Mention, Expire: c.Expire, ID: c.ID}
	if c.Reply != "" {
		post.Re = target(c.Reply)
	}
	return t.Post(ctx, conv, post)
}

// queued says that a message waits, on purpose.
func (t *talk) queued(m *client.Message) error {
	return t.say(newMessageJSON(m), "queued for %s as %s", m.Conv, m.ID)
}

// stays says that a message waits because the server can't be reached.
func (t *talk) stays(m *client.Message, why error) error {
	if err := t.queued(m); err != nil {
		return err
	}
	return exitError{exitCode(why), fmt.Errorf("not sent yet, it stays queued (petrel outbox): %w", why)}
}

// sent waits until the server has stored a message, and says so.
func (t *talk) sent(ctx context.Context, m client.Message) error {
	ctx, cancel := t.bounded(ctx)
	defer cancel()
	now, err := t.Sent(ctx, m)
	if err == nil && now.State != client.StateFailed {
		if err := t.say(newMessageJSON(&now), "sent to %s as %d", now.Conv, now.Seq); err != nil {
			return untold{err}
		}
		return nil
	}
	if late := t.late(err); err != nil && exitCode(late) == exitNotNow {
		return t.stays(&m, late)
	}
	return t.failed(ctx, &now, &m, err)
}

// untold is that what became of a message could not be written. The message is sent.
type untold struct{ error }

// Unwrap returns the cause.
func (u untold) Unwrap() error { return u.error }

// failed reports a refusal. Whoever typed the message reads why now: it need not stay in the outbox.
func (t *talk) failed(ctx context.Context, now, m *client.Message, err error) error {
	if now.State == client.StateFailed && err == nil {
		err = exitError{refused(now.Code), fmt.Errorf("%s: %s", now.Code, now.Reason)}
	}
	discard := t.Discard(context.WithoutCancel(ctx), m.ID)
	if errors.Is(discard, client.ErrNotQueued) {
		discard = nil
	}
	return errors.Join(exitError{exitCode(err), fmt.Errorf("not sent: %w", err)}, discard)
}

// linesAhead is how many messages --lines queues before it waits for the first of them.
const linesAhead = 1000

// sendLines sends each line as it comes, and says what became of each, in order.
func (c sendCmd) sendLines(ctx context.Context, t *talk, conv string) error {
	waiting := make(chan client.Message, linesAhead)
	done := make(chan error, 1)
	reading, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		err := t.settle(ctx, waiting, c.Queue)
		stop() // when nobody can be told what becomes of a line no more are taken
		for range waiting {
		}
		done <- err
	}()
	err := c.queueLines(reading, t, conv, waiting)
	close(waiting)
	settled := <-done
	switch {
	case ctx.Err() != nil && err != nil:
		err = notNow(errors.New("interrupted; the lines until then are sent, or queued (petrel outbox)"))
	case errors.Is(err, context.Canceled):
		err = nil // settled says why
	}
	return errors.Join(err, settled)
}

func (c sendCmd) queueLines(ctx context.Context, t *talk, conv string, to chan<- client.Message) error {
	lines := newLineGroups(interruptible(ctx, t.con.in))
	for {
		begin := lines.n
		group, err := lines.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading standard input: %w", err)
		}
		var posts []client.Post
		var at []int
		for i, line := range group {
			if line != "" {
				posts, at = append(posts, client.Post{Text: line, Mentions: c.Mention, Expire: c.Expire}), append(at, begin+i+1)
			}
		}
		if len(posts) == 0 {
			continue
		}
		sent, err := t.PostAll(ctx, conv, posts...)
		for _, m := range sent {
			to <- m // somebody receives until the end
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", at[len(sent)], err)
		}
	}
}

// settle waits for messages in turn. When the server is away for longer than --timeout the rest stays queued.
func (t *talk) settle(ctx context.Context, waiting <-chan client.Message, leave bool) error {
	var away, refusal error
	bar := newProgress(t.con, "sending")
	defer bar.end()
	sent, stay, wrong := 0, 0, 0
	for m := range waiting {
		if leave || away != nil {
			stay++
			if err := t.queued(&m); err != nil {
				return err
			}
			continue
		}
		bar.end()
		if away = t.patiently(ctx); away != nil {
			stay++
			if err := t.queued(&m); err != nil {
				return err
			}
			continue
		}
		switch err := t.sent(ctx, m); {
		case err == nil:
			sent++
		case errors.As(err, new(untold)):
			return err
		case exitCode(err) == exitNotNow:
			away = err
			stay++
		default:
			wrong++
			refusal = cmp.Or(refusal, err)
		}
		bar.show(sent, sent+len(waiting))
	}
	switch {
	case wrong > 0:
		return fmt.Errorf("%d of %d messages were refused, the first one: %w", wrong, sent+stay+wrong, refusal)
	case away != nil:
		return exitError{exitCode(away), fmt.Errorf("%d sent, %d queued (petrel outbox): %w", sent, stay, away)}
	}
	return nil
}
