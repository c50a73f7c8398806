package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/client/calls"
	"github.com/petrelchat/petrel/client/calls/media"
	"github.com/petrelchat/petrel/cmd/petrel/internal/profile"
)

// callFlags are those of both commands that make calls.
type callFlags struct {
	Audio  string        `help:"What the others hear: an Ogg file with Opus, tone (440 Hz without an end), or none." default:"tone" placeholder:"FILE.ogg|tone|none"`
	Video  string        `help:"What they see: an IVF file with VP8." placeholder:"FILE.ivf"`
	Loop   bool          `help:"Play files again and again. Without it the call ends when they are over."`
	Record string        `help:"Write what the others send into files of this folder: USER-1.ogg, USER-1.ivf." placeholder:"DIR"`
	For    time.Duration `help:"Hang up so long after the connection stood; 0: never." placeholder:"10s"`
	Relay  bool          `help:"Send media through a relay only, so that the others don't learn this machine's addresses."`
}

type callCmd struct {
	talkFlags
	callFlags
	Who string `arg:"" help:"Whom to call: @user, or the id of a group, whose running call is joined. A bare name is a group's if there is one, else a user's."`
}

// Help is what petrel help call adds.
func (callCmd) Help() string {
	return `The call is shown in a line that goes on changing; without a terminal lines follow one another, with --json they are objects. Ctrl-C hangs up. ` +
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
	return p.follow(ctx, call)
}

type answerCmd struct {
	talkFlags
	callFlags
	From []string `help:"Answer calls of this user only; others ring elsewhere." placeholder:"USER"`
	Auto bool     `help:"Answer by itself: a camera, a door bell. Without it Enter answers, and n declines."`
	Once bool     `help:"Leave after one call, with its exit code."`
}

// Help is what petrel help answer adds.
func (answerCmd) Help() string {
	return `It waits until somebody calls, also while the server comes and goes, and takes one call at a time. What else rings is left to your other devices. ` +
		`With --auto and files as --audio and --video --loop, any machine is a camera. Exit codes as those of petrel call.`
}

// Run waits for calls.
func (c answerCmd) Run(ctx context.Context, con console) (err error) {
	for _, u := range c.From {
		if !chat.ValidUser(strings.TrimPrefix(u, "@")) {
			return usagef("--from: %q is no user id", u)
		}
	}
	p, err := c.phone(ctx, con, c.talkFlags)
	if err != nil {
		return err
	}
	defer p.close(ctx, &err)
	if err := p.online(ctx); err != nil {
		return err
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
	for {
		select {
		case <-ctx.Done():
			return nil
		case call := <-p.m.Incoming():
			if len(c.From) == 0 || slices.Contains(c.From, call.From()) || slices.Contains(c.From, "@"+call.From()) {
				return call
			}
			if err := call.Silence(ctx); err != nil {
				fmt.Fprintf(p.con.err, "petrel: %v\n", err)
			}
		}
	}
}

// take answers a call and stays in it. Others that ring meanwhile are left to other devices.
func (c answerCmd) take(ctx context.Context, p *phone, call *calls.Call) error {
	during, stop := context.WithCancel(ctx)
	defer stop()
	if !c.Auto {
		yes, err := c.ask(during, p, call)
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
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-during.Done():
				return
			case other, ok := <-p.m.Incoming():
				if !ok {
					return
				}
				_ = other.Silence(during)
			}
		}
	}()
	defer func() { stop(); <-done }()
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
	answer, err := p.answer(ctx)
	switch s := call.Status(); {
	case s.State == calls.StateEnded:
		return false, p.ended(s)
	case err != nil:
		return false, err
	}
	return !strings.HasPrefix(strings.ToLower(strings.TrimSpace(answer)), "n"), nil
}

// phone is a client with a manager of calls, and what it plays and records.
type phone struct {
	*talk
	m       *calls.Manager
	o       callFlags
	sources []*media.Source
	rec     *media.Recorder
	told    int // recordings that were named
}

