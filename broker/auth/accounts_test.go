package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

const wrongText = "The user name or the password is wrong."

func TestPasswordLogin(t *testing.T) {
	h := open(t, func(o *Options) { o.Throttle.Off = true })
	h.add(t, "Ann", "s3cret")
	must(t, h.AddUser(t.Context(), "root", []byte("pw"), true))
	must(t, h.AddUser(t.Context(), "cert-only", nil, false))

	id := h.in(t, login("Ann", "s3cret"))
	if id.User != "Ann" || id.Guest || id.Admin || id.Scope != nil || !id.Expires.IsZero() || id.Method != "password" {
		t.Errorf("identity %+v", id)
	}
	if !h.in(t, login("root", "pw")).Admin {
		t.Error("an administrator is none")
	}
	noPassword := login("Ann", "s3cret")
	noPassword.HasPassword = false
	for name, a := range map[string]Attempt{
		"wrong":          login("Ann", "s3cres"),
		"empty":          login("Ann", ""),
		"none":           noPassword,
		"other spelling": login("ann", "s3cret"),
		"unknown":        login("bob", "s3cret"),
		"no record":      login("cert-only", ""),
		"no record 2":    login("cert-only", "x"),
		"too long":       login("Ann", strings.Repeat("x", 5000)),
		"no user":        login("", "s3cret"),
	} {
		if r := h.out(t, a, chat.NotAuthorized); r.Reason != wrongText {
			t.Errorf("%s: the reason tells more than it should: %s", name, r.Reason)
		}
	}
	for _, user := range []string{"a b", "a/b", "ann+", "käthe", strings.Repeat("x", 65), "a~b", "a\x00"} {
		h.out(t, login(user, "x"), chat.BadRequest)
	}
	if logs := h.logs.String(); strings.Contains(logs, "s3cre") || !strings.Contains(logs, "the account is spelled Ann") {
		t.Errorf("the log must hold causes and no secrets:\n%s", logs)
	}
	for k, v := range h.store.records {
		if strings.Contains(k+string(v), "s3cret") {
			t.Errorf("the password is in the store: %q", v)
		}
	}
}

func TestUserIDsAreUniqueWithoutCase(t *testing.T) {
	h := open(t, nil)
	h.add(t, "Ann", "1")
	for _, user := range []string{"Ann", "ann", "ANN"} {
		refusal(t, h.AddUser(t.Context(), user, []byte("2"), false), chat.Conflict)
	}
	refusal(t, h.AddUser(t.Context(), "a b", []byte("2"), false), chat.BadRequest)
	refusal(t, h.SetPassword(t.Context(), "ann", []byte("2")), chat.NotFound)
	refusal(t, h.DeleteUser(t.Context(), "ann"), chat.NotFound)
	if !h.Exists("Ann") || h.Exists("ann") || h.Exists("bob") || h.Exists("") || h.Exists("a b") {
		t.Error("Exists must know exactly one spelling")
	}
	if acc, ok := h.GetUser("aNN"); !ok || acc.User != "Ann" || !acc.HasPassword || acc.Created != h.clock.Now() {
		t.Errorf("GetUser = %+v, %v", acc, ok)
	}
}

func TestOneOfManyAddsWins(t *testing.T) {
	h := open(t, nil)
	var wg sync.WaitGroup
	errs := make([]error, 16)
	for i := range errs {
		wg.Go(func() {
			name := []string{"ann", "Ann", "aNn", "ANN"}[i%4]
			errs[i] = h.AddUser(context.Background(), name, []byte(fmt.Sprint(i)), false)
		})
	}
	wg.Wait()
	won := 0
	for i, err := range errs {
		if err == nil {
			won++
			h.in(t, login([]string{"ann", "Ann", "aNn", "ANN"}[i%4], fmt.Sprint(i)))
		} else {
			refusal(t, err, chat.Conflict)
		}
	}
	if added, _, err := h.Audit(AuditQuery{Kind: "user.add"}); won != 1 || h.store.count(storage.SpaceAccount) != 1 || err != nil || len(added) != 1 {
		t.Errorf("%d of them won", won)
	}
}

func TestAccountsSurviveARestart(t *testing.T) {
	h := open(t, nil)
	h.add(t, "Ann", "pw")
	h2 := reopen(t, h.store, nil)
	h2.in(t, login("Ann", "pw"))
	if !h2.Exists("Ann") {
		t.Error("gone")
	}
}

