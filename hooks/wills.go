package hooks

import (
	"errors"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/petrelchat/petrel/broker/delivery"
	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/broker/plain"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// willSpec is the will of a CONNECT.
type willSpec struct{ plain.Will }

func newWill(pk *packets.Packet) *willSpec {
	p := &pk.Connect.WillProperties
	w := &willSpec{}
	w.Message = plain.Message{
		Topic: pk.Connect.WillTopic, Payload: pk.Connect.WillPayload, QoS: pk.Connect.WillQos, Retain: pk.Connect.WillRetain,
		PayloadFormat: p.PayloadFormat, PayloadFormatFlag: p.PayloadFormatFlag, ContentType: p.ContentType,
		ResponseTopic: p.ResponseTopic, Correlation: p.CorrelationData,
	}
	for _, u := range p.User {
		w.Message.User = append(w.Message.User, [2]string{u.Key, u.Val})
	}
	w.DelayS, w.ExpiryS, w.HasExpiry = p.WillDelayInterval, p.MessageExpiryInterval, p.MessageExpiryInterval > 0
	return w
}

// mayWill checks at CONNECT that the client may publish its will. Membership is asked when it is due.
func (c *conn) mayWill(w *willSpec) error {
	t, err := protocol.ParsePublish(w.Topic, c.id.User)
	if err != nil {
		return err
	}
	if err := c.levels(w.Topic); err != nil {
		return err
	}
	switch t.Kind {
	case protocol.PubPlain:
		if !c.rules().AllowPublish(w.Topic) {
			return chat.Refuse(chat.NotAuthorized, "you may not publish to the topic of your will")
		}
	case protocol.PubPost:
		if !c.id.Scope.MayWrite(t.Conv) {
			return chat.Refuse(chat.NotAuthorized, "this device's token does not allow a will there")
		}
		_, err = protocol.DecodeEvent(t.View, w.Payload)
	case protocol.PubStatus:
		if c.id.Scope != nil {
			return chat.Refuse(chat.NotAuthorized, "a device token sets no status")
		}
		_, _, err = protocol.ParseStatus(w.Payload)
	default:
		return chat.Refuse(chat.BadRequest, "a will is a post, a status or a plain message")
	}
	return err
}

// WillDone tells how the carrying out of a will ended.
type WillDone struct {
	Err   error // a *chat.Refusal, or the store's; nil: it was carried out
	Apart bool  // it was carried out, but what was to be stored with it was not
}

// PublishWill carries out a will; with must be stored together with what follows from it, or done told
// that it was not. done is called once, on any goroutine.
type PublishWill func(will plain.Will, with storage.Batch, done func(WillDone))

// Wills keeps the clients' wills on disk and publishes them when they are due, as their users. One
// goroutine owns them.
type Wills struct {
	core     *plain.Wills
	pipeline *hub.Pipeline
	now      func() time.Time
	log      *slog.Logger
	publish  PublishWill

	in   chan func()
	stop chan struct{}
	wg   sync.WaitGroup
}

// LoadWills reads the wills of the store. Those of connections that the last run did not see ending are
// due after their delay, counted from now. Start begins to publish.
func LoadWills(store storage.Reader, p *hub.Pipeline, now func() time.Time, log *slog.Logger) (*Wills, error) {
	w := &Wills{pipeline: p, now: now, log: log, in: make(chan func(), 256), stop: make(chan struct{})}
	var b storage.Batch
	ms := now().UnixMilli()
	var err error
	w.core, err = plain.LoadWills(store, &b, ms, func(k plain.WillKey) int64 { return sessionEnds(store, k, ms) })
	if err != nil {
		return nil, err
	}
	b.Vital = true
	return w, p.Commit(&b, nil)
}

func sessionEnds(store storage.Reader, k plain.WillKey, now int64) int64 {
	var rec storage.Session
	v, ok, err := store.Get(storage.In(storage.SpaceSession).Str(k.User).Str(k.ClientID))
	if err != nil || !ok || storage.Unmarshal(v, &rec) != nil {
		return now
	}
	return endsAt(now, rec.Expiry)
}

func endsAt(now int64, expiry uint32) int64 {
	if expiry == math.MaxUint32 {
		return plain.Never
	}
	return now + int64(expiry)*1000
}

// Start starts the goroutine; Close stops it.
func (w *Wills) Start(publish PublishWill) {
	w.publish = publish
	w.wg.Add(1)
	go func() { defer w.wg.Done(); w.run() }()
}

// Close stops the goroutine. Wills that are not due stay on disk.
func (w *Wills) Close() {
	close(w.stop)
	w.wg.Wait()
}

func (w *Wills) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-w.stop:
			for {
				select {
				case fn := <-w.in:
					fn()
				default:
					return
				}
			}
		case fn := <-w.in:
			fn()
		case <-timer.C:
		}
		now := w.now().UnixMilli()
		for _, due := range w.core.Due(now) {
			w.carryOut(due)
		}
		wait := time.Hour
		if next, ok := w.core.Next(); ok {
			wait = min(wait, max(time.Millisecond, time.Duration(next-now)*time.Millisecond))
		}
		timer.Reset(wait)
	}
}

