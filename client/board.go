package client

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/petrelchat/petrel/client/internal/link"
)

// board shows the status. All methods may be called from any goroutine.
type board struct {
	news *fanout

	mu      sync.Mutex
	s       Status
	disk    error             // why nothing can be stored
	line    error             // why there is no connection
	plaint  [complaints]error // what is wrong although there is one
	owed    map[string]uint64
	queued  int // of the outbox; below 0 for a moment when what a message's end changed is told before what its beginning did
	failed  int
	base    int // events that came since the connection began
	all     int // … since the client was opened
	changed chan struct{}
	closed  bool
}

func newBoard(news *fanout) *board {
	return &board{news: news, changed: make(chan struct{}), owed: make(map[string]uint64)}
}

// set changes the status; those who wait look again.
func (b *board) set(change func(s *Status)) {
	b.mu.Lock()
	old := b.s
	change(&b.s)
	b.s.Err = cmp.Or(b.disk, b.line)
	for _, err := range b.plaint {
		b.s.Err = cmp.Or(b.s.Err, err)
	}
	now := b.s
	if same(old, now) {
		b.mu.Unlock()
		return
	}
	close(b.changed)
	b.changed = make(chan struct{})
	b.mu.Unlock()
	b.news.tell(Update{Kind: UpdateStatus})
}

func same(a, b Status) bool {
	errs := a.Err == b.Err || a.Err != nil && b.Err != nil && a.Err.Error() == b.Err.Error()
	a.Err, b.Err = nil, nil
	return errs && a == b
}

func (b *board) status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.s
}

// stored notes whether the disk takes what is to be stored.
func (b *board) stored(fault error) {
	b.mu.Lock()
	old := b.disk
	b.disk = fault
	b.mu.Unlock()
	if old != nil || fault != nil {
		b.set(func(*Status) {})
	}
}

// begin shows what waited in the outbox when the client was opened.
func (b *board) begin(queued, failed int) {
	b.set(func(s *Status) {
		b.queued, b.failed = queued, failed
		s.State, s.Queued, s.Failed = Connecting, queued, failed
	})
}

// moved takes what a change did. Changes are told in any order.
func (b *board) moved(queued, failed, covered int, whole []string) (done bool) {
	if queued == 0 && failed == 0 && covered == 0 && len(whole) == 0 {
		return false
	}
	b.set(func(s *Status) {
		b.queued, b.failed = b.queued+queued, b.failed+failed
		s.Queued, s.Failed = max(b.queued, 0), max(b.failed, 0)
		for _, conv := range whole {
			if _, ok := b.owed[conv]; ok {
				delete(b.owed, conv)
				done = len(b.owed) == 0
			}
		}
		b.base += covered
		b.all += covered
		if s.State == CatchingUp && s.Total > 0 {
			s.Done = min(b.base, s.Total)
		}
	})
	return done
}

// owing is how many events of a conversation are still to come.
type owing struct {
	conv string
	n    uint64
}

// owes notes what a sync found missing.
func (b *board) owes(list []owing) {
	if len(list) == 0 {
		return
	}
	b.set(func(s *Status) {
		for _, o := range list {
			if _, known := b.owed[o.conv]; !known {
				b.owed[o.conv] = o.n
				s.Total += int(min(o.n, 1<<30))
			}
		}
	})
}

// events counts those that came since the client was opened.
func (b *board) events() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all
}

func (b *board) settled() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.owed) == 0
}

func (b *board) connecting() { b.set(func(s *Status) { s.State, s.Retry = Connecting, time.Time{} }) }

func (b *board) up() {
	b.set(func(s *Status) {
		b.line, b.plaint, b.base, b.owed = nil, [complaints]error{}, 0, make(map[string]uint64)
		s.State, s.Done, s.Total, s.Retry, s.Permanent = CatchingUp, 0, 0, time.Time{}, false
	})
}

func (b *board) upToDate() {
	b.set(func(s *Status) {
		if s.State == CatchingUp {
			s.State, s.Done, s.Total = UpToDate, 0, 0
		}
	})
}

func (b *board) catchingUp() {
	b.set(func(s *Status) {
		if s.State == UpToDate {
			s.State, b.base = CatchingUp, 0
		}
	})
}

func (b *board) down(err error, retry time.Time) {
	b.set(func(s *Status) {
		b.line, b.plaint = err, [complaints]error{}
		s.State, s.Done, s.Total, s.Retry = Offline, 0, 0, retry
		refused := new(link.Refused)
		s.Permanent = errors.As(err, &refused) && refused.Permanent
	})
}

// complaint is what may not work although there is a connection.
type complaint int

const (
	complaintStore     complaint = iota // deliveries can't be stored
	complaintSubscribe                  // the server does not let this device read
	complaintSync                       // catching up does not get on
	complaints                          // how many there are
)

// complain shows an error of a connection that is up, until the same works (nil) or the connection ends.
func (b *board) complain(of complaint, err error) {
	b.mu.Lock()
	old := b.plaint[of]
	b.mu.Unlock()
	if old != nil || err != nil {
		b.set(func(*Status) { b.plaint[of] = err })
	}
}

func (b *board) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed = true
		close(b.changed)
		b.changed = make(chan struct{})
	}
}

// wait waits until ok says so.
func (b *board) wait(ctx context.Context, ok func(Status) bool) error {
	for {
		b.mu.Lock()
		s, changed, closed := b.s, b.changed, b.closed
		b.mu.Unlock()
		if ok(s) {
			return nil
		}
		if closed {
			return ErrClosed
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}
