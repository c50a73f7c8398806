package link_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/internal/link"
)

// deliver sends messages of QoS 1 with ids from 1.
func (c *conn) deliver(n int) {
	for i := range n {
		c.write(&packets.Publish{Topic: fmt.Sprint("t/", i+1), QoS: 1, PacketID: uint16(i + 1), Payload: []byte("x"), Properties: &packets.Properties{}})
	}
}

// TestAcksInOrder: acknowledgements go out in the order of the messages, whatever the order of the calls, all that have
// gathered at once, and no byte longer than they must be.
func TestAcksInOrder(t *testing.T) {
	bubble(t, func(t *testing.T, s *script) {
		ana := s.open()
		c := s.up()
		ana.next("up")
		c.deliver(10)
		var all []*link.Message
		for range 10 {
			all = append(all, ana.next("message").message)
		}
		for i := 9; i > 0; i-- {
			all[i].Ack()
			all[i].Ack() // twice is once
		}
		synctest.Wait()
		if err := ana.Publish(link.Publish{Topic: "none/acknowledged", Payload: []byte("yet")}, nil); err != nil {
			t.Fatal(err)
		}
		c.publish()
		all[0].Ack()
		var want []byte
		for i := range byte(10) {
			want = append(want, packets.PUBACK<<4, 2, 0, i+1)
		}
		got := make([]byte, 1024)
		n, err := c.Read(got) // one write
		if err != nil || !bytes.Equal(got[:n], want) {
			t.Fatalf("% x, %v", got[:n], err)
		}
		c.deliver(1)
		last := ana.next("message").message
		_ = c.Close()
		ana.next("down")
		last.Ack() // too late
		s.up()
	})
}

// TestQoS2 serves a session that somebody subscribed at QoS 2: each message once.
func TestQoS2(t *testing.T) {
	bubble(t, func(t *testing.T, s *script) {
		ana := s.open()
		c := s.up()
		ana.next("up")
		send := func(c *conn, dup bool) {
			c.write(&packets.Publish{Topic: "t", QoS: 2, PacketID: 7, Duplicate: dup, Properties: &packets.Properties{}})
		}
		send(c, false)
		ana.message()
		if id := c.read(packets.PUBREC).PacketID(); id != 7 {
			t.Fatal(id)
		}
		_ = c.Close()
		c = s.up(func(a *packets.Connack) { a.SessionPresent = true })
		ana.next("up")
		send(c, true) // PUBREC was lost
		c.read(packets.PUBREC)
		c.bytes(packets.PUBREL<<4|2, 2, 0, 7)
		if id := c.read(packets.PUBCOMP).PacketID(); id != 7 {
			t.Fatal(id)
		}
		send(c, false) // another message
		ana.message()
		c.read(packets.PUBREC)
		select {
		case e := <-ana.events:
			t.Fatalf("%s came", e.what)
		default:
		}
	})
}

// request reads a request.
func (c *conn) request() (p *packets.Publish) {
	c.t.Helper()
	p = c.publish()
	if p.QoS != 1 || p.Properties.ResponseTopic != "u/ana/rpc" || len(p.Properties.CorrelationData) == 0 {
		c.t.Fatalf("no request: %v", p)
	}
	return p
}

func (c *conn) reply(to *packets.Publish, payload string) {
	c.write(&packets.Publish{Topic: "u/ana/rpc", Payload: []byte(payload), Properties: &packets.Properties{CorrelationData: to.Properties.CorrelationData}})
}