// do runs fn on the owner's goroutine.
func (w *Wills) do(fn func()) {
	select {
	case w.in <- fn:
	case <-w.stop:
	}
}

// retryWill is when a will that could not be stored is tried again.
const retryWill = 5 * time.Second

func (w *Wills) carryOut(will plain.Will) {
	var with storage.Batch
	w.core.Published(&with, &will)
	w.publish(will, with, func(d WillDone) {
		if d.Err == nil && !d.Apart {
			return
		}
		// Not on this goroutine: the answer may come from the pipeline's, which must not wait.
		go w.do(func() {
			if d.Err == nil || final(d.Err) {
				var b storage.Batch
				b.Vital = true
				w.core.Published(&b, &will)
				w.commit(&b)
				return
			}
			w.core.Again(will, w.now().Add(retryWill).UnixMilli())
		})
	})
}

// final reports whether trying again would be refused as well.
func final(err error) bool {
	refusal := new(chat.Refusal)
	return errors.As(err, &refusal) && refusal.Code != chat.Unavailable && refusal.Code != chat.RateLimited
}

func (w *Wills) commit(b *storage.Batch) {
	if b.Len() == 0 {
		return
	}
	if err := w.pipeline.Commit(b, nil); err != nil {
		w.log.Error("storing a will failed", "error", err)
	}
}

func (c *conn) willKey() plain.WillKey {
	return plain.WillKey{User: c.s.Key().User, ClientID: c.client}
}

// Arm stores a connection's will; CONNACK may follow when it returned.
func (w *Wills) Arm(c *conn, spec *willSpec, present bool) error {
	will := spec.Will
	will.User, will.ClientID, will.SID = c.s.Key().User, c.client, c.s.SID
	will.Conn, will.From, will.FromUser = c.number, c.s.SID, c.id.User
	done := make(chan error, 1)
	w.do(func() {
		b := new(storage.Batch)
		w.back(b, c, present)
		w.core.Arm(b, &will, w.now().UnixMilli())
		if err := w.pipeline.Commit(b, func(uint64) { done <- nil }); err != nil {
			done <- chat.Refuse(chat.Unavailable, "the server cannot store your will now; try again later")
		}
	})
	select {
	case err := <-done:
		return err
	case <-w.stop:
	case <-w.pipeline.Stopped():
	}
	return chat.Refuse(chat.Unavailable, "the server is stopping; connect again when it is back")
}

func (w *Wills) back(b *storage.Batch, c *conn, present bool) {
	now := w.now().UnixMilli()
	if present {
		w.core.Returned(b, c.willKey(), now)
	} else {
		w.core.SessionEnded(b, c.willKey(), now)
	}
}

// Came tells that a client without a will connected: one of its earlier connection is cancelled or due.
func (w *Wills) Came(c *conn, present bool) {
	w.do(func() {
		var b storage.Batch
		b.Vital = true
		w.back(&b, c, present)
		w.commit(&b)
	})
}

// Gone tells that a connection ended; clean: with a goodbye. expiry is how long the session stays.
func (w *Wills) Gone(c *conn, clean bool, expiry uint32) {
	w.do(func() {
		var b storage.Batch
		b.Vital = true
		now := w.now().UnixMilli()
		if clean {
			w.core.Disarm(&b, c.willKey(), c.number)
		} else if c.kicked.Load() != uint32(delivery.ServerStops) {
			w.core.Broken(&b, c.willKey(), c.number, now, endsAt(now, expiry))
		} // a server that stops leaves wills armed: they are due after the restart if nobody returns
		w.commit(&b)
	})
}

// PublishWill carries out a will as its user: what a PUBLISH of theirs would be refused for, a will is too.
func (a *Adapter) PublishWill(w plain.Will, with storage.Batch, done func(WillDone)) {
	user := w.FromUser
	t, err := protocol.ParsePublish(w.Topic, user)
	if err != nil {
		done(WillDone{Err: err})
		return
	}
	switch t.Kind {
	case protocol.PubPost:
		r, err := a.posting(user, &t, w.Payload, w.ExpiryS)
		if err != nil {
			done(WillDone{Err: err})
			return
		}
		r.Origin, r.With = w.SID, with
		r.Done = func(res hub.Result) { done(WillDone{Err: res.Err}) }
		a.o.Hub.Submit(r)
	case protocol.PubStatus:
		a.o.Presence.SetStatus(user, w.Payload, func(err error) { done(WillDone{Err: err, Apart: true}) })
	default:
		m := w.Message
		m.At = a.o.Now().UnixMilli()
		a.o.Registry.Publish(&delivery.PlainPublish{Message: &m, With: with, Done: func(err error) { done(WillDone{Err: err}) }})
	}
}
