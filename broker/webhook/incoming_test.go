package webhook_test

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/webhook"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

func TestPostsBecomeEvents(t *testing.T) {
	h := build(t)
	made := h.create("ann", webhook.Spec{Kind: webhook.In, Name: "CI"})
	if !strings.HasPrefix(made.URL, "https://chat.example.org/hook/"+made.ID+"/") || made.Bot != "hook-"+made.ID || made.Secret != "" {
		t.Fatalf("%+v", made)
	}
	first := h.post("ann", "hello")
	status, reply, head := h.send(made.URL, "text/plain; charset=utf-8", "built ✓\n")
	if status != 200 || reply != fmt.Sprintf(`{"seq":%d}`, first+1) || head.Get("Content-Type") != "application/json" || head.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %s %v", status, reply, head)
	}
	status, reply, _ = h.send(made.URL, "application/json", fmt.Sprintf(`{"text":"see","re":%d,"mentions":["bob"],"ext":{"build":7},"id":"b7"}`, first))
	if status != 200 {
		t.Fatal(status, reply)
	}
	log := h.events("birds")
	plain, full := log[first], log[first+1]
	if plain.From != made.Bot || plain.Text != "built ✓\n" || plain.Kind != chat.KindPost {
		t.Errorf("%+v", plain)
	}
	if full.Re != first || full.Thread != first || fmt.Sprint(full.Mentions) != "[bob]" || len(full.Ext) == 0 || full.ID != "b7" {
		t.Errorf("%+v", full)
	}
}

func TestRetriesOfPosts(t *testing.T) {
	h := build(t)
	made := h.create("ann", webhook.Spec{Kind: webhook.In})
	_, first, _ := h.send(made.URL, "text/plain", "one", "Idempotency-Key", `"8e03978e-40d5-43dd-bc93-6894a57f9324"`)
	head := len(h.events("birds"))
	for _, again := range [][]string{
		{"text/plain", "one", "8e03978e-40d5-43dd-bc93-6894a57f9324"}, // bare
		{"application/json", `{"text":"one"}`, `"8e03978e-40d5-43dd-bc93-6894a57f9324"`},
		{"application/json", `{"text":"one","id":"8e03978e-40d5-43dd-bc93-6894a57f9324"}`, ""},
		{"application/json", `{"text":"one","id":"8e03978e-40d5-43dd-bc93-6894a57f9324","kind":"post"}`, "8e03978e-40d5-43dd-bc93-6894a57f9324"},
	} {
		var header []string
		if again[2] != "" {
			header = []string{"Idempotency-Key", again[2]}
		}
		if status, reply, _ := h.send(made.URL, again[0], again[1], header...); status != 200 || reply != first {
			t.Errorf("%v: %d %s, want %s", again, status, reply, first)
		}
	}
	if got := len(h.events("birds")); got != head {
		t.Errorf("%d events, want %d", got, head)
	}
	if status, reply, _ := h.send(made.URL, "text/plain", "two", "Idempotency-Key", `"8e03978e-40d5-43dd-bc93-6894a57f9324"`); status != 409 || !strings.Contains(reply, `"code":"conflict"`) {
		t.Errorf("%d %s", status, reply)
	}
}

