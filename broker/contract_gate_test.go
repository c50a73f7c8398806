package broker_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image/png"
	"strings"
	"testing"
	"time"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/broker/verify"
)

// refused carries out a request that must fail, and returns the code of the refusal and its reason.
func (s *testServer) refused(user, method, payload string) string {
	s.t.Helper()
	reply := string(s.Call(s.t.Context(), user, method, []byte(payload)))
	if !strings.HasPrefix(reply, `{"error":`) {
		s.t.Fatalf("%s of %s by %s: %s", method, payload, user, reply)
	}
	return reply
}

// own subscribes to the user's own log, and tells what comes next there.
func (c *client) own() func() message {
	topic := "u/" + c.name + "/events"
	code(c.t, c.subscribe(topic), 1)
	return func() message {
		c.t.Helper()
		m := c.next()
		if m.topic != topic {
			c.t.Fatalf("%s waits for an event of their own, got %v", c.name, m)
		}
		return m
	}
}

// A QR code of an invitation says its link, which leads to the public address where there is one.
func TestInvitationAsQRCode(t *testing.T) {
	for _, base := range []string{"", "https://chat.example.org"} {
		s := serve(t, func(c *config.Config) { c.PublicURL = base })
		s.know("ana", "bob")
		s.group("ana", "crew")
		var inv struct{ Code, Link, QR string }
		ok := s.call("ana", "invite.create", `{"conv":"crew","qr":true}`)
		b, err := json.Marshal(ok)
		if err == nil {
			err = json.Unmarshal(b, &inv)
		}
		if err != nil {
			t.Fatal(err)
		}
		want := "petrel:join?code=" + inv.Code
		if base != "" {
			want = base + "/join/" + inv.Code
		}
		if inv.Link != want || len(inv.Code) < 16 {
			t.Errorf("link %s, want %s", inv.Link, want)
		}
		if got := decodeQR(t, inv.QR); got != inv.Link {
			t.Errorf("the QR code says %q", got)
		}
		s.call("bob", "invite.accept", `{"code":"`+inv.Code+`"}`)
	}
}

func decodeQR(t *testing.T, code string) string {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(code)
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	bmp, err := gozxing.NewBinaryBitmapFromImage(img)
	if err != nil {
		t.Fatal(err)
	}
	res, err := qrcode.NewQRCodeReader().Decode(bmp, nil)
	if err != nil {
		t.Fatal(err)
	}
	return res.GetText()
}

// Who is banned gets everything up to the ban, on each of their devices, and nothing after it; what happened
// between two stays they never see. The server knows all of it after a restart.
func TestBannedMember(t *testing.T) {
	versions(t, func(t *testing.T, version opt) {
		s := serve(t)
		s.know("ana", "bob", "eve")
		s.group("ana", "crew", "bob")                                  // 1, 2
		s.call("ana", "group.update", `{"conv":"crew","join":"open"}`) // 3
		ana := s.dial("ana")
		here, away := s.dial("bob", version), s.dial("bob", version, keep, device("away"))
		eve := s.dial("eve", version, keep)
		code(t, here.subscribe("c/+/json", "c/crew/info"), 1, 1)
		here.next()
		code(t, away.subscribe("c/+/json"), 1)
		code(t, eve.subscribe("c/+/json"), 1)
		away.leave()
		ana.send("c/crew/text", "4")
		s.call("ana", "member.ban", `{"conv":"crew","user":"bob"}`) // 5
		s.call("ana", "member.ban", `{"conv":"crew","user":"eve"}`) // 6: never was a member
		ana.send("c/crew/text", "7")
		equal(t, here.seqs(2), "4", "5")
		if m := here.next(); m.topic != "c/crew/info" || m.payload != "" {
			t.Error(m)
		}
		here.quiet()
		eve.quiet()
		s.Restart()
		for _, user := range []string{"bob", "eve"} {
			for _, request := range []string{`group.join {"conv":"crew"}`, `history {"conv":"crew"}`, `group.get {"conv":"crew"}`} {
				method, payload, _ := strings.Cut(request, " ")
				s.refused(user, method, payload)
			}
			if got := fmt.Sprint(s.call(user, "sync", `{}`), s.call(user, "conv.list", `{}`)); strings.Contains(got, "crew") {
				t.Errorf("%s: %s", user, got)
			}
		}
		if got := s.refused("ana", "member.add", `{"conv":"crew","user":"bob"}`); !strings.Contains(got, "unban them first") {
			t.Error(got)
		}
		for _, user := range []string{"bob", "eve"} {
			s.call("ana", "member.unban", `{"conv":"crew","user":"`+user+`"}`) // 8, 10
			s.call(user, "group.join", `{"conv":"crew"}`)                      // 9, 11
		}
		away = s.dial("bob", version, keep, device("away"))
		equal(t, away.seqs(5), "4", "5", "9", "10", "11")
		away.quiet()
		eve = s.dial("eve", version, keep)
		equal(t, eve.seqs(1), "11")
		eve.quiet()
		s.verify()
	})
}

