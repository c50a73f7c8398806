package verify_test

import (
	"strings"
	"testing"

	"github.com/petrelchat/petrel/broker/verify"
	"github.com/petrelchat/petrel/storage"
)

// callParty and call are written as package signaling writes them.
type callParty struct {
	ID   string `cbor:"1,keyasint"`
	User string `cbor:"2,keyasint"`
}

type call struct {
	ID      string      `cbor:"1,keyasint"`
	Conv    string      `cbor:"2,keyasint"`
	Direct  bool        `cbor:"3,keyasint,omitempty"`
	From    string      `cbor:"4,keyasint"`
	Phase   uint8       `cbor:"5,keyasint"`
	Version uint64      `cbor:"6,keyasint"`
	Started int64       `cbor:"8,keyasint"`
	Parties []callParty `cbor:"16,keyasint,omitempty"`
}

func TestCallsAreChecked(t *testing.T) {
	const id = "aaaaaaaaaaaaa"
	good := call{ID: id, Conv: "ann~bob", Direct: true, From: "ann", Phase: 1, Version: 1, Started: 1, Parties: []callParty{{"pppppppp", "ann"}}}
	signal := make([]byte, 20)
	for _, c := range []struct {
		name   string
		change func(c *call)
		also   func(b *storage.Batch)
		want   string // "": nothing
		odd    bool
	}{
		{name: "a call"},
		{name: "with a signal", also: func(b *storage.Batch) { b.Set(storage.SignalKey(id, "pppppppp", 1), signal) }},
		{name: "another id", change: func(c *call) { c.ID = "b" }, want: "the call can't be read"},
		{name: "not begun", change: func(c *call) { c.Phase = 0 }, want: "the call can't be read"},
		{name: "not direct", change: func(c *call) { c.Direct = false }, want: "the call is no direct one"},
		{name: "no such group", change: func(c *call) { c.Direct, c.Conv = false, "nogroup" }, want: "there is no conversation nogroup"},
		{name: "a stranger", change: func(c *call) { c.Parties[0].User = "eve" }, want: "eve takes part"},
		{name: "twice", change: func(c *call) { c.Parties = append(c.Parties, c.Parties[0]) }, want: "a party twice"},
		{name: "no bytes", also: func(b *storage.Batch) { b.Set(storage.CallKey(id), nil) }, want: "the call can't be read"},
		{name: "a signal for nobody", also: func(b *storage.Batch) { b.Set(storage.SignalKey(id, "qqqqqqqq", 1), signal) }, want: "has no party qqqqqqqq", odd: true},
		{name: "a signal of no call", also: func(b *storage.Batch) { b.Set(storage.SignalKey("b", "pppppppp", 1), signal) }, want: "there is no call b", odd: true},
		{name: "an empty signal", also: func(b *storage.Batch) { b.Set(storage.SignalKey(id, "pppppppp", 1), nil) }, want: "the signal can't be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := build(t)
			defer h.close()
			x := good
			x.Parties = append([]callParty(nil), good.Parties...)
			if c.change != nil {
				c.change(&x)
			}
			h.commit(func(b *storage.Batch) {
				b.Set(storage.CallKey(id), storage.Marshal(&x))
				if c.also != nil {
					c.also(b)
				}
			})
			var got []string
			sum, err := verify.Check(h.store, func(p verify.Problem) {
				if (p.Severity == verify.Warning) != c.odd {
					t.Error(p)
				}
				got = append(got, p.Text)
			})
			h.must(err)
			if sum.Calls != 1 {
				t.Errorf("%d calls", sum.Calls)
			}
			if text := strings.Join(got, "\n"); c.want == "" && text != "" || !strings.Contains(text, c.want) {
				t.Errorf("%q, want %q", text, c.want)
			}
		})
	}
}
