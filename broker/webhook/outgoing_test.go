package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/broker/webhook"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/internal/egress"
	"github.com/petrelchat/petrel/storage"
)

func TestEventsAreDeliveredInOrderAndSigned(t *testing.T) {
	h := build(t, trusting)
	e := newEndpoint(t, h)
	h.post("ann", "before the webhook")
	made := h.create("ann", webhook.Spec{Kind: webhook.Out, URL: e.URL + "/in?x=1"})
	if len(made.Secret) < 26 || made.URL != "" {
		t.Fatalf("made %+v", made)
	}
	var want []string
	for i := range 250 {
		text := fmt.Sprint("post ", i)
		h.post([]string{"ann", "bob"}[i%2], text)
		want = append(want, text)
	}
	h.do("birds", chat.Command{Op: chat.OpAppend, Actor: "ann", Event: chat.Event{Kind: chat.KindReact, Emoji: "👍", Re: 3}}) // not asked for
	h.post("bob", "the last")
	want = append(want, "the last")
	var got []string
	for len(got) < len(want) {
		d := e.next()
		stamp := d.header.Get("Petrel-Timestamp")
		sig := d.header.Get("Petrel-Signature")
		if !strings.HasPrefix(sig, "v1=") || sig != egress.Sign(made.Secret, stamp, d.body) {
			t.Fatalf("the signature %q is wrong", sig)
		}
		if stamp != "1767225600" || d.header.Get("Petrel-Webhook") != made.ID || d.header.Get("Content-Type") != "application/json" ||
			d.header.Get("Petrel-Delivery") != fmt.Sprintf("%d-%d", d.seqs[0], d.seqs[len(d.seqs)-1]) {
			t.Fatalf("headers %v", d.header)
		}
		if !strings.HasPrefix(string(d.body), `{"webhook":"`+made.ID+`","conv":"birds","events":[{"seq":`) {
			t.Fatalf("body %s", d.body)
		}
		got = append(got, d.texts...)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got %v", got)
	}
}

func TestKindsAreSelected(t *testing.T) {
	h := build(t, trusting)
	e := newEndpoint(t, h)
	h.create("ann", webhook.Spec{Kind: webhook.Out, URL: e.URL, Events: []string{"react", "add"}})
	seq := h.post("ann", "hello")
	h.do("birds", chat.Command{Op: chat.OpAppend, Actor: "bob", Event: chat.Event{Kind: chat.KindReact, Emoji: "👍", Re: seq}})
	h.do("birds", chat.Command{Op: chat.OpAdd, Actor: "ann", User: "eve", Role: chat.RoleMember})
	if got := fmt.Sprint(e.texts(2)); got != "[react add]" {
		t.Fatal(got)
	}
}

// An endpoint that fails gets the same again, and nothing that is behind it before.
func TestRetriesKeepTheOrder(t *testing.T) {
	h := build(t, trusting)
	e := newEndpoint(t, h)
	var asked atomic.Int64
	e.answers(func(w http.ResponseWriter, _ *http.Request) bool {
		switch n := asked.Add(1); {
		case n%3 == 0:
			return true
		case n%3 == 1:
			w.WriteHeader(http.StatusInternalServerError)
		default:
			panic(http.ErrAbortHandler) // the connection is cut
		}
		return false
	})
	made := h.create("ann", webhook.Spec{Kind: webhook.Out, URL: e.URL})
	var want []string
	for i := range 20 {
		h.post("ann", fmt.Sprint(i))
		want = append(want, fmt.Sprint(i))
	}
	if got := e.texts(20); !slices.Equal(got, want) {
		t.Fatal(got)
	}
	if v := h.view(made.ID); v.Off != 0 {
		t.Fatalf("%+v", v)
	}
}

