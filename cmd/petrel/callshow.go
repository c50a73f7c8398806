package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/petrelchat/petrel/client/calls"
	"github.com/petrelchat/petrel/client/calls/media"
	"github.com/petrelchat/petrel/cmd/petrel/internal/termtext"
)

// ended is the exit code of a call as an error.
func (p *phone) ended(s calls.Status) error {
	err := s.Err()
	var e *calls.EndedError
	if !errors.As(err, &e) {
		return err
	}
	switch e.Outcome {
	case calls.Declined:
		return exitError{exitDeclined, errors.New("the call was declined")}
	case calls.Missed, calls.Cancelled:
		return exitError{exitMissed, errors.New("nobody answered")}
	case calls.Busy:
		return exitError{exitBusy, errors.New("they are busy: in another call")}
	case calls.Taken:
		return nil // by another device of the user
	}
	return exitError{exitFailed, errors.New("the call failed: no connection came to be, or it was lost")}
}

// player plays the sources of a phone.
type player struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// play plays; when all files are over, done is called.
func (p *phone) play(ctx context.Context, done func()) *player {
	ctx, cancel := context.WithCancel(ctx)
	pl := &player{cancel: cancel}
	files := 0
	var mu sync.Mutex
	for _, s := range p.sources {
		tone := p.o.Audio == "tone" && s == p.sources[0]
		if !tone {
			files++
		}
		pl.wg.Go(func() { p.playOne(ctx, s, tone || p.o.Loop, &mu, &files, done) })
	}
	return pl
}

func (p *phone) playOne(ctx context.Context, s *media.Source, loop bool, mu *sync.Mutex, left *int, done func()) {
	if err := s.Play(ctx, loop); err != nil {
		fmt.Fprintf(p.con.err, "petrel: %v\n", err)
	}
	if loop || ctx.Err() != nil {
		return
	}
	mu.Lock()
	*left--
	over := *left == 0
	mu.Unlock()
	if over {
		done()
	}
}

func (pl *player) stop() {
	if pl != nil {
		pl.cancel()
		pl.wg.Wait()
	}
}

// callLine shows how a call stands: one line that changes on a terminal, lines otherwise.
type callLine struct {
	p     *phone
	call  *calls.Call
	live  bool
	last  string // what was shown
	next  time.Time
	wrote bool
}

// plainPace is how often lines tell of quality where they can't change.
const plainPace = 5 * time.Second

func newCallLine(p *phone, call *calls.Call) *callLine {
	f, ok := p.con.err.(*os.File)
	return &callLine{p: p, call: call, live: ok && !p.json && isTerminal(f) && lookup(p.con.env, "TERM") != "dumb"}
}

// callJSON is a line of --json.
type callJSON struct {
	Call    string       `json:"call"`
	Conv    string       `json:"conv"`
	From    string       `json:"from"`
	At      int64        `json:"at"`
	State   string       `json:"state"`
	Outcome string       `json:"outcome,omitempty"`
	Reason  string       `json:"reason,omitempty"`
	Seconds float64      `json:"seconds"` // since the connection stood
	RTT     float64      `json:"rtt"`     // ms
	Jitter  float64      `json:"jitter"`  // ms
	Loss    float64      `json:"loss"`    // of what comes, 0 to 1
	There   float64      `json:"lossThere"`
	In      float64      `json:"in"` // kbit/s
	Out     float64      `json:"out"`
	Hold    bool         `json:"hold,omitempty"` // here
	Relayed bool         `json:"relayed"`
	SFU     bool         `json:"sfu"`
	Parties []callMember `json:"parties"`
}

type callMember struct {
	User      string   `json:"user"`
	Party     string   `json:"party"`
	Me        bool     `json:"me,omitempty"`
	Media     []string `json:"media"`
	Connected bool     `json:"connected"`
	Hold      bool     `json:"hold,omitempty"`
	Speaking  bool     `json:"speaking,omitempty"`
	Shown     bool     `json:"shown,omitempty"` // its pictures come here
	RTT       float64  `json:"rtt"`             // as above, of this party
	Jitter    float64  `json:"jitter"`
	Loss      float64  `json:"loss"`
	There     float64  `json:"lossThere"`
	In        float64  `json:"in"`
	Out       float64  `json:"out"`
}

