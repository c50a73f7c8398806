package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

func strict(body string) func(any) error {
	return func(into any) error {
		d := json.NewDecoder(bytes.NewReader([]byte(body)))
		d.DisallowUnknownFields()
		return d.Decode(into)
	}
}

func call(t *testing.T, a *Admin, method, body string) string {
	t.Helper()
	reply, err := a.Call(WithActor(t.Context(), "root"), method, strict(body))
	if err != nil {
		t.Fatalf("%s %s: %v", method, body, err)
	}
	text, err := json.Marshal(reply)
	must(t, err)
	return string(text)
}

func TestAdmin(t *testing.T) {
	h := open(t, nil)
	a := NewAdmin(h.Service)
	const created = `"created":1700000000000`
	for _, tc := range []struct{ method, body, want string }{
		{"admin.user.add", `{"user":"ann","password":"pw"}`, `{"user":"ann","admin":false,"disabled":false,"password":true,` + created + `}`},
		{"admin.user.add", `{"user":"Bob","admin":true}`, `{"user":"Bob","admin":true,"disabled":false,"password":false,` + created + `}`},
		{"admin.user.passwd", `{"user":"Bob","password":"pw"}`, `{"user":"Bob","admin":true,"disabled":false,"password":true,` + created + `}`},
		{"admin.user.update", `{"user":"Bob","admin":false,"disabled":true}`, `{"user":"Bob","admin":false,"disabled":true,"password":true,` + created + `}`},
		{"admin.user.list", `{"limit":1}`, `{"users":[{"user":"ann","admin":false,"disabled":false,"password":true,` + created + `}],"more":true}`},
		{"admin.user.del", `{"user":"Bob"}`, `{}`},
		{"admin.user.list", `{"after":"ann"}`, `{"users":[],"more":false}`},
		{"admin.token.list", `{"user":"ann"}`, `{"tokens":[],"more":false}`},
	} {
		if got := call(t, a, tc.method, tc.body); got != tc.want {
			t.Errorf("%s %s\n got %s\nwant %s", tc.method, tc.body, got, tc.want)
		}
	}
	h.in(t, login("ann", "pw"))
	var made TokenAddReply
	must(t, json.Unmarshal([]byte(call(t, a, "admin.token.add", `{"user":"ann","name":"pump","write":true,"expires":60,"convs":["garden"]}`)), &made))
	id := h.in(t, login("ann", made.Token))
	if id.Scope == nil || id.Scope.Read || !id.Scope.Write || !id.Expires.Equal(h.clock.Now().Add(time.Minute)) {
		t.Errorf("identity %+v", id)
	}
	list := call(t, a, "admin.token.list", `{}`)
	if want := `"name":"pump","convs":["garden"],"read":false,"write":true,"created":1700000000000,"expires":1700000060000,"used":1700000000000`; !strings.Contains(list, want) {
		t.Errorf("list %s", list)
	}
	call(t, a, "admin.token.revoke", `{"id":"`+made.ID+`"}`)
	must(t, json.Unmarshal([]byte(call(t, a, "admin.token.add", `{"user":"ann"}`)), &made))
	if h.in(t, login("ann", made.Token)).Scope != nil {
		t.Error("without limits it has limits")
	}
}

func TestAdminRefuses(t *testing.T) {
	h := open(t, nil)
	a := NewAdmin(h.Service)
	h.add(t, "ann", "pw")
	before := h.store.count(storage.SpaceAudit)
	for _, tc := range []struct {
		method, body string
		code         chat.Code
		says         string
	}{
		{"admin.user.frobnicate", `{}`, chat.NotFound, "frobnicate"},
		{"admin.user.add", `{"user":"Ann"}`, chat.Conflict, "taken"},
		{"admin.user.add", `{"user":"a b"}`, chat.BadRequest, "A-Z"},
		{"admin.user.add", `{"user":"bob","password":""}`, chat.BadRequest, "password"},
		{"admin.user.add", `{"user":"bob","disabled":true}`, chat.BadRequest, "admin.user.update"},
		{"admin.user.add", `{}`, chat.BadRequest, "user is missing"},
		{"admin.user.add", `{"user":7}`, chat.BadRequest, "field user must be of type string"},
		{"admin.user.add", `{"user":"bob","pasword":"hunter2"}`, chat.BadRequest, "names of its fields"},
		{"admin.user.add", `{"user":"bob","password":"hunter2`, chat.BadRequest, "syntax"},
		{"admin.user.passwd", `{"user":"ann"}`, chat.BadRequest, "password is missing"},
		{"admin.user.passwd", `{"user":"bob","password":"x"}`, chat.NotFound, "bob"},
		{"admin.user.passwd", `{"user":"ANN","password":"x"}`, chat.NotFound, "did you mean ann"},
		{"admin.user.update", `{"user":"ann"}`, chat.BadRequest, "Nothing to change"},
		{"admin.user.update", `{"user":"ann","password":"x"}`, chat.BadRequest, "passwd"},
		{"admin.user.del", `{"user":"bob"}`, chat.NotFound, "bob"},
		{"admin.user.del", `{"user":"ann","admin":true}`, chat.BadRequest, "admin"},
		{"admin.user.list", `{"user":"ann"}`, chat.BadRequest, "after"},
		{"admin.token.add", `{"user":"ann","read":false}`, chat.BadRequest, "no use"},
		{"admin.token.add", `{"user":"ann","expires":-1}`, chat.BadRequest, "seconds"},
		{"admin.token.add", `{"user":"ann","expires":9000000000000}`, chat.BadRequest, "seconds"},
		{"admin.token.add", `{"user":"ann","convs":[]}`, chat.BadRequest, "empty"},
		{"admin.token.add", `{"read":true}`, chat.BadRequest, "user is missing"},
		{"admin.token.add", `{"user":"bob"}`, chat.NotFound, "bob"},
		{"admin.token.revoke", `{}`, chat.BadRequest, "id"},
		{"admin.token.list", `{"user":"bob"}`, chat.NotFound, "bob"},
		{"admin.audit", `{"after":"x"}`, chat.BadRequest, "after"},
		{"admin.audit", `{"before":"1-x"}`, chat.BadRequest, "before"},
	} {
		_, err := a.Call(t.Context(), tc.method, strict(tc.body))
		r, ok := err.(*chat.Refusal)
		if !ok || r.Code != tc.code || !strings.Contains(r.Reason, tc.says) || strings.Contains(r.Reason, "hunter2") {
			t.Errorf("%s %s: %v, want %s with %q", tc.method, tc.body, err, tc.code, tc.says)
		}
	}
	if h.store.count(storage.SpaceAudit) != before || h.store.count(storage.SpaceAccount) != 1 {
		t.Error("a refused call changed something")
	}
}

