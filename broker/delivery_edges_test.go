package broker_test

import (
	"fmt"
	"testing"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/internal/mqttc"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
)

func receiveMaximum(n uint16) opt { return func(o *mqttc.ConnectOptions) { o.ReceiveMaximum = n } }

// 3. and 10.: of a conversation that the user was removed from, catchup means the last events until then.
func TestCatchupOfAFormerMember(t *testing.T) {
	s := serve(t)
	s.know("ana", "bob")
	s.group("ana", "crew", "bob") // 1, 2
	ana := s.dial("ana")
	bob := s.dial("bob", v5, keep)
	code(t, bob.subscribe("c/+/json"), 1)
	bob.leave()
	ana.send("c/crew/text", "3")
	s.call("ana", "member.remove", `{"conv":"crew","user":"bob"}`) // 4
	for i := range 20 {
		ana.send("c/crew/text", fmt.Sprint("later", i))
	}
	bob = s.dial("bob", v5, keep, userProp("catchup", "2"))
	equal(t, bob.seqs(2), "3", "4")
	bob.quiet()
}

// 7. What a session with No Local published while it lagged does not come to it later, after another
// connection either.
func TestNoLocalAfterAnotherConnection(t *testing.T) {
	s := serve(t)
	s.know("ana", "bob")
	bob := s.dial("bob", v5, keep, receiveMaximum(1))
	code(t, bob.subscribeWith([]mqttc.Filter{{Topic: "c/+/json", QoS: 1, NoLocal: true}}), 1)
	ana := s.dial("ana")
	ana.send("u/bob/text", "1")
	bob.peek() // not acknowledged: what follows lags
	ana.send("u/bob/text", "2")
	bob.send("u/ana/text", "3, of my own")
	ana.send("u/bob/text", "4")
	bob.leave()
	bob = s.dial("bob", v5, keep)
	equal(t, bob.seqs(3), "1", "2", "4")
	bob.quiet()
}

// TestStubForWhatRetentionTook: a session that was up to date when it went away gets a stub for the events
// that retention removed meanwhile, not silence; one that has seen them gets none.
func TestStubForWhatRetentionTook(t *testing.T) {
	s := serve(t)
	s.know("ana", "bob")
	ana := s.dial("ana")
	bob, late := s.dial("bob", v5, keep), s.dial("bob", keep, device("late"))
	code(t, bob.subscribe("c/+/json"), 1)
	code(t, late.subscribe("c/+/json"), 1)
	for i := range 3 {
		ana.send("u/bob/text", fmt.Sprint(i+1))
	}
	equal(t, bob.seqs(3), "1", "2", "3")
	bob.leave()
	for i := range 6 {
		ana.send("u/bob/text", fmt.Sprint(i+4))
	}
	equal(t, late.seqs(9), "1", "2", "3", "4", "5", "6", "7", "8", "9")
	late.leave()
	ana.leave()
	cut := func(seqs ...uint64) {
		s.Stop()
		st, err := pebblestore.Open(broker.StoreDir(s.Config.Data), pebblestore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, seq := range seqs {
			var b storage.Batch
			b.Truncate("ana~bob", seq)
			p, err := st.Commit(&b)
			if err == nil {
				err = p.Wait()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		s.Start()
	}
	cut(4, 8)
	bob, late = s.dial("bob", v5, keep), s.dial("bob", keep, device("late"))
	equal(t, bob.seqs(3), "4-7", "8", "9")
	late.quiet()
	late.leave()
	bob.leave()
	ana = s.dial("ana")
	for i := range 3 {
		ana.send("u/bob/text", fmt.Sprint(i+10))
	}
	ana.leave()
	cut(12) // one step that took what was seen and what was not: the stub covers both
	bob, late = s.dial("bob", v5, keep), s.dial("bob", keep, device("late"))
	equal(t, bob.seqs(2), "8-11", "12")
	equal(t, late.seqs(2), "8-11", "12")
}

// A packet of a shared subscription is no larger than the client takes either, alias included [MQTT-3.1.2-24].
func TestSharedWithinMaximumPacketSize(t *testing.T) {
	s := serve(t)
	ana := s.dial("ana")
	for most := uint32(70); most < 110; most++ {
		user := fmt.Sprint("bob", 100+most)
		s.know(user)
		bob := s.dial(user, v5, func(o *mqttc.ConnectOptions) { o.MaximumPacketSize = most; o.TopicAliasMaximum = 10 })
		code(t, bob.subscribe(sharedJSON), 1)
		bob.ping()
		before, _ := bob.Bytes()
		ana.send("u/"+user+"/text", "hello")
		m := bob.peek()
		if after, _ := bob.Bytes(); uint32(after-before) > most {
			t.Errorf("Maximum Packet Size %d, a packet of %d bytes: %v", most, after-before, m)
		}
		_ = bob.Close()
	}
}

// TestNothingWaitsForAnEndedSession: of a session that ends with its connection nothing stays on disk, also
// when it unsubscribed before.
func TestNothingWaitsForAnEndedSession(t *testing.T) {
	s := serve(t)
	ana := s.dial("ana")
	bob := s.dial("bob", v5, receiveMaximum(1))
	code(t, bob.subscribe("bob/x"), 1)
	for i := range 50 {
		ana.publish("bob/x", fmt.Sprint(i))
	}
	bob.pid++
	if err := bob.WriteUnsubscribe(bob.pid, "bob/x"); err != nil {
		t.Fatal(err)
	}
	bob.flush()
	bob.await(mqttc.UNSUBACK)
	bob.leave()
	again := s.dial("bob", v5) // the first has been put away
	again.leave()
	s.Stop()
	st, err := pebblestore.Open(broker.StoreDir(s.Config.Data), pebblestore.Options{ReadOnly: true, OnFatal: func(error) {}})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for _, sp := range []storage.Space{storage.SpaceRef, storage.SpaceMessage} {
		err := st.Scan(storage.In(sp), nil, func(k storage.Key, _ []byte) bool {
			t.Errorf("%q waits for a session that is no more", k)
			return false
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
