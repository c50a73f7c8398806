package delivery_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/delivery"
	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/broker/plain"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
)

type storedForm struct{}

func (storedForm) EncodeStored(dst []byte, e *chat.Event) []byte {
	return protocol.EncodeStored(dst, e)
}
func (storedForm) DecodeStored(b []byte) (chat.Event, error) { return protocol.DecodeStored(b) }

// TestSweepRetained: expired retained messages go in parts, one call after the other, and no longer count
// for the limit; the others stay.
func TestSweepRetained(t *testing.T) {
	const expiring, staying = 9000, 5 // more than one call looks at
	store, err := pebblestore.NewMemDisk().Open(pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	pipeline := hub.NewPipeline(store, func(err error) { t.Errorf("the store failed: %v", err) })
	var now atomic.Int64
	reg, err := delivery.New(delivery.Options{
		Store: store, Pipeline: pipeline, Limits: delivery.Limits{Retained: expiring + staying}, Now: func() time.Time { return time.UnixMilli(now.Load()) },
	})
	if err != nil {
		t.Fatal(err)
	}
	h := hub.New(hub.Options{Store: store, Pipeline: pipeline, Sink: reg, Codec: storedForm{}, Limits: chat.DefaultLimits()})
	reg.SetHub(h)
	pipeline.Start(reg.AfterCommits)
	defer func() {
		reg.Close()
		h.Close()
		pipeline.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	done := make(chan error, expiring+staying+1)
	retain := func(topic string, expire int64) {
		reg.Retain(&plain.Message{Topic: topic, Payload: []byte("x"), Retain: true, Expire: expire}, func(err error) { done <- err })
	}
	settle := func(n int) (err error) {
		for range n {
			if e := <-done; e != nil {
				err = e
			}
		}
		return err
	}
	count := func() (n int) {
		if err := store.Scan(storage.In(storage.SpaceRetained), nil, func(storage.Key, []byte) bool { n++; return true }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for i := range expiring {
		retain(fmt.Sprintf("a/%04d", i), 1000)
	}
	for i := range staying {
		retain(fmt.Sprintf("b/%d", i), int64(i)*5000)
	}
	if err := settle(expiring + staying); err != nil {
		t.Fatal(err)
	}

	now.Store(999)
	reg.SweepRetained()
	retain("one too many", 0) // behind the sweep, so its answer is the barrier
	if err := settle(1); err == nil || count() != expiring+staying {
		t.Fatalf("before the time there are %d, and one more was refused with %v", count(), err)
	}
	now.Store(2000)
	last, calls := count(), 0
	for ; count() > staying+1 && calls < 10; calls++ {
		reg.SweepRetained()
		retain("b/more", 0)
		if err := settle(1); err != nil && calls > 0 {
			t.Fatal(err)
		}
		if removed := last - count(); removed > 8*1024 {
			t.Errorf("one call removed %d", removed)
		}
		last = count()
	}
	if count() != staying+1 || calls < 2 || calls > 4 {
		t.Errorf("after %d calls there are %d retained messages, not %d", calls, count(), staying+1)
	}
	v, _, err := store.Get(storage.In(storage.SpaceMeta).Str("retained"))
	if err != nil || len(v) != 1 || v[0] != staying+1 {
		t.Errorf("the number on record is %v (%v)", v, err)
	}
}