func (l *callLine) show(s calls.Status) {
	now := time.Now()
	var users []string
	for _, m := range s.Roster {
		if !m.Me && !slices.Contains(users, m.User) {
			users = append(users, m.User)
		}
	}
	what := s.State.String() + " " + strings.Join(users, " ")
	if s.Hold {
		what += " on hold"
	}
	if s.State == calls.StateActive && s.Began.IsZero() {
		what = calls.StateConnecting.String()
	}
	switch {
	case l.live:
		fmt.Fprint(l.p.con.err, "\r\x1b[K", termtext.Line(callText(s, users, now)))
		l.wrote = true
	case what == l.last && (now.Before(l.next) || s.Began.IsZero()):
		return
	case l.p.json:
		if err := writeJSON(l.p.con.out, callObject(s, now)); err != nil {
			fmt.Fprintf(l.p.con.err, "petrel: %v\n", err)
		}
		l.next = now.Add(time.Second)
	default:
		fmt.Fprintln(l.p.con.err, "petrel:", termtext.Line(callText(s, users, now)))
		l.next = now.Add(plainPace)
	}
	l.last = what
}

// end leaves the last line where it is.
func (l *callLine) end() {
	if l.wrote {
		fmt.Fprintln(l.p.con.err)
		l.wrote = false
	}
}

func callObject(s calls.Status, now time.Time) callJSON {
	o := callJSON{
		Call: s.ID, Conv: s.Conv, From: s.From, At: now.UnixMilli(), State: s.State.String(), Outcome: s.Outcome, Reason: s.Reason,
		RTT: millis(s.Quality.RTT), Jitter: millis(s.Quality.Jitter), Loss: s.Quality.Loss, There: s.Quality.LossThere, In: kilo(s.Quality.Received),
		Out: kilo(s.Quality.Sent), Hold: s.Hold, Relayed: s.Quality.Relayed, SFU: s.SFU, Parties: []callMember{},
	}
	if !s.Began.IsZero() {
		o.Seconds = now.Sub(s.Began).Round(time.Millisecond).Seconds()
	}
	for _, m := range s.Roster {
		q := m.Quality
		o.Parties = append(o.Parties, callMember{
			User: m.User, Party: m.Party, Me: m.Me, Media: m.Media, Connected: m.Connected, Hold: m.Hold, Speaking: m.Speaking, Shown: m.Shown,
			RTT: millis(q.RTT), Jitter: millis(q.Jitter), Loss: q.Loss, There: q.LossThere, In: kilo(q.Received), Out: kilo(q.Sent),
		})
	}
	return o
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func kilo(n int) float64 { return float64(n) / 1000 }

// callText is a call in a line: active 0:12 bob · 24 ms · 0.0 % lost · 32 in 32 out kbit/s.
func callText(s calls.Status, users []string, now time.Time) string {
	parts := []string{s.State.String()}
	if s.State == calls.StateEnded {
		parts[0] = s.Outcome
		if s.Reason != "" && s.Reason != s.Outcome {
			parts[0] += " (" + s.Reason + ")"
		}
	}
	if !s.Began.IsZero() {
		d := int(now.Sub(s.Began).Seconds())
		parts[0] += fmt.Sprintf(" %d:%02d", d/60, d%60)
	}
	if len(users) > 0 {
		parts[0] += " " + strings.Join(users, ", ")
	}
	if s.State != calls.StateEnded && !s.Began.IsZero() {
		q := s.Quality
		parts = append(parts, fmt.Sprintf("%.0f ms", float64(q.RTT.Microseconds())/1000), fmt.Sprintf("%.1f %% lost", 100*max(q.Loss, q.LossThere)),
			fmt.Sprintf("%d in %d out kbit/s", q.Received/1000, q.Sent/1000))
		if q.Relayed {
			parts = append(parts, "relayed")
		}
		if s.SFU {
			parts = append(parts, "SFU")
		}
		if s.Hold {
			parts = append(parts, "on hold")
		}
	}
	if !s.Online && s.State != calls.StateEnded {
		parts = append(parts, "no server")
	}
	return strings.Join(parts, " · ")
}
