package client

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/petrelchat/petrel/client/internal/link"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/protocol"
)

const (
	batchMost  = 256  // deliveries of one commit
	looseMost  = 4096 // deliveries of QoS 0 that wait; more are dropped, as QoS 0 allows
	learnAfter = 32   // deliveries after which it is worth a request to know how many there will be
)

// intake stores what is delivered, and acknowledges it afterwards: an acknowledgement is the promise that this
// device has it. Deliveries gather while the disk works; one commit holds all that have.
type intake struct {
	*core
	bell chan struct{}

	mu      sync.Mutex
	waiting []*link.Message
	loose   int // of waiting, those at QoS 0
}

func newIntake(c *core) *intake { return &intake{core: c, bell: make(chan struct{}, 1)} }

// push takes a delivery. It is called by the connection, and does not wait.
func (in *intake) push(m *link.Message) {
	if in.fleeting(m) {
		return
	}
	in.mu.Lock()
	if m.QoS == 0 {
		if in.loose >= looseMost {
			in.mu.Unlock()
			return
		}
		in.loose++
	} else {
		in.sess.delivered(in.now())
	}
	in.waiting = append(in.waiting, m)
	in.mu.Unlock()
	ring(in.bell)
}

// fleeting takes what is not stored.
func (in *intake) fleeting(m *link.Message) bool {
	if user, ok := strings.CutPrefix(m.Topic, "u/"); ok {
		if user, ok = strings.CutSuffix(user, "/presence"); ok && protocol.ValidUser(user) {
			in.live.present(user, m.Payload)
			m.Ack()
			return true
		}
	}
	if in.calls.take(in.me, m) {
		return true
	}
	if conv, user, ok := typist(m.Topic); ok {
		if user != in.me {
			in.live.typing(conv, user, len(m.Payload) > 0)
			ring(in.wake.janitor) // which sees when it is over
		}
		m.Ack()
		return true
	}
	return false
}

// take returns what has gathered, at most a batch of it.
func (in *intake) take() []*link.Message {
	in.mu.Lock()
	defer in.mu.Unlock()
	n := min(len(in.waiting), batchMost)
	batch := in.waiting[:n:n]
	if in.waiting = in.waiting[n:]; len(in.waiting) == 0 {
		in.waiting = nil
	}
	for _, m := range batch {
		if m.QoS == 0 {
			in.loose--
		}
	}
	return batch
}

// run is the intake's goroutine. It ends with ctx; what is not stored by then was not acknowledged.
func (in *intake) run(ctx context.Context) {
	for {
		batch := in.take()
		if len(batch) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-in.bell:
			}
			continue
		}
		if !in.keep(ctx, batch) {
			return
		}
	}
}

// keep stores a batch and acknowledges it.
func (in *intake) keep(ctx context.Context, batch []*link.Message) bool {
	parts := in.sort(ctx, batch)
	for i := range parts {
		for _, d := range parts[i].events { // before it is stored: a sync that comes between must know that it is new
			in.sess.hear(parts[i].conv, max(d.Seq, d.To))
		}
	}
	for {
		err := in.persist(ctx, func(ch *change) error {
			for i := range parts {
				if err := ch.delivered(&parts[i]); err != nil {
					return err
				}
			}
			return nil
		})
		switch {
		case err == nil:
			in.board.complain(complaintStore, nil)
		case ctx.Err() != nil || errors.Is(err, ErrClosed):
			return false
		case errors.Is(err, store.ErrInvalid):
			in.log.Error("deliveries that can't be kept", "error", err)
		default: // not acknowledged, so not lost
			in.log.Error("deliveries can't be stored; it is tried again", "error", err)
			in.board.complain(complaintStore, err)
			if !pause(ctx, 5*time.Second) {
				return false
			}
			continue
		}
		break
	}
	sure := 0
	for _, m := range batch {
		m.Ack()
		if m.QoS > 0 {
			sure++
		}
	}
	if sure == 0 {
		return true
	}
	if left := in.sess.stored(sure, in.now()); left == 0 {
		ring(in.wake.sync)
	} else if _, n := in.sess.deliveries(); n >= learnAfter {
		ring(in.wake.sync)
	}
	return true
}

// part is what a run of deliveries says about one conversation, in their order.
type part struct {
	conv     string // store.OwnLog: the user's own log
	events   []protocol.Delivery
	receipts []protocol.Receipt
	tallies  []protocol.Tally
}

// sort decodes deliveries and puts those of one log together, in their order.
func (in *intake) sort(ctx context.Context, batch []*link.Message) []part {
	var parts []part
	at := make(map[string]int)
	of := func(conv string) *part {
		i, ok := at[conv]
		if !ok {
			i = len(parts)
			at[conv] = i
			parts = append(parts, part{conv: conv})
		}
		return &parts[i]
	}
	own := protocol.OwnEventsTopic(in.me)
	for _, m := range batch {
		if m.Topic == own {
			in.event(of(store.OwnLog), protocol.ViewJSON, m.Payload)
			continue
		}
		rest, ok := strings.CutPrefix(m.Topic, "c/")
		conv, what, ok2 := strings.Cut(rest, "/")
		if !ok || !ok2 || !protocol.ValidConv(conv) {
			in.log.Debug("a delivery that nobody asked for", "topic", m.Topic)
			continue
		}
		switch what {
		case "cbor":
			in.event(of(conv), protocol.ViewCBOR, m.Payload)
		case "json":
			in.event(of(conv), protocol.ViewJSON, m.Payload)
		case "receipts":
			in.receipt(of(conv), m.Payload)
		}
	}
	for i := range parts {
		if parts[i].conv != store.OwnLog {
			parts[i].events = in.decode(ctx, parts[i].conv, parts[i].events)
		}
	}
	return parts
}

func (in *intake) event(p *part, view protocol.View, payload []byte) {
	d, err := protocol.ParseDelivery(view, payload)
	if err != nil {
		in.log.Warn("a delivery that can't be read: is the program too old?", "conv", p.conv, "error", err)
		return
	}
	p.events = append(p.events, d)
}

// receipt reads cursors of one member, or counts.
func (in *intake) receipt(p *part, payload []byte) {
	var r struct {
		User      string  `json:"user"`
		Seq       uint64  `json:"seq"`
		Delivered uint64  `json:"delivered"`
		Read      *uint64 `json:"read"`
		Of        uint64  `json:"of"`
	}
	if json.Unmarshal(payload, &r) != nil {
		return
	}
	if r.User == "" {
		p.tallies = append(p.tallies, protocol.Tally{Seq: r.Seq, Delivered: r.Delivered, Read: r.Read, Of: r.Of})
		return
	}
	one := protocol.Receipt{User: r.User, Delivered: r.Delivered}
	if r.Read != nil {
		one.Read = *r.Read
	}
	p.receipts = append(p.receipts, one)
}

// delivered stores a part.
func (ch *change) delivered(p *part) error {
	if p.conv == store.OwnLog {
		return ch.takeOwn(p.events)
	}
	if err := ch.take(p.conv, p.events, fromLive); err != nil {
		return err
	}
	if l := ch.convs[p.conv]; l != nil && len(p.events) > 0 && len(l.spans) > 1 && !l.lazy {
		if err := ch.wish(p.conv, wishGap, nil); err != nil {
			return err
		}
	}
	for _, r := range p.receipts {
		if err := ch.receipt(p.conv, r.User, r.Delivered, r.Read); err != nil {
			return err
		}
	}
	for i := range p.tallies {
		if err := ch.tally(p.conv, &p.tallies[i]); err != nil {
			return err
		}
	}
	return nil
}
