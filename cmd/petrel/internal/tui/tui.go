// Package tui is petrel chat, the messenger in the terminal. Call [Run] with an open client.
//
// There are two of it, over the same commands: screens (model.go), which need a terminal that can place its cursor, and
// plain lines (plain.go) for screen readers, pipes and terminals that can't. Both read from the client's store, so
// that they show at once what is known, and ask the client to do what the user wants; nothing here talks to the
// network, and no key waits for it.
//
// Nothing of what others write reaches the terminal as it is: painter.row and plain.say, through which all text goes,
// clean it (package termtext).
package tui

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/charmbracelet/x/term"

	"github.com/petrelchat/petrel/client"
)

// Options say what to show, where. Client must be set; Run does not close it.
type Options struct {
	Client *client.Client
	In     io.Reader // nil: os.Stdin
	Out    io.Writer // nil: os.Stdout
	Env    []string  // as os.Environ returns it: NO_COLOR, TERM

	Plain bool   // plain lines, also on a terminal that could do more
	Open  string // what to open first: a user, or the id of a conversation
	Mouse bool   // the mouse scrolls and chooses, and can't select text then

	Now  func() time.Time // nil: time.Now
	Zone *time.Location   // nil: time.Local
}

func (o *Options) defaults() {
	if o.In == nil {
		o.In = os.Stdin
	}
	if o.Out == nil {
		o.Out = os.Stdout
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Zone == nil {
		o.Zone = time.Local
	}
}

// Run shows the messenger until the user leaves it, or ctx ends. What was typed and not sent is kept as a draft.
func Run(ctx context.Context, o Options) error {
	o.defaults()
	if o.Plain || dumb(o.Env) || !terminal(o.Out) || !terminal(o.In) {
		return runPlain(ctx, &o, o.In, o.Out)
	}
	return runScreens(ctx, &o)
}

// dumb reports whether the terminal can't place its cursor.
func dumb(env []string) bool {
	i := slices.IndexFunc(env, func(e string) bool { return strings.HasPrefix(e, "TERM=") })
	return i < 0 || env[i] == "TERM=dumb" || env[i] == "TERM="
}

// terminal reports whether f is a terminal.
func terminal(f any) bool {
	file, ok := f.(*os.File)
	return ok && term.IsTerminal(file.Fd())
}

func runScreens(ctx context.Context, o *Options) error {
	ctx, cancel := context.WithCancel(ctx)
	updates := o.Client.Updates(ctx) // from here on: what the model reads first may change at once
	m := newModel(ctx, o)
	p := tea.NewProgram(m, tea.WithInput(o.In), tea.WithOutput(o.Out), tea.WithEnvironment(o.Env))

	// The pump hands updates over one by one: Send waits until the model has taken it, and meanwhile the client
	// puts together what changes. A signal ends the program by way of the model, which keeps the draft.
	pumped := make(chan struct{})
	go func() {
		defer close(pumped)
		for u := range updates {
			p.Send(updateMsg(u))
		}
		p.Send(endMsg{})
	}()
	_, err := p.Run()
	cancel()
	<-pumped
	if errors.Is(err, tea.ErrInterrupted) {
		return nil
	}
	return err
}
