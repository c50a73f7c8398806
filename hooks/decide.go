package hooks

import (
	"bytes"
	"time"

	"github.com/cespare/xxhash/v2"
	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/petrelchat/petrel/broker/delivery"
	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/broker/plain"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
)

// Deciding is the hook that keeps the library from fanning out and acknowledging: every PUBLISH is ours.
type Deciding struct {
	mqtt.HookBase
	a *Adapter
}

// ID names the hook.
func (h *Deciding) ID() string { return "petrel" }

// Provides names the hook points that it answers.
func (h *Deciding) Provides(b byte) bool {
	return bytes.Contains([]byte{mqtt.OnPublish, mqtt.OnACLCheck, mqtt.OnConnectAuthenticate}, []byte{b})
}

// OnACLCheck lets everything on to OnPublish, which decides with the resolved topic and can answer.
func (h *Deciding) OnACLCheck(*mqtt.Client, string, bool) bool { return true }

// OnConnectAuthenticate is not asked: Attach authenticates. A connection that came another way gets in
// nowhere.
func (h *Deciding) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return false }

// OnPublish takes what the library's inline client publishes. Connections' packets come to decide
// without the library's help.
func (h *Deciding) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if cl.Net.Inline {
		h.a.Publish(&plain.Message{Topic: pk.TopicName, Payload: pk.Payload, QoS: pk.FixedHeader.Qos,
			Retain: pk.FixedHeader.Retain, At: h.a.o.Now().UnixMilli()}, nil)
	}
	return pk, packets.ErrRejectPacket
}

// inbound is a PUBLISH while it is being decided.
type inbound struct {
	pk   *packets.Packet
	in   *delivery.Inbound // nil at QoS 0
	hash uint64
	then bool // a post that is to be stored only behind the one before it
}

// receive begins the answer to a PUBLISH. known says that it is a retry and answered already.
func (c *conn) receive(pk *packets.Packet) (x inbound, known bool) {
	x.pk = pk
	qos := pk.FixedHeader.Qos
	if qos == 0 {
		return x, false
	}
	x.hash = digest(pk)
	// A retained message is stored again: what is sent again before it may be, and the last must win.
	// What is asked of a call is carried out again too: it has its effect once, and the answer names the call.
	again := pk.FixedHeader.Dup && (qos == 2 || !pk.FixedHeader.Retain && !aboutCall(pk.TopicName))
	x.in, known = c.s.Receive(pk.PacketID, qos, again, x.hash)
	if known {
		c.s.Write(nil) // starts the writer for what Receive answered
		return x, true
	}
	x.in.Topic = pk.TopicName
	return x, false
}

// settled answers a PUBLISH that goes nowhere.
func (c *conn) settled(pk *packets.Packet, err error) {
	x, known := c.receive(pk)
	if known {
		return
	}
	if t, bad := protocol.ParsePublish(pk.TopicName, c.id.User); bad == nil && t.Kind == protocol.PubPost {
		_ = c.follow(&x, t.Conv) // who answered has decided about this one; those behind it are ours
	}
	c.answer(&x, err)
}

// decide resolves what the client means and hands it to whoever carries it out.
func (c *conn) decide(pk *packets.Packet) {
	x, known := c.receive(pk)
	if known {
		return
	}
	t, err := protocol.ParsePublish(pk.TopicName, c.id.User)
	if err == nil && t.Kind == protocol.PubPost {
		err = c.follow(&x, t.Conv)
	}
	if err == nil {
		err = c.levels(pk.TopicName)
	}
	if err == nil {
		err = c.pace(t.Kind)
	}
	if err != nil {
		c.answer(&x, err)
		return
	}
	switch t.Kind {
	case protocol.PubPost:
		c.post(&x, &t)
	case protocol.PubTyping:
		c.answer(&x, c.typing(t.Conv, len(pk.Payload) > 0))
	case protocol.PubRead:
		c.readUpTo(&x, t.Conv)
	case protocol.PubStatus:
		c.status(&x)
	case protocol.PubRPC:
		c.request(&x, t.Method)
	case protocol.PubCall:
		c.calling(&x, &t)
	default:
		c.plain(&x)
	}
}