func TestAuditTrail(t *testing.T) {
	h := open(t, nil)
	a := NewAdmin(h.Service)
	call(t, a, "admin.user.add", `{"user":"ann","password":"hunter2"}`)
	call(t, a, "admin.user.passwd", `{"user":"ann","password":"hunter3"}`)
	h.clock.add(-time.Hour) // the order is that of the changes, whatever the clock does
	var made TokenAddReply
	must(t, json.Unmarshal([]byte(call(t, a, "admin.token.add", `{"user":"ann"}`)), &made))
	call(t, a, "admin.token.revoke", `{"id":"`+made.ID+`"}`)
	call(t, a, "admin.user.update", `{"user":"ann","admin":true,"disabled":true}`)
	must(t, h.DeleteUser(t.Context(), "ann"))
	h.in(t, Attempt{CertCN: "pump"})

	var got []string
	after := ""
	for more := true; more; {
		var page AuditListReply
		must(t, json.Unmarshal([]byte(call(t, a, "admin.audit", fmt.Sprintf(`{"after":%q,"limit":3}`, after))), &page))
		for _, e := range page.Entries {
			got = append(got, e.Who+": "+e.What+" "+e.Target)
			after = e.ID
		}
		more = page.More
	}
	want := []string{
		"root: user.add ann", "root: user.passwd ann", "root: token.add ann " + made.ID, "root: token.revoke ann " + made.ID,
		"root: user.admin.on ann", "root: user.disable ann", "server: user.del ann", "cert: user.add pump", "pump: login pump",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for k, v := range h.store.records {
		if s := string(v); strings.Contains(s, "hunter") || k[0] == byte(storage.SpaceAudit) && strings.Contains(s, made.Token[len(tokenMark)+tokenID:]) {
			t.Errorf("a secret is in the store: %s", v)
		}
	}
}

func TestAdminKnowsItsMethods(t *testing.T) {
	want := []string{
		"admin.audit", "admin.token.add", "admin.token.list", "admin.token.revoke",
		"admin.user.add", "admin.user.del", "admin.user.list", "admin.user.passwd", "admin.user.update",
	}
	if got := NewAdmin(open(t, nil).Service).Methods(); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

// Everything at once, for the race detector; at the end all must fit together.
func TestConcurrentUse(t *testing.T) {
	h := open(t, func(o *Options) { o.Throttle.Off = true })
	var wg sync.WaitGroup
	ctx := context.Background()
	for i := range 8 {
		wg.Go(func() {
			user := fmt.Sprint("u", i%4)
			for n := range 30 {
				h.AddUser(ctx, user, []byte("pw"), false)
				id, err := h.Authenticate(ctx, login(user, "pw"))
				if err == nil {
					h.Current(id)
				}
				if info, text, err := h.AddToken(ctx, user, TokenSpec{Read: true}); err == nil {
					h.Authenticate(ctx, login(user, text))
					if n%2 == 0 {
						h.RevokeToken(ctx, info.ID)
					}
				}
				h.SetPassword(ctx, user, []byte("pw"))
				h.Flush()
				h.ListTokens(user, "", 0)
				h.ListUsers("", 0)
				h.Reload(JWTOptions{})
				h.ReloadACL(nil)
				h.Compile(id, "x").AllowPublish("public/x")
				if n%3 == 0 {
					h.DeleteUser(ctx, user)
				}
			}
		})
	}
	wg.Wait()
	list, _, err := h.ListTokens("", "", 1000)
	must(t, err)
	for _, info := range list {
		if !h.Exists(info.User) {
			t.Errorf("token %s outlived its user %s", info.ID, info.User)
		}
	}
	users, _, err := h.ListUsers("", 0)
	must(t, err)
	for _, u := range users {
		h.in(t, login(u.User, "pw"))
	}
}
