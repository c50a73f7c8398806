package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/client/calls"
	"github.com/petrelchat/petrel/client/calls/media"
	"github.com/petrelchat/petrel/cmd/petrel/internal/profile"
)

// phone is a client with a manager of calls, and what it plays and records.
type phone struct {
	*talk
	m       *calls.Manager
	o       callFlags
	sources []*media.Source
	rec     *media.Recorder
	told    int // recordings that were named
	dark    bool
	pins    []string
	lines   chan string // what is typed; nil: nobody reads that yet
	over    chan struct{}
	left    *calls.Call // rang during a call, and nobody has decided
}

// phone opens all that a call needs. What is wrong with files is said before anybody's phone rings.
func (f callFlags) phone(ctx context.Context, con console, t talkFlags) (_ *phone, err error) {
	p := &phone{o: f, over: make(chan struct{})}
	defer func() {
		if err != nil {
			p.closeFiles(&err)
		}
	}()
	if f.For < 0 {
		return nil, usagef("--for: %v must not be negative", f.For)
	}
	if err := validUsers("--pin", f.Pin); err != nil {
		return nil, err
	}
	if f.See < -1 {
		return nil, usagef("--see: %d is no number of pictures; -1 is all of them", f.See)
	}
	p.dark = f.Dark
	for _, u := range f.Pin {
		p.pins = append(p.pins, strings.TrimPrefix(u, "@"))
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
	var audio *media.Source
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
	if len(p.o.Video) > 0 {
		video, err := media.OpenLayers(p.o.Video...)
		if err != nil {
			return fmt.Errorf("--video: %w", err)
		}
		p.sources = append(p.sources, video...)
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
	close(p.over)
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
	l := calls.Local{Watch: p.watch()}
	l.Media, l.Tracks = p.sends()
	byTrack := make(map[webrtc.TrackLocal]*media.Source)
	for _, s := range p.sources {
		byTrack[s.Track()] = s
	}
	l.OnKeyFrame = func(t webrtc.TrackLocal) { byTrack[t].KeyFrame() }
	if p.rec != nil {
		l.OnTrack = func(t *calls.RemoteTrack) { p.rec.Take(t) }
	}
	return l
}

// sends is what goes out at the moment.
func (p *phone) sends() (kinds []string, tracks []webrtc.TrackLocal) {
	kinds = []string{"audio"}
	for _, s := range p.sources {
		picture := s.Track().Kind() == webrtc.RTPCodecTypeVideo
		if picture && p.dark {
			continue
		}
		if picture && len(kinds) == 1 {
			kinds = append(kinds, "video")
		}
		tracks = append(tracks, s.Track())
	}
	return kinds, tracks
}

// watch is what is to be seen.
func (p *phone) watch() calls.Watch {
	w := calls.Watch{Pin: p.pins, Limit: int(p.o.Limit), Pictures: p.o.See}
	switch p.o.See {
	case -1:
		w.Pictures = 0
	case 0:
		w.Pictures = -1
	}
	return w
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

// typed waits for a line of the input.
func (p *phone) typed(ctx context.Context) (string, error) {
	p.listen()
	select {
	case line, ok := <-p.lines:
		if !ok {
			return "", io.EOF
		}
		return line, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// listen begins to read what is typed. The goroutine ends with the input; until then it waits for the next line, and ends with the process.
func (p *phone) listen() {
	if p.lines != nil {
		return
	}
	p.lines = make(chan string)
	in, lines, over := newLineGroups(p.con.in), p.lines, p.over
	go func() {
		defer close(lines)
		for {
			group, err := in.next()
			for _, line := range group {
				select {
				case lines <- line:
				case <-over:
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
}

// commands reports whether lines of the input are commands: somebody types them, or it was said so. A command that runs in the background leaves the
// terminal alone.
func (p *phone) commands() bool {
	f, ok := p.con.in.(*os.File)
	return p.o.Keys || ok && isTerminal(f) && foreground(f)
}