func TestBadPosts(t *testing.T) {
	h := build(t)
	made := h.create("ann", webhook.Spec{Kind: webhook.In})
	head := len(h.events("birds"))
	for _, c := range []struct {
		contentType, body, key string
		status                 int
		code                   string
	}{
		{"", "hello", "", 415, "bad-request"},
		{"application/x-www-form-urlencoded", "hello", "", 415, "bad-request"},
		{"text/plain; charset=latin1", "hello", "", 415, "bad-request"},
		{"text/html", "<b>hello</b>", "", 415, "bad-request"},
		{"text/plain", "\xff\xfe", "", 400, "bad-request"},
		{"text/plain", "", "", 400, "bad-request"},
		{"text/plain", strings.Repeat("x", webhook.MaxBody+1), "", 413, "too-large"},
		{"application/json", "hello", "", 400, "bad-request"},
		{"application/json", `{}`, "", 400, "bad-request"},
		{"application/json", `{"text":"x"`, "", 400, "bad-request"},
		{"application/json", `{"text":"x","kind":"delete","re":1}`, "", 400, "bad-request"},
		{"application/json", `{"text":"x","from":"ann"}`, "", 400, "bad-request"},
		{"application/json", `{"text":"x","seq":1}`, "", 400, "bad-request"},
		{"application/json", `{"text":"x","expire":60}`, "", 400, "bad-request"},
		{"application/json", `{"text":"x","channel":"#general"}`, "", 400, "bad-request"},
		{"application/json", `{"text":"x","re":999}`, "", 404, "not-found"},
		{"application/json", `{"text":"x","mentions":["no one"]}`, "", 400, "bad-request"},
		{"application/json", `{"text":"x","id":"a"}`, "b", 400, "bad-request"},
		{"text/plain", "x", `"half`, 400, "bad-request"},
		{"text/plain", "x", strings.Repeat("x", 65), 400, "bad-request"},
	} {
		var header []string
		if c.key != "" {
			header = []string{"Idempotency-Key", c.key}
		}
		status, reply, _ := h.send(made.URL, c.contentType, c.body, header...)
		if status != c.status || !strings.HasPrefix(reply, `{"error":{"code":"`+c.code+`","reason":"`) {
			t.Errorf("%s %.40q: %d %s, want %d %s", c.contentType, c.body, status, reply, c.status, c.code)
		}
	}
	if got := len(h.events("birds")); got != head {
		t.Errorf("%d events, want %d", got, head)
	}
}

// A length that is too much is refused before anything of the body is read.
func TestTooMuchIsNotRead(t *testing.T) {
	h := build(t)
	made := h.create("ann", webhook.Spec{Kind: webhook.In})
	body, feed := io.Pipe()
	defer feed.Close()
	req, err := http.NewRequest(http.MethodPost, h.front.URL+strings.TrimPrefix(made.URL, "https://chat.example.org"), body)
	must(t, err)
	req.ContentLength = 1 << 30
	req.Header.Set("Content-Type", "text/plain")
	resp, err := h.front.Client().Do(req) // nothing was sent
	must(t, err)
	defer resp.Body.Close()
	if resp.StatusCode != 413 {
		t.Error(resp.Status)
	}
}

// Who has not the whole URL learns nothing, not even whether there is such a webhook.
func TestSecretsAreNotTold(t *testing.T) {
	h := build(t, trusting)
	made := h.create("ann", webhook.Spec{Kind: webhook.In})
	out := h.create("ann", webhook.Spec{Kind: webhook.Out, URL: "https://example.org"})
	want := ""
	for _, url := range []string{
		"/hook/" + made.ID + "/" + strings.Repeat("a", 26), "/hook/nothing/" + strings.Repeat("a", 26), "/hook/" + made.ID + "/x",
		"/hook/" + out.ID + "/" + out.Secret, "/hook/" + made.ID + "/" + strings.ToUpper(strings.Split(made.URL, made.ID+"/")[1]),
	} {
		status, reply, _ := h.send(url, "text/plain", "hello")
		if want == "" {
			want = reply
		}
		if status != 404 || reply != want {
			t.Errorf("%s: %d %s", url, status, reply)
		}
	}
	secret := strings.Split(made.URL, made.ID+"/")[1]
	must(t, h.store.Scan(storage.In(storage.SpaceWebhook), nil, func(_ storage.Key, v []byte) bool {
		if strings.Contains(string(v), secret) {
			t.Error("the secret is in the store")
		}
		return true
	}))
	newer, err := h.hooks.Rotate("ann", made.ID)
	must(t, err)
	if status, reply, _ := h.send(made.URL, "text/plain", "hello"); status != 404 || reply != want {
		t.Errorf("the old secret: %d %s", status, reply)
	}
	if status, reply, _ := h.send(newer.URL, "text/plain", "hello"); status != 200 {
		t.Errorf("the new one: %d %s", status, reply)
	}
	resp, err := h.front.Client().Get(h.front.URL + strings.TrimPrefix(newer.URL, "https://chat.example.org"))
	must(t, err)
	defer resp.Body.Close()
	if resp.StatusCode != 405 || resp.Header.Get("Allow") != "POST" {
		t.Errorf("GET: %s", resp.Status)
	}
}

