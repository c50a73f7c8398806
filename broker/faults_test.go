package broker_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/internal/mqttc"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
)

func TestTwoServersOnOneDirectory(t *testing.T) {
	s := serve(t)
	_, err := broker.New(broker.Options{Config: s.Config})
	if !errors.Is(err, storage.ErrLocked) {
		t.Fatalf("the second server: %v", err)
	}
	if code := s.dial("ana").publish("u/bob/text", "the first goes on"); code != 0 && code < 0x80 {
		t.Fatalf("PUBACK 0x%02X", code)
	}
}

func TestDamagedStoreIsRefused(t *testing.T) {
	s := serve(t)
	s.dial("bob")
	if code := s.dial("ana").publish("u/bob/text", "hello"); code != 0 {
		t.Fatalf("PUBACK 0x%02X", code)
	}
	s.Stop()
	manifests, err := filepath.Glob(filepath.Join(broker.StoreDir(s.Config.Data), "MANIFEST-*"))
	if err != nil || len(manifests) == 0 {
		t.Fatal("no manifest", err)
	}
	for _, m := range manifests {
		b, err := os.ReadFile(m)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/3] ^= 0xFF
		if err := os.WriteFile(m, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err = broker.New(broker.Options{Config: s.Config})
	if !errors.Is(err, storage.ErrDamaged) || !strings.Contains(err.Error(), "backup") {
		t.Fatalf("a damaged store: %v", err)
	}
}

// startWith starts the server with options of the test's.
func (s *testServer) startWith(change func(*broker.Options)) {
	s.t.Helper()
	s.Tune = change
	s.Start()
}

// TestFullDisk: publishers are refused, readers go on, nothing acknowledged is lost, and service comes back
// by itself.
func TestFullDisk(t *testing.T) {
	var free, clock atomic.Int64
	free.Store(math.MaxInt64)
	disk := pebblestore.NewMemDisk()
	open := func(o *broker.Options) {
		st, err := disk.Open(pebblestore.Options{
			MinFreeBytes: 1 << 20,
			FreeSpace:    func() (uint64, error) { return uint64(free.Load()), nil },
			Now:          func() time.Time { return time.Unix(clock.Add(2), 0) }, // asks each time
		})
		if err != nil {
			t.Fatal(err)
		}
		o.Store = st
	}
	s := serve(t)
	s.Stop()
	s.startWith(open)
	ana, bob := s.dial("ana", v5), s.dial("bob", v5, keep)
	ok(t, bob.subscribeWith([]mqttc.Filter{{Topic: "c/+/text/+", QoS: 1}, {Topic: "house/#", QoS: 1}}))
	if a, b := ana.publish("u/bob/text", "one"), ana.publish("house/door", "open"); a != 0 || b != 0 {
		t.Fatalf("PUBACK 0x%02X 0x%02X", a, b)
	}
	free.Store(1000)
	for _, topic := range []string{"u/bob/text", "house/door"} {
		if code := ana.publish(topic, "no room"); code != 0x97 {
			t.Fatalf("on a full disk %s is answered 0x%02X, want 0x97", topic, code)
		}
	}
	bob.expect([2]string{"c/ana~bob/text/ana", "one"}, [2]string{"house/door", "open"})
	if code := bob.publish("c/ana~bob/read", "1"); code != 0 {
		t.Fatalf("reading is answered 0x%02X", code)
	}
	ok(t, bob.subscribe("garden/#"))
	bob.leave()
	bob = s.dial("bob", v5, keep)
	bob.quiet()
	free.Store(math.MaxInt64)
	if a, b := ana.publish("u/bob/text", "two"), ana.publish("house/door", "shut"); a != 0 || b != 0 {
		t.Fatalf("when there is room again: PUBACK 0x%02X 0x%02X", a, b)
	}
	bob.expect([2]string{"c/ana~bob/text/ana", "two"}, [2]string{"house/door", "shut"})
	bob.leave()
	s.Stop()
	s.startWith(open)
	cas := s.dial("bob", v5, device("other"))
	ok(t, cas.subscribeWith([]mqttc.Filter{{Topic: "c/ana~bob/text/+", QoS: 1}}, mqttc.UserProperty{Key: "from", Value: "1"}))
	cas.expect([2]string{"c/ana~bob/text/ana", "one"}, [2]string{"c/ana~bob/text/ana", "two"})
	cas.quiet()
}

// TestClockJumpsBack: an hour back changes neither order nor delivery, and times within a log don't go back.
func TestClockJumpsBack(t *testing.T) {
	var back atomic.Int64
	s := serve(t)
	s.Stop()
	s.startWith(func(o *broker.Options) {
		o.Now = func() time.Time { return time.Now().Add(time.Duration(back.Load())) }
	})
	ana, bob := s.dial("ana"), s.dial("bob", keep)
	ok(t, bob.subscribe("c/+/json"))
	var last int64
	for i := range 20 {
		if i == 10 {
			back.Store(-int64(time.Hour))
			bob.leave()
			bob = s.dial("bob", keep)
			if !bob.ack.SessionPresent {
				t.Fatal("the session is gone")
			}
		}
		if code := ana.publish("u/bob/text", fmt.Sprint(i)); code != 0 {
			t.Fatalf("PUBACK 0x%02X", code)
		}
		var seq uint64
		var at int64
		m := bob.next()
		if _, err := fmt.Sscanf(m.payload, `{"seq":%d,"from":"ana","at":%d`, &seq, &at); err != nil {
			t.Fatal(m, err)
		}
		if seq != uint64(i+1) || at < last {
			t.Fatalf("%v follows at %d", m, last)
		}
		last = at
	}
	if _, err := s.Post("ana~bob", "ana", chat.Event{Kind: chat.KindPost, Text: "by the server"}); err != nil {
		t.Fatal(err)
	}
	bob.next()
	bob.quiet()
}