// What comes while the endpoint, or the server, is away waits in the log.
func TestNothingIsLostOverARestart(t *testing.T) {
	h := build(t, trusting)
	e := newEndpoint(t, h)
	up, tried := e.down()
	made := h.create("ann", webhook.Spec{Kind: webhook.Out, URL: e.URL})
	h.post("ann", "one")
	<-tried
	<-tried
	h.stop()
	failed := positionOf(t, h, made.ID)
	h.post("ann", "two")
	h.start()
	<-tried
	h.post("ann", "three")
	up.Store(true)
	if got := fmt.Sprint(e.texts(3)); got != "[one two three]" {
		t.Fatal(got)
	}
	if failed == 0 {
		t.Error("the failures were not stored")
	}
	for h.view(made.ID).Next < 5 { // its answer is on its way
	}
	h.stop() // and what was delivered is not delivered again
	h.start()
	h.post("ann", "four")
	if got := fmt.Sprint(e.next().texts); got != "[four]" {
		t.Fatal(got)
	}
}

// What retention cuts off while the endpoint is away is passed over, however much that is.
func TestRetentionCutsOffWhatWaits(t *testing.T) {
	h := build(t, trusting)
	e := newEndpoint(t, h)
	h.create("ann", webhook.Spec{Kind: webhook.Out, URL: e.URL})
	h.stop()
	var wg sync.WaitGroup
	for range 5000 { // more than one look into the log goes over
		wg.Add(1)
		h.hub.Submit(&hub.Request{Conv: "birds", Cmd: chat.Command{Op: chat.OpAppend, Actor: "ann", Event: chat.Event{Text: "old"}},
			Done: func(hub.Result) { wg.Done() }})
	}
	wg.Wait()
	last := h.post("ann", "new")
	var cut storage.Batch
	cut.Truncate("birds", last)
	must(t, h.pipe.CommitWait(&cut))
	h.start()
	if got := fmt.Sprint(e.next().texts); got != "[new]" {
		t.Fatal(got)
	}
}

// positionOf reads how often delivering has failed.
func positionOf(t *testing.T, h *house, id string) (failed int) {
	t.Helper()
	v, ok, err := h.store.Get(storage.In(storage.SpaceHookNext).Str(id).Str("birds"))
	must(t, err)
	var p struct {
		Failed int `cbor:"2,keyasint"`
	}
	if !ok || storage.Unmarshal(v, &p) != nil {
		t.Fatal("there is no position")
	}
	return p.Failed
}

func TestGoneEndsAtOnce(t *testing.T) {
	h := build(t, trusting)
	e := newEndpoint(t, h)
	e.answers(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusGone); return false })
	made := h.create("ann", webhook.Spec{Kind: webhook.Out, URL: e.URL, Name: "Archive"})
	h.post("ann", "one")
	ev := h.notice()
	if ev.Conv != "birds" || !strings.Contains(ev.Text, "Archive ("+made.ID+")") || !strings.Contains(ev.Text, "410") {
		t.Fatalf("%+v", ev)
	}
	e.answers(func(http.ResponseWriter, *http.Request) bool { return true })
	h.post("ann", "two")
	if v := h.view(made.ID); v.Off == 0 || v.Why == "" {
		t.Fatalf("%+v", v)
	}
	h.stop() // it is off after a restart too
	h.start()
	if v := h.view(made.ID); v.Off == 0 {
		t.Fatal("it is on again")
	}
	must(t, h.hooks.Enable("ann", made.ID)) // and goes on where it stopped
	if got := fmt.Sprint(e.texts(2)); got != "[one two]" {
		t.Fatal(got)
	}
}

