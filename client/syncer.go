package client

import (
	"context"
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/internal/link"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/protocol"
)

const (
	syncLimit   = 200                // conversations of a page
	syncAtLeast = 24 * time.Hour     // however little seems to have happened
	readWithin  = 7 * 24 * time.Hour // as long, others are expected to read what was written
	internalMax = 30 * time.Second   // for a request of the client's own

	lullLeast = 50 * time.Millisecond // see session.lull
	lullMost  = 2 * time.Second
)

// syncer brings a device up to date after each connection, and says when it is.
type syncer struct {
	*core
	subs     *subscriber
	thorough bool // Fetch: nothing is left to chance

	// Of the goroutine of run:
	gen     int  // of the connection that the following are about
	asked   bool // sync was asked on it, to the end
	learned bool
	late    bool // the subscriptions were granted only after a while: sync is asked whatever the session has
	refused bool // this device may not ask
}

// run is the syncer's goroutine. It ends with ctx.
func (s *syncer) run(ctx context.Context) {
	again := time.NewTimer(math.MaxInt64)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake.sync:
		case <-again.C:
		}
		again.Reset(math.MaxInt64)
		gen, up, conn := s.sess.now()
		if !up {
			continue
		}
		if gen != s.gen {
			s.gen, s.asked, s.learned, s.refused = gen, false, false, false
		}
		if s.subs.granted() { // what came before that was not delivered
			s.asked, s.late = false, true
		}
		wait, err := s.pass(conn)
		if rest := s.subs.again(); rest > 0 && (wait == 0 || rest < wait) {
			wait = rest
		}
		if err != nil && conn.Err() == nil {
			s.log.Debug("catching up goes on later", "error", err)
			if no := new(chat.Refusal); !retriable(err) && !errors.As(err, &no) {
				s.board.complain(complaintSync, err)
			}
			if pause(conn, 2*time.Second) { // whoever rings: it would fail again
				ring(s.wake.sync)
			}
			continue
		}
		s.board.complain(complaintSync, nil)
		if wait > 0 {
			again.Reset(wait)
		}
	}
}

// pass does what is to be done next. A wait is after which to come again without being called.
func (s *syncer) pass(ctx context.Context) (wait time.Duration, err error) {
	if err := s.subs.keep(ctx); err != nil {
		s.log.Debug("the subscriptions will be repeated next time", "error", err)
	}
	ask, err := s.shallAsk(ctx)
	if err != nil {
		return 0, err
	}
	if ask {
		if err := s.ask(ctx); err != nil {
			return 0, err
		}
		s.asked, s.late = true, false
		ring(s.wake.gaps)
		ring(s.wake.chores)
	}
	if !s.asked {
		if wait := s.sess.lull(s.now()); wait > 0 {
			return wait, nil
		}
	}
	return s.judge(ctx)
}

// judge says whether the device is up to date.
func (s *syncer) judge(ctx context.Context) (wait time.Duration, err error) {
	gaps, err := s.gaps(ctx)
	if err != nil {
		return 0, err
	}
	if rest := s.sess.rest(s.now()); gaps && rest > 0 {
		ring(s.wake.gaps)
		s.board.catchingUp()
		return rest, nil
	}
	if !s.sess.idle() || gaps || !s.board.settled() {
		if gaps {
			ring(s.wake.gaps)
			s.board.catchingUp()
		}
		return 0, nil // whoever finishes that rings
	}
	s.board.upToDate()
	return 0, nil
}

func (s *syncer) gaps(ctx context.Context) (found bool, err error) {
	err = s.read(ctx, func(r store.Reader) error {
		wishes, err := r.Wishes()
		for _, w := range wishes {
			found = found || w.Name == wishGap
		}
		return err
	})
	return found, err
}

// shallAsk decides about a sync. A session that the server kept delivers by itself what was missed; what is not in
// any log (cursors, what other devices changed) may be worth asking for.
func (s *syncer) shallAsk(ctx context.Context) (yes bool, err error) {
	if s.refused {
		return false, nil
	}
	present, count := s.sess.deliveries()
	err = s.read(ctx, func(r store.Reader) error {
		token, err := r.Meta(metaToken)
		if err != nil {
			return err
		}
		if token == nil {
			yes = true // first time, or the server lost something
			return nil
		}
		if s.asked {
			return nil
		}
		if !present || s.thorough || s.late || count >= learnAfter {
			yes = true
			return nil
		}
		if s.learned {
			return nil // decided already
		}
		devices, err := r.Meta(metaDevices)
		if err != nil {
			return err
		}
		synced, err := r.Meta(metaSynced)
		if err != nil {
			return err
		}
		at, _ := strconv.ParseInt(string(synced), 10, 64)
		yes = string(devices) != "one" || s.now().Sub(time.UnixMilli(at)).Abs() > syncAtLeast
		if !yes {
			yes, err = s.awaitsReaders(r)
		}
		s.learned = err == nil
		return err
	})
	return yes, err
}