func TestPasswordChangeEndsTheOldOne(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "old")
	id := h.in(t, login("ann", "old"))
	h.in(t, login("ann", "old")) // from the cache
	if !h.Current(id) {
		t.Error("not current")
	}
	must(t, h.SetPassword(t.Context(), "ann", []byte("new")))
	if got := h.revocations(); !slices.Equal(got, []revocation{{"ann", ""}}) {
		t.Errorf("revocations %v", got)
	}
	if h.Current(id) {
		t.Error("a login with the old password is still good")
	}
	h.out(t, login("ann", "old"), chat.NotAuthorized)
	if !h.Current(h.in(t, login("ann", "new"))) {
		t.Error("not current")
	}
	must(t, h.SetPassword(t.Context(), "ann", nil))
	h.out(t, login("ann", "new"), chat.NotAuthorized)
	for _, bad := range []string{"", strings.Repeat("x", maxPassword+1), "petrel_" + strings.Repeat("a", 48), "eyJhbGciOiJIUzI1NiJ9.e30.x"} {
		refusal(t, h.SetPassword(t.Context(), "ann", []byte(bad)), chat.BadRequest)
	}
}

func TestDeletedAndMadeAnew(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "pw")
	id := h.in(t, login("ann", "pw"))
	_, text, err := h.AddToken(t.Context(), "ann", TokenSpec{Read: true})
	must(t, err)
	must(t, h.DeleteUser(t.Context(), "ann"))
	if got := h.revocations(); !slices.Equal(got, []revocation{{"ann", ""}}) {
		t.Errorf("revocations %v", got)
	}
	if h.Exists("ann") || h.Current(id) || h.store.count(storage.SpaceToken) != 0 {
		t.Error("something is left of the account")
	}
	h.out(t, login("ann", "pw"), chat.NotAuthorized)
	h.add(t, "ann", "pw") // the same name and password, another account
	if h.Current(id) {
		t.Error("the former account's login is good for the new one")
	}
	h.out(t, login("ann", text), chat.NotAuthorized)
	h.in(t, login("ann", "pw"))
}

func TestDisableAndAdmin(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "pw")
	id := h.in(t, login("ann", "pw"))
	must(t, h.SetDisabled(t.Context(), "ann", true))
	if h.out(t, login("ann", "pw"), chat.NotAuthorized).Reason != wrongText || h.Current(id) {
		t.Error("a disabled account is of use")
	}
	must(t, h.SetDisabled(t.Context(), "ann", false))
	id = h.in(t, login("ann", "pw"))
	h.revocations()
	must(t, h.SetAdmin(t.Context(), "ann", false)) // no change
	if h.revocations() != nil || !h.Current(id) {
		t.Error("sessions were cut for nothing")
	}
	must(t, h.SetAdmin(t.Context(), "ann", true))
	if len(h.revocations()) != 1 || h.Current(id) || !h.in(t, login("ann", "pw")).Admin {
		t.Error("new rights need a new login")
	}
	refusal(t, h.SetAdmin(t.Context(), "bob", true), chat.NotFound)
}

func TestListUsers(t *testing.T) {
	h := open(t, nil)
	for _, u := range []string{"bob", "Ann", "cy", "ann-2", "Dee"} {
		h.add(t, u, "x")
	}
	var got []string
	for after := ""; ; {
		list, more, err := h.ListUsers(after, 2)
		must(t, err)
		for _, a := range list {
			got = append(got, a.User)
		}
		if !more {
			break
		}
		after = got[len(got)-1]
	}
	if want := []string{"Ann", "ann-2", "bob", "cy", "Dee"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestExistsIsAnsweredFromMemory(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "x")
	h.Exists("bob")
	before := h.store.gets
	for range 100 {
		if !h.Exists("ann") || h.Exists("bob") {
			t.Fatal("wrong")
		}
	}
	if h.store.gets != before {
		t.Errorf("%d reads", h.store.gets-before)
	}
	h.add(t, "bob", "x")
	if !h.Exists("bob") {
		t.Error("the absence of bob was remembered too long")
	}
}

// A reader that fetched a record before a change must not put it into the cache after the change.
func TestCacheIsNeverOlderThanTheStore(t *testing.T) {
	h := open(t, nil)
	h.store.read = func() { h.add(t, "ann", "pw") }
	if h.Exists("ann") {
		t.Error("the reader came first")
	}
	if !h.Exists("ann") {
		t.Error("what the slow reader saw hides the new account")
	}
	h = reopen(t, h.store, nil) // with an empty cache
	h.store.read = func() { must(t, h.DeleteUser(context.Background(), "ann")) }
	if !h.Exists("ann") {
		t.Error("the reader came first")
	}
	if h.Exists("ann") {
		t.Error("what the slow reader saw brings the account back")
	}
}

func TestFullDiskIsARefusal(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "pw")
	h.store.fail = fmt.Errorf("engine: %w", storage.ErrFull)
	refusal(t, h.AddUser(t.Context(), "bob", []byte("x"), false), chat.Unavailable)
	refusal(t, h.DeleteUser(t.Context(), "ann"), chat.Unavailable)
	if h.Exists("bob") || !h.Exists("ann") || h.revocations() != nil {
		t.Error("what was refused has happened")
	}
	h.in(t, login("ann", "pw")) // readers go on
	h.store.fail = errors.New("broken")
	if err := h.AddUser(t.Context(), "bob", nil, false); err == nil || errors.Is(err, &chat.Refusal{Code: chat.Unavailable}) {
		t.Errorf("a fault is no refusal: %v", err)
	}
	a := login("", "")
	a.CertCN = "carl"
	h.out(t, a, chat.Unavailable)
}

