package broker_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/broker/verify"
	"github.com/petrelchat/petrel/internal/mqttc"
)

// granted makes a request that must succeed.
func (c *client) granted(method, request string) map[string]any {
	c.t.Helper()
	got := c.ask(method, request)
	m, isMap := got["ok"].(map[string]any)
	if got["error"] != nil || !isMap && got["ok"] == nil {
		c.t.Fatalf("%s %s by %s: %v", method, request, c.name, got)
	}
	return m
}

// head is where a conversation ends.
func (c *client) head(conv string) int64 {
	c.t.Helper()
	n, err := c.granted("history", fmt.Sprintf(`{"conv":%q}`, conv))["head"].(json.Number).Int64()
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// post sends text to the path of an incoming webhook.
func (s *testServer) post(path, text string, header ...string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://"+s.Addr("http")+path, strings.NewReader(text))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "text/plain")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(b))
}

// What is posted over HTTP reaches members over MQTT, and what they say reaches the endpoint over HTTP, also
// when the server was restarted in between.
func TestWebhooksBothWays(t *testing.T) {
	type batch struct {
		Conv   string
		Events []struct {
			Seq  uint64
			From string
			Text string
		}
	}
	got := make(chan batch, 100)
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b batch
		if err := json.NewDecoder(r.Body).Decode(&b); err != nil {
			t.Error(err)
		}
		got <- b
	}))
	defer endpoint.Close()
	next := func(n int) (said []string) {
		t.Helper()
		for len(said) < n {
			select {
			case b := <-got:
				for _, ev := range b.Events {
					said = append(said, fmt.Sprintf("%s %d %s", b.Conv, ev.Seq, ev.Text))
				}
			case <-time.After(patience):
				t.Fatal("nothing was delivered")
			}
		}
		return said
	}
	s := serve(t)
	ana, bob := s.dial("ana"), s.dial("bob", keep)
	ana.granted("group.create", `{"id":"birds","title":"Birds","members":["bob"],"tag":"1"}`)
	in := ana.granted("webhook.create", `{"conv":"birds","kind":"in","name":"Weather"}`)
	out := ana.granted("webhook.create", fmt.Sprintf(`{"conv":"birds","kind":"out","url":%q}`, endpoint.URL))
	if out["secret"] == nil || out["url"] != nil || in["secret"] != nil {
		t.Fatal(in, out)
	}
	path, hook := in["url"].(string), in["bot"].(string)
	ok(t, bob.subscribe("c/+/text/+"))
	head := ana.head("birds")
	if status, reply := s.post(path, "rain", "Idempotency-Key", "1"); status != 200 || reply != fmt.Sprintf(`{"seq":%d}`, head+1) {
		t.Fatal(status, reply)
	}
	bob.expect([2]string{"c/birds/text/" + hook, "rain"})
	if said := next(1); said[0] != fmt.Sprintf("birds %d rain", head+1) {
		t.Fatal(said)
	}
	if p := bob.granted("user.get", fmt.Sprintf(`{"user":%q}`, hook)); p["name"] != "Weather" || p["bot"] != true {
		t.Fatal(p)
	}
	s.Restart()
	if status, reply := s.post(path, "rain", "Idempotency-Key", "1"); status != 200 || reply != fmt.Sprintf(`{"seq":%d}`, head+1) {
		t.Fatal("the retry:", status, reply)
	}
	if status, _ := s.post(path, "sun"); status != 200 {
		t.Fatal(status)
	}
	bob = s.dial("bob", keep)
	bob.expect([2]string{"c/birds/text/" + hook, "sun"})
	if said := next(1); said[len(said)-1] != fmt.Sprintf("birds %d sun", head+2) {
		t.Fatal(said)
	}
	if status, reply := s.post(path+"x", "sun"); status != 404 {
		t.Fatal(status, reply)
	}
	if status, reply := s.post(path, strings.Repeat("x", 70_000)); status != 413 {
		t.Fatal(status, reply)
	}
	s.Stop()
	sum, err := verifyStore(s.Config.Data)
	if err != nil || !sum.OK() || sum.Webhooks != 2 || sum.Bots != 1 {
		t.Errorf("%+v, %v", sum, err)
	}
}

