package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/cmd/petrel/internal/termtext"
	"github.com/petrelchat/petrel/protocol"
)

type whoCmd struct {
	talkFlags
	User []string `arg:"" optional:"" help:"These users; none: you, your contacts, and those whom you write with."`
	In   string   `help:"The members of this group." placeholder:"CONV"`
	Here bool     `help:"Only who is online or away."`
}

// whoMost bounds how many people are asked about; the contract tells the presence of groups of 200 at most.
const whoMost = 200

// whoJSON is a person.
type whoJSON struct {
	User  string        `json:"user"`
	Name  string        `json:"name,omitempty"`
	Bot   bool          `json:"bot,omitempty"`
	State string        `json:"state,omitempty"`
	Text  string        `json:"text,omitempty"`
	Seen  client.Millis `json:"seen,omitempty"`
}

func (c whoCmd) Run(ctx context.Context, con console) error {
	if c.In != "" && len(c.User) > 0 {
		return usagef("--in and users: give one of them")
	}
	return c.ask(ctx, con, func(ctx context.Context, t *talk) error {
		users, err := c.users(ctx, t)
		if err != nil {
			return err
		}
		l := t.newList("USER\tNAME\tSTATE\tLAST SEEN\tSTATUS")
		bar := newProgress(con, "asking")
		defer bar.end()
		var unknown []error
		for i, user := range users {
			bar.show(i, len(users))
			p, err := t.Profiles().Get(ctx, user)
			if err != nil {
				unknown = append(unknown, fmt.Errorf("%s: %w", termtext.Line(user), err))
				if !ofOne(err) {
					break
				}
				continue
			}
			w := newWho(&p)
			if c.Here && w.State != "online" && w.State != "away" {
				continue
			}
			bar.end()
			name := w.Name
			if w.Bot {
				name += " (bot)"
			}
			if err := l.row(w, w.User, name, w.State, moments(w.Seen, ""), cut(w.Text, 60)); err != nil {
				return err
			}
		}
		bar.end()
		return errors.Join(append([]error{l.end()}, unknown...)...)
	})
}

// ofOne reports whether an error is about the one who was asked about: others may be known.
func ofOne(err error) bool {
	no := new(chat.Refusal)
	return errors.As(err, &no) && (no.Code == chat.NotFound || no.Code == chat.NotAuthorized || no.Code == chat.BadRequest)
}

func newWho(p *client.Profile) whoJSON {
	w := whoJSON{User: p.User, Name: p.Name, Bot: p.Bot}
	if p.Presence != nil {
		w.fill(*p.Presence)
	}
	return w
}

func (w *whoJSON) fill(p protocol.Presence) {
	w.State, w.Text, w.Seen = p.State, p.Text, client.Millis(p.Seen)
}

// users are those who are asked about, each once.
func (c whoCmd) users(ctx context.Context, t *talk) (users []string, err error) {
	if len(c.User) > 0 {
		return c.User, nil
	}
	known := make(map[string]bool)
	add := func(user string) (more bool) {
		if !known[user] {
			known[user] = true
			users = append(users, user)
		}
		return len(users) < whoMost
	}
	if c.In != "" {
		conv, err := t.conv(c.In)
		if err != nil {
			return nil, err
		}
		for m, err := range t.Roster().List(ctx, conv) {
			if err != nil || !add(m.User) {
				return users, err
			}
		}
		return users, nil
	}
	add(t.Me())
	for contact, err := range t.People().Contacts(ctx) {
		if err != nil {
			return nil, err
		}
		if contact.State == "accepted" && !add(contact.User) {
			return users, nil
		}
	}
	for row, err := range t.Convs().List(ctx) {
		if err != nil {
			return nil, err
		}
		if user := peer(row.Conv, t.Me()); user != "" && !row.Pending && !add(user) {
			return users, nil
		}
	}
	return users, nil
}

// peer is the other one of a direct conversation; "" for groups and notes to oneself.
func peer(conv, me string) string {
	a, b, ok := chat.Parties(conv)
	switch {
	case !ok || a == b:
		return ""
	case a == me:
		return b
	}
	return a
}
