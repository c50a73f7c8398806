package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/cmd/petrel/internal/termtext"
)

type searchCmd struct {
	talkFlags
	Words  []string `arg:"" optional:"" help:"Words that must all be there; 'a phrase' in double quotes, clim* for the beginning of a word."`
	Conv   string   `name:"in" help:"Only in this conversation: the id of a group, or @user." placeholder:"CONV"`
	From   string   `help:"Only what this user wrote." placeholder:"USER"`
	Before string   `help:"Only before: 2026-05-01, 2026-05-01T18:30, or how long ago, like 36h." placeholder:"WHEN"`
	After  string   `help:"Only after." placeholder:"WHEN"`
	Best   bool     `help:"The best first, not the newest."`
	Limit  int      `short:"n" help:"How many." default:"20"`
	Local  bool     `help:"Search what this device has; the server is not asked."`
}

// Help is what petrel help search adds.
func (searchCmd) Help() string {
	return `The server searches everything that you may read. If it can't be reached, or with --local, what this device has is searched, for words only.`
}

func (c searchCmd) Run(ctx context.Context, con console) (err error) {
	now := time.Now()
	q := client.SearchQuery{Words: strings.Join(c.Words, " "), From: c.From}
	if q.Before, err = moment("--before", c.Before, now); err != nil {
		return err
	}
	if q.After, err = moment("--after", c.After, now); err != nil {
		return err
	}
	switch {
	case q.Words == "" && q.From == "":
		return usagef("what is to be found? Write words, or --from USER")
	case c.Limit < 1:
		return usagef("-n: %d must be 1 at least", c.Limit)
	case c.Local && (q.Words == "" || c.From != "" || c.Before != "" || c.After != "" || c.Best):
		return usagef("--local finds words: leave out --from, --before, --after and --best")
	}
	if c.Best {
		q.Order = "rank"
	}
	how := mustKeep
	if c.Local {
		how = mustKeepOffline
	}
	t, err := c.open(ctx, con, how)
	if err != nil {
		return err
	}
	defer t.close(ctx, &err)
	if c.Conv != "" {
		if q.Conv, err = t.conv(c.Conv); err != nil {
			return err
		}
	}
	if c.Local {
		return c.local(ctx, t, q)
	}
	if err := t.online(ctx); err != nil {
		if exitCode(err) != exitNotNow || q.Words == "" {
			return err
		}
		if e := c.local(ctx, t, q); e != nil {
			return e
		}
		return notNow(fmt.Errorf("this is what this device has: %w", err))
	}
	limit, cancel := t.bounded(ctx)
	defer cancel()
	return t.late(c.remote(limit, t, q))
}

func (c searchCmd) remote(ctx context.Context, t *talk, q client.SearchQuery) error {
	n := 0
	for hit, err := range t.History().Search(ctx, q) {
		if err != nil {
			return err
		}
		if t.json {
			err = writeJSON(t.con.out, hit)
		} else {
			_, err = fmt.Fprintf(t.con.out, "%s %s %d  %s: %s\n", stamp(hit.At.Time(), time.Now()), termtext.Line(hit.Conv), hit.Seq,
				termtext.Line(hit.From), t.marked(hit.Snippet))
		}
		if err != nil {
			return err
		}
		if n++; n >= c.Limit {
			break
		}
	}
	return nil
}

// marked puts what was found between asterisks; colours would be lost in a pipe, and on a terminal without them.
func (t *talk) marked(snippet []string) string {
	var b strings.Builder
	for i, s := range snippet {
		if s = termtext.Line(s); i%2 == 1 && s != "" {
			s = "*" + s + "*"
		}
		b.WriteString(s)
	}
	return b.String()
}

func (c searchCmd) local(ctx context.Context, t *talk, q client.SearchQuery) error {
	found, err := t.Find(ctx, q.Words, q.Conv, c.Limit)
	if err != nil {
		return err
	}
	for i := range found {
		m := &found[i]
		if t.json {
			err = writeJSON(t.con.out, newMessageJSON(m))
		} else {
			_, err = fmt.Fprintf(t.con.out, "%s %s %d  %s: %s\n", stamp(m.At, time.Now()), termtext.Line(m.Conv), m.Seq, termtext.Line(m.From), cut(termtext.Line(m.Text), 160))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