// Which roles may do what with webhooks, each method over the wire.
func TestWebhookPermissions(t *testing.T) {
	s := serve(t)
	ana := s.dial("ana")
	ana.granted("group.create", `{"id":"birds","title":"Birds"}`)
	ana.granted("group.create", `{"id":"loose","title":"Members change the settings"}`)
	users := map[string]string{"adam": "admin", "mona": "moderator", "mel": "member", "olga": ""}
	people := map[string]*client{"ana": ana}
	for user, role := range users {
		people[user] = s.dial(user)
		for _, conv := range []string{"birds", "loose"} {
			if role != "" {
				ana.granted("member.add", fmt.Sprintf(`{"conv":%q,"user":%q}`, conv, user))
				ana.granted("member.role", fmt.Sprintf(`{"conv":%q,"user":%q,"role":%q}`, conv, user, role))
			}
		}
	}
	ana.granted("group.update", `{"conv":"loose","perms":{"info":"member"}}`)
	for conv, allowed := range map[string][]string{"birds": {"ana", "adam"}, "loose": {"ana", "adam", "mona", "mel"}} {
		id := ana.granted("webhook.create", fmt.Sprintf(`{"conv":%q,"kind":"out","url":"https://example.org"}`, conv))["id"]
		for user, c := range people {
			for method, request := range map[string]string{
				"webhook.create": fmt.Sprintf(`{"conv":%q,"kind":"out","url":"https://example.org"}`, conv),
				"webhook.list":   fmt.Sprintf(`{"conv":%q}`, conv),
				"webhook.rotate": fmt.Sprintf(`{"id":%q}`, id),
				"webhook.enable": fmt.Sprintf(`{"id":%q}`, id),
			} {
				reply := c.ask(method, request)
				if may := slices.Contains(allowed, user); may != (reply["ok"] != nil) {
					t.Errorf("%s in %s by %s: %v", method, conv, user, reply)
				}
			}
			if user == "olga" { // for whom there is no such group, and no such webhook
				for _, pair := range [][3]string{
					{"webhook.list", fmt.Sprintf(`{"conv":%q}`, conv), `{"conv":"nowhere"}`},
					{"webhook.create", fmt.Sprintf(`{"conv":%q,"kind":"in"}`, conv), `{"conv":"nowhere","kind":"in"}`},
					{"webhook.delete", fmt.Sprintf(`{"id":%q}`, id), `{"id":"nothing"}`},
				} {
					if a, b := fmt.Sprint(c.ask(pair[0], pair[1])), fmt.Sprint(c.ask(pair[0], pair[2])); a != b {
						t.Errorf("%s tells: %s, %s", pair[0], a, b)
					}
				}
			}
		}
	}
}

// makeBot makes a bot of ana's in birds and returns its token.
func makeBot(t *testing.T, ana *client, user string) (token string) {
	t.Helper()
	made := ana.granted("bot.create", fmt.Sprintf(`{"user":%q,"name":"Robo"}`, user))
	ana.granted("member.add", fmt.Sprintf(`{"conv":"birds","user":%q}`, user))
	return made["token"].(string)
}

