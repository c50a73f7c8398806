package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/petrelchat/petrel/client/calls"
	"github.com/petrelchat/petrel/cmd/petrel/internal/termtext"
)

// desk is where the calls of a command are: the one that it is about, and those that were answered meanwhile. Its goroutine is that of the command.
type desk struct {
	p       *phone
	ctx     context.Context // outlives ^C: there are calls to be hung up
	calls   []*onDesk       // the last one is talked in, all others are on hold
	waiting *calls.Call     // rings here during a call
	news    chan deskNews
	done    chan struct{} // closed when files are over, or the time is
	once    sync.Once
	quit    chan struct{} // closed at the end
	wg      sync.WaitGroup
	playing *player
}

// onDesk is a call with what is shown of it.
type onDesk struct {
	call *calls.Call
	line *callLine
	last calls.Status
}

// deskNews is how a call stands now.
type deskNews struct {
	of *onDesk
	s  calls.Status
}

// follow shows a call until it ends, plays into it once somebody hears it, does what is typed, and hangs up when its time is over or ctx ends.
func (p *phone) follow(ctx context.Context, call *calls.Call) error {
	d := &desk{p: p, ctx: context.WithoutCancel(ctx), news: make(chan deskNews), done: make(chan struct{}), quit: make(chan struct{})}
	defer func() {
		close(d.quit)
		d.wg.Wait()
		d.playing.stop()
	}()
	first := d.add(call)
	if p.commands() {
		p.listen()
	}
	lines := p.lines
	if !p.commands() {
		lines = nil
	}
	hang, over := ctx.Done(), d.done
	for len(d.calls) > 0 {
		select {
		case n := <-d.news:
			d.told(n)
		case line, ok := <-lines:
			if !ok {
				lines = nil
				continue
			}
			d.command(line)
		case other, ok := <-p.m.Incoming():
			if ok {
				d.rings(other, lines != nil)
			}
		case <-hang:
			hang = nil
			d.hangup()
		case <-over:
			over = nil
			d.hangup()
		}
	}
	p.left = d.waiting
	if err := p.recorded(); err != nil {
		return err
	}
	return p.ended(first.last)
}

// recorded names the recordings that are new.
func (p *phone) recorded() error {
	if p.rec == nil {
		return nil
	}
	files, err := p.rec.Files()
	for ; p.told < len(files); p.told++ {
		fmt.Fprintf(p.con.err, "petrel: recorded %s\n", termtext.Line(files[p.told]))
	}
	if err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	return nil
}

// add puts a call on the desk.
func (d *desk) add(call *calls.Call) *onDesk {
	o := &onDesk{call: call, line: newCallLine(d.p, call)}
	d.calls = append(d.calls, o)
	d.wg.Go(func() {
		for s := range call.Updates(d.ctx) {
			select {
			case d.news <- deskNews{o, s}:
			case <-d.quit:
				return
			}
		}
	})
	return o
}

// told takes how a call stands.
func (d *desk) told(n deskNews) {
	o := n.of
	o.last = n.s
	if top := d.calls[len(d.calls)-1]; top == o || !o.line.live || n.s.State == calls.StateEnded {
		o.line.show(n.s)
	}
	switch {
	case n.s.State == calls.StateEnded:
		<-o.call.Done()
		o.line.end()
		was := d.calls[len(d.calls)-1]
		d.calls = slices.DeleteFunc(d.calls, func(x *onDesk) bool { return x == o })
		if len(d.calls) > 0 && was == o {
			d.hold(d.calls[len(d.calls)-1], false)
		}
	case d.playing == nil && !n.s.Began.IsZero():
		d.playing = d.p.play(d.ctx, d.enough)
		if d.p.o.For > 0 {
			d.wg.Go(func() {
				t := time.NewTimer(d.p.o.For)
				defer t.Stop()
				select {
				case <-t.C:
					d.enough()
				case <-d.quit:
				}
			})
		}
	}
}

