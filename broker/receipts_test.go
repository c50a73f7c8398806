package broker_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/petrelchat/petrel/protocol"
)

// In a large group the author gets counts, at most one message in two seconds, and none names a reader. Who
// hides what they read is counted as reached only.
func TestReceiptsOfALargeGroup(t *testing.T) {
	s := serve(t)
	const n = 40
	ana := s.dial("ana")
	ok(t, ana.subscribe("c/general/text/+", "c/general/receipts"))
	readers := make([]*client, n)
	for i := range readers {
		readers[i] = s.dial(fmt.Sprintf("reader%02d", i))
		ok(t, readers[i].subscribe("c/general/text/+"))
	}
	s.call("reader07", "user.update", `{"receipts":false}`)
	const posts = 3
	for i := range posts {
		ana.send("c/general/text", fmt.Sprint("post ", i))
	}
	for _, r := range readers {
		for i := range posts {
			r.expect([2]string{"c/general/text/ana", fmt.Sprint("post ", i)})
			if code := r.publish("c/general/read", ""); code != 0 {
				t.Fatalf("0x%02X", code)
			}
		}
	}
	var last time.Time
	for told := 0; ; {
		m := ana.next()
		if m.topic == "c/general/text/ana" {
			continue
		}
		told++
		var got protocol.Tally
		if err := json.Unmarshal([]byte(m.payload), &got); err != nil || m.topic != "c/general/receipts" || m.qos != 0 || got.Of != n+1 {
			t.Fatalf("%v: %v", m, err) // the members are ana, the readers, and the one who made the group
		}
		if gap := time.Since(last); gap < 1500*time.Millisecond {
			t.Errorf("the next message came after %v", gap)
		}
		if last = time.Now(); got.Delivered == n && got.Read != nil && *got.Read == n-1 {
			if told > 4 {
				t.Errorf("%d messages for %d readers of %d posts", told, n, posts)
			}
			break
		}
	}
	// A device of one's own is told all the same.
	two := s.dial("reader03", device("tablet"))
	ok(t, two.subscribe("c/general/receipts"))
	ana.send("c/general/text", "the last")
	readers[3].expect([2]string{"c/general/text/ana", "the last"})
	readers[3].publish("c/general/read", "")
	if m := two.next(); m.topic != "c/general/receipts" {
		t.Errorf("the other device got %v", m)
	}
}

// A sender who was away learns on return what was delivered and read meanwhile, also after a restart of the
// server; and those who hide what they read are not told of others.
func TestReceiptsOfThoseWhoWereAway(t *testing.T) {
	s := serve(t)
	bob, ana := s.dial("bob"), s.dial("ana")
	ok(t, bob.subscribe("c/+/text/+"))
	ana.send("u/bob/text", "see you at eight?")
	since := s.call("ana", "sync", `{}`)["since"]
	at := s.call("ana", "receipts.since", `{}`)["since"]
	ana.leave()
	bob.expect([2]string{"c/ana~bob/text/ana", "see you at eight?"})
	bob.publish("c/ana~bob/read", "")
	for _, when := range []string{"at once", "after a restart"} {
		want := `[{"conv":"ana~bob","users":[{"delivered":1,"read":1,"user":"bob"}]}]`
		if when == "after a restart" {
			s.Restart()
		}
		ana := s.dial("ana")
		for method, list := range map[string]string{"sync": "receipts", "receipts.since": "convs"} {
			token := since
			if method != "sync" {
				token = at
			}
			reply := ana.want(method, fmt.Sprintf(`{"since":%q}`, token))
			if got, err := json.Marshal(reply[list]); err != nil || string(got) != want {
				t.Errorf("%s, %s tells %s, want %s", when, method, got, want)
			}
		}
		ana.leave()
	}
	s.call("ana", "user.update", `{"receipts":false}`)
	blind := s.call("ana", "receipts.since", fmt.Sprintf(`{"since":%q}`, at))
	if got, err := json.Marshal(blind["convs"]); err != nil || string(got) != `[{"conv":"ana~bob","users":[{"delivered":1,"user":"bob"}]}]` {
		t.Errorf("who hides it is told %s", got)
	}
}
