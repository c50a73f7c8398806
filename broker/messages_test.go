package broker_test

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/verify"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
)

// holding reports where the store of a server that has been stopped has some bytes; "" for nowhere.
func holding(t *testing.T, dir, text string) (where string) {
	t.Helper()
	st, err := pebblestore.Open(broker.StoreDir(dir), pebblestore.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	err = st.Logs(func(log string) bool {
		err := st.Read(log, 0, math.MaxInt64, func(e storage.Entry) bool {
			if bytes.Contains(e.Data, []byte(text)) {
				where = fmt.Sprintf("entry %d of %s", e.Seq, log)
			}
			return where == ""
		})
		if err != nil {
			t.Error(err)
		}
		return where == ""
	})
	if err != nil {
		t.Fatal(err)
	}
	for s := 1; s < 256; s++ { // the engine refuses to show its own spaces: those of the logs
		_ = st.Scan(storage.In(storage.Space(s)), nil, func(k storage.Key, v []byte) bool {
			if bytes.Contains(k, []byte(text)) || bytes.Contains(v, []byte(text)) {
				where = fmt.Sprintf("record %q", []byte(k))
			}
			return where == ""
		})
	}
	return where
}

// TestDeletedForEveryone: the text is nowhere any more, a device that was away gets a stub, and the retry of
// what was deleted brings nothing back.
func TestDeletedForEveryone(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, in(dir))
	ana, bob := s.dial("ana"), s.dial("bob", v5, keep)
	ok(t, bob.subscribe("c/+/json"))
	bob.leave()
	posts := []string{`{"id":"a","text":"plover one"}`, `{"kind":"edit","re":1,"text":"plover two"}`, `{"re":1,"text":"a reply"}`}
	for _, p := range posts {
		ana.publish("u/bob/json", p)
	}
	ana.publish("u/bob/json", `{"kind":"react","re":1,"emoji":"👍"}`)
	ana.publish("u/bob/json", `{"kind":"pin","re":1}`)
	ana.publish("u/bob/json", `{"kind":"delete","re":1}`)
	ana.publish("u/bob/json", posts[0]) // its retry
	bob = s.dial("bob", v5, keep)
	var got []string
	for range 6 {
		got = append(got, bob.next().payload)
	}
	bob.quiet()
	for i, want := range []string{
		`{"seq":1,"to":1,"kind":"gone"}`, `{"seq":2,"to":2,"kind":"gone"}`, `"text":"a reply","re":1,"thread":1`, `"kind":"react"`, `"kind":"pin"`, `"kind":"delete","re":1`,
	} {
		if !strings.Contains(got[i], want) {
			t.Errorf("delivery %d is %s, without %s", i, got[i], want)
		}
	}
	for method, payload := range map[string]string{
		"history": `{"conv":"ana~bob"}`, "sync": `{}`, "conv.list": `{}`, "thread": `{"conv":"ana~bob","root":1}`, "pins": `{"conv":"ana~bob"}`,
	} {
		if reply := s.call("bob", method, payload); strings.Contains(fmt.Sprint(reply), "plover") {
			t.Errorf("%s has it: %v", method, reply)
		}
	}
	s.Stop()
	if where := holding(t, dir, "plover"); where != "" {
		t.Errorf("the text is in %s", where)
	}
	if holding(t, dir, "a reply") == "" {
		t.Error("the reply is nowhere either")
	}
	verifyHealthy(t, dir)
}

// verifyHealthy checks the store of a server that has been stopped.
func verifyHealthy(t *testing.T, dir string) {
	t.Helper()
	st, err := pebblestore.Open(broker.StoreDir(dir), pebblestore.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	sum, err := verify.Check(st, func(p verify.Problem) { t.Error(p) })
	if err != nil || sum.Views == 0 {
		t.Errorf("verify: %v, %+v", err, sum)
	}
}

// eraseStore tells which entries were erased.
type eraseStore struct {
	storage.Store
	erased chan uint64
}

func (e eraseStore) Commit(b *storage.Batch) (storage.Pending, error) {
	var seqs []uint64
	for i := range b.Ops {
		if op := &b.Ops[i]; op.Kind == storage.OpErase {
			seqs = append(seqs, op.Seq)
		}
	}
	p, err := e.Store.Commit(b)
	if err == nil {
		for _, seq := range seqs {
			e.erased <- seq
		}
	}
	return p, err
}

// TestDisappearsOfAServerThatWasDown: no timer is forgotten while the server is down, and nothing of the text or
// its edits is left on disk.
func TestDisappearsOfAServerThatWasDown(t *testing.T) {
	erased := make(chan uint64, 16)
	var later atomic.Int64
	s := serveTuned(t, func(o *broker.Options) {
		st, err := pebblestore.Open(broker.StoreDir(o.Config.Data), pebblestore.Options{Create: true, ReserveBytes: -1, MinFreeBytes: -1})
		if err != nil {
			t.Fatal(err)
		}
		o.Store = eraseStore{st, erased}
		o.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	dir := s.Config.Data
	s.know("bob")
	ana := s.dial("ana")
	ana.publish("u/bob/json", `{"text":"door code 4711","expire":3600}`)
	ana.publish("u/bob/json", `{"kind":"edit","re":1,"text":"door code 4712"}`)
	ana.publish("u/bob/json", `{"text":"see you","re":1}`)
	ana.publish("u/bob/json", `{"kind":"react","re":1,"emoji":"👍"}`)
	s.Stop()
	if holding(t, dir, "door code") == "" {
		t.Fatal("nothing was stored")
	}
	later.Store(int64(time.Hour + time.Second))
	s.Start()
	for range 2 {
		select {
		case <-erased:
		case <-time.After(patience):
			t.Fatal("it does not disappear")
		}
	}
	s.Stop()
	if where := holding(t, dir, "door code"); where != "" {
		t.Errorf("the text is in %s", where)
	}
	verifyHealthy(t, dir)
}
