package link_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/petrelchat/petrel/client/internal/link"
)

// TestHalfOpenAfterIdle: what is sent into a connection that was silent for long takes a PINGREQ along, and three
// seconds later the connection is given up.
func TestHalfOpenAfterIdle(t *testing.T) {
	bubble(t, func(t *testing.T, s *script) {
		ana := s.open()
		c := s.up()
		ana.next("up")
		time.Sleep(30 * time.Second) // virtual
		begun := time.Now()
		lost := make(chan error, 2)
		if err := ana.Publish(link.Publish{Topic: "c/crew/text", Payload: []byte("hello"), QoS: 1}, func(_ link.Ack, err error) { lost <- err }); err != nil {
			t.Fatal(err)
		}
		c.publish()
		c.read(packets.PINGREQ)
		if err := <-lost; !errors.Is(err, link.ErrLost) {
			t.Fatal(err)
		}
		if took := time.Since(begun); took != 3*time.Second {
			t.Fatalf("it took %v", took)
		}
		down := ana.next("down")
		if down.err == nil || down.retry.Before(begun) {
			t.Fatalf("%+v", down)
		}
		c.closed()
		s.up()
		ana.next("up")
	})
}

// TestHalfOpenInTalk: a PUBACK that does not come makes the link ask after three seconds, and give up after six.
func TestHalfOpenInTalk(t *testing.T) {
	bubble(t, func(t *testing.T, s *script) {
		ana := s.open()
		c := s.up()
		ana.next("up")
		begun := time.Now()
		lost := make(chan error, 1)
		_ = ana.Publish(link.Publish{Topic: "c/crew/text", QoS: 1}, func(_ link.Ack, err error) { lost <- err })
		c.publish()
		c.read(packets.PINGREQ)
		if took := time.Since(begun); took != 3*time.Second {
			t.Fatalf("asked after %v", took)
		}
		<-lost
		if took := time.Since(begun); took != 6*time.Second {
			t.Fatalf("given up after %v", took)
		}
		ana.next("down")
		s.up()
	})
}

// TestSlowServer: one that answers PINGREQ is left its time for the PUBACK.
func TestSlowServer(t *testing.T) {
	bubble(t, func(t *testing.T, s *script) {
		ana := s.open()
		c := s.up()
		ana.next("up")
		done := make(chan error, 2)
		_ = ana.Publish(link.Publish{Topic: "c/crew/text", QoS: 1}, func(_ link.Ack, err error) { done <- err })
		id := c.publish().PacketID
		for range 5 {
			c.read(packets.PINGREQ)
			time.Sleep(2900 * time.Millisecond)
			c.pong()
		}
		c.puback(id, 0)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

// TestPatienceGrows: who gave up on a connection that was only slow waits longer the next time.
func TestPatienceGrows(t *testing.T) {
	bubble(t, func(t *testing.T, s *script) {
		ana := s.open()
		for _, want := range []time.Duration{3, 6, 12, 24, 24} {
			s.up()
			ana.next("up")
			begun := time.Now()
			if err := ana.Probe(t.Context()); !errors.Is(err, link.ErrLost) {
				t.Fatal(err)
			}
			if took := time.Since(begun); took != want*time.Second {
				t.Fatalf("it took %v, want %v", took, want*time.Second)
			}
			ana.next("down")
		}
		c := s.up()
		ana.next("up")
		answer := make(chan error)
		go func() { answer <- ana.Probe(t.Context()) }()
		c.read(packets.PINGREQ)
		c.pong()
		if err := <-answer; err != nil {
			t.Fatal(err)
		}
		if err := ana.Probe(t.Context()); !errors.Is(err, link.ErrLost) { // patient no more
			t.Fatal(err)
		}
		ana.next("down")
		s.up()
	})
}

// TestProbeWhileMuchArrives: bytes that come show that somebody is there, even if the answer is behind them; but not
// for ever, for what we send may not arrive.
func TestProbeWhileMuchArrives(t *testing.T) {
	bubble(t, func(t *testing.T, s *script) {
		ana := s.open()
		c := s.up()
		ana.next("up")
		begun := time.Now()
		answer := make(chan error)
		go func() { answer <- ana.Probe(t.Context()) }()
		c.read(packets.PINGREQ)
		var sender sync.WaitGroup
		sender.Go(func() {
			for {
				time.Sleep(time.Second)
				if _, err := (&packets.Publish{Topic: "x", Properties: &packets.Properties{}}).WriteTo(c); err != nil {
					return
				}
			}
		})
		defer sender.Wait()
		if err := <-answer; !errors.Is(err, link.ErrLost) {
			t.Fatal(err)
		}
		if took := time.Since(begun); took != 30*time.Second {
			t.Fatalf("it took %v", took)
		}
		ana.next("down")
		s.up()
	})
}

// TestKeepAlive: a PINGREQ when nothing came or went, further and further apart, up to what CONNECT promised; less
// after a connection that died in silence. What was learned outlives the link.
func TestKeepAlive(t *testing.T) {
	bubble(t, func(t *testing.T, s *script) {
		var kept memory
		remember := func(o *link.Options) { o.Memory = &kept }
		ana := s.open(remember)
		c := s.up()
		if k := c.connect.KeepAlive; k != 120 {
			t.Fatalf("Keep Alive is %d", k)
		}
		if k := ana.next("up").session.KeepAlive; k != time.Minute {
			t.Fatalf("told %v", k)
		}
		for i, want := range []time.Duration{60, 60, 90, 90, 120, 120, 120} { // 135 is more than promised
			begun := time.Now()
			c.read(packets.PINGREQ)
			if took := time.Since(begun); took != want*time.Second {
				t.Fatalf("PINGREQ %d after %v, want %v", i, took, want*time.Second)
			}
			c.pong()
			synctest.Wait()
		}
		ana.close()

		ana = s.open(remember)
		c = s.up()
		if k := c.connect.KeepAlive; k != 240 {
			t.Fatalf("Keep Alive is %d", k)
		}
		begun := time.Now()
		c.read(packets.PINGREQ)
		first := time.Since(begun)
		ana.next("down") // nobody answers
		c = s.up()
		begun = time.Now()
		c.read(packets.PINGREQ)
		if took := time.Since(begun); took >= first || took < 30*time.Second {
			t.Fatalf("%v after a connection died in %v", took, first)
		}
		c.pong()
	})
}

func TestServerKeepAliveBounds(t *testing.T) {
	bubble(t, func(t *testing.T, s *script) {
		ana := s.open()
		k := uint16(20)
		c := s.up(func(a *packets.Connack) { a.Properties.ServerKeepAlive = &k })
		begun := time.Now()
		c.read(packets.PINGREQ)
		if took := time.Since(begun); took != 20*time.Second {
			t.Fatalf("PINGREQ after %v", took)
		}
		c.pong()
		ana.next("up")
	})
}

// TestTrafficIsKeepAlive: no PINGREQ while both sides talk.
func TestTrafficIsKeepAlive(t *testing.T) {
	bubble(t, func(t *testing.T, s *script) {
		ana := s.open()
		c := s.up()
		ana.next("up")
		for range 20 {
			time.Sleep(19 * time.Second)
			done := make(chan error, 1)
			_ = ana.Publish(link.Publish{Topic: "c/crew/text", QoS: 1}, func(_ link.Ack, err error) { done <- err })
			c.puback(c.publish().PacketID, 0) // read fails if there is a PINGREQ
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	})
}