// enough has everything hung up.
func (d *desk) enough() { d.once.Do(func() { close(d.done) }) }

func (d *desk) hangup() {
	if d.waiting != nil {
		d.try(d.waiting.Silence)
	}
	for _, o := range d.calls {
		d.try(o.call.Hangup) // it has ended here in any case
	}
}

// try does something that the server is told of, and says if it was refused.
func (d *desk) try(do func(context.Context) error) bool {
	limit, stop := context.WithTimeout(d.ctx, farewell)
	defer stop()
	err := do(limit)
	if err != nil {
		d.say("%v", err)
	}
	return err == nil
}

// say writes a line beside that of the call.
func (d *desk) say(format string, args ...any) {
	if len(d.calls) > 0 {
		d.calls[len(d.calls)-1].line.end()
	}
	fmt.Fprintf(d.p.con.err, "petrel: %s\n", termtext.Line(fmt.Sprintf(format, args...)))
}

// rings takes a call that rings during another one. Where nobody can type it is left to the user's other devices.
func (d *desk) rings(other *calls.Call, typed bool) {
	if other.Status().State != calls.StateRinging || slices.ContainsFunc(d.calls, func(o *onDesk) bool { return o.call == other }) {
		return // it is over, or this very call: who joins that of a group is rung as well, and the status says ringing until the server's word comes
	}
	busy := d.waiting != nil && d.waiting.Status().State == calls.StateRinging
	if !typed || busy {
		d.try(other.Silence)
		return
	}
	d.waiting = other
	d.say("%s calls (%s): a answers and holds this call, n declines", other.From(), strings.Join(other.Status().Media, ", "))
}

func (d *desk) hold(o *onDesk, on bool) bool {
	return d.try(func(ctx context.Context) error { return o.call.Hold(ctx, on) })
}

// command does what was typed (commandsHelp).
func (d *desk) command(line string) {
	verb, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
	top := d.calls[len(d.calls)-1]
	switch verb {
	case "":
	case "h":
		d.hold(top, !top.call.Status().Hold)
	case "v":
		d.picture()
	case "p":
		d.pin(strings.TrimPrefix(strings.TrimSpace(arg), "@"))
	case "a", "n":
		d.decide(verb == "a")
	case "s":
		if len(d.calls) > 1 && d.hold(top, true) {
			d.calls = append([]*onDesk{top}, d.calls[:len(d.calls)-1]...)
			d.hold(d.calls[len(d.calls)-1], false)
		}
	case "q":
		d.try(top.call.Hangup)
	default:
		d.say("%s", commandsHelp)
	}
}

// decide answers the call that waits, or declines it.
func (d *desk) decide(yes bool) {
	other := d.waiting
	d.waiting = nil
	switch {
	case other == nil || other.Status().State == calls.StateEnded:
		d.say("nobody calls")
	case !yes:
		d.try(func(ctx context.Context) error { return other.Decline(ctx, "") })
	case d.hold(d.calls[len(d.calls)-1], true):
		if d.try(func(ctx context.Context) error { return other.Accept(ctx, d.p.local()) }) {
			d.add(other)
			return
		}
		d.hold(d.calls[len(d.calls)-1], false)
	}
}

// picture shows the picture, or stops it: a call by voice becomes one with video, and back.
func (d *desk) picture() {
	if len(d.p.o.Video) == 0 {
		d.say("there is no picture: it takes --video")
		return
	}
	d.p.dark = !d.p.dark
	kinds, tracks := d.p.sends()
	for _, o := range d.calls {
		d.try(func(ctx context.Context) error { return o.call.SetTracks(ctx, kinds, tracks...) })
	}
}

func (d *desk) pin(user string) {
	d.p.pins = nil
	if user != "" {
		if err := validUsers("p", []string{user}); err != nil {
			d.say("%v", err)
			return
		}
		d.p.pins = []string{user}
	}
	for _, o := range d.calls {
		d.try(func(ctx context.Context) error { return o.call.Watch(ctx, d.p.watch()) })
	}
}
