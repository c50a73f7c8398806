package auth

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

func TestDeviceToken(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "pw")
	must(t, h.SetAdmin(t.Context(), "ann", true))
	info, text, err := h.AddToken(t.Context(), "ann", TokenSpec{
		Name: "greenhouse", Convs: []string{"ann~bob", "garden"}, Write: true, Expires: h.clock.Now().Add(time.Hour),
	})
	must(t, err)
	if !isToken(text) || !strings.HasPrefix(text, "petrel_"+info.ID) || info.Name != "greenhouse" || !info.Used.IsZero() {
		t.Errorf("token %s, %+v", text, info)
	}
	for _, user := range []string{"ann", ""} { // MQTT 5 lets the user name out
		id := h.in(t, login(user, text))
		if id.User != "ann" || id.Method != "token" || id.TokenID != info.ID || id.Admin || !id.Expires.Equal(info.Expires) {
			t.Errorf("identity %+v", id)
		}
		sc := id.Scope
		if sc == nil || !sc.MayWrite("garden") || !sc.MayWrite("ann~bob") || sc.MayWrite("general") || sc.MayRead("garden") {
			t.Errorf("scope %+v", sc)
		}
	}
	secret := text[len(tokenMark)+tokenID:]
	for _, v := range h.store.records {
		if strings.Contains(string(v), secret) {
			t.Errorf("the secret is in the store: %s", v)
		}
	}
	h.out(t, login("bob", text), chat.NotAuthorized)
	h.out(t, login("Ann", text), chat.NotAuthorized)
	h.out(t, login("ann", text[:len(text)-1]), chat.NotAuthorized) // just a password
	h.out(t, login("ann", strings.ToUpper(text)), chat.NotAuthorized)
	flipped := []byte(text)
	flipped[len(flipped)-1] ^= 'a' ^ 'b'
	h.out(t, from("192.0.2.7", login("ann", string(flipped))), chat.NotAuthorized)
	if strings.Contains(h.logs.String(), secret[:10]) {
		t.Error("the secret is in the log")
	}

	id := h.in(t, login("ann", text))
	h.clock.add(time.Hour)
	if h.Current(id) {
		t.Error("expired, but current")
	}
	if r := h.out(t, from("192.0.2.8", login("ann", text)), chat.NotAuthorized); r.Reason != wrongText {
		t.Error(r.Reason)
	}
}

func TestTokenWithoutLimitsIsLikeAPassword(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "pw")
	_, text, err := h.AddToken(t.Context(), "ann", TokenSpec{Read: true, Write: true})
	must(t, err)
	if id := h.in(t, login("ann", text)); id.Scope != nil || !id.Scope.MayRead("x") || !id.Scope.MayWrite("x") {
		t.Errorf("scope %+v", id.Scope)
	}
}

func TestRevokeToken(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "pw")
	info, text, err := h.AddToken(t.Context(), "ann", TokenSpec{Read: true})
	must(t, err)
	other, otherText, err := h.AddToken(t.Context(), "ann", TokenSpec{Read: true})
	must(t, err)
	id, otherID := h.in(t, login("ann", text)), h.in(t, login("ann", otherText))
	must(t, h.RevokeToken(t.Context(), text)) // pasted whole
	if got := h.revocations(); !slices.Equal(got, []revocation{{"ann", info.ID}}) {
		t.Errorf("revocations %v", got)
	}
	if h.Current(id) || !h.Current(otherID) {
		t.Error("the wrong one is current")
	}
	h.out(t, login("ann", text), chat.NotAuthorized)
	h.in(t, login("ann", otherText))
	must(t, h.Flush()) // must not bring it back
	if h.store.count(storage.SpaceToken) != 1 {
		t.Error("the token is back")
	}
	refusal(t, h.RevokeToken(t.Context(), info.ID), chat.NotFound)
	refusal(t, h.RevokeToken(t.Context(), "x/y"), chat.BadRequest)
	must(t, h.SetDisabled(t.Context(), "ann", true))
	if h.Current(otherID) {
		t.Error("the token of a disabled account is current")
	}
	h.out(t, login("ann", otherText), chat.NotAuthorized)
	must(t, h.RevokeToken(t.Context(), other.ID))
}