func TestGivesUp(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*webhook.Options)
		after  func(h *house)
	}{
		{"after so many failures", func(o *webhook.Options) { o.Backoff.Times = 5 }, func(*house) {}},
		{"after so long", func(*webhook.Options) {}, func(h *house) { h.advance(72 * time.Hour) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := build(t, trusting, c.change)
			e := newEndpoint(t, h)
			tried := make(chan struct{}, 10_000)
			e.answers(func(w http.ResponseWriter, _ *http.Request) bool {
				tried <- struct{}{}
				w.WriteHeader(http.StatusInternalServerError)
				return false
			})
			made := h.create("ann", webhook.Spec{Kind: webhook.Out, URL: e.URL})
			h.post("ann", "one")
			<-tried
			<-tried
			c.after(h)
			if ev := h.notice(); !strings.Contains(ev.Text, "answered 500") {
				t.Fatalf("%+v", ev)
			}
			if v := h.view(made.ID); v.Off == 0 || c.name == "after so many failures" && v.Failed != 5 {
				t.Fatalf("%+v", v)
			}
		})
	}
}

// An endpoint that does not answer keeps nobody else waiting.
func TestSlowEndpoint(t *testing.T) {
	h := build(t, trusting, func(o *webhook.Options) { o.Settings.Timeout = 100 * time.Millisecond })
	slow, quick := newEndpoint(t, h), newEndpoint(t, h)
	slow.answers(func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return false })
	stuck := h.create("ann", webhook.Spec{Kind: webhook.Out, URL: slow.URL})
	h.create("ann", webhook.Spec{Kind: webhook.Out, URL: quick.URL})
	for i := range 10 {
		h.post("ann", fmt.Sprint(i))
		if got := fmt.Sprint(quick.texts(1)); got != fmt.Sprintf("[%d]", i) {
			t.Fatal(got)
		}
	}
	for v := h.view(stuck.ID); v.Last != "the endpoint did not answer in time"; v = h.view(stuck.ID) {
		if v.Last != "" {
			t.Fatalf("%+v", v)
		}
	}
	h.stop() // ends although a delivery is under way
	h.start()
}

func TestForbiddenTargets(t *testing.T) {
	h := build(t, trusting, func(o *webhook.Options) {
		o.Settings.AllowLoopback = false
		o.Backoff.Times = 2
	})
	e := newEndpoint(t, h)
	h.create("ann", webhook.Spec{Kind: webhook.Out, URL: e.URL})
	h.post("ann", "to the inside")
	if ev := h.notice(); !strings.Contains(ev.Text, "may not go to") || strings.Contains(ev.Text, "127.0.0.1") {
		t.Fatal(ev.Text)
	}
	if len(e.got) != 0 {
		t.Fatal("it was delivered")
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	h := build(t, trusting, func(o *webhook.Options) { o.Backoff.Times = 1 })
	inside, e := newEndpoint(t, h), newEndpoint(t, h)
	e.answers(func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, inside.URL, http.StatusTemporaryRedirect)
		return false
	})
	h.create("ann", webhook.Spec{Kind: webhook.Out, URL: e.URL})
	h.post("ann", "one")
	if ev := h.notice(); !strings.Contains(ev.Text, "redirects are not followed") {
		t.Fatal(ev.Text)
	}
	if len(inside.got) != 0 {
		t.Fatal("it was")
	}
}

