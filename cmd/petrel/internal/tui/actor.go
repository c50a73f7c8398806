package tui

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/cmd/petrel/internal/termtext"
)

// patience is how long an answer of the server's is waited for.
const patience = 20 * time.Second

// actor does what the user wants with the client. Its methods may take as long as the network does: they run beside the
// keyboard, in commands of bubbletea's or goroutines of plain's.
type actor struct {
	c     *client.Client
	wrote *written // takes the ids of what is written here; may be nil
}

// written are the ids of messages that were written in this program and not told of yet. Any goroutine may use it.
type written struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (w *written) add(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ids[id] = true
}

// take reports whether a message was written here, and forgets it.
func (w *written) take(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer delete(w.ids, id)
	return w.ids[id]
}

// outcome is what came of a command.
type outcome struct {
	say   string // for the user; "": what changed is seen anyway
	open  string // a conversation to be opened
	title string // of it, if the store may not know yet
}

// fault is an error of the user's: its text says what would be right.
type fault string

func (f fault) Error() string { return string(f) }

// words makes an error readable: the reason of a refusal, not where it came from.
func words(err error) string {
	var refused *chat.Refusal
	switch {
	case errors.As(err, &refused):
		return refused.Reason
	case errors.Is(err, client.ErrOffline), errors.Is(err, context.DeadlineExceeded):
		return "there is no connection to the server: this needs one, try again when there is"
	}
	return strings.TrimPrefix(err.Error(), "client: ")
}

// do carries out a command in a conversation. at is the message that the user chose; zero: none.
func (a actor) do(ctx context.Context, conv string, at client.Target, name, args string) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	switch name {
	case "to":
		return a.find(ctx, args)
	case "create":
		return a.create(ctx, args)
	case "join":
		return a.join(ctx, args)
	case "away", "back":
		state := map[string]string{"away": "away", "back": "online"}[name]
		return outcome{say: "Others see you as " + state + "."}, a.c.SetStatus(ctx, state, args)
	case "retrynow":
		a.c.NetworkChanged()
		return outcome{say: "Trying to connect."}, nil
	}
	if conv == "" {
		return outcome{}, fault("Open a conversation first: /to USER or GROUP")
	}
	if f, ok := a.ofConversation(name); ok {
		return f(ctx, conv, args)
	}
	if f, ok := a.ofMessage(name); ok {
		to, rest, err := a.target(ctx, conv, at, args, name)
		if err != nil {
			return outcome{}, err
		}
		return f(ctx, conv, to, rest)
	}
	return outcome{}, fault(unknownCommand(name))
}

type convAct = func(ctx context.Context, conv, args string) (outcome, error)

// ofConversation finds what is done to a conversation.
func (a actor) ofConversation(name string) (convAct, bool) {
	plainly := func(say string, f func(ctx context.Context, conv string) error) convAct {
		return func(ctx context.Context, conv, _ string) (outcome, error) { return outcome{say: say}, f(ctx, conv) }
	}
	acts := map[string]convAct{
		"mute":      plainly("Muted.", func(ctx context.Context, conv string) error { return a.c.Mute(ctx, conv, true, time.Time{}) }),
		"unmute":    plainly("Not muted.", func(ctx context.Context, conv string) error { return a.c.Mute(ctx, conv, false, time.Time{}) }),
		"archive":   plainly("Archived.", func(ctx context.Context, conv string) error { return a.c.Archive(ctx, conv, true) }),
		"unarchive": plainly("Back in the list.", func(ctx context.Context, conv string) error { return a.c.Archive(ctx, conv, false) }),
		"top":       plainly("On top of the list.", func(ctx context.Context, conv string) error { return a.c.PinConversation(ctx, conv, true) }),
		"untop":     plainly("No longer on top.", func(ctx context.Context, conv string) error { return a.c.PinConversation(ctx, conv, false) }),
		"leave":     plainly("You left.", a.c.Groups().Leave),
		"accept":    a.answer(true),
		"decline":   a.answer(false),
		"invite": func(ctx context.Context, conv, _ string) (outcome, error) {
			inv, err := a.c.Invites().Create(ctx, client.NewInvite{Conv: conv})
			return outcome{say: "Who has this can join: " + inv.Link}, err
		},
		"add": func(ctx context.Context, conv, user string) (outcome, error) {
			user = strings.TrimPrefix(user, "@")
			_, err := a.c.Roster().Add(ctx, conv, user, "")
			return outcome{say: "Added " + user + "."}, err
		},
		"retry": func(ctx context.Context, conv, _ string) (outcome, error) {
			again := func(ctx context.Context, id string) error { _, err := a.c.Retry(ctx, id); return err }
			return a.waiting(ctx, conv, client.StateFailed, "Nothing was refused here.", "Trying again.", again)
		},
		"cancel": func(ctx context.Context, conv, _ string) (outcome, error) {
			return a.waiting(ctx, conv, client.StateQueued, "Nothing waits here.", "Taken back.", a.c.Cancel)
		},
	}
	f, ok := acts[name]
	return f, ok
}