func TestDamagedRecord(t *testing.T) {
	h := open(t, nil)
	h.store.records[string(accountKey("ann"))] = []byte(`{"v":1`)
	h.out(t, login("ann", "x"), chat.Unavailable)
	if _, _, err := h.ListUsers("", 0); !errors.Is(err, storage.ErrDamaged) {
		t.Errorf("err = %v", err)
	}
	if h.Exists("ann") {
		t.Error("exists")
	}
}

func TestDevMode(t *testing.T) {
	h := open(t, func(o *Options) { o.Dev = true })
	id := h.in(t, login("Ann", "whatever"))
	if id.User != "Ann" || id.Method != "dev" || id.Guest || !h.Exists("Ann") || !h.Current(id) {
		t.Errorf("identity %+v", id)
	}
	h.in(t, login("Ann", "something else"))
	h.in(t, Attempt{User: "bob"})
	if h.store.count(storage.SpaceAccount) != 2 {
		t.Error("an account was not stored")
	}
	guest := h.in(t, Attempt{})
	if !guest.Guest || guest.User != "" || guest.Method != "guest" || !h.Current(guest) {
		t.Errorf("guest %+v", guest)
	}
	if r := h.out(t, login("ann", "x"), chat.NotAuthorized); !strings.Contains(r.Reason, "Ann") {
		t.Errorf("dev mode names the cause: %s", r.Reason)
	}
	h.out(t, login("a b", "x"), chat.BadRequest)
	_, text, err := h.AddToken(t.Context(), "bob", TokenSpec{Read: true})
	must(t, err)
	if id := h.in(t, login("bob", text)); id.Scope == nil || id.Method != "token" {
		t.Errorf("a token keeps its limits in dev mode: %+v", id)
	}
	if id := h.in(t, login("Ann", text)); id.Method != "dev" {
		t.Errorf("any password will do: %+v", id)
	}
}

func TestCertificates(t *testing.T) {
	h := open(t, nil)
	cert := func(cn, user string) Attempt { return Attempt{User: user, CertCN: cn, Addr: home} }
	if id := h.in(t, cert("Pump-1", "")); id.User != "Pump-1" || id.Method != "cert" || !h.Exists("Pump-1") {
		t.Errorf("identity %+v", id)
	}
	h.in(t, cert("Pump-1", "Pump-1"))
	h.out(t, cert("Pump-1", "ann"), chat.NotAuthorized)
	h.out(t, cert("pump-1", ""), chat.NotAuthorized)
	h.out(t, cert("Pump 1", ""), chat.NotAuthorized)
	must(t, h.SetDisabled(t.Context(), "Pump-1", true))
	h.out(t, cert("Pump-1", ""), chat.NotAuthorized)

	strict := open(t, func(o *Options) { o.CertNoCreate = true })
	strict.out(t, cert("ann", ""), chat.NotAuthorized)
	strict.add(t, "ann", "x")
	strict.in(t, cert("ann", ""))
}

func TestOptionsNameAllFaults(t *testing.T) {
	_, err := New(Options{
		Argon2:   Params{MemoryKiB: 1},
		Throttle: Throttle{Base: time.Hour},
		JWT:      JWTOptions{Keys: []JWTKey{{Algorithm: "none"}}},
		ACL:      []Rule{{Filter: "a#"}},
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, part := range []string{"Store", "Commit", "Now", "argon2 memory", "Throttle.Base", `"none"`, "no file", "ACL rule 1"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("not named: %s in\n%v", part, err)
		}
	}
}
