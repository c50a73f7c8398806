package verify

import (
	"strings"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// callRecord is a call, as far as it is checked.
type callRecord struct {
	ID      string `cbor:"1,keyasint"`
	Conv    string `cbor:"2,keyasint"`
	Direct  bool   `cbor:"3,keyasint,omitempty"`
	From    string `cbor:"4,keyasint"`
	Phase   uint8  `cbor:"5,keyasint"`
	Version uint64 `cbor:"6,keyasint"`
	Started int64  `cbor:"8,keyasint"`
	Outcome string `cbor:"12,keyasint,omitempty"`
	Parties []struct {
		ID   string `cbor:"1,keyasint"`
		User string `cbor:"2,keyasint"`
	} `cbor:"16,keyasint,omitempty"`
}

// calls looks at the calls that live, or are not in the log of their conversation yet, and at the signals that are kept
// for those who take part.
func (c *checker) calls() {
	c.scan(storage.SpaceCall, func(k, rest storage.Key, v []byte) {
		c.sum.Calls++
		id, rest, ok := storage.TakeStr(rest)
		var r callRecord
		switch {
		case !ok || len(rest) > 0 || storage.Unmarshal(v, &r) != nil || r.ID != id || r.Phase == 0 || r.Version == 0 || r.Started <= 0 || r.From == "":
			c.wrong(k, "the call can't be read")
		default:
			c.callIn(k, &r)
		}
	})
	c.scan(storage.SpaceSignal, func(k, _ storage.Key, v []byte) {
		call, party, seq, ok := storage.TakeSignal(k)
		if !ok || seq == 0 || len(v) <= 8 {
			c.wrong(k, "the signal can't be read")
			return
		}
		rec, ok := c.get(storage.CallKey(call))
		if !ok {
			c.odd(k, "there is no call %s", call)
			return
		}
		var r callRecord
		if storage.Unmarshal(rec, &r) != nil {
			return // it was reported
		}
		for _, p := range r.Parties {
			if p.ID == party {
				return
			}
		}
		c.odd(k, "the call %s has no party %s", call, party)
	})
}

// callIn checks a call against its conversation. A direct one may begin with the event of the call; a group may have
// been deleted since, and the call has ended with it.
func (c *checker) callIn(k storage.Key, r *callRecord) {
	a, b, direct := chat.Parties(r.Conv)
	if direct != r.Direct {
		c.wrong(k, "the call is no direct one, or its conversation %s is none", r.Conv)
		return
	}
	if !direct {
		if _, ok := c.get(storage.In(storage.SpaceConv).Str(r.Conv)); !ok {
			c.wrong(k, "there is no conversation %s", r.Conv)
		}
	}
	seen := make(map[string]bool)
	for _, p := range r.Parties {
		switch {
		case p.ID == "" || seen[p.ID]:
			c.wrong(k, "the call has a party twice")
		case direct && p.User != a && p.User != b:
			c.wrong(k, "%s takes part in a call of %s", strings.Clone(p.User), r.Conv)
		}
		seen[p.ID] = true
	}
}
