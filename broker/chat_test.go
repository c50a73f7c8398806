package broker_test

import (
	"fmt"
	"testing"

	"github.com/petrelchat/petrel/internal/mqttc"
)

func TestTwoPeopleTalk(t *testing.T) {
	s := serve(t)
	ana, bob := s.dial("ana"), s.dial("bob")
	ok(t, bob.subscribe("c/+/text/+"))
	ok(t, ana.subscribe("c/+/json"))
	if code := ana.publish("u/bob/text", "hello"); code != 0 {
		t.Fatalf("PUBACK 0x%02X", code)
	}
	bob.expect([2]string{"c/ana~bob/text/ana", "hello"})
	if m := ana.next(); m.topic != "c/ana~bob/json" {
		t.Fatal(m)
	}
	bob.publish("c/ana~bob/text", "hi")
	bob.expect([2]string{"c/ana~bob/text/bob", "hi"})
	ana.next()
	ana.quiet()
	bob.quiet()
}

func TestWhoWasAwayGetsEverythingInOrderOnce(t *testing.T) {
	for _, version := range []struct {
		name string
		opts []opt
	}{{"3.1.1", []opt{keep}}, {"5", []opt{v5, keep}}} {
		t.Run(version.name, func(t *testing.T) {
			s := serve(t)
			ana := s.dial("ana")
			bob := s.dial("bob", version.opts...)
			ok(t, bob.subscribe("c/+/text/+"))
			bob.leave()
			const n = 700
			for i := range n {
				c := mqttc.Publish{Topic: "u/bob/text", Payload: fmt.Appendf(nil, "%d", i), QoS: 1, ID: uint16(i + 1)}
				if err := ana.WritePublish(c); err != nil {
					t.Fatal(err)
				}
			}
			ana.flush()
			for range n {
				ana.await(mqttc.PUBACK)
			}
			bob = s.dial("bob", version.opts...)
			if !bob.ack.SessionPresent {
				t.Fatal("the session is not there any more")
			}
			for i := range n {
				bob.expect([2]string{"c/ana~bob/text/ana", fmt.Sprint(i)})
			}
			bob.quiet()
			s.Restart()
			bob = s.dial("bob", version.opts...)
			bob.quiet()
			s.dial("ana").publish("u/bob/text", "after the restart")
			bob.expect([2]string{"c/ana~bob/text/ana", "after the restart"})
		})
	}
}

func TestGeneralIsJoinedByUsingIt(t *testing.T) {
	s := serve(t)
	ana, bob, cas := s.dial("ana"), s.dial("bob"), s.dial("cas")
	ok(t, ana.subscribe("c/general/text/+"))
	ok(t, bob.subscribe("c/general/text/+"))
	if code := cas.publish("c/general/text", "I just post"); code != 0 {
		t.Fatalf("PUBACK 0x%02X", code)
	}
	ana.expect([2]string{"c/general/text/cas", "I just post"})
	bob.expect([2]string{"c/general/text/cas", "I just post"})
	cas.quiet()
}

func TestPlainTopics(t *testing.T) {
	s := serve(t)
	ana, bob := s.dial("ana"), s.dial("bob", keep)
	ok(t, bob.subscribeWith([]mqttc.Filter{{Topic: "house/+/temp", QoS: 1}}))
	ana.publish("house/kitchen/temp", "21")
	bob.expect([2]string{"house/kitchen/temp", "21"})
	bob.leave()
	for i := range 50 {
		ana.publish("house/attic/temp", fmt.Sprint(i))
	}
	bob = s.dial("bob", keep)
	for i := range 50 {
		bob.expect([2]string{"house/attic/temp", fmt.Sprint(i)})
	}
	bob.quiet()
	ana.publishWith(mqttc.Publish{Topic: "house/door", Payload: []byte("open"), QoS: 1, Retain: true})
	s.Restart()
	cas := s.dial("cas")
	ok(t, cas.subscribe("house/#"))
	if m := cas.next(); m.payload != "open" || !m.retain {
		t.Fatal(m)
	}
}
