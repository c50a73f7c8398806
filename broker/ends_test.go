package broker_test

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/internal/mqttc"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
)

// How servers and connections end, and what must not: beginnings, waiting callers.

// TestTakeoverWhileConnecting: whoever is sent away while it connects gets CONNACK before DISCONNECT
// [MQTT-3.2.0-1]. With -race it also watches who looks at a session that is being opened.
func TestTakeoverWhileConnecting(t *testing.T) {
	s := serve(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 30 {
				c, err := s.try("bob", v5, keep)
				if err != nil {
					t.Error(err)
					return
				}
				_ = c.Close()
			}
		})
	}
	wg.Wait()
}

// TestStopWhileConnecting: the same when the server stops. What connects then may find no server.
func TestStopWhileConnecting(t *testing.T) {
	s := serve(t)
	var wg sync.WaitGroup
	var in atomic.Int32
	many := make(chan struct{})
	for i := range 8 {
		wg.Go(func() {
			for {
				c, err := s.try(string(rune('a'+i)), v5, keep)
				if err != nil {
					if strings.Contains(err.Error(), "not CONNACK") {
						t.Error(err)
					}
					return
				}
				if in.Add(1) == 40 {
					close(many)
				}
				_ = c.Close()
			}
		})
	}
	select {
	case <-many:
	case <-time.After(patience):
		t.Error("nobody comes in")
	}
	s.Stop()
	wg.Wait()
}