func TestBotsAndCommands(t *testing.T) {
	s := serve(t)
	ana, bob := s.dial("ana", v5), s.dial("bob")
	ana.granted("group.create", `{"id":"birds","title":"Birds","members":["bob"]}`)
	token := makeBot(t, ana, "robo")
	s.turnedAway(4, 0x86, "robo", password("anything")) // in dev mode, where everybody else gets in
	robo := s.dial("robo", v5, password(token))
	ok(t, robo.subscribe("c/+/json"))
	robo.granted("bot.commands", `{"commands":[{"name":"find","about":"Finds a bird"}]}`)
	for user, want := range map[string]string{"ana": "", "bob": "not-found"} {
		c := map[string]*client{"ana": ana, "bob": bob}[user]
		reply := c.ask("bot.commands", `{"user":"robo","commands":[{"name":"find","about":"Finds a bird"},{"name":"list"}]}`)
		if want == "" && reply["ok"] == nil || want != "" && refusalCode(reply) != want {
			t.Errorf("%s: %v", user, reply)
		}
	}
	list := fmt.Sprint(bob.granted("command.list", `{"conv":"birds"}`)["bots"])
	if !strings.Contains(list, "robo") || !strings.Contains(list, "Finds a bird") {
		t.Error(list)
	}
	if reply := s.dial("olga").ask("command.list", `{"conv":"birds"}`); refusalCode(reply) != "not-found" {
		t.Error(reply)
	}
	mentions := func(topic, payload string) string {
		t.Helper()
		if code := bob.publish(topic, payload); code != 0 {
			t.Fatalf("%s: 0x%02X", payload, code)
		}
		ev := object(t, robo.next().payload)
		return fmt.Sprint(ev["text"], ev["mentions"])
	}
	for _, c := range [][3]string{
		{"c/birds/text", "/find a petrel", "/find a petrel[robo]"},
		{"c/birds/text", "/find@robo", "/find@robo[robo]"},
		{"c/birds/text", "/find@other", "/find@other<nil>"},
		{"c/birds/text", "/dance", "/dance<nil>"},
		{"c/birds/text", "not a /find", "not a /find<nil>"},
		{"c/birds/json", `{"text":"/list","mentions":["ana"],"id":"a"}`, "/list[ana robo]"},
		{"u/robo/text", "/list", "/list[robo]"}, // the first message of a direct conversation
	} {
		if got := mentions(c[0], c[1]); got != c[2] {
			t.Errorf("%s: %s, want %s", c[1], got, c[2])
		}
	}
	// The same id and what the sender wrote is a retry, whatever the server added.
	if code := bob.publish("c/birds/json", `{"text":"/list","mentions":["ana"],"id":"a"}`); code != 0 {
		t.Errorf("0x%02X", code)
	}
	robo.quiet()
	if p := bob.granted("user.get", `{"user":"robo"}`); p["bot"] != true || p["name"] != "Robo" {
		t.Error(p)
	}
	if p := bob.granted("user.get", `{"user":"ana"}`); p["bot"] != nil {
		t.Error(p)
	}

	newer := ana.granted("bot.token", `{"user":"robo","convs":["birds"],"read":true}`)["token"].(string)
	robo.await(mqttc.DISCONNECT)
	s.turnedAway(4, 0x86, "robo", password(token))
	robo = s.dial("robo", v5, password(newer))
	if code := robo.publish("c/birds/text", "I may only read"); code != 0x87 {
		t.Errorf("0x%02X", code)
	}
	if reply := bob.ask("bot.delete", `{"user":"robo"}`); refusalCode(reply) != "not-found" {
		t.Error(reply)
	}
	ana.granted("bot.delete", `{"user":"robo"}`)
	robo.await(mqttc.DISCONNECT)
	if members := fmt.Sprint(ana.granted("member.list", `{"conv":"birds"}`)["members"]); strings.Contains(members, "robo") {
		t.Error(members)
	}
	if bots := fmt.Sprint(ana.granted("bot.list", `{}`)["bots"]); bots != "[]" {
		t.Error(bots)
	}
}

// A bot that runs twice gets each event once, in order within a conversation, also when one of the two is cut
// with some of them unanswered.
func TestBotInTwoProcesses(t *testing.T) {
	s := serve(t)
	ana := s.dial("ana")
	ana.granted("group.create", `{"id":"birds","title":"Birds"}`)
	ana.granted("group.create", `{"id":"bees","title":"Bees"}`)
	token := makeBot(t, ana, "robo")
	ana.granted("member.add", `{"conv":"bees","user":"robo"}`)
	process := func(id string) *client {
		c := s.dial("robo", v5, password(token), device(id))
		ok(t, c.subscribe("$share/x/c/+/json"))
		return c
	}
	one, two := process("one"), process("two")
	const each = 60
	seqs := map[string][]uint64{}
	note := func(list []arrival) {
		for _, a := range list {
			if n := len(seqs[a.conv]); n > 0 && seqs[a.conv][n-1] >= a.seq {
				t.Fatalf("%s: %d after %v", a.conv, a.seq, seqs[a.conv])
			}
			seqs[a.conv] = append(seqs[a.conv], a.seq)
		}
	}
	count := func() int { return len(seqs["birds"]) + len(seqs["bees"]) }
	for i := range each {
		ana.publish("c/birds/text", fmt.Sprint(i))
		ana.publish("c/bees/text", fmt.Sprint(i))
		for _, c := range []*client{one, two} {
			if i == each/2 && c == one {
				continue // it has some that it does not answer
			}
			if i == each/2 && c == two {
				_ = one.arrived()
				if err := one.Close(); err != nil { // it crashes
					t.Fatal(err)
				}
			}
			if i >= each/2 && c == one {
				continue
			}
			got := c.arrived()
			ackAll(got)
			note(got)
		}
		if i == each*3/4 {
			one = process("one")
		}
	}
	for deadline := time.Now().Add(patience); count() < 2*each; {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d events came", count(), 2*each)
		}
		for _, c := range []*client{one, two} {
			got := c.arrived()
			ackAll(got)
			note(got)
		}
	}
	for conv, list := range seqs {
		if len(list) != each || list[len(list)-1]-list[0] != each-1 {
			t.Errorf("%s: %v", conv, list)
		}
	}
	one.quiet()
	two.quiet()
}

