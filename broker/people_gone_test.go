package broker_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
)

// Nothing of an erased account stays where its user has no say any more, or never had: reactions in a group that threw
// them out and in one that muted them, a request to join.
func TestErasureBehindClosedDoors(t *testing.T) {
	s := serve(t)
	s.know("ana", "bob")
	for _, conv := range []string{"out", "hush"} {
		s.group("bob", conv, "ana")
		bob, ana := s.dial("bob", v5), s.dial("ana", v5)
		bob.publish("c/"+conv+"/text", "of bob")
		if code := ana.publish("c/"+conv+"/json", `{"kind":"react","re":3,"emoji":"👍"}`); code != 0 {
			t.Fatalf("PUBACK 0x%02X", code)
		}
	}
	s.call("bob", "member.remove", `{"conv":"out","user":"ana"}`)
	s.call("bob", "member.mute", `{"conv":"hush","user":"ana","until":253402300799000}`)
	s.call("bob", "group.create", `{"id":"gate","title":"Gate","join":"request"}`)
	s.call("ana", "group.join", `{"conv":"gate","text":"secret of ana"}`)
	s.call("ana", "user.erase", `{"confirm":"ana"}`)

	shown := func(method, request string) string {
		b, err := json.Marshal(s.call("bob", method, request))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	until(t, "ana waits no longer", func() bool { return !strings.Contains(shown("request.list", `{"conv":"gate"}`), "ana") })
	until(t, "ana's reactions are gone", func() bool {
		return !strings.Contains(shown("reactions", `{"conv":"out","seq":3}`)+shown("reactions", `{"conv":"hush","seq":3}`), "ana")
	})
	s.verify()
	store, err := pebblestore.Open(s.Config.Data+"/store", pebblestore.Options{ReserveBytes: -1, MinFreeBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	v, found, err := store.Get(storage.RequestKey("gate", "ana"))
	if err != nil || found && strings.Contains(string(v), "secret") {
		t.Error("what ana wrote with her request is there:", err)
	}
}

// Whoever may not write is not seen typing.
func TestMutedDoNotType(t *testing.T) {
	s := serve(t)
	s.know("ana", "bob", "cas", "dan")
	s.group("ana", "crew", "bob", "cas")
	s.call("ana", "group.create", `{"id":"news","title":"News","perms":{"post":"moderator"},"members":["cas"]}`)
	s.call("ana", "member.mute", `{"conv":"crew","user":"bob","until":253402300799000}`)
	ana, bob, cas := s.dial("ana", v5), s.dial("bob", v5), s.dial("cas", v5)
	ok(t, ana.subscribe("c/+/typing/+"))
	bob.publish("c/crew/typing", "1")
	cas.publish("c/news/typing", "1")
	cas.publish("c/crew/typing", "1")
	if m := ana.next(); m.topic != "c/crew/typing/cas" {
		t.Fatal(m)
	}
}

// The bots of an account end with it, those of webhooks too: nobody lets them in, they leave their groups, and what
// they wrote stays. A server that dies in the middle, when the account is gone and its bots are not, goes on with it.
func TestBotsEndWithTheirOwner(t *testing.T) {
	for name, dies := range map[string]bool{"at once": false, "after a crash": true} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			s.know("bob")
			ana := s.dial("ana", v5)
			ana.granted("group.create", `{"id":"birds","title":"Birds","members":["bob"]}`)
			token := makeBot(t, ana, "robo")
			ana.granted("webhook.create", `{"conv":"birds","kind":"in"}`)
			robo := s.dial("robo", v5, password(token))
			robo.send("c/birds/text", "of robo")
			if !dies {
				s.call("ana", "user.erase", `{"confirm":"ana"}`)
			} else {
				s.Stop()
				st, err := pebblestore.Open(broker.StoreDir(s.Config.Data), pebblestore.Options{})
				if err != nil {
					t.Fatal(err)
				}
				b := storage.Batch{Vital: true} // the first of what deleting the account stores
				b.Delete(storage.In(storage.SpaceAccount).Str("ana"))
				b.Set(storage.ErasingKey("ana"), storage.Marshal(storage.Erasing{User: "ana", At: 1}))
				p, err := st.Commit(&b)
				if err == nil {
					err = p.Wait()
				}
				if err = errors.Join(err, st.Close()); err != nil {
					t.Fatal(err)
				}
				s.Start()
			}
			until(t, "bob is alone", func() bool {
				members, _ := s.call("bob", "member.list", `{"conv":"birds"}`)["members"].([]any)
				return len(members) == 1
			})
			for _, secret := range []string{token, "x"} {
				s.turnedAway(5, 0x83, "robo", password(secret)) // the id is not given again
			}
			if events := fmt.Sprint(s.call("bob", "history", `{"conv":"birds"}`)["events"]); !strings.Contains(events, "of robo") {
				t.Error(events)
			}
			s.verify()
		})
	}
}
