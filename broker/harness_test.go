package broker_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/internal/mqttc"
	"github.com/petrelchat/petrel/internal/servertest"
)

const patience = servertest.Patience

// testServer is a server in this process, with what tests ask of it.
type testServer struct {
	*servertest.Server
	t *testing.T
}

// serve starts a dev server on free ports. change may alter its configuration.
func serve(t *testing.T, change ...func(*config.Config)) *testServer {
	t.Helper()
	return serveTuned(t, nil, change...)
}

// serveTuned is for what no configuration says: the clock, the log, hooks, a store.
func serveTuned(t *testing.T, tune func(*broker.Options), change ...func(*config.Config)) *testServer {
	t.Helper()
	s := &testServer{servertest.New(t, change...), t}
	s.Tune = tune
	s.Start()
	return s
}

// in is for a server on a directory of the test's.
func in(dir string) func(*config.Config) { return func(c *config.Config) { c.Data = dir } }

// client is one device.
type client struct {
	*mqttc.Conn
	t       *testing.T
	name    string
	ack     mqttc.Connack
	pid     uint16
	pending []message
	asks    bool // has subscribed to its replies
}

// message is a PUBLISH as it was received.
type message struct {
	topic, payload string
	qos            byte
	dup, retain    bool
	id             uint16
	props          mqttc.Properties
}

func (m message) String() string {
	return fmt.Sprintf("%s %q qos=%d dup=%v retain=%v", m.topic, m.payload, m.qos, m.dup, m.retain)
}

// opt changes what a client connects with.
type opt func(*mqttc.ConnectOptions)

func v5(o *mqttc.ConnectOptions)    { o.Version = 5 }
func clean(o *mqttc.ConnectOptions) { o.CleanStart = true }

func keep(o *mqttc.ConnectOptions) {
	o.CleanStart = false
	if o.Version == 5 {
		o.SessionExpiry = 3600
	}
}

func device(id string) opt { return func(o *mqttc.ConnectOptions) { o.ClientID = id } }

func userProp(k, v string) opt {
	return func(o *mqttc.ConnectOptions) {
		o.UserProperties = append(o.UserProperties, mqttc.UserProperty{Key: k, Value: v})
	}
}

// dial connects user; the client id is the user's name unless an option says otherwise.
func (s *testServer) dial(user string, opts ...opt) *client {
	s.t.Helper()
	c, err := s.try(user, opts...)
	if err != nil {
		s.t.Fatalf("%s: %v", user, err)
	}
	return c
}

func (s *testServer) try(user string, opts ...opt) (*client, error) {
	o := mqttc.ConnectOptions{ClientID: user, Username: user, CleanStart: true}
	for _, fn := range opts {
		fn(&o)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, ack, err := mqttc.Dial(ctx, s.Addr("mqtt"), o)
	if err != nil {
		return nil, err
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	return &client{Conn: conn, t: s.t, name: user, ack: ack}, nil
}

// await reads until a packet of that type; messages meanwhile are kept.
func (c *client) await(kind byte) mqttc.Packet {
	c.t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		c.t.Fatal(err)
	}
	p, err := c.Await(kind, func(p mqttc.Packet) error {
		if p.Type == mqttc.PUBLISH {
			c.pending = append(c.pending, received(p))
		}
		return nil
	})
	if err != nil {
		c.t.Fatalf("%s waits for packet type %d: %v", c.name, kind, err)
	}
	if p.Type != kind {
		c.t.Fatalf("%s waits for packet type %d, got %d code 0x%02X", c.name, kind, p.Type, p.Code)
	}
	return p
}

func received(p mqttc.Packet) message {
	return message{string(p.Topic), string(p.Payload), p.QoS, p.Dup, p.Retain, p.ID, append(mqttc.Properties(nil), p.Props...)}
}

func (c *client) flush() {
	c.t.Helper()
	if err := c.Flush(); err != nil {
		c.t.Fatal(c.name, err)
	}
}

// subscribe subscribes at QoS 1 and returns the SUBACK codes.
func (c *client) subscribe(filters ...string) []byte {
	c.t.Helper()
	list := make([]mqttc.Filter, len(filters))
	for i, f := range filters {
		list[i] = mqttc.Filter{Topic: f, QoS: 1}
	}
	return c.subscribeWith(list)
}

func (c *client) subscribeWith(list []mqttc.Filter, props ...mqttc.UserProperty) []byte {
	c.t.Helper()
	c.pid++
	if err := c.WriteSubscribe(c.pid, list, props...); err != nil {
		c.t.Fatal(err)
	}
	c.flush()
	return append([]byte(nil), c.await(mqttc.SUBACK).Codes...)
}

// publish publishes at QoS 1 and returns the PUBACK's reason code.
func (c *client) publish(topic, payload string) byte {
	c.t.Helper()
	return c.publishWith(mqttc.Publish{Topic: topic, Payload: []byte(payload), QoS: 1}).Code
}

func (c *client) publishWith(p mqttc.Publish) mqttc.Packet {
	c.t.Helper()
	if p.ID == 0 {
		c.pid++
		p.ID = c.pid
	}
	if err := c.WritePublish(p); err != nil {
		c.t.Fatal(err)
	}
	c.flush()
	return c.await(mqttc.PUBACK)
}

// next returns the next message and acknowledges it.
func (c *client) next() message {
	c.t.Helper()
	m := c.peek()
	if m.qos == 1 {
		if err := c.WriteAck(mqttc.PUBACK, m.id, 0); err != nil {
			c.t.Fatal(err)
		}
		c.flush()
	}
	return m
}

// peek returns the next message without acknowledging it.
func (c *client) peek() message {
	c.t.Helper()
	if len(c.pending) > 0 {
		m := c.pending[0]
		c.pending = c.pending[1:]
		return m
	}
	return received(c.await(mqttc.PUBLISH))
}

// quiet asserts that nothing is on its way: what was sent before a PINGREQ comes before its answer.
func (c *client) quiet() {
	c.t.Helper()
	if err := c.WritePing(); err != nil {
		c.t.Fatal(err)
	}
	c.flush()
	c.await(mqttc.PINGRESP)
	if len(c.pending) > 0 {
		c.t.Fatalf("%s got %v, which was not expected", c.name, c.pending)
	}
}

// expect asserts the next messages' topics and payloads.
func (c *client) expect(want ...[2]string) {
	c.t.Helper()
	for _, w := range want {
		m := c.next()
		if m.topic != w[0] || m.payload != w[1] {
			c.t.Fatalf("%s got %v, want %s %q", c.name, m, w[0], w[1])
		}
	}
}

// leave disconnects properly.
func (c *client) leave() {
	c.t.Helper()
	if err := c.Disconnect(patience); err != nil {
		c.t.Fatal(c.name, err)
	}
}

func ok(t *testing.T, codes []byte) {
	t.Helper()
	for _, code := range codes {
		if code >= 0x80 {
			t.Fatalf("refused: % x", codes)
		}
	}
}
