package client_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/broker/control"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/client/store/memory"
)

const secret = "thirty-two bytes of a test secret"

// accounts makes a server that asks for passwords, or for tokens signed with secret.
func accounts(t *testing.T) func(*config.Config) {
	key := filepath.Join(t.TempDir(), "key")
	must(t, os.WriteFile(key, []byte(secret), 0o600))
	return func(c *config.Config) {
		c.Dev = false
		c.Auth.Argon2 = config.Argon2{Memory: 8 * config.KiB, Time: 1, Threads: 1}
		c.Auth.JWT.Keys = []config.JWTKey{{File: key, Alg: "HS256"}}
	}
}

func (s *server) addUser(user string) {
	s.t.Helper()
	c, err := control.Dial(broker.SocketPath(s.Config.Data))
	must(s.t, err)
	defer c.Close()
	must(s.t, c.Call(soon(s.t), "admin.user.add", map[string]any{"user": user, "password": "right of " + user}, nil))
}

// Wrong credentials end the attempts with a sentence that says what to do; what was written waits, and leaves when they are right.
func TestWrongPassword(t *testing.T) {
	s := serve(t, accounts(t))
	s.addUser("ann")
	s.addUser("bob")
	word := "wrong"
	d := s.device("ann", "a", inFile(t), func(o *client.Options) {
		o.Credentials = client.CredentialsFunc(func(context.Context) (string, error) { return word, nil })
	})
	d.open()
	conv := d.Direct("bob")
	d.send(conv, "kept")
	d.await("a refusal", func(s client.Status) bool { return s.Permanent })
	if s := d.Status(); s.Err == nil || !strings.Contains(s.Err.Error(), "check the user name and the password") || s.Queued != 1 || !s.Retry.IsZero() {
		t.Errorf("status %+v", s)
	}
	if err := d.Call(within(t, 50*time.Millisecond), "user.get", nil, nil); !errors.Is(err, client.ErrOffline) || !strings.Contains(err.Error(), "check the user name") {
		t.Errorf("a call: %v", err)
	}
	if _, err := client.Fetch(soon(t), s.device("ann", "f", inMemory(t), func(o *client.Options) { o.Credentials = client.Password("wrong too") }).o); err == nil || !strings.Contains(err.Error(), "check the user name") {
		t.Errorf("Fetch: %v", err)
	}
	word = "right of ann"
	d.Renew()
	d.upToDate()
	if got := d.texts(conv); len(got) != 1 || d.messages(conv)[0].Seq != 1 {
		t.Errorf("%q", got)
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestExpiredToken(t *testing.T) {
	s := serve(t, accounts(t))
	sign := func(until time.Time) string {
		out, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "ann", "exp": until.Unix()}).SignedString([]byte(secret))
		must(t, err)
		return out
	}
	token := sign(time.Now().Add(-time.Hour))
	d := s.device("ann", "a", inMemory(t), func(o *client.Options) {
		o.Credentials = client.CredentialsFunc(func(context.Context) (string, error) { return token, nil })
	})
	d.open()
	d.await("a refusal", func(s client.Status) bool { return s.Permanent })
	if err := d.Status().Err; err == nil || !strings.Contains(err.Error(), "the token has expired: get a new one") || strings.Contains(err.Error(), token) {
		t.Error(err)
	}
	token = sign(time.Now().Add(time.Hour))
	d.Renew()
	d.upToDate()
}

// fullStore is a store whose disk can be full.
type fullStore struct {
	store.Store
	full func() bool
}

func (f fullStore) Update(ctx context.Context, fn func(store.Tx) error) error {
	if f.full() {
		return store.ErrFull
	}
	return f.Store.Update(ctx, fn)
}

// On a full disk nothing is acknowledged and nothing is lost; what is written is refused; it goes on by itself.
func TestFullDisk(t *testing.T) {
	s := serve(t)
	full := make(chan bool, 1)
	full <- false
	is := func() bool { v := <-full; full <- v; return v }
	set := func(v bool) { <-full; full <- v }
	ann := s.device("ann", "a", fullStore{memory.New(), is}).open()
	bob := s.device("bob", "b", inMemory(t)).open()
	ann.upToDate()
	bob.upToDate()
	conv := bob.Direct("ann")
	set(true)
	for i := range 20 {
		bob.send(conv, num(i))
	}
	bob.upToDate()
	ann.await("a full disk", func(s client.Status) bool { return errors.Is(s.Err, client.ErrFull) })
	if _, err := ann.Send(soon(t), conv, "no room"); !errors.Is(err, client.ErrFull) {
		t.Errorf("writing: %v", err)
	}
	if ms := bob.messages(conv); ms[19].State != client.StateSent {
		t.Errorf("what ann could not store counts as %v", ms[19].State)
	}
	set(false)
	ann.until("everything", func() bool { return len(ann.texts(conv)) == 20 })
	ann.await("no fault", func(s client.Status) bool { return s.Err == nil })
	bob.until("delivered", func() bool { return bob.messages(conv)[19].State == client.StateDelivered })
	ann.intact(conv)
}