// waiting does something to the newest message that waits here in a state.
func (a actor) waiting(ctx context.Context, conv string, s client.State, none, done string, f func(context.Context, string) error) (outcome, error) {
	all, err := a.c.Outbox(ctx, conv)
	if err != nil {
		return outcome{}, err
	}
	for _, m := range slices.Backward(all) {
		if m.State == s {
			return outcome{say: done}, f(ctx, m.ID)
		}
	}
	return outcome{}, fault(none)
}

// answer accepts or declines a message request.
func (a actor) answer(yes bool) convAct {
	return func(ctx context.Context, conv, _ string) (outcome, error) {
		row, err := a.c.Conversation(ctx, conv)
		if err != nil {
			return outcome{}, err
		}
		if !row.Pending || !row.Direct {
			return outcome{}, fault("This is no message request.")
		}
		if yes {
			_, err = a.c.People().AcceptMessages(ctx, row.Peer)
			return outcome{say: "Accepted."}, err
		}
		_, err = a.c.People().DeclineMessages(ctx, row.Peer)
		return outcome{say: "Declined."}, err
	}
}

type messageAct = func(ctx context.Context, conv string, to client.Target, args string) (outcome, error)

// ofMessage finds what is done to a message.
func (a actor) ofMessage(name string) (messageAct, bool) {
	only := func(f func(context.Context, string, client.Target) (client.Message, error)) messageAct {
		return func(ctx context.Context, conv string, to client.Target, _ string) (outcome, error) {
			_, err := f(ctx, conv, to)
			return outcome{}, err
		}
	}
	emoji := func(f func(context.Context, string, client.Target, string) (client.Message, error)) messageAct {
		return func(ctx context.Context, conv string, to client.Target, args string) (outcome, error) {
			e, ok := termtext.Emoji(args)
			if !ok {
				return outcome{}, fault("Say which emoji: 👍, or a name like :+1: :heart: :joy:")
			}
			_, err := f(ctx, conv, to, e)
			return outcome{}, err
		}
	}
	acts := map[string]messageAct{
		"delete": only(a.c.Delete), "pin": only(a.c.Pin), "unpin": only(a.c.Unpin),
		"react": emoji(a.c.React), "unreact": emoji(a.c.Unreact),
		"reply": func(ctx context.Context, conv string, to client.Target, text string) (outcome, error) {
			if text == "" {
				return outcome{}, fault("Type the reply behind it: /reply #12 Yes!")
			}
			return outcome{}, a.post(ctx, conv, text, to)
		},
		"edit": func(ctx context.Context, conv string, to client.Target, text string) (outcome, error) {
			if text == "" {
				return outcome{}, fault("Type the new text behind it: /edit #12 Tomorrow at nine")
			}
			_, err := a.c.Edit(ctx, conv, to, termtext.Expand(text))
			return outcome{}, err
		},
	}
	f, ok := acts[name]
	return f, ok
}

// target reads #N at the beginning of args; without it, the message that is chosen, or the newest that can be meant.
func (a actor) target(ctx context.Context, conv string, at client.Target, args, name string) (client.Target, string, error) {
	first, rest, _ := strings.Cut(args, " ")
	if _, keycap := termtext.Emoji(first); strings.HasPrefix(first, "#") && !keycap {
		seq, err := strconv.ParseUint(first[1:], 10, 64)
		if err != nil || seq == 0 {
			return client.Target{}, "", fault("Messages have numbers, like #12.")
		}
		return client.At(seq), strings.TrimSpace(rest), nil
	}
	if !at.Zero() {
		return at, args, nil
	}
	msgs, err := a.c.Messages(ctx, conv, client.Page{})
	if err != nil {
		return client.Target{}, "", err
	}
	mine := name == "edit" || name == "delete"
	for _, m := range slices.Backward(msgs) {
		if m.Kind == chat.KindPost && !m.Deleted && m.Mine == mine {
			return m.Target(), args, nil
		}
	}
	return client.Target{}, "", fault("There is no message here that this could be about.")
}

// post sends what somebody typed.
func (a actor) post(ctx context.Context, conv, text string, re client.Target) error {
	text = termtext.Expand(text)
	p := client.Post{Text: text, Re: re, Mentions: a.mentioned(ctx, conv, text)}
	if a.wrote != nil {
		p.ID = rand.Text()[:16]
		a.wrote.add(p.ID) // before it is in the store: from then on it may be seen
	}
	_, err := a.c.Post(ctx, conv, p)
	return err
}

var mention = regexp.MustCompile(`(?:^|[\s(])@([A-Za-z0-9._-]+)`)