// digest identifies a publish by what it says, to recognise a retry.
func digest(pk *packets.Packet) uint64 {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.WriteString(pk.TopicName) // never fails
	_, _ = d.Write([]byte{0})
	_, _ = d.Write(pk.Payload)
	return d.Sum64()
}

// levels bounds the depth of a topic.
func (c *conn) levels(topic string) error {
	most := c.a.set().TopicLevels
	if n := 1 + countByte(topic, '/'); most > 0 && n > most {
		return chat.Refuse(chat.BadRequest, "a topic has at most %d levels here", most)
	}
	return nil
}

func countByte(s string, b byte) (n int) {
	for i := range len(s) {
		if s[i] == b {
			n++
		}
	}
	return n
}

// pace slows a client down that is too fast: first by not reading on, then by refusing.
func (c *conn) pace(kind protocol.PublishKind) error {
	if c.limit == nil {
		return nil
	}
	b := c.limit.events.Load()
	if kind == protocol.PubRPC {
		b = c.limit.requests.Load()
	}
	now := c.a.o.Now()
	wait, ok := b.take(now)
	if !ok {
		return chat.Refuse(chat.RateLimited, "too many messages at once; slow down and send it again")
	}
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		<-t.C
	}
	return nil
}

// answer settles a publish that needed no storing, or is refused.
func (c *conn) answer(x *inbound, err error) {
	if err != nil {
		c.a.stats.Denied.Add(1)
	}
	switch {
	case x.in != nil:
		x.in.SettleNow(hub.Result{Err: err})
	case err != nil:
		c.s.ErrorLine(err, x.pk.TopicName, 0, "")
	}
}

// settle is how a publish ends that is on its way to the disk.
func (c *conn) settle(x *inbound) func(hub.Result) {
	in, topic := x.in, x.pk.TopicName
	return func(res hub.Result) {
		if res.Err != nil {
			c.a.stats.Denied.Add(1)
		}
		switch {
		case in != nil:
			in.Settle(res)
		case res.Err != nil:
			c.s.ErrorLine(res.Err, topic, 0, "")
		}
	}
}

// posting turns what a user publishes to a conversation's post topic into a request: a PUBLISH, or a will
// that is due. expiry is the Message Expiry Interval, seconds; 0: none.
func (a *Adapter) posting(user string, t *protocol.Publish, payload []byte, expiry uint32) (*hub.Request, error) {
	set := a.set()
	if len(payload) > set.Event {
		return nil, chat.Refuse(chat.TooLarge, "an event has at most %d bytes", set.Event)
	}
	one, other, direct := chat.Parties(t.Conv)
	if direct && !(a.o.Auth.Exists(one) && a.o.Auth.Exists(other)) {
		return nil, chat.NoSuchConversation()
	}
	ev, err := protocol.DecodeEvent(t.View, payload)
	if err != nil {
		return nil, err
	}
	if e := uint64(expiry); e > 0 && (ev.Expire == 0 || e < ev.Expire) {
		ev.Expire = e // PROTOCOL: delivery 9
	}
	r := &hub.Request{
		Conv: t.Conv, Direct: direct, AutoJoin: set.Dev && t.Conv == set.General,
		Cmd: chat.Command{Op: chat.OpAppend, Actor: user, Event: ev},
	}
	if ev.ID != "" {
		r.Cmd.Hash = protocol.ContentHash(&ev)
	}
	return r, nil
}

// post appends an event to a conversation.
func (c *conn) post(x *inbound, t *protocol.Publish) {
	if !c.id.Scope.MayWrite(t.Conv) {
		c.answer(x, chat.Refuse(chat.NotAuthorized, "this device's token does not allow writing there"))
		return
	}
	r, err := c.a.posting(c.id.User, t, x.pk.Payload, x.pk.Properties.MessageExpiryInterval)
	if err != nil {
		c.answer(x, err)
		return
	}
	r.Origin = c.s.SID
	if x.in != nil {
		x.in.ID = r.Cmd.Event.ID
		r.Mark = x.in.Mark()
		r.With = c.s.With(x.pk.PacketID, x.pk.FixedHeader.Qos)
		if x.then {
			r.Unless = x.in.Held
		}
	}
	r.Done = c.settle(x)
	c.a.o.Hub.Submit(r)
}

