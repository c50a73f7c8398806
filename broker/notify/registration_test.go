package notify_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/notify"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// A public key and a secret as browsers have them (RFC 8291 §5).
const (
	p256dh = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
	auth   = "BTBZMqHH6r4Tts7J_aSIgg"
)

func TestRegistrationsAreChecked(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		good := []notify.Registration{
			{Kind: notify.WebPush, Endpoint: "https://x.example/1", P256dh: p256dh, Auth: auth},
			{Kind: notify.WebPush, Endpoint: "https://x.example/1", P256dh: p256dh + "=", Auth: auth + "==", Lang: "pt-BR"},
			{Kind: notify.UnifiedPush, Endpoint: "https://x.example/1"},
			{Kind: notify.UnifiedPush, Endpoint: "https://x.example/1", P256dh: p256dh, Auth: auth},
			{Kind: notify.FCM, Token: "abc:def-_"},
			{Kind: notify.APNs, Token: "00FFaa"},
			{Kind: notify.Webhook, Endpoint: "https://x.example/1", Secret: "sixteen byte key"},
		}
		for _, g := range good {
			g.User, g.Name = "bo", "phone"
			if _, err := r.s.Register(g); err != nil {
				t.Errorf("%+v: %v", g, err)
			}
		}
		bad := []notify.Registration{
			{Kind: "mail", Endpoint: "https://x.example/1"},
			{Kind: notify.WebPush, Endpoint: "https://x.example/1"},
			{Kind: notify.WebPush, Endpoint: "https://x.example/1", P256dh: p256dh},
			{Kind: notify.WebPush, Endpoint: "https://x.example/1", P256dh: "A" + p256dh[1:], Auth: auth}, // no point of the curve
			{Kind: notify.WebPush, Endpoint: "https://x.example/1", P256dh: p256dh, Auth: auth[2:]},
			{Kind: notify.WebPush, Endpoint: "https://x.example/1", P256dh: strings.Repeat("A", 1000), Auth: auth},
			{Kind: notify.UnifiedPush, Endpoint: "https://x.example/1", Auth: auth},
			{Kind: notify.UnifiedPush, Endpoint: "https://x.example/1", Token: "x"},
			{Kind: notify.UnifiedPush},
			{Kind: notify.UnifiedPush, Endpoint: "https://x.example/" + strings.Repeat("x", 2048)},
			{Kind: notify.FCM}, {Kind: notify.FCM, Token: "a b"}, {Kind: notify.FCM, Token: strings.Repeat("x", 4097)},
			{Kind: notify.FCM, Token: "x", Endpoint: "https://x.example/1"},
			{Kind: notify.APNs, Token: "../3/device/x"},
			{Kind: notify.Webhook, Endpoint: "https://x.example/1", Secret: "short"},
			{Kind: notify.Webhook, Endpoint: "https://x.example/1", P256dh: p256dh, Auth: auth},
			{Kind: notify.UnifiedPush, Endpoint: "https://x.example/1", Lang: "en\x00"},
			{Kind: notify.UnifiedPush, Endpoint: "https://x.example/1", Name: "a\x00b"},
			{Kind: notify.UnifiedPush, Endpoint: "https://x.example/1", Name: strings.Repeat("n", 129)},
			{Kind: notify.UnifiedPush, Endpoint: "https://x.example/1", User: "no user"},
		}
		for _, g := range bad {
			if g.User == "" {
				g.User = "bo"
			}
			if g.Name == "" {
				g.Name = "tablet"
			}
			var refusal *chat.Refusal
			if _, err := r.s.Register(g); !errors.As(err, &refusal) || refusal.Code == chat.Unavailable {
				t.Errorf("%+v: %v", g, err)
			}
		}
		all, err := r.s.Registrations("bo")
		if must(t, err); len(all) != 1 || all[0].Kind != notify.Webhook {
			t.Errorf("%+v", all)
		}
	})
}

