package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/client/calls"
)

// callFlags are those of both commands that make calls.
type callFlags struct {
	Audio  string        `help:"What the others hear: an Ogg file with Opus, tone (440 Hz without an end), or none." default:"tone" placeholder:"FILE.ogg|tone|none"`
	Video  []string      `help:"What they see: an IVF file with VP8. Up to three of the same film in several sizes: each of the others gets the one that fits." placeholder:"FILE.ivf,…"`
	Dark   bool          `help:"Begin without the picture; the command v shows it."`
	See    int           `help:"See, and record, so many pictures at once: those of who is pinned and who spoke last. -1: all." default:"-1" placeholder:"N"`
	Pin    []string      `help:"Whose pictures come before those of who speaks." placeholder:"USER,…"`
	Limit  bitRate       `help:"Bits per second that all pictures together may take: 500k, 2M. 0: as many as the network carries." default:"0" placeholder:"RATE"`
	Loop   bool          `help:"Play files again and again. Without it the call ends when they are over."`
	Record string        `help:"Write what the others send into files of this folder: USER-1.ogg, USER-1.ivf." placeholder:"DIR"`
	For    time.Duration `help:"Hang up so long after the connection stood; 0: never." placeholder:"10s"`
	Relay  bool          `help:"Send media through a relay only, so that the others don't learn this machine's addresses."`
	Keys   bool          `help:"Take commands from standard input although it is no terminal."`
}

// commandsHelp is what may be typed during a call.
const commandsHelp = `Commands are lines: h holds the call, or goes on with it; v shows the picture of --video, or stops it; p USER pins somebody's picture, p alone nobody's; ` +
	`a answers who calls meanwhile, and holds this call; n declines them; s changes between calls; q hangs up.`

// bitRate is a number of bits per second.
type bitRate int

// UnmarshalText reads 64000, 500k, 2M.
func (r *bitRate) UnmarshalText(b []byte) error {
	text, unit := string(b), 1
	switch {
	case strings.HasSuffix(text, "k"), strings.HasSuffix(text, "K"):
		unit = 1000
	case strings.HasSuffix(text, "M"):
		unit = 1_000_000
	}
	if unit > 1 {
		text = text[:len(text)-1]
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > 1_000_000_000/unit {
		return fmt.Errorf("%q is no rate: write 64000, 500k or 2M bits per second", b)
	}
	*r = bitRate(n * unit)
	return nil
}

type callCmd struct {
	talkFlags
	callFlags
	Ring time.Duration `help:"Give up when nobody has answered for so long; 0: as long as it rings." placeholder:"30s"`
	Who  string        `arg:"" help:"Whom to call: @user, or the id of a group, whose running call is joined. A bare name is a group's if there is one, else a user's."`
}

// Help is what petrel help call adds.
func (callCmd) Help() string {
	return `The call is shown in a line that goes on changing; without a terminal lines follow one another, with --json they are objects. Ctrl-C hangs up. ` +
		commandsHelp + ` ` +
		`Besides those of all commands there are the exit codes 5 (declined), 6 (nobody answered), 7 (busy); 0 means that somebody did.`
}

// Exit codes of calls. Scripts switch on them: never renumber.
const (
	exitDeclined = 5
	exitMissed   = 6 // or cancelled
	exitBusy     = 7
)

// Run calls somebody.
func (c callCmd) Run(ctx context.Context, con console) (err error) {
	if c.Ring < 0 {
		return usagef("--ring: %v must not be negative", c.Ring)
	}
	p, err := c.phone(ctx, con, c.talkFlags)
	if err != nil {
		return err
	}
	defer p.close(ctx, &err)
	if err := p.online(ctx); err != nil {
		return err
	}
	limit, stop := p.bounded(ctx)
	defer stop()
	conv, err := p.whom(limit, c.Who)
	if err != nil {
		return p.late(err)
	}
	call, err := p.m.Start(limit, conv, p.local())
	if err != nil {
		return p.late(err)
	}
	if c.Ring > 0 {
		t := time.AfterFunc(c.Ring, func() {
			if call.Status().State < calls.StateConnecting {
				_ = call.Cancel(ctx) // it has ended here in any case
			}
		})
		defer t.Stop()
	}
	return p.follow(ctx, call)
}

type answerCmd struct {
	talkFlags
	callFlags
	From []string `help:"Ring for calls of these users only; others ring elsewhere." placeholder:"USER,…"`
	Auto []string `help:"Answer these users by itself: a camera, a microphone, a loudspeaker. All others ring elsewhere, but for those of --from." placeholder:"USER,…"`
	Once bool     `help:"Leave after one call, with its exit code."`
	Take bool     `help:"Take over the call that another device of yours is in, and leave after it."`
}

// Help is what petrel help answer adds.
func (answerCmd) Help() string {
	return `It waits until somebody calls, also while the server comes and goes. Enter answers, n declines. Whoever is named with --auto is answered without a question: with ` +
		`files as --audio and --video --loop, any machine is a camera for them, and for nobody else. With --take it goes on with the call that another device of yours is in. ` +
		commandsHelp + ` Who calls during a call is left to your other devices where nobody can type. Exit codes are those of petrel call.`
}

// Run waits for calls.
func (c answerCmd) Run(ctx context.Context, con console) (err error) {
	if err := validUsers("--from", c.From); err != nil {
		return err
	}
	if err := validUsers("--auto", c.Auto); err != nil {
		return err
	}
	p, err := c.phone(ctx, con, c.talkFlags)
	if err != nil {
		return err
	}
	defer p.close(ctx, &err)
	if err := p.online(ctx); err != nil {
		return err
	}
	if c.Take {
		return p.takeOver(ctx)
	}
	fmt.Fprintf(con.err, "petrel: waiting for calls as %s\n", p.Me())
	for {
		call := c.next(ctx, p)
		if call == nil {
			return nil // ^C is how one leaves
		}
		err := c.take(ctx, p, call)
		if c.Once || ctx.Err() != nil {
			return err
		}
		if err != nil {
			fmt.Fprintf(con.err, "petrel: %v\n", err)
		}
	}
}

// next waits for a call that is to be answered.
func (c answerCmd) next(ctx context.Context, p *phone) *calls.Call {
	if call := p.left; call != nil && call.Status().State == calls.StateRinging {
		p.left = nil
		return call
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case call := <-p.m.Incoming():
			if call.Status().State == calls.StateEnded {
				continue // during another one
			}
			if named(c.Auto, call.From()) || named(c.From, call.From()) || len(c.From) == 0 && len(c.Auto) == 0 {
				return call
			}
			if err := call.Silence(ctx); err != nil {
				fmt.Fprintf(p.con.err, "petrel: %v\n", err)
			}
		}
	}
}