func TestLastUse(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "pw")
	_, text, err := h.AddToken(t.Context(), "ann", TokenSpec{Read: true})
	must(t, err)
	h.in(t, login("ann", text)) // which is noted in the audit trail
	commits := h.store.commits
	h.in(t, login("ann", text))
	if h.store.commits != commits {
		t.Error("every login writes")
	}
	used := func() time.Time {
		list, _, err := h.ListTokens("ann", "", 0)
		must(t, err)
		return list[0].Used
	}
	first := h.clock.Now()
	if !used().Equal(first) {
		t.Error("the list does not know the last use")
	}
	must(t, h.Flush())
	if h.store.commits != commits+1 || !used().Equal(first) {
		t.Error("not written")
	}
	h.clock.add(59 * time.Second)
	h.in(t, login("ann", text))
	must(t, h.Flush())
	if h.store.commits != commits+1 {
		t.Error("written twice within a minute")
	}
	h.clock.add(time.Second)
	h.in(t, login("ann", text))
	must(t, h.Flush())
	if h.store.commits != commits+2 || !used().Equal(h.clock.Now()) {
		t.Error("not written after a minute")
	}
}

func TestTokenSpecIsChecked(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "pw")
	many := make([]string, maxTokenConvs+1)
	for name, spec := range map[string]TokenSpec{
		"useless":       {},
		"long name":     {Read: true, Name: strings.Repeat("x", 101)},
		"not UTF-8":     {Read: true, Name: "\xff"},
		"empty list":    {Read: true, Convs: []string{}},
		"many":          {Read: true, Convs: many},
		"expired":       {Read: true, Expires: h.clock.Now()},
		"empty conv":    {Read: true, Convs: []string{""}},
		"wildcard":      {Read: true, Convs: []string{"+"}},
		"upper case":    {Read: true, Convs: []string{"Garden"}},
		"dash first":    {Read: true, Convs: []string{"-a"}},
		"others' chat":  {Read: true, Convs: []string{"bob~cy"}},
		"wrong order":   {Read: true, Convs: []string{"bob~ann"}},
		"oneself":       {Read: true, Convs: []string{"ann~ann"}},
		"three of them": {Read: true, Convs: []string{"ann~bob~cy"}},
	} {
		_, _, err := h.AddToken(t.Context(), "ann", spec)
		if r, ok := err.(*chat.Refusal); !ok || r.Code != chat.BadRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, _, err := h.AddToken(t.Context(), "bob", TokenSpec{Read: true})
	refusal(t, err, chat.NotFound)
	if h.store.count(storage.SpaceToken) != 0 {
		t.Error("something was stored")
	}
}

func TestListTokens(t *testing.T) {
	h := open(t, nil)
	want := map[string]int{"ann": 5, "bob": 3}
	for user, n := range want {
		h.add(t, user, "pw")
		for range n {
			_, _, err := h.AddToken(t.Context(), user, TokenSpec{Read: true})
			must(t, err)
		}
	}
	for user, n := range map[string]int{"ann": 5, "bob": 3, "": 8, "cy": 0} {
		seen := map[string]bool{}
		for after := ""; ; {
			list, more, err := h.ListTokens(user, after, 2)
			must(t, err)
			for _, info := range list {
				if seen[info.ID] || user != "" && info.User != user {
					t.Errorf("%q: %+v", user, info)
				}
				seen[info.ID], after = true, info.ID
			}
			if !more {
				break
			}
		}
		if len(seen) != n {
			t.Errorf("%q has %d tokens, want %d", user, len(seen), n)
		}
	}
}

// Two users' ids may begin alike by chance; then a list must still tell them apart.
func TestSharedTokenPrefix(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "pw")
	info, _, err := h.AddToken(t.Context(), "ann", TokenSpec{Read: true})
	must(t, err)
	alien := &token{Version: recordVersion, ID: info.ID[:tokenUser] + "zzzzzzzz", User: "bob", Read: true, Hash: make([]byte, 32)}
	h.store.records[string(tokenKey(alien.ID))] = encode(alien)
	if list, _, err := h.ListTokens("ann", "", 0); err != nil || len(list) != 1 || list[0].ID != info.ID {
		t.Errorf("%v, %v", list, err)
	}
	must(t, h.DeleteUser(t.Context(), "ann"))
	if h.store.count(storage.SpaceToken) != 1 {
		t.Error("the other user's token went too")
	}
}