func TestTwentyRegistrations(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		for i := range notify.MaxRegistrations {
			r.device("bo", fmt.Sprintf("d%02d", i))
		}
		r.device("bo", "d03") // in place of itself
		_, err := r.s.Register(notify.Registration{User: "bo", Name: "one more", Kind: notify.UnifiedPush, Endpoint: "https://x.example/1"})
		if !errors.Is(err, &chat.Refusal{Code: chat.Conflict}) {
			t.Error(err)
		}
		if found, err := r.s.Remove("bo", "d19"); !found || err != nil {
			t.Error(found, err)
		}
		if found, err := r.s.Remove("bo", "d19"); found || err != nil {
			t.Error(found, err)
		}
		r.device("bo", "one more")
		r.group("g", "G", "ana", "bo")
		r.post("g", from("ana", "x"))
		if got, _ := r.take(window); len(got) != 20 {
			t.Errorf("%d were told", len(got))
		}
	})
}

func TestWebhookGetsASecret(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		reg, err := r.s.Register(notify.Registration{User: "bo", Name: "hook", Kind: notify.Webhook, Endpoint: "https://x.example/1"})
		if must(t, err); len(reg.Secret) < 20 {
			t.Errorf("secret %q", reg.Secret)
		}
	})
}

func TestTrial(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.device("bo", "phone")
		code := func(err error) (c chat.Code) {
			var refusal *chat.Refusal
			if errors.As(err, &refusal) {
				c = refusal.Code
			}
			return c
		}
		must(t, r.s.Test("bo", "phone"))
		notes := r.expect(0, "bo/phone  | Notifications arrive")
		if notes[0].About != notify.AboutTest {
			t.Errorf("%+v", notes[0])
		}
		if err := r.s.Test("bo", "phone"); code(err) != chat.RateLimited {
			t.Error(err)
		}
		for _, c := range []struct {
			fail error
			want chat.Code
		}{{errDown, chat.Unavailable}, {errors.New("no"), chat.BadRequest}, {notify.ErrGone, chat.NotFound}} {
			time.Sleep(time.Minute)
			r.failing("phone", c.fail)
			if err := r.s.Test("bo", "phone"); code(err) != c.want {
				t.Errorf("%v: %v", c.fail, err)
			}
		}
		if err := r.s.Test("bo", "phone"); code(err) != chat.NotFound { // it was gone
			t.Error(err)
		}
	})
}

func TestKeysStay(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		key := r.s.PublicKey()
		r.s.Close()
		r.start()
		if r.s.PublicKey() != key || len(key) != 87 {
			t.Errorf("%s, then %s", key, r.s.PublicKey())
		}
	})
}

// A store that takes nothing for a while costs no notification, and none is sent twice for it.
func TestFullDisk(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.group("g", "G", "ana", "bo")
		r.register("bo")
		r.failing("phone", errDown)
		r.mu.Lock()
		r.full = true
		r.mu.Unlock()
		r.post("g", from("ana", "x"))
		r.expect(time.Minute)
		r.mu.Lock()
		r.full = false
		r.mu.Unlock()
		r.failing("phone", nil)
		r.expect(5*time.Minute, "bo/phone G | Ana: 1 message in G")
		r.die()
		r.start()
		r.expect(time.Hour)
		if r.stored() != 0 {
			t.Error("something is stored still")
		}
	})
}

func TestMalformedRecords(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		for _, k := range []storage.Key{storage.In(storage.SpaceDerived).Str("notify"), storage.In(storage.SpaceNotice).U64(1).Str("bo").Str("g")} {
			r.register("bo")
			r.s.Close()
			r.write(func(b *storage.Batch) { b.Set(k, []byte{0xFF}) })
			if s, err := notify.New(notify.Options{
				Store: r.store, Commit: r.commit, CommitWait: func(b *storage.Batch) error { return r.commit(b, func() {}) },
				Decode: func([]byte) (chat.Event, error) { return chat.Event{}, nil }, Head: r.store.Head, Durable: r.store.LastCommit,
				Online: func(string) bool { return false }, Name: func(string) (string, error) { return "", nil },
			}); err != nil || !errors.Is(s.Start(), storage.ErrRecord) {
				t.Errorf("%q: started", k)
			} else {
				s.Close()
			}
			r.write(func(b *storage.Batch) { b.Delete(k) })
			r.start()
		}
	})
}