// awaitsReaders reports whether something that the user wrote lately has not been read by all.
func (s *syncer) awaitsReaders(r store.Reader) (bool, error) {
	rows, err := r.Conversations(store.ConversationQuery{List: store.ListInbox, Limit: 30})
	if err != nil {
		return false, err
	}
	since := s.now().Add(-readWithin).UnixMilli()
	for i := range rows {
		row := &rows[i]
		if row.At < since {
			continue
		}
		posts, err := r.Events(store.EventQuery{Conv: row.ID, Kinds: []chat.Kind{chat.KindPost}, Limit: 10})
		if err != nil {
			return false, err
		}
		for j := len(posts) - 1; j >= 0; j-- {
			if posts[j].From != s.me || posts[j].At < since {
				continue
			}
			c, err := reachedBy(r, row, s.me)
			if err != nil {
				return false, err
			}
			if c.state(posts[j].Seq) != StateRead && c.of > 0 {
				return true, nil
			}
			break
		}
	}
	return false, nil
}

// ask syncs, page after page. Each page is stored with its token, so that a cut costs a page at most.
func (s *syncer) ask(ctx context.Context) error {
	for {
		var token []byte
		err := s.read(ctx, func(r store.Reader) (err error) {
			token, err = r.Meta(metaToken)
			return err
		})
		if err != nil {
			return err
		}
		req := map[string]any{"limit": syncLimit}
		if len(token) > 0 {
			req["since"] = string(token)
		}
		var p syncPage
		err = s.call(ctx, "sync", req, &p)
		no := new(chat.Refusal)
		switch {
		case errors.As(err, &no) && no.Code == chat.Conflict && len(token) > 0:
			// What the token stands for is not known there: the server was restored from a backup.
			if err := s.persist(ctx, func(ch *change) error { return ch.tx.PutMeta(metaToken, nil) }); err != nil {
				return err
			}
			continue
		case errors.As(err, &no) && no.Code == chat.NotAuthorized:
			s.log.Info("this device may not ask: it has what is delivered", "reason", no.Reason)
			s.refused = true
			return nil
		case err != nil:
			return err
		}
		for i := range p.Convs {
			p.Convs[i].Events = s.decode(ctx, p.Convs[i].Conv, p.Convs[i].Events)
		}
		if err := s.persist(ctx, func(ch *change) error { return ch.synced(&p) }); err != nil {
			return err
		}
		if p.More {
			continue
		}
		if p.Relist {
			if err := s.relist(ctx); err != nil {
				return err
			}
		}
		if p.Unsaid {
			if err := s.receipts(ctx); err != nil {
				return err
			}
		}
		return s.devices(ctx)
	}
}

// relist takes the read cursors from the list of conversations.
func (s *syncer) relist(ctx context.Context) error {
	after := ""
	for {
		var p struct {
			Convs []struct {
				Conv string `json:"conv"`
				Read uint64 `json:"read"`
			} `json:"convs"`
			After string `json:"after"`
			More  bool   `json:"more"`
		}
		if err := s.call(ctx, "conv.list", map[string]any{"after": after, "limit": syncLimit}, &p); err != nil {
			return err
		}
		err := s.persist(ctx, func(ch *change) error {
			for _, c := range p.Convs {
				if err := ch.receipt(c.Conv, ch.me, 0, c.Read); err != nil {
					return err
				}
			}
			return nil
		})
		if after = p.After; err != nil || !p.More {
			return err
		}
	}
}

// receipts asks for all that was delivered and read: it did not fit into a sync.
func (s *syncer) receipts(ctx context.Context) error {
	since := ""
	for {
		var p struct {
			Convs []meanwhile `json:"convs"`
			Since string      `json:"since"`
			More  bool        `json:"more"`
		}
		req := map[string]any{"limit": syncLimit}
		if since != "" {
			req["since"] = since
		}
		if err := s.call(ctx, "receipts.since", req, &p); err != nil {
			return err
		}
		err := s.persist(ctx, func(ch *change) error {
			for i := range p.Convs {
				if err := ch.meanwhile(&p.Convs[i]); err != nil {
					return err
				}
			}
			return nil
		})
		if since = p.Since; err != nil || !p.More {
			return err
		}
	}
}

// devices finds out once whether the user has others: what they change is no news in any log.
func (s *syncer) devices(ctx context.Context) error {
	var known []byte
	err := s.read(ctx, func(r store.Reader) (err error) {
		known, err = r.Meta(metaDevices)
		return err
	})
	if err != nil || known != nil {
		return err
	}
	var p struct {
		Devices []struct {
			Device string `json:"device"`
		} `json:"devices"`
		More bool `json:"more"`
	}
	if err := s.call(ctx, "device.list", map[string]any{}, &p); err != nil {
		return err
	}
	said := "one"
	if len(p.Devices) > 1 || p.More {
		said = "several"
	}
	return s.persist(ctx, func(ch *change) error { return ch.tx.PutMeta(metaDevices, []byte(said)) })
}

// subscriptions are what the session asks for.
func (c *core) subscriptions() []link.Filter {
	return append([]link.Filter{
		{Topic: "c/+/" + c.view.String(), QoS: 1},
		{Topic: protocol.OwnEventsTopic(c.me), QoS: 1},
		{Topic: protocol.RPCTopic(c.me)},
		{Topic: "c/+/receipts"},
		{Topic: "c/+/typing/+"},
		{Topic: "u/+/presence"},
	}, c.callFilters()...)
}
