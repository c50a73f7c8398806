package delivery_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/delivery"
	"github.com/petrelchat/petrel/broker/plain"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// TestNothingOvertakesASeek: what is published while it is looked up where a subscription starts comes
// after the events that it asked for.
func TestNothingOvertakesASeek(t *testing.T) {
	r := newRig(t, nil, nil)
	for range 4 {
		r.post("ana", "bob")
	}
	bob := r.open("bob")
	defer bob.Detach(0)
	r.hub.once(func() error { r.post("ana", "bob"); return nil }) // 5
	if _, err := bob.Subscribe([]delivery.Subscribe{r.subscription("bob", "c/+/json", -3)}); err != nil {
		t.Fatal(err)
	}
	bob.ReadOn()
	r.post("ana", "bob") // 6
	if got := bob.seqs(t, 5); !slices.Equal(got, []string{"2", "3", "4", "5", "6"}) {
		t.Error(got)
	}
}

// TestSeekThatFails: what takes effect in memory and is not stored must not go on.
func TestSeekThatFails(t *testing.T) {
	r := newRig(t, nil, nil)
	r.post("ana", "bob")
	bob := r.open("bob")
	defer bob.Detach(0)
	r.hub.once(func() error { return errDisk })
	_, err := bob.Subscribe([]delivery.Subscribe{r.subscription("bob", "c/+/json", -1)})
	if refusal := new(chat.Refusal); !errors.As(err, &refusal) || refusal.Code != chat.Unavailable {
		t.Error(err)
	}
	if why := <-bob.kicked; why != delivery.Broken {
		t.Error(why)
	}
}

// TestPlainMessageThatCannotBeQueued is refused: an acknowledgement would say that it is stored.
func TestPlainMessageThatCannotBeQueued(t *testing.T) {
	r := newRig(t, nil, nil)
	bob := r.open("bob")
	defer bob.Detach(0)
	if _, err := bob.Subscribe([]delivery.Subscribe{r.subscription("bob", "bob/x", 0)}); err != nil {
		t.Fatal(err)
	}
	publish := func() error {
		done := make(chan error, 1)
		r.reg.Publish(&delivery.PlainPublish{Message: &plain.Message{Topic: "bob/x", Payload: []byte("x"), QoS: 1}, Done: func(err error) { done <- err }})
		return <-done
	}
	r.store.scan.Store(true)
	err := publish()
	if refusal := new(chat.Refusal); !errors.As(err, &refusal) || refusal.Code != chat.Unavailable {
		t.Error(err)
	}
	r.store.scan.Store(false)
	if err := publish(); err != nil {
		t.Error(err)
	}
}

// TestNobodyWaitsForAFailedDisk: whoever has something for the plain queues is answered, and the registry
// can be closed.
func TestNobodyWaitsForAFailedDisk(t *testing.T) {
	failed := make(chan error, 1)
	r := newRig(t, nil, func(err error) {
		select {
		case failed <- err:
		default:
		}
	})
	bob := r.open("bob")
	if _, err := bob.Subscribe([]delivery.Subscribe{r.subscription("bob", "bob/x", 0)}); err != nil {
		t.Fatal(err)
	}
	r.store.sync.Store(true)
	over := make(chan struct{})
	go func() {
		defer close(over)
		for range 1 << 14 { // more than there is room for
			r.reg.Publish(&delivery.PlainPublish{Message: &plain.Message{Topic: "bob/x", Payload: []byte("x"), QoS: 1}, Done: func(error) {}})
		}
		bob.Detach(0)
		_ = r.reg.EndSession(bob.Key(), &storage.Session{SID: bob.SID})
	}()
	select {
	case <-over:
	case <-time.After(patience):
		t.Fatal("somebody waits for a disk that has failed")
	}
	<-failed
}

// TestFilterThatIsNoLongerValid does not come back with its session, and leaves nothing behind.
func TestFilterThatIsNoLongerValid(t *testing.T) {
	const sid = 77
	key := storage.In(storage.SpaceFilter).U64(sid).Str("c/#")
	r := newRig(t, func(st storage.Store) {
		var b storage.Batch
		b.Set(storage.In(storage.SpaceSession).Str("bob").Str("x"), storage.Marshal(&storage.Session{
			SID: sid, Expiry: 3600, Subs: []storage.Sub{{Filter: "c/#", Options: 1}, {Filter: "c/+/json", Options: 1}},
		}))
		b.Set(key, []byte("\x01\x00\x00\x00\x00bob"))
		p, err := st.Commit(&b)
		if err == nil {
			err = p.Wait()
		}
		if err != nil {
			t.Fatal(err)
		}
	}, nil)
	bob := r.open("bob")
	defer bob.Detach(3600)
	if bob.Has("c/#") || !bob.Has("c/+/json") {
		t.Error("the wrong subscriptions came back")
	}
	if err := r.pipeline.Barrier(); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := r.store.Get(key); ok || err != nil {
		t.Error("the record of the filter is there:", ok, err)
	}
	if !strings.Contains(r.log.String(), "c/#") {
		t.Error("the log does not say so:", r.log)
	}
}

// TestStartThatFails loses nothing of what was on its way.
func TestStartThatFails(t *testing.T) {
	r := newRig(t, nil, nil)
	bob := r.open("bob")
	if _, err := bob.Subscribe([]delivery.Subscribe{r.subscription("bob", "c/+/json", 0)}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		r.post("ana", "bob")
	}
	bob.seqs(t, 3)
	bob.Detach(3600)
	r.store.read.Store(true)
	bob = r.connect("bob")
	if err := bob.Start(); !errors.Is(err, errDisk) {
		t.Error(err)
	}
	bob.Detach(3600)
	r.store.read.Store(false)
	bob = r.open("bob")
	defer bob.Detach(0)
	if got := bob.seqs(t, 3); !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Error(got)
	}
}