// What the server refuses is failed, with its reason; what follows goes on; it can be tried again or thrown away.
func TestRefusals(t *testing.T) {
	s := serve(t)
	ann := s.device("ann", "a", inFile(t)).open()
	ann.upToDate()
	must(t, ann.Call(soon(t), "group.create", map[string]any{"id": "crew", "title": "Crew", "visibility": "private", "join": "invite", "history": "all"}, nil))
	bad, err := ann.Post(soon(t), "crew", client.Post{Text: "psst", Mentions: []string{"nobody"}})
	must(t, err)
	reply, err := ann.Post(soon(t), "crew", client.Post{Text: "about that", Re: bad.Target()})
	must(t, err)
	good := ann.send("crew", "hello")
	if _, err := ann.Sent(soon(t), good); err != nil {
		t.Error(err)
	}
	m, err := ann.Sent(soon(t), bad)
	if !errors.Is(err, &chat.Refusal{Code: chat.BadRequest}) || m.State != client.StateFailed || m.Reason == "" {
		t.Errorf("%+v: %v", m, err)
	}
	if _, err := ann.Sent(soon(t), reply); !errors.Is(err, &chat.Refusal{Code: chat.NotFound}) {
		t.Errorf("what depends on it: %v", err)
	}
	ann.await("the counts", func(s client.Status) bool { return s.Failed == 2 && s.Queued == 0 })
	if m, err := ann.Edit(soon(t), "crew", bad.Target(), "psst!"); err != nil || m.State != client.StateFailed {
		t.Errorf("editing what failed: %+v %v", m, err)
	}
	if again, err := ann.Retry(soon(t), bad.ID); err != nil || again.ID != bad.ID {
		t.Errorf("%+v: %v", again, err)
	}
	if _, err := ann.Sent(soon(t), bad); err == nil {
		t.Error("it was accepted the second time")
	}
	must(t, ann.Discard(soon(t), bad.ID))
	if st := ann.Status(); st.Failed != 0 {
		t.Errorf("what depends on it went too: %+v", st)
	}
	ann.has("crew", "hello")
	for name, err := range map[string]error{
		"no text":         second(ann.Post(soon(t), "crew", client.Post{})),
		"too long":        second(ann.Send(soon(t), "crew", strings.Repeat("x", 70_000))),
		"no emoji":        second(ann.React(soon(t), "crew", client.At(1), "yes")),
		"no target":       second(ann.Delete(soon(t), "crew", client.Target{})),
		"no conversation": second(ann.Send(soon(t), "No Such", "x")),
		"others'":         second(ann.Send(soon(t), "bob~carl", "x")),
	} {
		if no := new(chat.Refusal); !errors.As(err, &no) && !errors.Is(err, client.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestOptions(t *testing.T) {
	_, err := client.Open(soon(t), client.Options{Server: "http://x", User: "a b", Device: "\n", Catchup: -1, Store: memory.New(), Path: "x"})
	for _, want := range []string{"Server: the scheme", "User:", "Device:", "Catchup:", "Store and Path"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no word about %s: %v", want, err)
		}
	}
	long := strings.Repeat("d", 64)
	with := func(device string, json bool) error {
		o := client.Options{Server: "mqtt://x", User: "ann", Device: device, JSON: json}
		return o.Validate()
	}
	for _, err := range []error{with(long, false), with(long[:59], true)} {
		if err != nil {
			t.Error(err)
		}
	}
	for _, err := range []error{with(long+"d", false), with(long[:60], true)} {
		if err == nil || !strings.Contains(err.Error(), "option Device: at most") {
			t.Errorf("a device with too long a name: %v", err)
		}
	}
	st := memory.New()
	s := serve(t)
	s.device("ann", "a", st).open()
	if _, err := client.Open(soon(t), client.Options{Server: "mqtt://x", User: "bob", Store: st}); err == nil || !strings.Contains(err.Error(), "of the user \"ann\"") {
		t.Errorf("the store of somebody else: %v", err)
	}
}