// validUsers checks the user ids of a flag.
func validUsers(flag string, users []string) error {
	for _, u := range users {
		if !chat.ValidUser(strings.TrimPrefix(u, "@")) {
			return usagef("%s: %q is no user id", flag, u)
		}
	}
	return nil
}

// named reports whether a user is among some, with or without @.
func named(users []string, user string) bool {
	return slices.Contains(users, user) || slices.Contains(users, "@"+user)
}

// take answers a call and stays in it.
func (c answerCmd) take(ctx context.Context, p *phone, call *calls.Call) error {
	if !named(c.Auto, call.From()) {
		yes, err := c.ask(ctx, p, call)
		if err != nil {
			return err
		}
		if !yes {
			return call.Decline(ctx, "")
		}
	}
	limit, cancel := p.bounded(ctx)
	err := call.Accept(limit, p.local())
	cancel()
	if err != nil {
		return p.late(err)
	}
	return p.follow(ctx, call)
}

// takeOver goes on with a call that another device of the user is in.
func (p *phone) takeOver(ctx context.Context) error {
	limit, cancel := p.bounded(ctx)
	defer cancel()
	all, err := client.CallingCalls{Via: p}.State(limit, "")
	if err != nil {
		return p.late(err)
	}
	i := slices.IndexFunc(all, func(s client.CallState) bool { return s.Party != "" })
	if i < 0 {
		return chat.Refuse(chat.NotFound, "no device of yours is in a call")
	}
	call, err := p.m.TakeOver(limit, all[i].Call, p.local())
	if err != nil {
		return p.late(err)
	}
	return p.follow(ctx, call)
}

// ask has somebody decide at the terminal. A call that stops ringing needs no answer.
func (c answerCmd) ask(ctx context.Context, p *phone, call *calls.Call) (yes bool, err error) {
	fmt.Fprintf(p.con.err, "petrel: %s calls (%s): Enter answers, n declines\n", call.From(), strings.Join(call.Status().Media, ", "))
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		_ = call.Wait(ctx, func(s calls.Status) bool { return s.State == calls.StateEnded })
		stop()
	}()
	answer, err := p.typed(ctx)
	switch s := call.Status(); {
	case s.State == calls.StateEnded:
		return false, p.ended(s)
	case err != nil:
		return false, err
	}
	return !strings.HasPrefix(strings.ToLower(strings.TrimSpace(answer)), "n"), nil
}
