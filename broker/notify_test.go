package broker_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/broker/notify/push"
	"github.com/petrelchat/petrel/internal/egress"
)

// hook is a user's endpoint on this machine.
type hook struct {
	*httptest.Server
	calls chan hookCall
}

type hookCall struct {
	push.Payload
	timestamp, signature string
	body                 []byte
}

func newHook(t *testing.T) *hook {
	t.Helper()
	h := &hook{calls: make(chan hookCall, 16)}
	h.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		c := hookCall{timestamp: r.Header.Get(egress.TimestampHeader), signature: r.Header.Get(egress.SignatureHeader)}
		c.body, _ = io.ReadAll(r.Body)
		if err := json.Unmarshal(c.body, &c.Payload); err != nil {
			t.Errorf("%s: %v", c.body, err)
		}
		h.calls <- c
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) next(t *testing.T) hookCall {
	t.Helper()
	select {
	case c := <-h.calls:
		return c
	case <-time.After(patience):
		t.Fatal("nobody called the webhook")
	}
	return hookCall{}
}

func (h *hook) quiet(t *testing.T) {
	t.Helper()
	select {
	case c := <-h.calls:
		t.Errorf("another call: %s", c.body)
	default:
	}
}

// register has a user's notifications go to the hook, over MQTT, and returns the secret of its signatures.
func (h *hook) register(t *testing.T, s *testServer, user string) (secret string) {
	t.Helper()
	c := s.dial(user)
	reply := c.want("push.register", `{"name":"hook","kind":"webhook","endpoint":"`+h.URL+`/`+user+`"}`)
	secret, _ = reply["secret"].(string)
	if secret == "" {
		t.Fatalf("no secret: %v", reply)
	}
	c.leave()
	return secret
}

func shortWindow(c *config.Config) { c.Notify.Window = 2 * time.Second }

// Bo is offline, Ana posts three texts in a group: Bo's endpoint gets one summary.
func TestOfflineMemberIsNotified(t *testing.T) {
	s := serve(t, shortWindow)
	h := newHook(t)
	secret := h.register(t, s, "bo")
	ana := s.dial("ana", v5)
	s.call("ana", "group.create", `{"id":"climbing","title":"Climbing","members":["bo"]}`)
	for _, text := range []string{"one", "two", "three"} {
		if code := ana.publish("c/climbing/text", text); code != 0 {
			t.Fatalf("refused 0x%02X", code)
		}
	}
	c := h.next(t)
	if c.Body != "ana: 3 messages in Climbing" || c.Title != "Climbing" || c.Count != 3 || c.Conv != "climbing" || c.Text != "ana: three" || c.User != "bo" || c.Badge == 0 {
		t.Errorf("%s", c.body)
	}
	if want := egress.Sign(secret, c.timestamp, c.body); c.signature != want {
		t.Errorf("signed %s, want %s", c.signature, want)
	}

	// Whoever is there is told by their session, and only by it.
	bo := s.dial("bo", v5)
	ok(t, bo.subscribe("c/+/text/+"))
	ana.publish("c/climbing/text", "four")
	bo.expect([2]string{"c/climbing/text/ana", "four"})
	bo.leave()
	ana.publish("c/climbing/json", `{"text":"bo?","mentions":["bo"]}`)
	if c := h.next(t); c.About != "mention" || c.Text != "ana: bo?" {
		t.Errorf("%s", c.body)
	}
	h.quiet(t)
}

// A server that was stopped before the window was over tells after its next start.
func TestNotificationOutlivesTheServer(t *testing.T) {
	s := serve(t, func(c *config.Config) { c.Notify.Window = 2 * time.Second })
	h := newHook(t)
	h.register(t, s, "bo")
	ana := s.dial("ana")
	ana.publish("u/bo/text", "psst")
	s.Restart()
	if c := h.next(t); c.Body != "ana: 1 message" || c.Text != "psst" || c.Title != "ana" {
		t.Errorf("%s", c.body)
	}
	s.Restart()
	h.quiet(t)
}