// TestPublishFromTheAnswer: the answer to Publish may use the server.
func TestPublishFromTheAnswer(t *testing.T) {
	s := serve(t)
	bob := s.dial("bob", v5)
	code(t, bob.subscribe("public/b"), 1)
	done := make(chan error, 1)
	err := s.Publish("public/a", []byte("x"), 1, false, func(err error) {
		if err == nil {
			err = s.Publish("public/b", []byte("y"), 1, false, nil)
		}
		if err == nil {
			_, err = s.Post(broker.General, "ana", chat.Event{Kind: chat.KindPost, Text: "x"})
			if errors.Is(err, &chat.Refusal{Code: chat.NotAuthorized}) { // she is no member
				err = nil
			}
		}
		done <- err
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("the answer waits for itself")
	}
	bob.expect([2]string{"public/b", "y"})
}

// TestAfterTheEnd: what embedders still ask of a server that has stopped is refused.
func TestAfterTheEnd(t *testing.T) {
	s := serve(t)
	s.Stop()
	gone := &chat.Refusal{Code: chat.Unavailable}
	if err := s.Publish("public/a", []byte("x"), 1, false, func(error) { t.Error("answered twice") }); !errors.Is(err, gone) {
		t.Error("Publish:", err)
	}
	if _, err := s.Post(broker.General, "ana", chat.Event{Kind: chat.KindPost, Text: "x"}); !errors.Is(err, gone) {
		t.Error("Post:", err)
	}
	if reply := string(s.Call(t.Context(), "ana", "conv.list", []byte(`{"tag":"t"}`))); !strings.Contains(reply, "unavailable") || !strings.Contains(reply, `"t"`) {
		t.Error("Call:", reply)
	}
	s.Close()
	if err := s.Run(t.Context()); err == nil {
		t.Error("Run twice")
	}
}

// TestCloseWithoutRun: a server that was never run gives everything back.
func TestCloseWithoutRun(t *testing.T) {
	s := serve(t)
	s.Stop()
	srv, err := broker.New(broker.Options{Config: s.Config})
	if err != nil {
		t.Fatal(err)
	}
	srv.Close()
	srv.Close()
	if err := srv.Run(t.Context()); err == nil {
		t.Error("Run after Close")
	}
	s.Start() // on the same directory
	s.dial("ana")
}

// TestListenerCannotOpen: Run leaves nothing open when one of the listeners fails.
func TestListenerCannotOpen(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := serve(t)
	s.Stop()
	cfg := s.Config
	cfg.HTTP.Addr = taken.Addr().String()
	srv, err := broker.New(broker.Options{Config: cfg})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Run(t.Context()); err == nil {
		t.Fatal("it listens on an address that is taken")
	}
	if _, err := os.Stat(broker.SocketPath(cfg.Data)); !errors.Is(err, os.ErrNotExist) {
		t.Error("the control socket is still there:", err)
	}
	if c, err := net.Dial("tcp", srv.Addr("mqtt")); err == nil {
		_ = c.Close()
		t.Error("the other listener is still open")
	}
	s.Start()
	s.dial("ana")
}

// failing is a store whose disk can fail.
type failing struct {
	storage.Store
	broken atomic.Bool
}

func (f *failing) Commit(b *storage.Batch) (storage.Pending, error) {
	p, err := f.Store.Commit(b)
	return failingPending{p, f}, err
}

type failingPending struct {
	storage.Pending
	f *failing
}

func (p failingPending) Wait() error {
	if err := p.Pending.Wait(); err != nil || !p.f.broken.Load() {
		return err
	}
	return errors.New("input/output error")
}

// TestDiskFails: who waits for the disk learns that it failed, and Run says so.
func TestDiskFails(t *testing.T) {
	st, err := pebblestore.NewMemDisk().Open(pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	disk := &failing{Store: st}
	s := serveTuned(t, func(o *broker.Options) { o.Store = disk }, func(c *config.Config) {
		c.Limits.DrainTimeout = time.Second
	})
	s.know("ana", "bob")
	s.group("ana", "crew", "bob")
	disk.broken.Store(true)
	answers := make(chan error)
	for _, ask := range []func() error{
		func() error {
			_, err := s.Post("crew", "ana", chat.Event{Kind: chat.KindPost, Text: "x"})
			return err
		},
		func() error {
			return refusalOf(s.Call(context.Background(), "ana", "group.get", []byte(`{"conv":"crew"}`)))
		},
		func() error {
			return refusalOf(s.Call(context.Background(), "ana", "user.update", []byte(`{"name":"Ana"}`)))
		},
	} {
		go func() { answers <- ask() }()
	}
	if _, err := s.Post("crew", "ana", chat.Event{Kind: chat.KindPost, Text: "y"}); err == nil {
		t.Error("a post that was not stored is answered with success")
	}
	for range 3 {
		select {
		case <-answers: // group.get may have been first
		case <-time.After(patience):
			t.Fatal("somebody waits for a disk that has failed")
		}
	}
	if err := s.Ended(); err == nil {
		t.Error("Run does not say that the disk failed")
	}
}

func refusalOf(reply []byte) error {
	if strings.Contains(string(reply), `"error"`) {
		return errors.New(string(reply))
	}
	return nil
}

// TestWhoReadsNoAnswers: a client that asks and does not read is not listened to without end.
func TestWhoReadsNoAnswers(t *testing.T) {
	s := serve(t)
	bob := s.dial("bob", v5)
	pings := make([]byte, 1<<20)
	for i := 0; i < len(pings); i += 2 {
		pings[i] = mqttc.PINGREQ << 4
	}
	for range 48 { // far more than the buffers of both ends hold
		if err := bob.SetWriteDeadline(time.Now().Add(2 * time.Second)); err != nil {
			t.Fatal(err)
		}
		err := bob.Raw(pings)
		if err == nil {
			err = bob.Flush()
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Error("48 MiB of requests were read, and their answers kept")
}

// TestReceiptsGoToAuthors: to those who wrote what a cursor moved over, while they are members.
func TestReceiptsGoToAuthors(t *testing.T) {
	s := serve(t)
	s.know("ana", "bob", "cas", "mal")
	s.group("ana", "crew", "bob", "cas", "mal")
	ana, cas, mal := s.dial("ana"), s.dial("cas"), s.dial("mal")
	for _, c := range []*client{ana, cas, mal} {
		code(t, c.subscribe("c/+/receipts"), 1)
	}
	bob := s.dial("bob")
	code(t, bob.subscribe("c/+/json"), 1)
	ana.send("c/crew/text", "by ana") // 5
	bob.next()
	ana.expect([2]string{"c/crew/receipts", `{"user":"bob","delivered":5,"read":0}`})
	cas.send("c/crew/text", "by cas") // 6
	bob.next()
	cas.expect([2]string{"c/crew/receipts", `{"user":"bob","delivered":6,"read":0}`})
	ana.quiet()                                                    // hers was delivered before
	mal.send("c/crew/text", "by mal")                              // 7
	s.call("ana", "member.remove", `{"conv":"crew","user":"mal"}`) // 8
	bob.send("c/crew/read", "7")
	read := [2]string{"c/crew/receipts", `{"user":"bob","delivered":7,"read":7}`}
	ana.expect(read)
	cas.expect(read)
	mal.quiet()
}

// TestWillIsJudgedLikeAPublish: a will does what its user's PUBLISH would do, with its Message Expiry.
func TestWillIsJudgedLikeAPublish(t *testing.T) {
	s := serve(t, func(c *config.Config) { c.Limits.UserProperties = 10 })
	s.know("ana")
	bob := s.dial("bob", v5)
	code(t, bob.subscribe("c/+/json"), 1)
	ana := s.dial("ana", v5, lastWill(mqttc.Will{Topic: "u/nobodyhere/text", Payload: []byte("boo"), QoS: 1}))
	ana.vanish()
	willing := func(topic, payload string, props []byte) *mqttc.Conn {
		c := s.open(v5)
		body := append(str(nil, "MQTT"), 5, 0x80|0x08|0x04|2, 0, 0, 0)
		body = append(append(str(body, "ana"), byte(len(props))), props...)
		body = str(str(str(body, topic), payload), "ana")
		if err := errors.Join(c.Raw(frame(mqttc.CONNECT<<4, body)), c.Flush()); err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := willing("u/bob/text", "gone", []byte{0x02, 0, 0, 0, 60}) // comes after ana's earlier will
	if p, err := c.ReadPacket(); err != nil || p.Type != mqttc.CONNACK || p.Code != 0 {
		t.Fatal(p, err)
	}
	_ = c.Close()
	if m := bob.next(); m.topic != "c/ana~bob/json" || !strings.Contains(m.payload, `"expire":60`) {
		t.Error(m)
	}
	if got := string(s.Call(t.Context(), "ana", "history", []byte(`{"conv":"ana~nobodyhere"}`))); !strings.Contains(got, `"head":0`) {
		t.Error("a will began a conversation with nobody:", got)
	}
	var many []byte // below 128 bytes, which is what willing can state
	for range 20 {
		many = append(many, 0x26, 0, 0, 0, 0)
	}
	c = willing("w/ana", "gone", many)
	if p, err := c.ReadPacket(); err != nil || p.Type != mqttc.CONNACK || p.Code != 0x97 {
		t.Error("too many user properties of a will:", p, err)
	}
	ana = s.dial("ana", v5)
	ana.bytes(frame(mqttc.UNSUBSCRIBE<<4|2, str(append([]byte{0, 1, byte(len(many))}, many...), "x"))...)
	ana.closedWith(0x97)
}
