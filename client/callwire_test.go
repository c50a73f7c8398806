package client_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/internal/faultproxy"
)

// ears hears of calls.
type ears struct {
	ups  chan struct{}
	told chan string // kinds
}

func newEars() *ears { return &ears{make(chan struct{}, 100), make(chan string, 100)} }

func (e *ears) Connected()    { e.ups <- struct{}{} }
func (e *ears) Disconnected() {}
func (e *ears) Told(_ string, payload []byte) {
	var t struct{ Kind string }
	_ = json.Unmarshal(payload, &t)
	e.told <- t.Kind
}

func (e *ears) hear(t *testing.T, want string) {
	t.Helper()
	for ctx := soon(t); ; {
		select {
		case got := <-e.told:
			if got == want {
				return
			}
		case <-ctx.Done():
			t.Fatalf("no %s", want)
		}
	}
}

func rings(o *client.Options) { o.Calls = true }

// said waits for the server's answer to what is published about calls.
func said(t *testing.T, publish func(done func(client.CallAck, error)) error) (client.CallAck, error) {
	t.Helper()
	type answer struct {
		ack client.CallAck
		err error
	}
	answers := make(chan answer, 1)
	if err := publish(func(a client.CallAck, err error) { answers <- answer{a, err} }); err != nil {
		return client.CallAck{}, err
	}
	select {
	case a := <-answers:
		return a.ack, a.err
	case <-soon(t).Done():
		t.Fatal("no answer")
		return client.CallAck{}, nil
	}
}

// TestCallsReachTheHandler: what is published is answered, with ids or the refusal, and whoever rings hears of it, also after having
// been away, without subscribing anew.
func TestCallsReachTheHandler(t *testing.T) {
	s := serve(t)
	ann := s.device("ann", "a", inMemory(t), rings).open()
	bob := s.device("bob", "b", inFile(t), rings).open()
	ann.upToDate()
	bob.upToDate()
	e := newEars()
	must(t, bob.HandleCalls(e))
	<-e.ups // it was connected already
	if err := bob.HandleCalls(newEars()); err == nil {
		t.Error("there are two handlers")
	}
	start := func(done func(client.CallAck, error)) error {
		return ann.StartCall(ann.Direct("bob"), []byte(`{}`), done)
	}
	ack, err := said(t, start)
	must(t, err)
	if len(ack.Call) != 13 || len(ack.Party) != 8 {
		t.Errorf("the answer is %+v", ack)
	}
	e.hear(t, "ring")

	must(t, bob.HandleCalls(nil))
	bob.close()
	bob.open()
	e = newEars()
	must(t, bob.HandleCalls(e))
	e.hear(t, "ring")
	_, err = said(t, func(done func(client.CallAck, error)) error { return bob.CallVerb(ack.Call, "accept", nil, done) })
	must(t, err)
	_, err = said(t, func(done func(client.CallAck, error)) error { return bob.CallVerb(ack.Call, "dance", nil, done) })
	var r *chat.Refusal
	if !errors.As(err, &r) || r.Code != chat.BadRequest {
		t.Errorf("a verb that there is not: %v", err)
	}
	for _, bad := range []error{
		ann.StartCall("a/b", nil, nil), ann.CallVerb("x/y", "accept", nil, nil), ann.CallVerb("#", "accept", nil, nil),
	} {
		if !errors.As(bad, &r) || r.Code != chat.BadRequest {
			t.Errorf("what is no topic: %v", bad)
		}
	}
}

// reconnected returns how many bytes a device sends when it comes back. Where the answer to its subscription was cut off, it subscribes once more;
// so what is more than most is looked at again, three times in all.
func (s *server) reconnected(d *device, most int64) (n int64) {
	s.t.Helper()
	for range 3 {
		d.upToDate()
		before := s.proxy.Stats()
		s.proxy.Cut()
		// Whoever looks at the status may come too late to see that there was no connection.
		must(s.t, s.proxy.Wait(soon(s.t), func(now faultproxy.Stats) bool { return now.Accepted > before.Accepted }))
		d.upToDate()
		must(s.t, d.Call(soon(s.t), "call.state", map[string]any{}, nil)) // everything before it has been sent
		if n = s.proxy.Stats().Up - before.Up; n <= most {
			break
		}
	}
	return n
}

// TestCallsCostNothing: who does not ring subscribes to nothing, and who does says so once.
func TestCallsCostNothing(t *testing.T) {
	s := serve(t)
	d := s.device("bob", "b", inFile(t)).open()
	if err := d.HandleCalls(newEars()); err == nil {
		t.Error("it rings without Options.Calls")
	}
	plain := s.reconnected(d, 100)
	d.close()
	rings(&d.o)
	d.open()
	if got := s.reconnected(d, plain+8); got > plain+8 {
		t.Errorf("a device that rings sends %d bytes when it comes back, another one %d", got, plain)
	}

	// A program of the same device that does not ring is not taken for one that does.
	d.close()
	d.o.Calls = false
	d.open()
	d.upToDate()
	rings(&d.o)
	d.close()
	before := s.proxy.Stats().Up
	d.open()
	d.upToDate()
	must(t, d.Call(soon(t), "call.state", map[string]any{}, nil))
	first := s.proxy.Stats().Up - before
	if again := s.reconnected(d, first-17); again > first-17 {
		t.Errorf("its subscriptions were kept, so it was still taken for one that rings: it sent %d bytes, and %d when it came back", first, again)
	}
}