// Whoever is muted reads on and writes nothing, until it is over by the server's clock.
func TestMutedMember(t *testing.T) {
	s := serve(t)
	s.know("ana", "bob")
	s.group("ana", "crew", "bob") // 1, 2
	bob, old := s.dial("bob", v5), s.dial("bob", device("old"))
	code(t, bob.subscribe("c/+/json"), 1)
	until := time.Now().Add(time.Hour).UnixMilli()
	s.call("ana", "member.mute", fmt.Sprintf(`{"conv":"crew","user":"bob","until":%d}`, until)) // 3
	if m := bob.next(); m.field(t, "kind") != "mute" || !strings.Contains(m.payload, fmt.Sprint(`"until":`, until)) {
		t.Error(m)
	}
	for topic, payload := range map[string]string{
		"c/crew/text": "hello", "c/crew/json": `{"kind":"react","re":1,"emoji":"👍"}`,
	} {
		if c := bob.publish(topic, payload); c != 0x87 {
			t.Errorf("%s is answered 0x%02X", topic, c)
		}
	}
	code(t, old.subscribe("u/bob/errors"), 1)
	old.publish("c/crew/text", "hello")
	if m := old.next(); !strings.Contains(m.payload, "has muted you in this group for") {
		t.Error(m)
	}
	s.dial("ana").send("c/crew/text", "quiet, isn't it")
	equal(t, bob.seqs(1), "4")
	s.Restart()
	bob = s.dial("bob", v5)
	if c := bob.publish("c/crew/text", "hello"); c != 0x87 {
		t.Errorf("after a restart a muted member's post is answered 0x%02X", c)
	}
	s.call("ana", "member.mute", `{"conv":"crew","user":"bob","until":0}`)
	bob.send("c/crew/text", "hello")
	s.verify()
}

// Requests: who decides is told, once; who asked learns the outcome; all of it survives a restart.
func TestRequestsToJoin(t *testing.T) {
	s := serve(t)
	s.know("ana", "mo", "ben", "bob", "eve")
	s.group("ana", "crew", "mo", "ben")
	s.call("ana", "member.role", `{"conv":"crew","user":"mo","role":"moderator"}`)
	s.call("ana", "group.update", `{"conv":"crew","join":"request"}`)
	ana, mo, ben, bob, eve := s.dial("ana").own(), s.dial("mo").own(), s.dial("ben"), s.dial("bob").own(), s.dial("eve").own()
	code(t, ben.subscribe("u/ben/events"), 1)
	for range 2 {
		if got := s.call("bob", "group.join", `{"conv":"crew","text":"let me in"}`); got["state"] != "pending" {
			t.Error(got)
		}
	}
	s.call("eve", "group.join", `{"conv":"crew"}`)
	for _, next := range []func() message{ana, mo} {
		for _, user := range []string{"bob", "eve"} {
			if m := next(); m.field(t, "kind") != "requested" || m.field(t, "from") != user || m.field(t, "conv") != "crew" {
				t.Error(m)
			}
		}
	}
	ben.quiet() // decides nothing
	s.call("mo", "request.approve", `{"conv":"crew","user":"bob"}`)
	s.call("mo", "request.deny", `{"conv":"crew","user":"eve"}`)
	if m := bob(); m.field(t, "kind") != "added" || m.field(t, "conv") != "crew" {
		t.Error(m)
	}
	if m := eve(); m.field(t, "kind") != "denied" || m.field(t, "conv") != "crew" || strings.Contains(m.payload, "mo") {
		t.Error(m)
	}
	s.Restart()
	if got := s.refused("eve", "group.join", `{"conv":"crew"}`); !strings.Contains(got, "rate-limited") {
		t.Error(got)
	}
	s.call("bob", "history", `{"conv":"crew"}`)
	s.refused("eve", "history", `{"conv":"crew"}`)
	s.verify()
}

// The end of a group ends what stood at its gate: its codes lead nowhere, and who waits is told.
func TestEndOfAGate(t *testing.T) {
	s := serve(t)
	s.know("ana", "bob", "eve")
	s.group("ana", "crew")
	s.call("ana", "group.update", `{"conv":"crew","join":"request"}`)
	invite := s.call("ana", "invite.create", `{"conv":"crew"}`)["code"]
	eve := s.dial("eve").own()
	s.call("eve", "group.join", `{"conv":"crew"}`)
	s.call("ana", "group.leave", `{"conv":"crew"}`) // the last one
	if m := eve(); m.field(t, "kind") != "denied" {
		t.Error(m)
	}
	if got := s.refused("bob", "invite.accept", fmt.Sprintf(`{"code":%q}`, invite)); !strings.Contains(got, "ask for a new one") {
		t.Error(got)
	}
	s.verify()
}

// verify stops the server and checks every invariant of what it has stored.
func (s *testServer) verify() {
	s.t.Helper()
	s.Stop()
	sum, err := broker.Verify(s.Config.Data, func(p verify.Problem) { s.t.Error(p) })
	if err != nil || !sum.OK() {
		s.t.Error(sum, err)
	}
}