func TestRates(t *testing.T) {
	h := build(t, func(o *webhook.Options) {
		o.Settings.PerSecond = 2
		o.Address = func(r *http.Request) netip.Addr { return netip.MustParseAddr(r.Header.Get("From")) }
	})
	one, two := h.create("ann", webhook.Spec{Kind: webhook.In}), h.create("ann", webhook.Spec{Kind: webhook.In})
	want := func(url, from string, status int) http.Header {
		t.Helper()
		got, reply, head := h.send(url, "text/plain", "x", "From", from)
		if got != status {
			t.Fatalf("%d %s, want %d", got, reply, status)
		}
		return head
	}
	for range 4 { // two seconds' worth at once
		want(one.URL, "192.0.2.1", 200)
	}
	if wait := want(one.URL, "192.0.2.2", 429).Get("Retry-After"); wait != "1" {
		t.Errorf("Retry-After %q", wait)
	}
	want(two.URL, "192.0.2.2", 200) // another has its own
	h.advance(500 * time.Millisecond)
	want(one.URL, "192.0.2.1", 200)
	want(one.URL, "192.0.2.1", 429)
	for range 8 { // one address, whatever it asks for
		want("/hook/x/y", "2001:db8::1", 404)
	}
	want("/hook/x/y", "2001:db8::2", 429) // the same network
	want(two.URL, "2001:db8::2", 429)
	want("/hook/x/y", "2001:db8:1::2", 404)
}

func TestBotOfAWebhook(t *testing.T) {
	h := build(t)
	made := h.create("ann", webhook.Spec{Kind: webhook.In})
	if owner, ok := h.auth.IsBot(made.Bot); !ok || owner != "ann" {
		t.Fatalf("the bot is %q's", owner)
	}
	if list := h.auth.ListBots("ann"); len(list) != 0 {
		t.Errorf("it is in the list: %+v", list)
	}
	h.do("birds", chat.Command{Op: chat.OpMute, Actor: "ann", User: made.Bot, Until: h.clock().Add(time.Hour).UnixMilli()})
	if status, reply, _ := h.send(made.URL, "text/plain", "x"); status != 403 {
		t.Errorf("muted: %d %s", status, reply)
	}
	h.do("birds", chat.Command{Op: chat.OpRemove, Actor: "ann", User: made.Bot})
	if status, reply, _ := h.send(made.URL, "text/plain", "x"); status != 404 && status != 403 {
		t.Errorf("removed: %d %s", status, reply)
	}
	must(t, h.hooks.Delete(t.Context(), "ann", made.ID))
	if h.auth.Exists(made.Bot) {
		t.Error("the bot outlives its webhook")
	}

	other := h.create("ann", webhook.Spec{Kind: webhook.In})
	must(t, h.hooks.Delete(t.Context(), "ann", other.ID))
	log := h.events("birds")
	if last := log[len(log)-1]; last.Kind != chat.KindLeave || last.Member.User != other.Bot {
		t.Errorf("the bot did not leave: %+v", last)
	}
}

// A crash while a webhook is made leaves nothing.
func TestHalfMade(t *testing.T) {
	h := build(t)
	made := h.create("ann", webhook.Spec{Kind: webhook.In})
	v, _, err := h.store.Get(storage.In(storage.SpaceWebhook).Str(made.ID))
	must(t, err)
	var rec map[int]any
	must(t, storage.Unmarshal(v, &rec))
	rec[16] = true
	var b storage.Batch
	b.Set(storage.In(storage.SpaceWebhook).Str(made.ID), storage.Marshal(rec))
	must(t, h.pipe.CommitWait(&b))
	h.stop()
	h.start()
	if status, _, _ := h.send(made.URL, "text/plain", "x"); status != 404 {
		t.Errorf("status %d", status)
	}
	for deadline := time.Now().Add(patience); h.auth.Exists(made.Bot); { // the scheduler removes it first thing
		if time.Now().After(deadline) {
			t.Fatal("the bot is left")
		}
	}
	h.create("ann", webhook.Spec{Kind: webhook.In}) // waits for its turn behind that
	list, err := h.hooks.List("ann", "birds")
	must(t, err)
	if len(list) != 1 {
		t.Errorf("%+v", list)
	}
}

// What may work later says when.
func TestUnavailable(t *testing.T) {
	h := build(t, func(o *webhook.Options) {
		o.Use = func() (func(), error) { return nil, chat.Refuse(chat.Unavailable, "the server has stopped") }
	})
	made := h.create("ann", webhook.Spec{Kind: webhook.In})
	status, reply, head := h.send(made.URL, "text/plain", "x")
	if status != 503 || head.Get("Retry-After") == "" || !strings.Contains(reply, `"code":"unavailable"`) {
		t.Errorf("%d %s %v", status, reply, head)
	}
}
