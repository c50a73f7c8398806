package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/cmd/petrel/internal/profile"
	"github.com/petrelchat/petrel/cmd/petrel/internal/termtext"
)

type listenCmd struct {
	talkFlags
	Conv   []string `arg:"" optional:"" help:"Only these conversations: ids of groups, or @user."`
	Follow bool     `short:"f" help:"Go on with what comes. Without --from and --keep it is always so."`
	From   string   `help:"Begin in the past of the named conversations: at a number, or with the last N." placeholder:"SEQ|-N"`
	Keep   string   `help:"Remember under this name what was printed, and go on behind it the next time: nothing is missed." placeholder:"NAME"`
	Count  int      `short:"c" help:"Leave after so many events; 0: never."`
	Others bool     `help:"Leave out what you did yourself."`
	Posts  bool     `help:"Only messages: no edits, reactions, changes of members."`
	Own    bool     `help:"Your own log too: added, invited, removed …"`
	Read   bool     `help:"Mark as read what is printed."`
	Online bool     `help:"Be online in the eyes of others."`
	Text   bool     `help:"Print lines for people in place of JSON."`
}

// Help is what petrel help listen adds.
func (listenCmd) Help() string {
	return `Every event is a line of JSON, as in docs/protocol.md, with "conv" in front. In each conversation they come in order, and ` +
		`none is missing while the command runs, however often the connection is lost. With --keep nothing is missing between two runs ` +
		`either, for as long as the server remembers a device (30 days); after a crash the last lines may come again. ` +
		`Each --keep NAME is a device of yours with a store of its own.`
}

func (c listenCmd) Run(ctx context.Context, con console) (err error) {
	if err := c.check(); err != nil {
		return err
	}
	use := profile.Use{Store: profile.Nothing}
	if c.Keep != "" {
		use.Store, use.Busy = profile.Store("listen-"+c.Keep), patience(con, c.Timeout)
	}
	use.Tune = func(o *client.Options) { o.Invisible = !c.Online }
	t, err := c.openUse(ctx, con, use)
	if err != nil {
		return err
	}
	defer t.close(ctx, &err)
	l := &listener{talk: t, c: &c, last: make(map[string]uint64)}
	for _, name := range c.Conv {
		conv, err := t.conv(name)
		if err != nil {
			return err
		}
		l.only = append(l.only, conv)
	}
	if err := l.run(ctx); !errors.Is(err, errEnough) {
		return err
	}
	return nil
}

func (c *listenCmd) check() error {
	switch {
	case c.From != "" && len(c.Conv) == 0:
		return usagef("--from: name the conversations too: petrel listen --from -10 general")
	case c.From != "" && c.Keep != "":
		return usagef("--from and --keep say two things about where to begin: give one of them")
	case c.Keep != "" && (!profile.ValidName(c.Keep) || len(c.Keep) > 32):
		return usagef("--keep: %q must be 1 to 32 letters, digits, dots, dashes and underscores", c.Keep)
	case c.Count < 0:
		return usagef("--count must be 0 or more")
	case c.Text && c.JSON:
		return usagef("--text and --json: give one of them")
	}
	if n, err := strconv.ParseInt(c.From, 10, 64); c.From != "" && (err != nil || n == 0) {
		return usagef("--from: %q must be the number of a message, or -N for the last N", c.From)
	}
	return nil
}

// listener prints the logs of conversations as they grow.
type listener struct {
	*talk
	c    *listenCmd
	only []string          // nil: all conversations
	last map[string]uint64 // by conversation: the seq that was printed last
	n    int               // printed
}

// errEnough ends what has printed as much as it should.
var errEnough = errors.New("enough was printed")

func (l *listener) run(ctx context.Context) error {
	updates := l.Updates(ctx) // from now on nothing is missed
	if l.c.Keep == "" {
		if err := l.online(ctx); err != nil {
			return err
		}
	}
	if err := l.begin(ctx); err != nil {
		return l.interrupted(ctx, err)
	}
	if l.c.From != "" || l.c.Keep != "" {
		if err := l.all(ctx); err != nil || !l.c.Follow {
			return l.interrupted(ctx, err)
		}
	}
	fmt.Fprintf(l.con.err, "petrel: listening as %s\n", l.Me())
	if err := l.all(ctx); err != nil {
		return l.interrupted(ctx, err)
	}
	for u := range updates {
		if err := l.update(ctx, u); err != nil {
			return l.interrupted(ctx, err)
		}
	}
	return nil // ^C is how one leaves
}

// interrupted makes no error of ^C.
func (l *listener) interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (l *listener) update(ctx context.Context, u client.Update) error {
	switch u.Kind {
	case client.UpdateMessages:
		return l.conv(ctx, u.Conv)
	case client.UpdateOwn:
		l.Forget(store.OwnLog, u.Event.Seq)
		if l.c.Own && len(l.only) == 0 {
			return l.own(u.Event)
		}
	case client.UpdateStatus:
		s := l.Status()
		switch {
		case s.Permanent:
			return l.await(ctx, func(client.Status) bool { return true })
		case s.State == client.UpToDate:
			return l.all(ctx)
		}
	}
	return nil
}

// begin finds out where to begin in each conversation.
func (l *listener) begin(ctx context.Context) error {
	if l.c.Keep != "" {
		known, err := l.remembered(ctx)
		if err != nil {
			return err
		}
		if known {
			return l.caughtUp(ctx)
		}
		if err := l.online(ctx); err != nil {
			return err
		}
	}
	if err := l.caughtUp(ctx); err != nil {
		return err
	}
	if l.c.From != "" {
		for _, conv := range l.only {
			if err := l.past(ctx, conv); err != nil {
				return err
			}
		}
		return nil
	}
	return l.heads(ctx)
}

