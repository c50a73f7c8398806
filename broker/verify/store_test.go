package verify_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/auth"
	"github.com/petrelchat/petrel/broker/delivery"
	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/broker/plain"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
)

type codec struct{}

func (codec) EncodeStored(dst []byte, e *chat.Event) []byte { return protocol.EncodeStored(dst, e) }
func (codec) DecodeStored(b []byte) (chat.Event, error)     { return protocol.DecodeStored(b) }

// house is the lower half of a server: what writes a store.
type house struct {
	t     *testing.T
	store storage.Store
	pipe  *hub.Pipeline
	hub   *hub.Hub
	reg   *delivery.Registry
	auth  *auth.Service
}

func build(t *testing.T) *house {
	t.Helper()
	st, err := pebblestore.NewMemDisk().Open(pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	h := &house{t: t, store: st}
	h.pipe = hub.NewPipeline(st, func(err error) { t.Errorf("the store failed: %v", err) })
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	h.reg, err = delivery.New(delivery.Options{Store: st, Pipeline: h.pipe, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	h.hub = hub.New(hub.Options{Store: st, Pipeline: h.pipe, Sink: h.reg, Codec: codec{}, Limits: chat.DefaultLimits(), Log: log})
	h.reg.SetHub(h.hub)
	h.pipe.Start(h.reg.AfterCommits)
	h.must(hub.BuildViews(st, codec{}, h.pipe.CommitWait, log))
	h.auth, err = auth.New(auth.Options{Store: st, Commit: h.pipe.CommitWait, Now: time.Now, Argon2: auth.Params{MemoryKiB: 8 << 10, Time: 1, Threads: 1}})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) close() {
	h.reg.Close()
	h.hub.Close()
	h.pipe.Close()
}

func (h *house) do(conv string, cmd chat.Command) uint64 {
	h.t.Helper()
	_, _, direct := chat.Parties(conv)
	cmd.Hash = protocol.ContentHash(&cmd.Event)
	res := h.hub.Do(&hub.Request{Conv: conv, Direct: direct, Cmd: cmd})
	if res.Err != nil {
		h.t.Fatalf("%s in %s: %v", cmd.Actor, conv, res.Err)
	}
	return res.Seq
}

func (h *house) post(conv, user string, ev chat.Event) uint64 {
	h.t.Helper()
	return h.do(conv, chat.Command{Op: chat.OpAppend, Actor: user, Event: ev})
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// device connects a session, subscribes it, and puts it away again.
func (h *house) device(user, client string, subscribe ...string) uint64 {
	h.t.Helper()
	here, there := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, there) }()
	defer func() { h.must(here.Close()) }()
	s, _, err := h.reg.Open(&delivery.Connect{
		Key: delivery.Key{User: user, Client: client}, Conn: here, V5: true, Expiry: 3600, Kick: func(delivery.Why) {},
	})
	h.must(err)
	h.must(s.Start())
	var list []delivery.Subscribe
	for _, f := range subscribe {
		parsed, err := protocol.ParseFilter(f, user)
		h.must(err)
		list = append(list, delivery.Subscribe{Sub: storage.Sub{Filter: f, Options: 1, ID: 7}, Filter: parsed})
	}
	_, err = s.Subscribe(list)
	h.must(err)
	s.Detach(3600)
	return s.SID
}

func (h *house) publish(topic string, retain bool) {
	h.t.Helper()
	done := make(chan error, 1)
	h.reg.Publish(&delivery.PlainPublish{
		Message: &plain.Message{Topic: topic, Payload: []byte("21.5"), QoS: 1, Retain: retain, At: 1},
		Done:    func(err error) { done <- err },
	})
	h.must(<-done)
}

// live has all kinds of things happen.
func (h *house) live() {
	h.t.Helper()
	title, open, asking := "Birds", chat.JoinOpen, chat.JoinRequest
	phone := h.device("anna", "phone", "c/+/json", "home/#", "u/anna/events")
	h.device("bob", "phone", "c/+/text/+", "home/+")
	h.do("birds", chat.Command{Op: chat.OpCreate, Actor: "anna", Members: []string{"bob", "carl"}, Info: &chat.InfoChange{Title: &title, Join: &open}})
	h.post("birds", "anna", chat.Event{ID: "a1", Text: "a petrel"})
	h.post("birds", "bob", chat.Event{ID: "b1", Text: "where?", Expire: 3600})
	h.do("birds", chat.Command{Op: chat.OpLeave, Actor: "carl"})
	h.do("birds", chat.Command{Op: chat.OpRole, Actor: "anna", User: "bob", Role: chat.RoleAdmin})
	h.do("birds", chat.Command{Op: chat.OpUpdate, Actor: "anna", Info: &chat.InfoChange{About: &title}})
	root := h.post("birds", "anna", chat.Event{Text: "two of them"})
	h.post("birds", "bob", chat.Event{Text: "no, three", Re: h.post("birds", "bob", chat.Event{Text: "I see them", Re: root})})
	h.post("birds", "bob", chat.Event{Kind: chat.KindReact, Emoji: "👍", Re: root})
	h.post("birds", "anna", chat.Event{Kind: chat.KindEdit, Text: "three of them", Re: root})
	h.post("birds", "anna", chat.Event{Kind: chat.KindPin, Re: root})
	h.post("birds", "anna", chat.Event{Kind: chat.KindDelete, Re: h.post("birds", "anna", chat.Event{Text: "oops", Re: root})})
	h.do("birds", chat.Command{Op: chat.OpBan, Actor: "anna", User: "mallory"}) // never was a member
	h.do("birds", chat.Command{Op: chat.OpInvite, Actor: "anna", Code: "abc", Invite: chat.Invite{Uses: 2}})
	h.do("birds", chat.Command{Op: chat.OpAccept, Actor: "fay", Code: "abc"})
	h.do("birds", chat.Command{Op: chat.OpBan, Actor: "anna", User: "fay"})
	h.do("birds", chat.Command{Op: chat.OpUpdate, Actor: "anna", Info: &chat.InfoChange{Join: &asking}})
	h.do("birds", chat.Command{Op: chat.OpJoin, Actor: "gus"})
	h.do("birds", chat.Command{Op: chat.OpJoin, Actor: "hal", Text: "please"})
	h.do("birds", chat.Command{Op: chat.OpDeny, Actor: "anna", User: "gus"})
	h.do("gone", chat.Command{Op: chat.OpCreate, Actor: "dora", Members: []string{"bob"}, Info: &chat.InfoChange{Title: &title}})
	h.do("gone", chat.Command{Op: chat.OpEnd, Actor: "dora"})
	for _, id := range []string{"1", "2", "3"} {
		h.post("anna~bob", "anna", chat.Event{ID: id, Text: "hello"})
	}
	done := make(chan hub.Result, 1)
	h.hub.MoveCursor(&hub.Move{Conv: "anna~bob", User: "bob", Delivered: 3, Read: 2, Done: func(r hub.Result) { done <- r }})
	h.must((<-done).Err)
	h.publish("home/t", true)   // for two: a message of its own
	h.publish("home/a/b", true) // for one: within the reference

	b := storage.Batch{Vital: true}
	wills := plain.NewWills()
	wills.Arm(&b, &plain.Will{Message: plain.Message{Topic: "home/last", Payload: []byte("bye")}, User: "anna", ClientID: "phone", SID: phone, Conn: 1}, 1)
	b.Set(storage.In(storage.SpaceProfile).Str("anna"), storage.Marshal(storage.Profile{Name: "Anna"}))
	h.must(h.pipe.CommitWait(&b))

	ctx := context.Background()
	h.must(h.auth.AddUser(ctx, "anna", []byte("a long password"), false))
	_, _, err := h.auth.AddToken(ctx, "anna", auth.TokenSpec{Name: "sensor", Read: true})
	h.must(err)
	h.must(h.pipe.Barrier())
}