// A webhook is its creator's: it ends with what they may do.
func TestEndsWithItsCreator(t *testing.T) {
	for name, end := range map[string]func(h *house){
		"their role": func(h *house) {
			h.do("birds", chat.Command{Op: chat.OpRole, Actor: "ann", User: "bob", Role: chat.RoleMember})
		},
		"their membership": func(h *house) { h.do("birds", chat.Command{Op: chat.OpLeave, Actor: "bob"}) },
		"their account":    func(h *house) { must(h.t, h.auth.DeleteUser(context.Background(), "bob")) },
		"their account, and another of that name": func(h *house) {
			must(h.t, h.auth.DeleteUser(context.Background(), "bob"))
			h.advance(time.Second)
			must(h.t, h.auth.AddUser(context.Background(), "bob", nil, false))
		},
		"the group": func(h *house) { h.do("birds", chat.Command{Op: chat.OpEnd, Actor: "ann"}) },
	} {
		t.Run(name, func(t *testing.T) {
			h := build(t, trusting)
			e := newEndpoint(t, h)
			h.do("birds", chat.Command{Op: chat.OpRole, Actor: "ann", User: "bob", Role: chat.RoleAdmin})
			out := h.create("bob", webhook.Spec{Kind: webhook.Out, URL: e.URL})
			in := h.create("bob", webhook.Spec{Kind: webhook.In})
			h.post("ann", "while he may")
			if got := fmt.Sprint(e.texts(1)); got != "[while he may]" {
				t.Fatal(got)
			}
			end(h)
			if name != "the group" {
				h.post("ann", "none of his business")
			}
			if status, reply, _ := h.send(in.URL, "text/plain", "hello"); status != 403 || !strings.Contains(reply, "is off") {
				t.Errorf("incoming: %d %s", status, reply)
			}
			if name == "the group" {
				return
			}
			if !strings.HasPrefix(name, "their account") {
				h.notice()
				h.notice()
			}
			for h.view(out.ID).Off == 0 { // the scheduler is on it
				h.post("ann", "none of his business")
			}
			if len(e.got) != 0 {
				t.Errorf("got %v", e.next().texts)
			}
		})
	}
}

// Who comes back sees from their joining, and so does their webhook.
func TestHistoryIsLimited(t *testing.T) {
	h := build(t, trusting)
	e := newEndpoint(t, h)
	joined := chat.HistoryJoined
	h.do("birds", chat.Command{Op: chat.OpUpdate, Actor: "ann", Info: &chat.InfoChange{History: &joined}})
	h.do("birds", chat.Command{Op: chat.OpRole, Actor: "ann", User: "bob", Role: chat.RoleAdmin})
	up, tried := e.down()
	made := h.create("bob", webhook.Spec{Kind: webhook.Out, URL: e.URL})
	h.post("ann", "one")
	<-tried
	h.do("birds", chat.Command{Op: chat.OpLeave, Actor: "bob"})
	h.notice()
	h.post("ann", "while bob was away")
	h.do("birds", chat.Command{Op: chat.OpAdd, Actor: "ann", User: "bob", Role: chat.RoleMember})
	h.do("birds", chat.Command{Op: chat.OpRole, Actor: "ann", User: "bob", Role: chat.RoleAdmin})
	up.Store(true)
	must(t, h.hooks.Enable("bob", made.ID))
	h.post("ann", "two")
	if got := fmt.Sprint(e.texts(1)); got != "[two]" {
		t.Fatal(got)
	}
}

func TestManyCreatedAtOnce(t *testing.T) {
	h := build(t, trusting)
	e := newEndpoint(t, h)
	for range 16 {
		h.create("ann", webhook.Spec{Kind: webhook.Out, URL: e.URL})
	}
	_, err := h.hooks.Create(t.Context(), "ann", webhook.Spec{Conv: "birds", Kind: webhook.Out, URL: e.URL})
	if !errors.Is(err, &chat.Refusal{Code: chat.Conflict}) {
		t.Fatal(err)
	}
	h.post("ann", "to all")
	if got := e.texts(16); len(got) != 16 {
		t.Fatal(got)
	}
	list, err := h.hooks.List("ann", "birds")
	must(t, err)
	for _, v := range list {
		must(t, h.hooks.Delete(t.Context(), "ann", v.ID))
	}
	h.post("ann", "to nobody")
	must(t, h.pipe.Barrier())
	h.stop()
	if len(e.got) != 0 {
		t.Error("it was delivered")
	}
	for _, space := range []storage.Space{storage.SpaceWebhook, storage.SpaceHookNext} {
		must(t, h.store.Scan(storage.In(space), nil, func(k storage.Key, _ []byte) bool { t.Errorf("%q is left", k); return true }))
	}
	h.start()
}

