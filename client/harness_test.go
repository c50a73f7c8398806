package client_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/client/store/memory"
	"github.com/petrelchat/petrel/client/store/sqlite"
	"github.com/petrelchat/petrel/internal/faultproxy"
	"github.com/petrelchat/petrel/internal/servertest"
)

func soon(t testing.TB) context.Context {
	t.Helper()
	return servertest.Soon(t)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// server is a real server in this process, behind a proxy that breaks connections.
type server struct {
	*servertest.Server
	t     testing.TB
	proxy *faultproxy.Proxy
}

// serve starts a server in dev mode, and a proxy before it.
func serve(t testing.TB, change ...func(*config.Config)) *server {
	t.Helper()
	return serveTuned(t, nil, change...)
}

func serveTuned(t testing.TB, tune func(*broker.Options), change ...func(*config.Config)) *server {
	t.Helper()
	s := &server{Server: servertest.New(t, append([]func(*config.Config){servertest.Unpaced}, change...)...), t: t}
	s.Tune = tune
	s.Start()
	s.proxy = s.Proxy()
	return s
}

// device is a client with what it needs to come back.
type device struct {
	*client.Client
	t     testing.TB
	s     *server
	o     client.Options
	store store.Store
}

// in memory, and in a file.
func inMemory(testing.TB) store.Store { return memory.New() }

func inFile(t testing.TB) store.Store {
	st, err := sqlite.Open(filepath.Join(t.TempDir(), "client.db"), sqlite.Options{})
	must(t, err)
	return st
}

// device prepares a client; open opens it.
func (s *server) device(user, name string, st store.Store, change ...func(*client.Options)) *device {
	s.t.Helper()
	d := &device{t: s.t, s: s, store: st}
	d.o = client.Options{
		Server: "mqtt://" + s.proxy.Addr(), User: user, Device: name, Store: st,
		Log: slog.New(slog.NewTextHandler(s.Log, &slog.HandlerOptions{Level: slog.LevelDebug})).With("user", user, "device", name),
	}
	for _, fn := range change {
		fn(&d.o)
	}
	s.t.Cleanup(func() {
		d.close()
		must(s.t, st.Close())
	})
	return d
}

func (d *device) open() *device {
	d.t.Helper()
	c, err := client.Open(soon(d.t), d.o)
	must(d.t, err)
	d.Client = c
	go servertest.Hurry(c)
	return d
}

func (d *device) close() {
	d.t.Helper()
	if d.Client == nil {
		return
	}
	must(d.t, d.Client.Close(soon(d.t)))
	d.Client = nil
}

// kill ends the client without a farewell and without sending what could be sent, as far as that goes in one process.
func (d *device) kill() {
	d.t.Helper()
	if d.Client == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	must(d.t, d.Client.Close(ctx))
	d.Client = nil
}

// upToDate waits until the device has what there is and has sent what it had.
func (d *device) upToDate() {
	d.t.Helper()
	d.await("up to date", func(s client.Status) bool { return s.State == client.UpToDate && s.Queued == 0 })
}

func (d *device) await(what string, ok func(client.Status) bool) {
	d.t.Helper()
	if err := d.Wait(soon(d.t), ok); err != nil {
		d.t.Fatalf("%s waits for %q: %v; status %+v", d.Me(), what, err, d.Status())
	}
}

// until waits for something that updates tell of.
func (d *device) until(what string, ok func() bool) {
	d.t.Helper()
	ctx := soon(d.t)
	us := d.Updates(ctx)
	if ok() {
		return
	}
	for range us {
		if ok() {
			return
		}
	}
	d.t.Fatalf("%s/%s waits for %s in vain; status %+v\n%s", d.Me(), d.Device(), what, d.Status(), d.dump())
}

// dump is what the store has, for the message of a failure.
func (d *device) dump() string {
	var b strings.Builder
	_ = d.store.View(context.Background(), func(r store.Reader) error {
		rows, _ := r.Conversations(store.ConversationQuery{Limit: 10})
		for _, row := range rows {
			spans, _ := r.Spans(row.ID)
			out, _ := r.Outbox(store.OutboxQuery{Conv: row.ID})
			evs, _ := r.Events(store.EventQuery{Conv: row.ID, Limit: 8})
			fmt.Fprintf(&b, "%s head=%d read=%d spans=%v\n", row.ID, row.Head, row.Read, spans)
			for _, e := range evs {
				fmt.Fprintf(&b, "  %d %s %d %q gone=%v id=%s\n", e.Seq, e.From, e.Kind, e.Text, e.Gone, e.ID)
			}
			for _, o := range out {
				fmt.Fprintf(&b, "  out %d %q state=%d seq=%d id=%s %s\n", o.N, o.Event.Text, o.State, o.Seq, o.ID, o.Reason)
			}
		}
		ws, _ := r.Wishes()
		fmt.Fprintf(&b, "wishes %v\n", ws)
		return nil
	})
	return b.String()
}

func (d *device) send(conv, text string) client.Message {
	d.t.Helper()
	m, err := d.Send(soon(d.t), conv, text)
	must(d.t, err)
	return m
}

func (d *device) messages(conv string) []client.Message {
	d.t.Helper()
	ms, err := d.Messages(soon(d.t), conv, client.Page{Limit: 10_000})
	must(d.t, err)
	return ms
}

// texts are the posts of a conversation, with their states if they are the user's.
func (d *device) texts(conv string) (out []string) {
	d.t.Helper()
	for _, m := range d.messages(conv) {
		if m.Kind == chat.KindPost {
			out = append(out, m.Text)
		}
	}
	return out
}

// has waits until the conversation shows exactly these texts.
func (d *device) has(conv string, want ...string) {
	d.t.Helper()
	w := fmt.Sprint(want)
	d.until("the texts "+w, func() bool { return fmt.Sprint(d.texts(conv)) == w })
}