// phone opens all that a call needs. What is wrong with files is said before anybody's phone rings.
func (f callFlags) phone(ctx context.Context, con console, t talkFlags) (_ *phone, err error) {
	p := &phone{o: f}
	defer func() {
		if err != nil {
			p.closeFiles(&err)
		}
	}()
	if f.For < 0 {
		return nil, usagef("--for: %v must not be negative", f.For)
	}
	if err := p.openFiles(); err != nil {
		return nil, usagef("%w", err)
	}
	p.talk, err = t.openUse(ctx, con, profile.Use{Store: profile.Nothing, Tune: func(o *client.Options) { o.Invisible, o.Calls = true, true }})
	if err != nil {
		return nil, err
	}
	p.m, err = calls.New(p.Client.Client, calls.Options{RelayOnly: f.Relay, Loopback: local(p.p.Server)})
	if err != nil {
		p.talk.close(ctx, &err)
	}
	return p, err
}

// local reports whether a server is on this machine, so that those who are called may be too.
func local(server string) bool {
	u, err := url.Parse(server)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "unix" || u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

func (p *phone) openFiles() error {
	var audio, video *media.Source
	var err error
	switch p.o.Audio {
	case "none":
	case "tone":
		audio, err = media.Tone()
	default:
		audio, err = media.OpenOgg(p.o.Audio)
	}
	if err != nil {
		return fmt.Errorf("--audio: %w", err)
	}
	if audio != nil {
		p.sources = append(p.sources, audio)
	}
	if p.o.Video != "" {
		if video, err = media.OpenIVF(p.o.Video); err != nil {
			return fmt.Errorf("--video: %w", err)
		}
		p.sources = append(p.sources, video)
	}
	if p.o.Record != "" {
		if p.rec, err = media.NewRecorder(p.o.Record); err != nil {
			return fmt.Errorf("--record: %w", err)
		}
	}
	return nil
}

func (p *phone) closeFiles(err *error) {
	for _, s := range p.sources {
		if e := s.Close(); *err == nil {
			*err = e
		}
	}
}

// lastMedia is how long a command waits for its connections to be closed. A relay that does not answer would take longer.
const lastMedia = 2 * time.Second

// close hangs up what still runs, and leaves.
func (p *phone) close(ctx context.Context, err *error) {
	last, stop := context.WithTimeout(context.WithoutCancel(ctx), lastMedia)
	defer stop()
	if e := p.m.Close(last); *err == nil && !errors.Is(e, context.DeadlineExceeded) {
		*err = e
	}
	p.talk.close(ctx, err)
	p.closeFiles(err)
}

// local is what this device brings into a call.
func (p *phone) local() calls.Local {
	l := calls.Local{Media: []string{"audio"}}
	if p.o.Video != "" {
		l.Media = append(l.Media, "video")
	}
	byTrack := make(map[webrtc.TrackLocal]*media.Source)
	for _, s := range p.sources {
		l.Tracks = append(l.Tracks, s.Track())
		byTrack[s.Track()] = s
	}
	l.OnKeyFrame = func(t webrtc.TrackLocal) { byTrack[t].KeyFrame() }
	if p.rec != nil {
		l.OnTrack = func(t *calls.RemoteTrack) { p.rec.Take(t) }
	}
	return l
}

// whom finds the conversation that is called.
func (p *phone) whom(ctx context.Context, who string) (string, error) {
	if strings.HasPrefix(who, "@") || chat.IsDirect(who) || !chat.ValidUser(who) {
		return p.conv(who)
	}
	if !chat.ValidGroup(who) {
		return p.Direct(who), nil
	}
	_, err := client.GroupCalls{Via: p}.Get(ctx, who)
	var r *chat.Refusal
	if errors.As(err, &r) && r.Code == chat.NotFound {
		return p.Direct(who), nil
	}
	return who, err
}

// answer reads a line of the input.
func (p *phone) answer(ctx context.Context) (string, error) {
	group, err := newLineGroups(interruptible(ctx, p.con.in)).next()
	if err != nil {
		return "", err
	}
	return group[0], nil
}