// The webhooks of one user, in whatever groups, leave room for those of others.
func TestNobodyTakesAllWebhooks(t *testing.T) {
	h := build(t)
	title := "Birds"
	create := func(conv, user string) error {
		_, err := h.hooks.Create(t.Context(), user, webhook.Spec{Conv: conv, Kind: webhook.Out, URL: "https://example.org/"})
		return err
	}
	for g := range 17 {
		conv := fmt.Sprint("g", g)
		h.do(conv, chat.Command{Op: chat.OpCreate, Actor: "ann", Info: &chat.InfoChange{Title: &title}})
		for i := range 16 {
			if g*16+i < 256 {
				must(t, create(conv, "ann"))
			} else if err := create(conv, "ann"); !errors.Is(err, &chat.Refusal{Code: chat.Conflict}) {
				t.Fatalf("number %d: %v", g*16+i, err)
			}
		}
	}
	h.do("bobs", chat.Command{Op: chat.OpCreate, Actor: "bob", Info: &chat.InfoChange{Title: &title}})
	must(t, create("bobs", "bob"))
}

func TestSpecsAreChecked(t *testing.T) {
	h := build(t, func(o *webhook.Options) { o.Settings.AllowLoopback = false })
	must(t, h.auth.AddBot(t.Context(), "ann", "robo", ""))
	ok := "https://example.org/x"
	for _, c := range []struct {
		by   string
		s    webhook.Spec
		code chat.Code
	}{
		{"ann", webhook.Spec{Kind: "both"}, chat.BadRequest},
		{"ann", webhook.Spec{Kind: webhook.Out}, chat.BadRequest},
		{"ann", webhook.Spec{Kind: webhook.Out, URL: "http://example.org"}, chat.BadRequest},
		{"ann", webhook.Spec{Kind: webhook.Out, URL: "https://user:pw@example.org"}, chat.BadRequest},
		{"ann", webhook.Spec{Kind: webhook.Out, URL: "https://example.org/#x"}, chat.BadRequest},
		{"ann", webhook.Spec{Kind: webhook.Out, URL: "https://example.org/\n"}, chat.BadRequest},
		{"ann", webhook.Spec{Kind: webhook.Out, URL: "https:example.org"}, chat.BadRequest},
		{"ann", webhook.Spec{Kind: webhook.Out, URL: "file:///etc/passwd"}, chat.BadRequest},
		{"ann", webhook.Spec{Kind: webhook.Out, URL: "https://example.org/" + strings.Repeat("x", 2048)}, chat.BadRequest},
		{"ann", webhook.Spec{Kind: webhook.Out, URL: ok, Events: []string{"nonsense"}}, chat.BadRequest},
		{"ann", webhook.Spec{Kind: webhook.Out, URL: ok, Events: []string{"gone"}}, chat.BadRequest},
		{"ann", webhook.Spec{Kind: webhook.Out, URL: ok, Bot: "robo"}, chat.BadRequest},
		{"ann", webhook.Spec{Kind: webhook.Out, URL: ok, Name: strings.Repeat("x", 65)}, chat.BadRequest},
		{"ann", webhook.Spec{Kind: webhook.In, URL: ok}, chat.BadRequest},
		{"ann", webhook.Spec{Kind: webhook.In, Events: []string{"post"}}, chat.BadRequest},
		{"ann", webhook.Spec{Kind: webhook.In, Bot: "bob"}, chat.NotFound},
		{"ann", webhook.Spec{Kind: webhook.In, Bot: "robo"}, chat.Conflict},
		{"bob", webhook.Spec{Kind: webhook.In}, chat.NotAuthorized},
		{"bob", webhook.Spec{Kind: webhook.Out, URL: ok}, chat.NotAuthorized},
		{"eve", webhook.Spec{Kind: webhook.Out, URL: ok}, chat.NotFound},
		{"ann", webhook.Spec{Kind: webhook.Out, URL: ok, Conv: "nowhere"}, chat.NotFound},
		{"ann", webhook.Spec{Kind: webhook.Out, URL: ok, Conv: "no id"}, chat.BadRequest},
		{"ann", webhook.Spec{Kind: webhook.Out, URL: ok, Conv: "ann~bob"}, chat.NotAuthorized},
		{"ann", webhook.Spec{Kind: webhook.In, Conv: "ann~robo"}, chat.BadRequest},
	} {
		if c.s.Conv == "" {
			c.s.Conv = "birds"
		}
		if _, err := h.hooks.Create(t.Context(), c.by, c.s); !errors.Is(err, &chat.Refusal{Code: c.code}) {
			t.Errorf("%s %+v: %v, want %s", c.by, c.s, err, c.code)
		}
	}
	must(t, h.store.Scan(storage.In(storage.SpaceWebhook), nil, func(k storage.Key, _ []byte) bool { t.Errorf("%q is left", k); return true }))
	// A group's table may give the settings to members, and a bot's owner talks to their bot through HTTP.
	h.do("birds", chat.Command{Op: chat.OpUpdate, Actor: "ann", Info: &chat.InfoChange{Perms: &chat.Perms{chat.ActInfo: chat.RoleMember}}})
	h.create("bob", webhook.Spec{Kind: webhook.Out, URL: ok})
	made := h.create("ann", webhook.Spec{Kind: webhook.In, Conv: "ann~robo", Bot: "robo"})
	if status, reply, _ := h.send(made.URL, "text/plain", "for you"); status != 200 || reply != `{"seq":1}` {
		t.Errorf("%d %s", status, reply)
	}
}

