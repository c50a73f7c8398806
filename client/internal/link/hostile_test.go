package link_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/petrelchat/petrel/client/internal/link"
)

// TestHostileServer: whatever a server sends that is not MQTT, or too much of it, ends the connection with a reason,
// and the next one works.
func TestHostileServer(t *testing.T) {
	publish := func(flags byte, rest ...byte) []byte { return append([]byte{0x30 | flags, byte(len(rest))}, rest...) }
	for _, c := range []struct {
		name string
		send []byte
		why  string
	}{
		{"a packet of 256 MB", []byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F}, "at most"},
		{"a length without end", []byte{0x30, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01}, "not MQTT"},
		{"a type that does not exist", []byte{0x00, 0x00}, ""},
		{"a second CONNACK", []byte{0x20, 3, 0, 0, 0}, ""},
		{"authentication", []byte{0xF0, 2, 0x18, 0}, "authentication"},
		{"a topic alias beyond what was offered", publish(0, 0, 0, 3, 0x23, 0, 200), "alias"},
		{"a topic alias of 0", publish(0, 0, 1, 'x', 3, 0x23, 0, 0), "alias"},
		{"a topic alias that has no topic", publish(0, 0, 0, 3, 0x23, 0, 1), "alias"},
		{"no topic", publish(0, 0, 0, 0), "topic"},
		{"QoS 3", publish(6, 0, 1, 'x', 0, 1, 0), "QoS 3"},
		{"half a packet", []byte{0x30, 100, 0, 1, 'x'}, "closed"},
		{"properties longer than the packet", publish(0, 0, 1, 'x', 0x7F, 0x23), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *script) {
				ana := s.open()
				conn := s.up()
				ana.next("up")
				conn.bytes(c.send...)
				if c.name == "half a packet" {
					_ = conn.Close()
				}
				if down := ana.next("down"); !strings.Contains(down.err.Error(), c.why) {
					t.Errorf("%v", down.err)
				}
				s.up()
				ana.next("up")
			})
		})
	}
	t.Run("CONNACK with an authentication", func(t *testing.T) {
		bubble(t, func(t *testing.T, s *script) {
			ana := s.open()
			s.up(func(a *packets.Connack) { a.Properties.AuthMethod = "nobody asked" })
			ana.next("down")
			s.up()
			ana.next("up")
		})
	})
	t.Run("no messages of QoS 1", func(t *testing.T) {
		bubble(t, func(t *testing.T, s *script) {
			ana := s.open()
			none := byte(0)
			s.up(func(a *packets.Connack) { a.Properties.MaximumQOS = &none })
			var r *link.Refused
			if down := ana.next("down"); !errors.As(down.err, &r) || !r.Permanent {
				t.Fatal(down.err)
			}
		})
	})
	t.Run("SUBACK for less than was asked", func(t *testing.T) {
		bubble(t, func(t *testing.T, s *script) {
			ana := s.open()
			c := s.up()
			ana.next("up")
			done := make(chan error, 2)
			if err := ana.SubscribeFunc([]link.Filter{{Topic: "a"}, {Topic: "b"}}, nil, func(_ []byte, err error) { done <- err }); err != nil {
				t.Fatal(err)
			}
			id := c.read(packets.SUBSCRIBE).PacketID()
			c.write(&packets.Suback{PacketID: id, Reasons: []byte{0}, Properties: &packets.Properties{}})
			if err := <-done; !errors.Is(err, link.ErrLost) {
				t.Fatal(err)
			}
			ana.next("down")
			s.up()
		})
	})
	t.Run("answers that nobody waits for", func(t *testing.T) {
		bubble(t, func(t *testing.T, s *script) {
			ana := s.open()
			c := s.up()
			ana.next("up")
			answers := 0
			_ = ana.Publish(link.Publish{Topic: "t", QoS: 1}, func(link.Ack, error) { answers++ })
			id := c.publish().PacketID
			c.puback(id+1, 0)
			c.write(&packets.Suback{PacketID: id, Reasons: []byte{0}, Properties: &packets.Properties{}}) // of another kind
			c.puback(id, 0)
			c.puback(id, 0)
			c.write(&packets.Pubrec{PacketID: id, Properties: &packets.Properties{}})
			c.pong()
			if err := probe(ana, c); err != nil {
				t.Fatal(err)
			}
			if answers != 1 {
				t.Fatalf("%d answers", answers)
			}
		})
	})
}

