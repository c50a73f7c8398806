package calls

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"
)

// State is how far a call has come.
type State uint8

// The states.
const (
	StateNew          State = iota // it was started, and rings nowhere yet
	StateRinging                   // it rings: there, or here
	StateConnecting                // accepted; the parties are finding a way to each other
	StateActive                    // people talk
	StateReconnecting              // somebody's connection is gone; the call is not
	StateEnded
)

func (s State) String() string {
	return [...]string{"new", "ringing", "connecting", "active", "reconnecting", "ended"}[min(s, StateEnded)]
}

func stateOf(word string) State {
	for s := StateNew; s < StateEnded; s++ {
		if s.String() == word {
			return s
		}
	}
	return StateEnded
}

// What became of a call, in Status.Outcome: those of the contract, and two of one device alone.
const (
	Answered  = "answered"
	Missed    = "missed"
	Declined  = "declined"
	Busy      = "busy"
	Cancelled = "cancelled"
	Failed    = "failed"
	Taken     = "taken" // another device of the user has it
	Left      = "left"  // a group's call goes on without this device
)

// Status is a call as it stands. It is a copy.
type Status struct {
	ID, Conv string
	From     string // the user who called
	Incoming bool
	Waiting  bool // it rings while the user has another call
	State    State
	Outcome  string // once it has ended
	Reason   string // why it ended, in a word: hangup, timeout, lost, failed, removed, closed
	Media    []string
	Party    string // this device's part in it; "": none
	SFU      bool   // it goes through the server's SFU
	Hold     bool   // this device holds it
	Expires  time.Time
	Began    time.Time // when the first connection stood; zero: none has
	Online   bool      // there is signalling
	Roster   []Member  // who takes part, this device too
	Quality  Quality
}

// Member is one party of a call.
type Member struct {
	Party, User  string
	Media        []string
	Hold         bool
	Reconnecting bool // its signalling is away
	Me           bool
	Connected    bool // media can flow, directly or through the SFU
	Speaking     bool // as far as their device says how loud they are (Leveler)
	Shown        bool // their pictures come here: all of a mesh that Watch leaves, those in the SFU's slots otherwise
	Quality      Quality
}

// Quality is how good connections are, over the last second. Of a call: sums of bit rates, the mean of round trips, the worst jitter and loss there.
// Of a member it is what comes from them and goes to them; through the SFU, RTT is that to the SFU, and Sent and LossThere are 0: what is sent goes to all at once.
type Quality struct {
	RTT       time.Duration // there and back
	Jitter    time.Duration // of what arrives (RFC 3550 §6.4.1)
	Loss      float64       // of what should have arrived here, 0 to 1
	LossThere float64       // of what should have arrived at the other side, or at the SFU, as that reports
	Sent      int           // bits per second
	Received  int
	Relayed   bool // at least one connection goes through a TURN server
}

// Err is nil for a call that was answered, or says what became of it.
func (s *Status) Err() error {
	switch {
	case s.State != StateEnded, s.Outcome == Answered, s.Outcome == Left:
		return nil
	case s.Reason != "" && s.Reason != s.Outcome:
		return &EndedError{s.Outcome, s.Reason}
	}
	return &EndedError{s.Outcome, ""}
}

// EndedError says that a call has ended, and what became of it.
type EndedError struct{ Outcome, Reason string }

func (e *EndedError) Error() string {
	if e.Reason != "" {
		return fmt.Sprintf("calls: the call has ended: %s (%s)", e.Outcome, e.Reason)
	}
	return "calls: the call has ended: " + e.Outcome
}

// ErrEnded is what a call that is over says to everything that is wanted of it.
var ErrEnded = errors.New("calls: the call is over")

// board shows the newest status, and tells who waits for changes.
type board struct {
	mu    sync.Mutex
	now   Status
	bells map[chan struct{}]bool
}

func (b *board) status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.now
	s.Roster = slices.Clone(s.Roster)
	return s
}

func (b *board) set(fn func(*Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fn(&b.now)
	for bell := range b.bells {
		select {
		case bell <- struct{}{}:
		default:
		}
	}
}

// updates yields the status now and after changes: the newest, so some may be left out, but never the last.
func (b *board) updates(ctx context.Context) iter.Seq[Status] {
	return func(yield func(Status) bool) {
		bell := make(chan struct{}, 1)
		b.mu.Lock()
		if b.bells == nil {
			b.bells = make(map[chan struct{}]bool)
		}
		b.bells[bell] = true
		b.mu.Unlock()
		defer func() {
			b.mu.Lock()
			delete(b.bells, bell)
			b.mu.Unlock()
		}()
		for {
			s := b.status()
			if !yield(s) || s.State == StateEnded {
				return
			}
			select {
			case <-bell:
			case <-ctx.Done():
				return
			}
		}
	}
}
