package client_test

import (
	"fmt"
	"testing"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/internal/faultproxy"
)

// TestCutAtEveryByte cuts the connection of a conversation after each byte that goes in either direction, from the first byte of
// CONNECT on. Whatever is lost with it, each message arrives once, in order, on both sides.
func TestCutAtEveryByte(t *testing.T) {
	stores(t, func(t *testing.T, st newStore) {
		s := serve(t)
		step := 29 // short form
		if long() {
			step = 1
		}
		ann := s.device("ann", "a", st(t))
		bob := s.device("bob", "b", st(t)).open()
		bob.upToDate()
		ann.open().upToDate() // who never came is not known
		ann.close()
		conv := chat.DirectID("ann", "bob")
		want := []string{}
		round := func(f faultproxy.Faults, text string) {
			t.Helper()
			s.proxy.Next(f)
			ann.open()
			one := ann.send(conv, text+" one")
			_, err := ann.Post(soon(t), conv, client.Post{Text: text + " two", Re: one.Target()})
			must(t, err)
			bob.send(conv, text+" three") // has come, or comes at once
			ann.NetworkChanged()
			ann.upToDate()
			bob.upToDate()
			for _, d := range []*device{ann, bob} {
				other := bob
				if d == bob {
					other = ann
				}
				d.until("all of "+text+"; the other has\n"+other.dump(), func() bool { return len(d.texts(conv)) == len(want)+3 })
			}
			got := ann.texts(conv)[len(want):]
			if err := wellOrdered(got, text); err != nil || fmt.Sprint(bob.texts(conv)) != fmt.Sprint(ann.texts(conv)) {
				t.Fatalf("%s: %q and %q: %v", text, got, bob.texts(conv)[len(want):], err)
			}
			want = append(want, got...)
			ann.close()
		}
		before := s.proxy.Stats()
		round(faultproxy.Faults{}, "whole")
		after := s.proxy.Stats()
		up, down := after.Up-before.Up, after.Down-before.Down // of both clients: ann's part is less
		for n := int64(0); n < up; n += int64(step) {
			round(faultproxy.Faults{CutUp: faultproxy.After(n)}, fmt.Sprint("up ", n))
		}
		for n := int64(0); n < down; n += int64(step) {
			round(faultproxy.Faults{CutDown: faultproxy.After(n)}, fmt.Sprint("down ", n))
		}
		ann.open()
		ann.intact(conv)
		bob.intact(conv)
		if a, b := ann.show(conv), bob.show(conv); a != b {
			t.Errorf("ann\n%.2000s\nbob\n%.2000s", a, b)
		}
	})
}

// wellOrdered: one before two, three anywhere, each once.
func wellOrdered(got []string, text string) error {
	at := map[string]int{}
	for i, g := range got {
		at[g] = i + 1
	}
	if len(at) != 3 || at[text+" one"] == 0 || at[text+" two"] <= at[text+" one"] || at[text+" three"] == 0 {
		return fmt.Errorf("not each once in order")
	}
	return nil
}
