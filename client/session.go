package client

import (
	"context"
	"sync"
	"time"

	"github.com/petrelchat/petrel/client/internal/link"
)

// session is what is known about the connection of the moment. All methods may be called from any goroutine.
type session struct {
	// gate is held by who sends several things that belong on one connection. The link begins no other before end returned.
	gate sync.RWMutex

	mu     sync.Mutex
	gen    int // counts connections
	on     bool
	link   link.Session
	ctx    context.Context // ends with the connection
	cancel context.CancelFunc

	heards  map[string]uint64 // by conversation: the highest seq that this connection delivered
	turneds map[string]bool   // conversations whose settings or membership this connection told
	began   time.Time         // the connection
	live    time.Time         // when the last delivery came, or the connection began
	waiting int               // deliveries that are not stored yet
	count   int               // deliveries of this connection
	upped   chan struct{}     // closed when a connection is there
}

func newSession() *session {
	return &session{upped: make(chan struct{}), ctx: ended()}
}

// ended returns a context that has ended.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func (s *session) begin(parent context.Context, l link.Session, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gen++
	s.on, s.link = true, l
	s.ctx, s.cancel = context.WithCancel(parent)
	s.heards, s.turneds = make(map[string]uint64), make(map[string]bool)
	s.count, s.began, s.live = 0, now, now
	close(s.upped)
}

func (s *session) end() {
	s.gate.Lock()
	defer s.gate.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.on {
		return
	}
	s.on = false
	s.cancel()
	s.upped = make(chan struct{})
}

// now returns the connection of the moment: its number, and a context that ends with it.
func (s *session) now() (gen int, up bool, ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gen, s.on, s.ctx
}

func (s *session) up() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.on
}

// await waits for a connection.
func (s *session) await(ctx context.Context) error {
	for {
		s.mu.Lock()
		on, upped := s.on, s.upped
		s.mu.Unlock()
		if on {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-upped:
		}
	}
}

// delivered notes deliveries that came in.
func (s *session) delivered(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = now
	s.waiting++
	s.count++
}

// stored notes that so many of them are stored, and returns how many are not.
func (s *session) stored(n int, now time.Time) (left int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting -= n
	s.live = now
	return s.waiting
}

// rest returns how long to wait until deliveries may be taken to have ended for now; 0: they have.
func (s *session) rest(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.waiting > 0:
		return liveRest
	case !s.link.Present:
		return 0 // a new session brings nothing of before
	case now.Sub(s.began) > restMost && s.count < restMany*int(now.Sub(s.began)/time.Second):
		return 0 // this is what people say now, not what was missed
	}
	return min(max(liveRest-now.Sub(s.live), 0), liveRest)
}

// lull returns how long to listen still before a session that the server kept may be taken to have nothing more in
// store: what it has follows CONNACK at once. A PINGREQ would tell too, for four bytes and a wake of the radio.
func (s *session) lull(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.link.Present || s.waiting == 0 && now.Sub(s.began) > restMost {
		return 0
	}
	return max(min(max(2*s.link.RTT, lullLeast), lullMost)-now.Sub(s.live), 0)
}

func (s *session) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting == 0
}

func (s *session) deliveries() (present bool, count int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link.Present, s.count
}

// hear notes that this connection delivered a seq.
func (s *session) hear(conv string, seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.on && seq > s.heards[conv] {
		s.heards[conv] = seq
	}
}

func (s *session) heard(conv string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heards[conv]
}

// turn notes that this connection told how the user stands to a conversation.
func (s *session) turn(conv string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.on {
		s.turneds[conv] = true
	}
}

func (s *session) turned(conv string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.turneds[conv]
}