// Only who may change the settings, or made it, has anything to do with a webhook.
func TestWhoMayManage(t *testing.T) {
	h := build(t)
	h.do("birds", chat.Command{Op: chat.OpAdd, Actor: "ann", User: "eve", Role: chat.RoleAdmin})
	in := h.create("ann", webhook.Spec{Kind: webhook.In})
	must(t, h.auth.AddUser(t.Context(), "cas", nil, false))
	for user, may := range map[string]bool{"ann": true, "eve": true, "bob": false, "cas": false} {
		_, list := h.hooks.List(user, "birds")
		_, rotate := h.hooks.Rotate(user, in.ID)
		enable := h.hooks.Enable(user, in.ID)
		for what, err := range map[string]error{"list": list, "rotate": rotate, "enable": enable} {
			if (err == nil) != may {
				t.Errorf("%s by %s: %v", what, user, err)
			}
		}
		if !may {
			if _, other := h.hooks.Rotate(user, "nothing"); rotate == nil || other == nil || rotate.Error() != other.Error() {
				t.Errorf("%s: %v, but %v for what does not exist", user, rotate, other)
			}
			if err := h.hooks.Delete(t.Context(), user, in.ID); !errors.Is(err, &chat.Refusal{Code: chat.NotFound}) {
				t.Errorf("delete by %s: %v", user, err)
			}
		}
	}
	must(t, h.hooks.Delete(t.Context(), "eve", in.ID))
	entries := func() (all []string) {
		must(t, h.store.Scan(storage.In(storage.SpaceAudit), nil, func(_ storage.Key, v []byte) bool { all = append(all, string(v)); return true }))
		return all
	}
	for _, want := range []string{"webhook.add", "webhook.rotate", "webhook.del"} {
		if !slices.ContainsFunc(entries(), func(e string) bool { return strings.Contains(e, want) && strings.Contains(e, in.ID) }) {
			t.Errorf("the audit trail lacks %s", want)
		}
	}
	if slices.ContainsFunc(entries(), func(e string) bool { return strings.Contains(e, strings.Split(in.URL, in.ID+"/")[1]) }) {
		t.Error("the secret is in the audit trail")
	}
}

var _ hub.Sink = (*house)(nil)