func contextFor(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

type answer struct {
	reply string
	err   error
}

// TestCalls: replies find their requests in any order; late ones are dropped.
func TestCalls(t *testing.T) {
	bubble(t, func(t *testing.T, s *script) {
		ana := s.open()
		if _, err := ana.Call(t.Context(), "sync", nil); !errors.Is(err, link.ErrDown) {
			t.Fatal(err)
		}
		c := s.up()
		ana.next("up")
		call := func(method string, limit time.Duration) chan answer {
			out := make(chan answer, 1)
			go func() {
				ctx, cancel := contextFor(t, limit)
				defer cancel()
				reply, err := ana.Call(ctx, method, []byte(method))
				out <- answer{string(reply), err}
			}()
			synctest.Wait()
			return out
		}
		want := func(got chan answer, reply string, err error) {
			t.Helper()
			if a := <-got; a.reply != reply || !errors.Is(a.err, err) {
				t.Fatalf("%q, %v; want %q, %v", a.reply, a.err, reply, err)
			}
		}
		one, two, three := call("one", time.Minute), call("two", time.Second), call("three", time.Minute)
		r1, r2, r3 := c.request(), c.request(), c.request()
		if r1.Topic != "rpc/one" || string(r2.Payload) != "two" || len(r3.Properties.CorrelationData) != 1 {
			t.Fatalf("%v %v %v", r1, r2, r3)
		}
		c.reply(r3, "3")
		want(three, "3", nil)
		c.puback(r1.PacketID, 0)
		c.puback(r2.PacketID, 0)
		c.puback(r3.PacketID, 0)
		want(two, "", context.DeadlineExceeded)
		c.reply(r2, "late")
		c.reply(&packets.Publish{Properties: &packets.Properties{CorrelationData: []byte("another's")}}, "x")
		c.reply(&packets.Publish{Properties: &packets.Properties{}}, "x")
		four := call("four", time.Minute)
		c.reply(c.request(), "4")
		want(four, "4", nil)
		c.reply(r1, "1")
		want(one, "1", nil)

		five := call("five", time.Minute)
		c.write(&packets.Puback{PacketID: c.request().PacketID, ReasonCode: 0x97, Properties: &packets.Properties{ReasonString: "rate-limited: slower, please"}})
		want(five, "", &chat.Refusal{Code: chat.RateLimited, Reason: "slower, please"})

		six, seven := call("six", time.Minute), call("seven", time.Minute)
		c.request()
		c.puback(c.request().PacketID, 0)
		_ = c.Close()
		want(six, "", link.ErrLost)
		want(seven, "", link.ErrLost) // its request was acknowledged, but no reply will come
		if _, err := ana.Call(t.Context(), "a/b", nil); !errors.Is(err, &chat.Refusal{Code: chat.BadRequest}) {
			t.Fatal(err)
		}
		for { // nothing of all that reached the handler
			e := <-ana.events
			if e.what == "message" {
				t.Fatalf("a reply is no message: %q", e.message.Payload)
			}
			if e.what == "down" {
				break
			}
		}
		s.up()
	})
}

// TestCallsTakeTurns: never more requests at once than the server queues.
func TestCallsTakeTurns(t *testing.T) {
	bubble(t, func(t *testing.T, s *script) {
		ana := s.open()
		c := s.up()
		ana.next("up")
		got := make(chan error, 40)
		for range 40 {
			go func() { _, err := ana.Call(t.Context(), "x", nil); got <- err }()
		}
		var open []*packets.Publish
		for range 16 {
			open = append(open, c.request())
		}
		synctest.Wait()
		if err := ana.Publish(link.Publish{Topic: "what/comes/next"}, nil); err != nil {
			t.Fatal(err)
		}
		if p := c.publish(); p.Topic != "what/comes/next" {
			t.Fatalf("%s is under way as well", p.Topic)
		}
		for i := range 40 {
			if i < 24 {
				c.puback(open[0].PacketID, 0)
				c.reply(open[0], "{}")
				open = append(open[1:], c.request())
			} else {
				c.puback(open[0].PacketID, 0)
				c.reply(open[0], "{}")
				open = open[1:]
			}
			if err := <-got; err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestWindow: Receive Maximum is kept, and what follows waits in order.
func TestWindow(t *testing.T) {
	bubble(t, func(t *testing.T, s *script) {
		ana := s.open()
		most := uint16(3)
		c := s.up(func(a *packets.Connack) { a.Properties.ReceiveMaximum = &most })
		if got := ana.next("up").session.ReceiveMax; got != 3 {
			t.Fatal(got)
		}
		done := make(chan int, 100)
		for i := range 20 {
			if err := ana.Publish(link.Publish{Topic: "t", Payload: fmt.Append(nil, i), QoS: 1}, func(_ link.Ack, err error) {
				if want := i >= 17; errors.Is(err, link.ErrLost) != want || err == nil == want {
					t.Errorf("%d: %v", i, err)
				}
				done <- i
			}); err != nil {
				t.Fatal(err)
			}
		}
		var open []uint16
		for i := range 20 {
			synctest.Wait()
			if len(open) == 3 {
				c.puback(open[0], 0)
				open = open[1:]
				if got := <-done; got != i-3 {
					t.Fatalf("answer for %d", got)
				}
			}
			p := c.publish()
			if string(p.Payload) != fmt.Sprint(i) {
				t.Fatalf("%s instead of %d", p.Payload, i)
			}
			open = append(open, p.PacketID)
		}
		_ = c.Close()
		for i := range 3 { // in the order of the calls
			if got := <-done; got != 17+i {
				t.Fatalf("%d was lost as number %d", got, i)
			}
		}
		s.up()
	})
}
