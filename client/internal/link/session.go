package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/log"
	"github.com/eclipse/paho.golang/paho/session"
)

// sessions is where paho hands over what has a packet id. paho's own session state waits for each
// PUBACK in the goroutine that published, and sends again by itself what the caller's outbox already keeps; here PUBACKs
// come back by callback, and what a connection leaves behind is reported.
type sessions struct{ l *Link }

var _ session.SessionManager = sessions{}

// ConAckReceived is called by paho after a successful CONNACK, before anything else is read.
func (s sessions) ConAckReceived(conn io.Writer, sent *packets.Connect, ack *packets.Connack) error {
	w, ok := conn.(*wire)
	if !ok {
		return errors.New("a connection of another kind")
	}
	return s.l.established(w, sent, ack)
}

// ConnectionLost is called by paho's reader when the server says DISCONNECT, and once more after everything closed.
func (s sessions) ConnectionLost(dp *packets.Disconnect) error {
	c := s.l.current()
	switch {
	case c == nil:
	case dp == nil:
		c.end(errClosedByPaho)
	default:
		reason := ""
		if dp.Properties != nil {
			reason = dp.Properties.ReasonString
		}
		c.end(refusedSession(dp.ReasonCode, reason))
	}
	return nil
}

var errClosedByPaho = errors.New("the connection was closed")

// PacketReceived is called by paho's reader for each packet with an id.
func (s sessions) PacketReceived(p *packets.ControlPacket, messages chan<- *packets.Publish) error {
	c := s.l.current()
	if c == nil {
		return nil
	}
	switch pk := p.Content.(type) {
	case *packets.Publish:
		select {
		case messages <- pk:
		case <-c.over:
		}
	case *packets.Puback:
		if o := c.settle(pk.PacketID, true); o != nil && o.acked != nil {
			o.acked(ackOf(pk), nil)
		}
	case *packets.Suback:
		c.answered(pk.PacketID, pk.Reasons)
	case *packets.Unsuback:
		c.answered(pk.PacketID, pk.Reasons)
	case *packets.Pubrel:
		c.released(pk.PacketID)
	}
	return nil
}

// AddToSession is for publishes through paho, of which there are none.
func (s sessions) AddToSession(context.Context, session.Packet, chan<- packets.ControlPacket) error {
	return session.ErrNoConnection
}

// Ack is called by paho when a handler returned; Message.Ack decides instead.
func (s sessions) Ack(*packets.Publish) error { return nil }

// Close is for a session of paho's own.
func (s sessions) Close() error { return nil }

func (s sessions) SetErrorLogger(log.Logger) {}
func (s sessions) SetDebugLogger(log.Logger) {}

const (
	receiveMost = 0xFFFF          // messages that may wait for our answer: the highest Receive Maximum
	controlMost = 4 * receiveMost // bytes of PUBCOMP: a packet id is in use once
)

// propertiesMost bounds how many user properties are kept of a packet.
const propertiesMost = 64

func ackOf(p *packets.Puback) Ack {
	a := Ack{Code: p.ReasonCode}
	if p.Properties != nil {
		a.Reason = Printable(p.Properties.ReasonString)
		for _, u := range p.Properties.User[:min(len(p.Properties.User), propertiesMost)] {
			a.Properties = append(a.Properties, Property{u.Key, u.Value})
		}
	}
	return a
}

// answered takes a SUBACK or UNSUBACK.
func (c *connection) answered(id uint16, codes []byte) {
	o := c.settle(id, false)
	switch {
	case o == nil:
	case len(codes) != o.want: // [MQTT-3.8.4-6]
		o.codes(nil, ErrLost)
		_ = c.w.fail(fmt.Errorf("the server answered %d of %d filters", len(codes), o.want))
	default:
		o.codes(slices.Clone(codes), nil)
	}
}