// thenKey is the user property of a post that is to be stored only if the one before it from this connection to
// the same conversation was not refused for now (PROTOCOL: delivery 13). Its value is empty.
const thenKey = "then"

// follow gives a post its place behind those before it. An error refuses it, at no cost to the user's rate.
func (c *conn) follow(x *inbound, conv string) error {
	if x.in == nil || !c.v5 {
		return nil
	}
	var bad error
	for _, u := range x.pk.Properties.User {
		if u.Key == thenKey {
			x.then = true
			if u.Val != "" {
				bad = chat.Refuse(chat.BadRequest, "the user property %q has no value: leave it empty", thenKey)
			}
		}
	}
	if held := x.in.Follow(conv, x.then); bad == nil {
		return held
	}
	return bad
}

// readUpTo moves the user's read cursor.
func (c *conn) readUpTo(x *inbound, conv string) {
	if !c.id.Scope.MayRead(conv) || c.s.Connect().NoCursors {
		c.answer(x, chat.Refuse(chat.NotAuthorized, "this device moves no cursor of its user"))
		return
	}
	seq, all, err := protocol.ParseRead(x.pk.Payload)
	if err != nil {
		c.answer(x, err)
		return
	}
	if all {
		seq = c.s.Acknowledged(conv)
	}
	c.a.o.Hub.MoveCursor(&hub.Move{Conv: conv, User: c.id.User, Delivered: seq, Read: seq, Done: c.settle(x)})
}

// status sets the user's own presence text.
func (c *conn) status(x *inbound) {
	if c.id.Scope != nil {
		c.answer(x, chat.Refuse(chat.NotAuthorized, "a device token sets no status"))
		return
	}
	y := *x
	keep := *x.pk
	y.pk = &keep
	c.a.o.Presence.SetStatus(c.id.User, x.pk.Payload, func(err error) { c.answer(&y, err) })
}

// plain publishes to an ordinary topic.
func (c *conn) plain(x *inbound) {
	pk := x.pk
	if !c.rules().AllowPublish(pk.TopicName) {
		c.answer(x, chat.Refuse(chat.NotAuthorized, "you may not publish to this topic"))
		return
	}
	m := message(pk, c.a.o.Now().UnixMilli())
	m.From, m.FromUser = c.s.SID, c.id.User
	if x.in == nil {
		c.a.Publish(m, nil)
		return
	}
	w := &delivery.PlainPublish{Message: m, Mark: x.in.Mark(), With: c.s.With(pk.PacketID, m.QoS)}
	done := c.settle(x)
	w.Done = func(err error) { done(hub.Result{Err: err}) }
	c.a.o.Registry.Publish(w)
}

// Publish gives a plain message to its subscribers. done is nil or called once it is stored or
// refused; at QoS 0 without RETAIN nothing is stored.
func (a *Adapter) Publish(m *plain.Message, done func(error)) {
	if done == nil {
		done = func(error) {}
	}
	if m.QoS == 0 {
		a.o.Registry.Publish0(m)
		if !m.Retain {
			done(nil)
			return
		}
		a.o.Registry.Retain(m, done)
		return
	}
	a.o.Registry.Publish(&delivery.PlainPublish{Message: m, Done: done})
}

// message takes from a PUBLISH what reaches the subscribers unaltered, §3.3.2.3.
func message(pk *packets.Packet, now int64) *plain.Message {
	p := &pk.Properties
	m := &plain.Message{
		Topic: pk.TopicName, Payload: pk.Payload, QoS: pk.FixedHeader.Qos, Retain: pk.FixedHeader.Retain, At: now,
		PayloadFormat: p.PayloadFormat, PayloadFormatFlag: p.PayloadFormatFlag, ContentType: p.ContentType,
		ResponseTopic: p.ResponseTopic, Correlation: p.CorrelationData,
	}
	if p.MessageExpiryInterval > 0 {
		m.Expire = now + int64(p.MessageExpiryInterval)*1000
	}
	for _, u := range p.User {
		m.User = append(m.User, [2]string{u.Key, u.Val})
	}
	return m
}