// What matters to security is in the trail: who did what to whom, in the same commit as the event, and
// nothing that anybody said.
func TestAuditOfConversations(t *testing.T) {
	s := serve(t, accounts, func(c *config.Config) { c.Admins = []string{"root"} })
	s.addUsers("root", "ana", "bob", "cas")
	root, ana, bob := s.signIn("root"), s.signIn("ana"), s.signIn("bob")
	if _, err := s.try("bob", password("a guess")); err == nil {
		t.Fatal("a guess is let in")
	}
	ana.granted("group.create", `{"id":"birds","title":"Birds","members":["bob","cas"]}`)
	seq := ana.head("birds")
	bob.publish("c/birds/text", "a secret of bob's")
	bob.publish("c/birds/text", "another secret")
	bob.publish("c/birds/json", fmt.Sprintf(`{"kind":"delete","re":%v}`, seq+2)) // one's own is nobody's business
	ana.publish("c/birds/json", fmt.Sprintf(`{"kind":"delete","re":%v}`, seq+1))
	until := time.Now().Add(time.Hour).UnixMilli()
	for _, x := range [][2]string{
		{"member.role", `{"conv":"birds","user":"bob","role":"moderator"}`},
		{"member.mute", fmt.Sprintf(`{"conv":"birds","user":"cas","until":%d}`, until)},
		{"member.mute", `{"conv":"birds","user":"cas","until":0}`},
		{"member.ban", `{"conv":"birds","user":"cas"}`},
		{"member.unban", `{"conv":"birds","user":"cas"}`},
		{"member.remove", `{"conv":"birds","user":"bob"}`},
		{"group.update", `{"conv":"birds","title":"Not noted","perms":{"post":"admin"}}`},
		{"bot.create", `{"user":"robo"}`},
		{"webhook.create", `{"conv":"birds","kind":"out","url":"https://example.org"}`},
		{"group.delete", `{"conv":"birds"}`},
	} {
		ana.granted(x[0], x[1])
	}
	entries := func(request string) (list []string) {
		t.Helper()
		for _, e := range root.granted("admin.audit", request)["entries"].([]any) {
			m := e.(map[string]any)
			list = append(list, fmt.Sprintf("%v: %v %v", m["who"], m["what"], m["target"]))
		}
		return list
	}
	got := strings.Join(entries(`{"conv":"birds"}`), "; ")
	got, _, _ = strings.Cut(got, "; ana: webhook.add")
	want := "ana: event.delete bob; ana: member.role bob; ana: member.mute cas; ana: member.unmute cas; ana: member.ban cas; " +
		"ana: member.unban cas; ana: member.remove bob; ana: group.perms "
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for request, want := range map[string]string{
		`{"kind":"login.fail"}`:           "bob: login.fail bob",
		`{"kind":"login","user":"ana"}`:   "ana: login ana",
		`{"kind":"bot"}`:                  "ana: bot.add robo",
		`{"kind":"group.delete"}`:         "ana: group.delete ",
		`{"kind":"token","user":"robo"}`:  "token.add robo",
		`{"kind":"webhook","user":"ana"}`: "ana: webhook.add",
	} {
		if got := strings.Join(entries(request), "; "); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", request, got, want)
		}
	}
	raw := fmt.Sprint(root.granted("admin.audit", `{"limit":1000}`))
	for _, said := range []string{"secret", "guess", "Not noted"} {
		if strings.Contains(raw, said) {
			t.Errorf("the trail has %q", said)
		}
	}
	if reply := ana.ask("admin.audit", `{}`); refusalCode(reply) != "not-authorized" {
		t.Error(reply)
	}
	s.Stop()
	if sum, err := verifyStore(s.Config.Data); err != nil || !sum.OK() || sum.Audited < 20 {
		t.Errorf("%+v, %v", sum, err)
	}
}

// verifyStore checks the store of a server that was stopped.
func verifyStore(dir string) (verify.Summary, error) {
	return broker.Verify(dir, func(p verify.Problem) { fmt.Println(p) })
}
