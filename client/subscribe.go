package client

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/internal/link"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/protocol"
)

// handler hears of the connection.
type handler struct{ c *Client }

var _ link.Handler = handler{}

// Connecting implements [link.Handler].
func (h handler) Connecting() {
	h.c.board.connecting()
	h.c.subs.connecting(h.c.ctx)
}

// Up implements [link.Handler].
func (h handler) Up(s link.Session) {
	c := h.c
	c.subs.up(s.Present) // first: a request that leaves before it would not hear the reply
	c.board.up()
	c.sess.begin(c.ctx, s, c.now())
	for _, bell := range []chan struct{}{c.wake.sync, c.wake.outbox, c.wake.chores, c.wake.gaps} {
		ring(bell)
	}
	c.calls.tell(CallHandler.Connected)
}

// Down implements [link.Handler].
func (h handler) Down(err error, retry time.Time) {
	h.c.sess.end()
	h.c.live.forget()
	h.c.board.down(err, retry)
	ring(h.c.wake.outbox)
	h.c.calls.tell(CallHandler.Disconnected)
}

// Message implements [link.Handler].
func (h handler) Message(m *link.Message) { h.c.in.push(m) }

// subscriber sees that the session has the client's subscriptions, and repeats them only where that is not certain: they are
// most of the bytes of a reconnection. A session that the server kept has them, if they were ever granted: that stands on disk.
// But the server may make a new session, and the program be killed before it hears of it; so the mark is taken away before
// each attempt to connect, and put back when all is as it was.
type subscriber struct {
	*core
	mu      sync.Mutex
	certain bool // the session has them, if the server kept it
	marked  bool // so it stands on disk

	// Of this connection, what the server wants to be asked for again later:
	owed  []link.Filter
	due   time.Time // when that is
	tries int
	late  bool // it granted something the second time

	rang bool // the session subscribes to calls from before, and this program does not ring: it must not be taken for one that does
}

// codeLater is the reason code for what may be subscribed to later: the server's disk is full, or a quota used up [MQTT-3.9.3].
const codeLater = 0x97

// set names what is subscribed to, by which device.
func (s *subscriber) set() string {
	parts := []string{s.device}
	for _, f := range s.subscriptions() {
		parts = append(parts, f.Topic)
	}
	return strings.Join(parts, " ")
}

func (s *subscriber) load(ctx context.Context) error {
	return s.read(ctx, func(r store.Reader) error {
		mark, err := r.Meta(metaSubscribed)
		s.marked = mark != nil
		s.certain = string(mark) == s.set()
		s.rang = !s.calls.wanted && slices.Contains(strings.Fields(string(mark)), protocol.CallsTopic(s.me, ""))
		return err
	})
}

// connecting is called before each attempt.
func (s *subscriber) connecting(ctx context.Context) {
	s.mu.Lock()
	marked := s.marked
	s.mu.Unlock()
	if !marked {
		return
	}
	err := s.update(ctx, func(ch *change) error { return ch.tx.PutMeta(metaSubscribed, nil) })
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.marked = err != nil; s.marked {
		s.certain = false // the mark may be wrong from now on
	}
}

// up is called when there is a connection, before anything else is sent.
func (s *subscriber) up(present bool) {
	s.mu.Lock()
	if !present {
		s.certain = false
	}
	certain, rang := s.certain, s.rang && present
	s.rang = false
	s.owed, s.tries, s.late = nil, 0, false
	s.mu.Unlock()
	if certain {
		s.presences()
		return
	}
	s.subscribe(s.subscriptions())
	if rang {
		s.fallSilent()
	}
}

// fallSilent ends the subscriptions of a program that rang.
func (s *subscriber) fallSilent() {
	topics := []string{protocol.CallsTopic(s.me, ""), protocol.CallsTopic(s.me, "+")}
	err := s.line.UnsubscribeFunc(topics, func(_ []byte, err error) {
		if err != nil { // once more on the next connection
			s.mu.Lock()
			s.rang, s.certain = true, false
			s.mu.Unlock()
		}
	})
	if err != nil {
		s.log.Debug("not unsubscribed: the connection has ended", "error", err)
	}
}

func (s *subscriber) subscribe(filters []link.Filter) {
	err := s.line.SubscribeFunc(filters, nil, func(codes []byte, err error) {
		if err == nil {
			s.answered(filters, codes)
		}
	})
	if err != nil {
		s.log.Debug("not subscribed: the connection has ended", "error", err)
	}
}

// again subscribes to what the server wants to be asked for later, when it is time, and returns how long that takes; 0: there is
// nothing more.
func (s *subscriber) again() (rest time.Duration) {
	s.mu.Lock()
	filters := s.owed
	rest = min(s.due.Sub(s.now()), retryMost) // the clock may be put back
	if len(filters) == 0 || rest > 0 {
		s.mu.Unlock()
		if len(filters) == 0 {
			return 0
		}
		return rest
	}
	s.owed = nil // until the answer comes
	s.mu.Unlock()
	s.subscribe(filters)
	return 0
}

// granted reports whether something was granted since the last call that was refused at first.
func (s *subscriber) granted() (late bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	late, s.late = s.late, false
	return late
}

// presences subscribes to who is there once more, if somebody wants to know: who subscribes is told.
func (s *subscriber) presences() {
	if !s.live.asked() {
		return
	}
	if err := s.line.SubscribeFunc([]link.Filter{{Topic: "u/+/presence"}}, nil, func([]byte, error) {}); err != nil {
		s.log.Debug("not subscribed: the connection has ended", "error", err)
	}
}

// answered takes the server's answer. Only conversations can't be done without: tokens of small devices have no
// more.
func (s *subscriber) answered(filters []link.Filter, codes []byte) {
	all := s.subscriptions()[0].Topic
	var owed []link.Filter
	for i, code := range codes {
		if code < 0x80 || i >= len(filters) {
			continue
		}
		s.log.Info("a subscription was refused", "filter", filters[i].Topic, "code", code)
		switch {
		case code == codeLater:
			owed = append(owed, filters[i])
		case filters[i].Topic == all:
			s.board.complain(complaintSubscribe, chat.Refuse(chat.NotAuthorized, "the server does not let this device read conversations (code 0x%02X): check what its token allows", code))
			return
		}
	}
	if len(owed) > 0 && owed[0].Topic == all {
		s.board.complain(complaintSubscribe, chat.Refuse(chat.RateLimited, "the server can't take subscriptions now (its disk is full, or a limit is reached): new messages wait there, it is asked again and again"))
	} else {
		s.board.complain(complaintSubscribe, nil)
	}
	s.mu.Lock()
	s.late = s.late || s.tries > 0 && len(owed) < len(filters)
	if s.certain = len(owed) == 0; !s.certain {
		s.owed, s.due = owed, s.now().Add(backoff(s.tries, rand.Float64()))
		s.tries++
	}
	s.mu.Unlock()
	ring(s.wake.sync)
}

// keep puts the mark back.
func (s *subscriber) keep(ctx context.Context) error {
	s.mu.Lock()
	due := s.certain && !s.marked
	s.mu.Unlock()
	if !due {
		return nil
	}
	err := s.update(ctx, func(ch *change) error { return ch.tx.PutMeta(metaSubscribed, []byte(s.set())) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.marked = err == nil
	return err
}