// probe is a round trip.
func probe(d *device, c *conn) error {
	answer := make(chan error)
	go func() { answer <- d.Probe(context.Background()) }()
	c.read(packets.PINGREQ)
	c.pong()
	return <-answer
}

// TestPoison: what would make the server end the connection, again and again, never leaves.
func TestPoison(t *testing.T) {
	bubble(t, func(t *testing.T, s *script) {
		ana := s.open()
		most := uint32(100)
		c := s.up(func(a *packets.Connack) { a.Properties.MaximumPacketSize = &most })
		ana.next("up")
		never := func(link.Ack, error) { t.Error("done was called") }
		for _, p := range []link.Publish{
			{}, {Topic: "a/+"}, {Topic: "#"}, {Topic: "a\x00"}, {Topic: "\xff"}, {Topic: strings.Repeat("x", 1<<16)}, {Topic: "a", QoS: 2},
			{Topic: "a", Properties: []link.Property{{Key: "\xff"}}}, {Topic: "a", Properties: []link.Property{{Key: "k", Value: "\x00"}}},
		} {
			if err := ana.Publish(p, never); err == nil {
				t.Errorf("%.60q", fmt.Sprint(p))
			}
		}
		if err := ana.Publish(link.Publish{Topic: "t", Payload: make([]byte, 95)}, never); !errors.Is(err, link.ErrTooLarge) {
			t.Error(err)
		}
		if err := ana.Publish(link.Publish{Topic: "t", Payload: make([]byte, 93), QoS: 1}, never); !errors.Is(err, link.ErrTooLarge) {
			t.Error(err)
		}
		for _, f := range [][]link.Filter{nil, {{Topic: ""}}, {{Topic: "a", QoS: 2}}, {{Topic: "a\x00"}}, {{Topic: strings.Repeat("x", 200)}}} {
			if err := ana.SubscribeFunc(f, nil, func([]byte, error) { t.Error("done was called") }); err == nil {
				t.Errorf("%.60q", fmt.Sprint(f))
			}
		}
		// 100 bytes exactly: 2 of header, 3 of topic, 1 of properties.
		if err := ana.Publish(link.Publish{Topic: "t", Payload: make([]byte, 94)}, nil); err != nil {
			t.Error(err)
		}
		raw := make([]byte, 200)
		n, _ := io.ReadAtLeast(c, raw, 100)
		if n != 100 {
			t.Errorf("%d bytes were sent", n)
		}
	})
}