// mentioned finds the members that a text names with @.
func (a actor) mentioned(ctx context.Context, conv, text string) (users []string) {
	found := mention.FindAllStringSubmatch(text, -1)
	if found == nil {
		return nil
	}
	members, err := a.c.Members(ctx, conv)
	if err != nil {
		return nil // mentioning is a courtesy; the text goes out
	}
	for _, f := range found {
		name := strings.TrimRight(f[1], ".-")
		i := slices.IndexFunc(members, func(m client.Member) bool {
			return !m.Left && m.User != a.c.Me() && (strings.EqualFold(m.User, f[1]) || strings.EqualFold(m.User, name))
		})
		if i >= 0 && !slices.Contains(users, members[i].User) {
			users = append(users, members[i].User)
		}
	}
	return users
}

// find finds a conversation by what a person calls it: its title, its id, or the other user.
func (a actor) find(ctx context.Context, what string) (outcome, error) {
	what = strings.TrimPrefix(strings.TrimSpace(what), "@")
	if what == "" {
		return outcome{}, fault("Say whom: /to bob, or a group by its title")
	}
	if inviteCode(what) != "" {
		return a.join(ctx, what)
	}
	name := strings.TrimPrefix(what, "#")
	rows, err := a.c.Conversations(ctx, client.ConversationsQuery{List: client.ListAll, Limit: findMost})
	if err != nil {
		return outcome{}, err
	}
	for _, same := range []func(*client.Conversation) bool{
		func(c *client.Conversation) bool { return c.ID == name },
		func(c *client.Conversation) bool { return strings.EqualFold(c.Title, name) },
	} {
		if i := slices.IndexFunc(rows, func(c client.Conversation) bool { return same(&c) }); i >= 0 {
			return outcome{open: rows[i].ID}, nil
		}
	}
	switch {
	case name != what:
		return a.join(ctx, name)
	case !chat.ValidUser(what):
		return outcome{}, fault("There is no conversation called " + strconv.Quote(what) + ", and it is no user's name.")
	}
	return outcome{open: a.c.Direct(what)}, nil
}

// findMost bounds how many conversations are looked through for a title.
const findMost = 5000

// create makes a group: Title : user user.
func (a actor) create(ctx context.Context, args string) (outcome, error) {
	title, users, _ := strings.Cut(args, ":")
	title = strings.TrimSpace(title)
	if title == "" {
		return outcome{}, fault("Say how it is called, and who is in it: /create Climbing : bob carol")
	}
	g := client.NewGroup{GroupSettings: client.GroupSettings{Title: &title}}
	for user := range strings.FieldsFuncSeq(users, func(r rune) bool { return r == ' ' || r == ',' }) {
		g.Members = append(g.Members, strings.TrimPrefix(user, "@"))
	}
	conv, err := a.c.Groups().Create(ctx, g)
	return outcome{say: "Created " + title + ".", open: conv, title: title}, err
}

var codeShape = regexp.MustCompile(`^[A-Za-z0-9]{26}$`)

// inviteCode returns the code of an invitation that somebody pasted: the code, or a link that holds it; "" for
// anything else.
func inviteCode(s string) string {
	if codeShape.MatchString(s) {
		return s
	}
	if u, err := url.Parse(s); err == nil && u.Scheme != "" {
		if code := u.Query().Get("code"); codeShape.MatchString(code) {
			return code
		}
	}
	return ""
}

// join joins a group by its id, or by an invitation.
func (a actor) join(ctx context.Context, what string) (outcome, error) {
	what = strings.TrimPrefix(strings.TrimSpace(what), "#")
	if what == "" {
		return outcome{}, fault("Say which group: /join ID, or an invitation's code or link")
	}
	if code := inviteCode(what); code != "" {
		conv, err := a.c.Invites().Accept(ctx, code, "")
		return outcome{say: "Joined.", open: conv}, err
	}
	id, text, _ := strings.Cut(what, " ")
	pending, err := a.c.Groups().Join(ctx, id, text)
	switch {
	case err != nil:
		return outcome{}, err
	case pending:
		return outcome{say: "Asked to join " + id + ": somebody there decides."}, nil
	}
	return outcome{say: "Joined " + id + ".", open: id}, nil
}

// statusWords describes how this device stands to the server; now is for how long until it tries again.
func statusWords(s client.Status, now time.Time) string {
	var parts []string
	switch s.State {
	case client.CatchingUp:
		if s.Total > 0 {
			parts = append(parts, fmt.Sprintf("catching up %s of %s", thousands(s.Done), thousands(s.Total)))
		} else {
			parts = append(parts, "catching up")
		}
	default:
		parts = append(parts, s.State.String())
	}
	waits := "queued"
	if s.State == client.UpToDate {
		waits = "on the way"
	}
	if s.Queued > 0 {
		parts[0] += ": " + thousands(s.Queued) + " " + waits
	}
	if s.Failed > 0 {
		parts = append(parts, thousands(s.Failed)+" refused")
	}
	if s.State == client.Offline && !s.Retry.IsZero() && s.Retry.After(now) {
		parts = append(parts, fmt.Sprintf("retry in %d s", int(s.Retry.Sub(now).Seconds())+1))
	}
	if s.Err != nil {
		parts = append(parts, words(s.Err))
	}
	return strings.Join(parts, " · ")
}

// thousands writes a count with commas: 4,000.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
