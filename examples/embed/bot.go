package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/petrelchat/petrel/client"
)

// serve answers the commands of all conversations that the bot is in, until ctx ends. What was asked while it was
// away it answers first.
func serve(ctx context.Context, c *client.Client) error {
	started := time.Now()
	updates := c.Updates(ctx) // before the look at what is there, so that nothing falls between the two
	for after := ""; ; {
		convs, err := c.Conversations(ctx, client.ConversationsQuery{List: client.ListInbox, After: after})
		if err != nil {
			return unlessEnded(ctx, err)
		}
		for _, conv := range convs {
			if err := answer(ctx, c, conv.ID, started); err != nil {
				return unlessEnded(ctx, err)
			}
			after = conv.ID
		}
		if len(convs) == 0 {
			break
		}
	}
	for u := range updates {
		if u.Kind != client.UpdateMessages {
			continue
		}
		if err := answer(ctx, c, u.Conv, started); err != nil {
			return unlessEnded(ctx, err)
		}
	}
	return nil
}

// unlessEnded is err, but nil for what happens because the program ends.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// answer replies to the commands behind the bot's read cursor, and moves it: so the cursor is all that the bot has to
// remember, and the server keeps it. An answer is on disk before the cursor moves. Should the program end between the two,
// the answer is there already when the command is looked at again: its id follows from the command.
func answer(ctx context.Context, c *client.Client, conv string, started time.Time) error {
	row, err := c.Conversation(ctx, conv)
	if err != nil {
		return ignore(err, client.ErrNotFound) // it was just left
	}
	news, err := unread(ctx, c, conv, row.Read)
	if err != nil || len(news) == 0 {
		return err
	}
	for _, m := range news {
		reply := ""
		if !m.Mine && slices.Contains(m.Mentions, c.Me()) {
			reply = respond(m.Text, time.Since(started))
		}
		if reply == "" {
			continue
		}
		id := "re-" + strconv.FormatUint(m.Seq, 10)
		if _, err := c.Message(ctx, conv, client.Target{ID: id}); err == nil {
			continue
		}
		if _, err := c.Post(ctx, conv, client.Post{Text: reply, Re: m.Target(), ID: id}); err != nil {
			return err
		}
	}
	return c.MarkRead(ctx, conv, news[len(news)-1].Seq)
}

// unread returns the stored messages behind read, ascending.
func unread(ctx context.Context, c *client.Client, conv string, read uint64) ([]client.Message, error) {
	var all []client.Message
	for before := uint64(0); ; {
		page, err := c.Messages(ctx, conv, client.Page{Before: before, Limit: 50})
		if err != nil {
			return nil, ignore(err, client.ErrNotFound)
		}
		page = slices.DeleteFunc(page, func(m client.Message) bool { return m.Seq == 0 }) // our own in the outbox
		news := slices.DeleteFunc(slices.Clone(page), func(m client.Message) bool { return m.Seq <= read })
		all = slices.Concat(news, all)
		if len(news) == 0 || len(news) < len(page) {
			return all, nil
		}
		before = page[0].Seq
	}
}

func ignore(err, harmless error) error {
	if errors.Is(err, harmless) {
		return nil
	}
	return err
}

// respond is the bot's wit: the reply to a message, "" if there is nothing to say.
func respond(text string, up time.Duration) string {
	command, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
	command, _, _ = strings.Cut(command, "@") // /roll@dice
	switch command {
	case "/roll":
		return roll(strings.TrimSpace(rest))
	case "/uptime":
		return "up " + up.Round(time.Second).String()
	}
	return ""
}

// roll throws dice: "2d6" is two with six sides. What comes from the network is bounded.
func roll(what string) string {
	if what == "" {
		what = "1d6"
	}
	left, right, ok := strings.Cut(what, "d")
	n, err1 := strconv.Atoi(left)
	sides, err2 := strconv.Atoi(right)
	if !ok || err1 != nil || err2 != nil || n < 1 || n > 20 || sides < 1 || sides > 1000 {
		return "say how many dice, at most 20, and how many sides, at most 1000: /roll 2d6"
	}
	sum := 0
	each := make([]string, n)
	for i := range each {
		v := rand.IntN(sides) + 1
		sum += v
		each[i] = strconv.Itoa(v)
	}
	if n == 1 {
		return fmt.Sprintf("%s: %d", what, sum)
	}
	return fmt.Sprintf("%s: %s = %d", what, strings.Join(each, " + "), sum)
}
