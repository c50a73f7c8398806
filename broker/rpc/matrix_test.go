package rpc_test

import (
	"fmt"
	"strings"
	"testing"
)

// requests on a conversation, with %s for its id.
var onConversations = []struct{ method, request string }{
	{"group.get", `{"conv":"%s"}`},
	{"group.update", `{"conv":"%s","title":"x"}`},
	{"group.delete", `{"conv":"%s"}`},
	{"group.join", `{"conv":"%s"}`},
	{"group.leave", `{"conv":"%s"}`},
	{"member.list", `{"conv":"%s"}`},
	{"member.add", `{"conv":"%s","user":"alice"}`},
	{"member.add", `{"conv":"%s","user":"ghost"}`},
	{"member.remove", `{"conv":"%s","user":"alice"}`},
	{"member.role", `{"conv":"%s","user":"alice","role":"admin"}`},
	{"member.ban", `{"conv":"%s","user":"alice"}`},
	{"member.unban", `{"conv":"%s","user":"alice"}`},
	{"member.mute", `{"conv":"%s","user":"alice","until":0}`},
	{"member.bans", `{"conv":"%s"}`},
	{"request.list", `{"conv":"%s"}`},
	{"request.approve", `{"conv":"%s","user":"alice"}`},
	{"request.deny", `{"conv":"%s","user":"alice"}`},
	{"invite.create", `{"conv":"%s"}`},
	{"invite.list", `{"conv":"%s"}`},
	{"invite.revoke", `{"conv":"%s","code":"abcdefghijklmnopqrst"}`},
	{"invite.accept", `{"conv":"%s","code":"abcdefghijklmnopqrst"}`},
	{"history", `{"conv":"%s"}`},
	{"history", `{"conv":"%s","after":0}`},
	{"receipts", `{"conv":"%s","seq":1}`},
}

// Nobody can tell what they may not see from what does not exist, to the byte.
func TestRefusalsAreTheSame(t *testing.T) {
	s := newServer(t)
	s.users("alice", "former", "outsider", "bob")
	s.ok("alice", "group.create", `{"id":"secret","title":"Secret","members":["former"]}`, nil)
	s.ok("former", "group.leave", `{"conv":"secret"}`, nil)
	s.ok("alice", "group.create", `{"id":"ended","title":"Over","visibility":"public","members":["former"]}`, nil)
	s.ok("alice", "group.delete", `{"conv":"ended"}`, nil)
	s.ok("alice", "group.create", `{"id":"closed","title":"Closed","join":"request"}`, nil)

	same := func(user, method, request, conv, nowhere string) {
		t.Helper()
		got := string(s.raw(user, method, fmt.Sprintf(request, conv), 0))
		want := string(s.raw(user, method, fmt.Sprintf(request, nowhere), 0))
		if got != want || !strings.HasPrefix(got, `{"error":`) {
			t.Errorf("%s by %q: %s answers %s, %s answers %s", method, user, conv, got, nowhere, want)
		}
	}
	for _, r := range onConversations {
		for _, conv := range []string{"secret", "ended", "closed"} {
			if conv == "closed" && (r.method == "group.join" || r.method == "group.leave") {
				continue // whoever was told its id may ask to join, and take that back
			}
			for _, user := range []string{"former", "outsider", ""} {
				same(user, r.method, r.request, conv, "nowhere")
			}
		}
		same("alice", r.method, r.request, "ended", "nowhere") // its owner, too
	}
	// A direct conversation of others, whether they have talked or not.
	s.post("alice", "alice~bob", postOf("hello"))
	for _, r := range onConversations {
		same("outsider", r.method, r.request, "alice~bob", "bob~former")
		same("", r.method, r.request, "alice~bob", "bob~former")
	}
}

// A former member of a public group is told the way back in, and nothing of what happens there.
func TestFormerMemberOfPublicGroup(t *testing.T) {
	s := newServer(t)
	s.users("alice", "former", "outsider")
	s.ok("alice", "group.create", `{"id":"town","title":"Town","visibility":"public","join":"open","members":["former"]}`, nil)
	s.ok("former", "group.leave", `{"conv":"town"}`, nil)
	for _, r := range onConversations {
		if r.method == "group.get" || r.method == "group.join" {
			continue
		}
		former := string(s.raw("former", r.method, fmt.Sprintf(r.request, "town"), 0))
		outsider := string(s.raw("outsider", r.method, fmt.Sprintf(r.request, "town"), 0))
		if former != outsider || !strings.HasPrefix(former, `{"error":`) {
			t.Errorf("%s: %s for the former member, %s for the outsider", r.method, former, outsider)
		}
	}
}

func TestInfoPayload(t *testing.T) {
	s := newServer(t)
	s.users("alice", "bob")
	s.ok("alice", "group.create", `{"id":"town","title":"Town","visibility":"public","members":["bob"]}`, nil)
	s.post("alice", "alice~bob", postOf("hello"))
	s.ok("bob", "group.leave", `{"conv":"town"}`, nil)
	for _, x := range []struct{ user, conv, want string }{
		{"alice", "town", `{"title":"Town","visibility":"public","join":"invite","history":"all","members":1,"role":"owner","created":1767225600000,"head":3}`},
		{"bob", "town", ""},
		{"bob", "alice~bob", `{"members":2,"role":"member","head":1}`},
		{"carol", "alice~bob", ""},
		{"alice", "nowhere", ""},
		{"alice", "no id", ""},
	} {
		got, ok, err := s.svc.InfoPayload(x.user, x.conv)
		if must(t, err); string(got) != x.want || ok != (x.want != "") {
			t.Errorf("%s of %s: %s, %v", x.conv, x.user, got, ok)
		}
	}
	s.ok("alice", "group.delete", `{"conv":"town"}`, nil)
	if got, ok, err := s.svc.InfoPayload("alice", "town"); ok || err != nil {
		t.Errorf("after the end: %s, %v, %v", got, ok, err)
	}
}