// TestBusyHandler: when the handler is slow, reading stops, and nobody takes that for silence of the server.
func TestBusyHandler(t *testing.T) {
	bubble(t, func(t *testing.T, s *script) {
		h := &slowHandler{device: device{t: t, wait: 1000 * time.Hour, events: make(chan event, 1000)}, gate: make(chan struct{})}
		l, err := link.New(link.Options{Dial: s.dial, ClientID: "ana"}, h)
		if err != nil {
			t.Fatal(err)
		}
		var run sync.WaitGroup
		run.Go(func() { _ = l.Run(t.Context()) })
		c := s.up()
		h.next("up")
		big := &packets.Publish{Topic: "t", Payload: make([]byte, 1<<20), Properties: &packets.Properties{}}
		for range 20 {
			c.write(big)
		}
		synctest.Wait()
		answer := make(chan error, 1)
		go func() { answer <- l.Probe(context.Background()) }()
		c.read(packets.PINGREQ)
		c.pong() // behind the 20
		time.Sleep(30 * time.Second)
		select {
		case err := <-answer:
			t.Fatal("how did the answer pass?", err)
		default:
		}
		close(h.gate)
		if err := <-answer; err != nil {
			t.Fatal(err)
		}
		for range 20 {
			h.next("message")
		}
		run.Go(func() {
			if err := l.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		c.leave()
		run.Wait()
	})
}

type slowHandler struct {
	device
	gate chan struct{}
}

func (h *slowHandler) Message(m *link.Message) {
	<-h.gate
	h.device.Message(m)
}

// TestAliases: both sides name a topic once.
func TestAliases(t *testing.T) {
	bubble(t, func(t *testing.T, s *script) {
		ana := s.open()
		two := uint16(2)
		c := s.up(func(a *packets.Connack) { a.Properties.TopicAliasMaximum = &two })
		if got := *c.connect.Properties.TopicAliasMaximum; got != 16 {
			t.Fatalf("%d aliases offered", got)
		}
		ana.next("up")
		for _, w := range []struct {
			send, topic string
			alias       uint16 // 0: none
		}{
			{"c/crew/cbor", "c/crew/cbor", 1}, {"c/crew/cbor", "", 1}, {"c/team/cbor", "c/team/cbor", 2}, {"x/y", "x/y", 0},
			{"c/crew/cbor", "", 1}, {"c/third/cbor", "c/third/cbor", 2}, {"c/crew/cbor", "", 1}, {"c/team/cbor", "c/team/cbor", 2},
		} {
			if err := ana.Publish(link.Publish{Topic: w.send}, nil); err != nil {
				t.Fatal(err)
			}
			p := c.publish()
			alias := uint16(0)
			if p.Properties.TopicAlias != nil {
				alias = *p.Properties.TopicAlias
			}
			if p.Topic != w.topic || alias != w.alias {
				t.Fatalf("%q with alias %d, want %q with %d", p.Topic, alias, w.topic, w.alias)
			}
		}
		one := uint16(1)
		for _, w := range []struct {
			topic string
			alias *uint16
			want  string
		}{{"a/long/topic", &one, "a/long/topic"}, {"", &one, "a/long/topic"}, {"b", nil, "b"}, {"c", &one, "c"}, {"", &one, "c"}} {
			c.write(&packets.Publish{Topic: w.topic, Properties: &packets.Properties{TopicAlias: w.alias}})
			if m := ana.next("message").message; m.Topic != w.want {
				t.Fatalf("%q, want %q", m.Topic, w.want)
			}
		}
		_ = c.Close() // aliases end with the connection [MQTT-3.3.2-7]
		c = s.up(func(a *packets.Connack) { a.Properties.TopicAliasMaximum = &two })
		ana.next("up")
		_ = ana.Publish(link.Publish{Topic: "c/crew/cbor"}, nil)
		if p := c.publish(); p.Topic != "c/crew/cbor" {
			t.Fatalf("%q", p.Topic)
		}
		c.write(&packets.Publish{Properties: &packets.Properties{TopicAlias: &one}})
		ana.next("down")
		s.up()
	})
}

// FuzzServer lets a server send anything after CONNACK. The link must live through it and leave no goroutine.
func FuzzServer(f *testing.F) {
	var b bytes.Buffer
	for _, p := range []packets.Packet{
		&packets.Publish{Topic: "t", QoS: 1, PacketID: 1, Payload: []byte("x"), Properties: &packets.Properties{}},
		&packets.Puback{PacketID: 1, ReasonCode: 0x97, Properties: &packets.Properties{ReasonString: "no", User: []packets.User{{Key: "seq", Value: "1"}}}},
		&packets.Suback{PacketID: 2, Reasons: []byte{1}, Properties: &packets.Properties{}},
		&packets.Pubrel{PacketID: 1, Properties: &packets.Properties{}},
		&packets.Disconnect{ReasonCode: 0x8B, Properties: &packets.Properties{}},
	} {
		b.Reset()
		_, _ = p.WriteTo(&b)
		f.Add(bytes.Clone(b.Bytes()))
	}
	f.Add([]byte{0xD0, 0, 0x30, 3, 0, 0, 0})
	f.Fuzz(func(t *testing.T, sent []byte) {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := buffered()
			dials := 0
			h := &device{t: t, events: make(chan event, 1<<16)}
			l, err := link.New(link.Options{ClientID: "ana", User: "ana", Dial: func(context.Context) (net.Conn, error) {
				if dials++; dials > 1 {
					return nil, errors.New("once is enough")
				}
				return theirs, nil
			}}, h)
			if err != nil {
				t.Fatal(err)
			}
			var run sync.WaitGroup
			run.Go(func() { _ = l.Run(context.Background()) })
			if _, err := packets.ReadPacket(ours); err != nil {
				t.Fatal(err)
			}
			_, _ = (&packets.Connack{Properties: &packets.Properties{}}).WriteTo(ours)
			synctest.Wait()
			answers := 0
			err1 := l.Publish(link.Publish{Topic: "t", QoS: 1}, func(link.Ack, error) { answers++ })
			err2 := l.SubscribeFunc([]link.Filter{{Topic: "t"}}, nil, func([]byte, error) { answers++ })
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			synctest.Wait()
			_, _ = ours.Write(sent)
			synctest.Wait()
			_ = ours.Close()
			_ = l.Close(context.Background())
			run.Wait()
			if answers != 2 {
				t.Fatalf("%d answers", answers)
			}
		})
	})
}