// caughtUp waits until this device has what there is. When the server is away the store has what it has.
func (l *listener) caughtUp(ctx context.Context) error {
	bar := newProgress(l.con, "catching up")
	defer bar.end()
	limit, cancel := l.bounded(ctx)
	defer cancel()
	if err := l.online(limit); err != nil {
		if l.c.Keep != "" && l.c.Follow && exitCode(err) == exitNotNow {
			fmt.Fprintf(l.con.err, "petrel: %v; it is tried again\n", err)
			return nil
		}
		return err
	}
	var now client.Status
	err := l.Wait(ctx, func(s client.Status) bool {
		now = s
		bar.show(s.Done, s.Total)
		return s.State == client.UpToDate || s.State == client.Offline
	})
	if err == nil && now.State == client.Offline && !l.c.Follow && l.c.Keep != "" {
		return notNow(errors.New("the connection was lost before everything was here"))
	}
	return err
}

// heads begins behind what is there already.
func (l *listener) heads(ctx context.Context) error {
	err := l.each(ctx, func(c *client.Conversation) error {
		l.last[c.ID] = c.Head
		l.Forget(c.ID, c.Head)
		return nil
	})
	if err != nil {
		return err
	}
	return l.remember(ctx, l.last)
}

// each goes through the conversations of the user.
func (l *listener) each(ctx context.Context, do func(*client.Conversation) error) error {
	for after := ""; ; {
		rows, err := l.Conversations(ctx, client.ConversationsQuery{List: client.ListAll, After: after, Limit: 200})
		if err != nil || len(rows) == 0 {
			return err
		}
		for i := range rows {
			if err := do(&rows[i]); err != nil {
				return err
			}
		}
		after = rows[len(rows)-1].ID
	}
}

// past prints a conversation from --from on, as the server has it.
func (l *listener) past(ctx context.Context, conv string) error {
	from, _ := strconv.ParseInt(l.c.From, 10, 64) // checked
	next := uint64(max(from, 1))
	if from < 0 {
		page, err := l.History().Page(ctx, client.HistoryQuery{Conv: conv, Limit: 1})
		if err != nil {
			return err
		}
		next = uint64(max(int64(page.Head)+from+1, 1))
	}
	l.last[conv] = next - 1
	for e, err := range l.History().After(ctx, conv, next-1) {
		if err != nil {
			return err
		}
		if err := l.print(ctx, conv, &e); err != nil {
			return err
		}
	}
	return nil
}

// all prints what is new in all conversations.
func (l *listener) all(ctx context.Context) error {
	return l.each(ctx, func(c *client.Conversation) error {
		if c.Head > l.last[c.ID] {
			return l.conv(ctx, c.ID)
		}
		return nil
	})
}

// page is how many events are printed before what was printed is remembered.
const page = 200

// conv prints what is new in a conversation. It stops at a gap, which the client fills; then it is called again.
func (l *listener) conv(ctx context.Context, conv string) error {
	if len(l.only) > 0 && !slices.Contains(l.only, conv) {
		l.Forget(conv, store.MaxSeq)
		return nil
	}
	for {
		events, end, err := l.next(ctx, conv)
		if err != nil || end == 0 {
			l.Forget(conv, l.last[conv]) // what came once more
			return err
		}
		for i := range events {
			if err := l.print(ctx, conv, &events[i]); err != nil {
				return errors.Join(err, l.remember(ctx, map[string]uint64{conv: l.last[conv]}))
			}
		}
		l.last[conv] = end
		if err := l.remember(ctx, map[string]uint64{conv: end}); err != nil {
			return err
		}
		l.Forget(conv, end)
	}
}

// next reads what follows in a log, up to the seq end; 0: nothing that is here. A seq may have no event, only a word that
// it is not for this user.
func (l *listener) next(ctx context.Context, conv string) (events []chat.Event, end uint64, err error) {
	after := l.last[conv]
	first, last, err := l.Piece(ctx, conv, after)
	if err != nil || first == 0 {
		return nil, 0, err
	}
	// Asked for by its end, because in the beginning there is nothing to be after.
	end = min(last, first+page-1)
	events, err = l.Events(ctx, conv, client.Page{Before: end + 1, Limit: page})
	return slices.DeleteFunc(events, func(e chat.Event) bool { return e.Seq < first }), end, err
}

// print prints an event, unless it is not wanted.
func (l *listener) print(ctx context.Context, conv string, e *chat.Event) error {
	l.last[conv] = e.Seq
	if l.c.Others && e.From == l.Me() || l.c.Posts && e.Kind != chat.KindPost {
		return nil
	}
	var err error
	if l.c.Text {
		_, err = fmt.Fprintln(l.con.out, eventLine(conv, e, time.Now()))
	} else {
		err = writeJSON(l.con.out, eventJSON{conv, e})
	}
	if err != nil {
		return err
	}
	if l.c.Read && e.From != l.Me() {
		if err := l.MarkRead(ctx, conv, e.Seq); err != nil && !errors.Is(err, client.ErrNotFound) {
			return err
		}
	}
	if l.n++; l.c.Count > 0 && l.n >= l.c.Count {
		return errEnough
	}
	return nil
}

// own prints an event of the user's own log.
func (l *listener) own(e *chat.Event) error {
	if l.c.Text {
		_, err := fmt.Fprintf(l.con.out, "%s you: %s\n", stamp(client.Millis(e.At).Time(), time.Now()), termtext.Line(happened(e)))
		return err
	}
	return writeJSON(l.con.out, struct {
		Own json.RawMessage `json:"own"`
	}{ownJSON(e)})
}
