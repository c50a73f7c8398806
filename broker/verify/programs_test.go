package verify_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/auth"
	"github.com/petrelchat/petrel/storage"
)

// trail has five entries in the audit trail, one after the other, and returns their keys.
func (h *house) trail() (keys []storage.Key) {
	h.t.Helper()
	for i := range 5 {
		h.must(h.auth.AddUser(context.Background(), fmt.Sprintf("user%d", i), nil, false))
	}
	h.must(h.store.Scan(storage.In(storage.SpaceAudit), nil, func(k storage.Key, _ []byte) bool {
		keys = append(keys, bytes.Clone(k))
		return true
	}))
	if len(keys) != 5 {
		h.t.Fatalf("%d entries", len(keys))
	}
	return keys
}

func (h *house) commit(fn func(b *storage.Batch)) {
	h.t.Helper()
	var b storage.Batch
	fn(&b)
	p, err := h.store.Commit(&b)
	if err == nil {
		err = p.Wait()
	}
	h.must(err)
}

func (h *house) value(k storage.Key) []byte {
	h.t.Helper()
	v, ok, err := h.store.Get(k)
	h.must(err)
	if !ok {
		h.t.Fatalf("nothing is at %q", k)
	}
	return v
}

func TestTamperingWithTheAuditTrailShows(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(h *house, keys []storage.Key, b *storage.Batch)
		want string // "": nothing
	}{
		{"the head is damaged", func(_ *house, _ []storage.Key, b *storage.Batch) { b.Set(storage.AuditHeadKey(), nil) }, "the head of the audit trail can't be read"},
		{"somebody else is named", func(h *house, keys []storage.Key, b *storage.Batch) {
			b.Set(keys[1], bytes.Replace(h.value(keys[1]), []byte("user1"), []byte("user9"), 1))
		}, "was changed or removed"},
		{"the first is changed", func(h *house, keys []storage.Key, b *storage.Batch) {
			b.Set(keys[0], bytes.Replace(h.value(keys[0]), []byte("server"), []byte("nobody"), 1))
		}, "was changed or removed"},
		{"the last is changed", func(h *house, keys []storage.Key, b *storage.Batch) {
			b.Set(keys[4], bytes.Replace(h.value(keys[4]), []byte("user4"), []byte("user9"), 1))
		}, "the newest audit entries were changed or removed"},
		{"one is removed", func(_ *house, keys []storage.Key, b *storage.Batch) { b.Delete(keys[2]) }, "was changed or removed"},
		{"the last is removed", func(_ *house, keys []storage.Key, b *storage.Batch) { b.Delete(keys[4]) }, "the newest audit entries"},
		{"one is added", func(_ *house, keys []storage.Key, b *storage.Batch) {
			ms, _, _ := storage.TakeU64(keys[4][1:])
			b.Set(storage.AuditKey(ms, 1000), []byte(`{"v":1,"who":"eve","what":"user.del","target":"bob"}`))
		}, "stands outside the chain"},
		{"the head is removed", func(_ *house, _ []storage.Key, b *storage.Batch) { b.Delete(storage.AuditHeadKey()) }, "the newest audit entries"},
		{"two are swapped", func(h *house, keys []storage.Key, b *storage.Batch) {
			b.Set(keys[1], h.value(keys[2]))
			b.Set(keys[2], h.value(keys[1]))
		}, "was changed or removed"},
		{"retention took the oldest", func(_ *house, keys []storage.Key, b *storage.Batch) {
			b.Delete(keys[0])
			b.Delete(keys[1])
		}, ""},
		{"retention took all", func(_ *house, _ []storage.Key, b *storage.Batch) { b.DeletePrefix(storage.In(storage.SpaceAudit)) }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := build(t)
			keys := h.trail()
			h.close()
			if _, found := check(t, h.store); len(found) > 0 {
				t.Fatalf("before: %v", found)
			}
			h.commit(func(b *storage.Batch) { c.do(h, keys, b) })
			_, found := check(t, h.store)
			if c.want == "" {
				for _, p := range found {
					t.Error(p)
				}
				return
			}
			wantProblem(t, found, c.want)
		})
	}
}

// A trail from before entries were chained is no tampering, and its last entry is the first link.
func TestOlderAuditTrailIsTakenOver(t *testing.T) {
	h := build(t)
	h.close()
	old := []byte(`{"v":1,"who":"root","what":"user.add","target":"ann"}`)
	h.commit(func(b *storage.Batch) {
		b.Set(storage.AuditKey(1000, 77), old)
		b.Set(storage.AuditKey(2000, 99), old)
	})
	trail, err := auth.OpenTrail(h.store, nowIs(1500))
	h.must(err)
	h.commit(func(b *storage.Batch) {
		b.Ops = append(b.Ops, auth.AuditOp(auth.AuditEntry{Who: "root", What: "user.del", Target: "ann"}))
		trail.Seal(b)
	})
	if _, found := check(t, h.store); len(found) > 0 {
		t.Fatal(found)
	}
	h.value(storage.AuditKey(2000, 100)) // never before what is there
	h.commit(func(b *storage.Batch) {
		b.Set(storage.AuditKey(2000, 99), bytes.Replace(old, []byte("root"), []byte("anna"), 1))
	})
	_, found := check(t, h.store)
	wantProblem(t, found, "was changed or removed")
}

func TestProgramsAreChecked(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(b *storage.Batch)
		want string
	}{
		{"bot of nobody", func(b *storage.Batch) {
			b.Set(storage.In(storage.SpaceBot).Str("ann").Str("robo"), storage.Marshal(struct{}{}))
		}, "has no such account"},
		{"bad bot", func(b *storage.Batch) { b.Set(storage.In(storage.SpaceBot).Str("ann"), nil) }, "commands can't be read"},
		{"bad webhook", func(b *storage.Batch) { b.Set(storage.In(storage.SpaceWebhook).Str("x"), nil) }, "the webhook can't be read"},
		{"webhook without a secret", func(b *storage.Batch) {
			b.Set(storage.In(storage.SpaceWebhook).Str("x"), storage.Marshal(map[int]any{1: "x", 2: "in", 3: "birds"}))
		}, "no hash of its secret"},
		{"webhook without a position", func(b *storage.Batch) {
			b.Set(storage.In(storage.SpaceWebhook).Str("x"), storage.Marshal(map[int]any{1: "x", 2: "out", 3: "birds"}))
		}, "no position in birds"},
		{"position ahead of the log", func(b *storage.Batch) {
			b.Set(storage.In(storage.SpaceHookNext).Str("x").Str("birds"), storage.Marshal(map[int]any{1: 2}))
		}, "the log ends at 0"},
		{"position of nothing", func(b *storage.Batch) {
			b.Set(storage.In(storage.SpaceHookNext).Str("x").Str("birds"), storage.Marshal(map[int]any{1: 1}))
		}, "there is no webhook x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := build(t)
			h.close()
			h.commit(c.do)
			_, found := check(t, h.store)
			wantProblem(t, found, c.want)
		})
	}
}

func nowIs(ms int64) func() time.Time { return func() time.Time { return time.UnixMilli(ms) } }
