package client

import (
	"testing"

	"github.com/petrelchat/petrel/client/internal/link"
)

// A conversation whose post is refused for now stands still until everything behind that has come back, and begins again with it;
// the others go on.
func TestFlight(t *testing.T) {
	f := newFlight()
	for _, id := range []string{"a1", "a2", "a3"} {
		f.add(id, flying{conv: "a"})
	}
	f.add("b1", flying{conv: "b"})
	later := func(conv, id string) *answer { return &answer{id: id, conv: conv, ack: link.Ack{Code: 0x97}} }
	f.land(&answer{id: "a1", conv: "a"})
	f.land(&answer{id: "b1", conv: "b", ack: link.Ack{Code: 0x87}})
	if f.stopped("a") || f.stopped("b") || f.under["a"] != 2 || f.under["b"] != 0 {
		t.Fatalf("nothing was refused for now: %+v", f)
	}
	f.land(later("a", "a2"))
	f.resume()
	f.land(later("a", "a3"))
	f.land(later("a", "a3")) // given back, since it could not be stored
	if !f.stopped("a") || f.stopped("b") || !f.begins("a", "a2") || f.begins("a", "a3") || f.under["a"] != 0 {
		t.Fatalf("%+v", f)
	}
	f.resume()
	if f.stopped("a") || len(f.of) != 0 || len(f.under) != 0 {
		t.Fatalf("all has come back: %+v", f)
	}
	f.add("a2", flying{conv: "a"})
	f.land(&answer{id: "a2", conv: "a", err: link.ErrLost}) // no refusal
	if f.stopped("a") {
		t.Fatal("what was lost stops a conversation")
	}
}