// received takes a message from paho's router goroutine.
func (c *connection) received(p *paho.Publish) {
	defer c.w.handled()
	var alias *uint16
	m := &Message{Topic: p.Topic, Payload: p.Payload, QoS: p.QoS, Retain: p.Retain, Dup: p.Duplicate()}
	var data []byte
	if p.Properties != nil {
		alias, data = p.Properties.TopicAlias, p.Properties.CorrelationData
		for _, u := range p.Properties.User[:min(len(p.Properties.User), propertiesMost)] {
			m.Properties = append(m.Properties, Property{u.Key, u.Value})
		}
	}
	topic, err := c.alias.resolve(m.Topic, alias)
	if err != nil {
		_ = c.w.fail(err)
		return
	}
	m.Topic = topic
	if p.QoS > 2 { // [MQTT-3.3.1-4]
		_ = c.w.fail(errors.New("the server sent a message of QoS 3"))
		return
	}
	if p.QoS > 0 {
		m.from = c
		if m.due = c.owe(p.PacketID, p.QoS); m.due == nil {
			return
		}
	}
	if topic == c.reply {
		c.replied(data, m.Payload)
		m.Ack()
		return
	}
	c.l.h.Message(m)
}

// owe notes that a message will have to be acknowledged. It returns nil for one of QoS 2 that was received already
// [MQTT-4.3.3-10]; the answer to that goes out at once.
func (c *connection) owe(id uint16, qos byte) *due {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.dues.list) >= receiveMost {
		_ = c.w.fail(errors.New("the server sent more messages than may wait for an answer")) // [MQTT-3.3.4-9]
		return nil
	}
	d := c.dues.add(id, qos)
	if qos == 2 {
		if c.l.taken[id] {
			if c.dues.mark(d) {
				signal(c.wake)
			}
			return nil
		}
		d.taken = c.l.taken
	}
	return d
}

// released answers PUBREL.
func (c *connection) released(id uint16) {
	c.mu.Lock()
	delete(c.l.taken, id)
	if len(c.control) >= controlMost {
		c.mu.Unlock()
		_ = c.w.fail(errors.New("the server sends more than it takes answers"))
		return
	}
	c.control = appendAck(c.control, packets.PUBCOMP, id)
	c.mu.Unlock()
	signal(c.wake)
}

// established makes the connection of a CONNACK the link's.
func (l *Link) established(w *wire, sent *packets.Connect, ack *packets.Connack) error {
	s := Session{Present: ack.SessionPresent, ReceiveMax: windowMost, KeepAlive: time.Duration(sent.KeepAlive) * time.Second,
		Expiry: l.o.SessionExpiry, Resumed: w.resumed}
	if heard, asked := w.traffic(); heard.After(asked) {
		s.RTT = heard.Sub(asked)
	}
	aliases := uint16(0)
	if p := ack.Properties; p != nil {
		if p.ReceiveMaximum != nil {
			s.ReceiveMax = min(int(*p.ReceiveMaximum), windowMost)
		}
		if p.MaximumPacketSize != nil {
			s.MaxPacket = int(min(*p.MaximumPacketSize, math.MaxInt32))
		}
		if p.ServerKeepAlive != nil {
			s.KeepAlive = time.Duration(*p.ServerKeepAlive) * time.Second // [MQTT-3.1.2-21]
		}
		if e := p.SessionExpiryInterval; e != nil {
			s.Expiry = time.Duration(*e) * time.Second
			if *e == math.MaxUint32 {
				s.Expiry = -1
			}
		}
		if p.TopicAliasMaximum != nil {
			aliases = *p.TopicAliasMaximum
		}
		if p.MaximumQOS != nil && *p.MaximumQOS == 0 || s.ReceiveMax == 0 {
			return &Refused{Reason: "the server takes no messages of QoS 1", Permanent: true, Advice: "this is no petrel server: check the address"}
		}
	}
	c := newConnection(l, w, s, aliases)
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		return ErrClosed
	}
	_ = l.attempt.finish() // if it was aborted, so was the wire
	if !s.Present {
		l.taken = make(map[uint16]bool)
	}
	l.conn, l.attempt, l.state = c, nil, stateUp
	l.mu.Unlock()
	go c.run()
	s.KeepAlive = l.interval(s.KeepAlive)
	l.h.Up(s)
	return nil
}
