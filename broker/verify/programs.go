package verify

import (
	"encoding/json"
	"strings"

	"github.com/petrelchat/petrel/storage"
)

// bots looks at the commands of bots: each has an account that says the same of its owner.
func (c *checker) bots() {
	c.scan(storage.SpaceBot, func(k, rest storage.Key, v []byte) {
		c.sum.Bots++
		owner, bot, ok := two(rest)
		var r struct {
			Commands []struct {
				Name string `cbor:"1,keyasint"`
			} `cbor:"1,keyasint"`
		}
		if !ok || storage.Unmarshal(v, &r) != nil {
			c.wrong(k, "the bot's commands can't be read")
			return
		}
		var acc struct {
			User  string `json:"user"`
			Bot   bool   `json:"bot"`
			Owner string `json:"owner"`
		}
		a, ok := c.get(storage.In(storage.SpaceAccount).Str(strings.ToLower(bot)))
		if !ok || json.Unmarshal(a, &acc) != nil || acc.User != bot || !acc.Bot || acc.Owner != owner {
			c.wrong(k, "the bot %s of %s has no such account", bot, owner)
		}
	})
}

// hookRecord is a webhook, as far as it is checked.
type hookRecord struct {
	ID   string `cbor:"1,keyasint"`
	Kind string `cbor:"2,keyasint"`
	Conv string `cbor:"3,keyasint"`
	Hash []byte `cbor:"10,keyasint"`
}

// webhooks looks at webhooks and at where the outgoing ones go on.
func (c *checker) webhooks() {
	c.scan(storage.SpaceWebhook, func(k, rest storage.Key, v []byte) {
		c.sum.Webhooks++
		id, rest, ok := storage.TakeStr(rest)
		var r hookRecord
		switch {
		case !ok || len(rest) > 0 || storage.Unmarshal(v, &r) != nil || r.ID != id || r.Kind != "in" && r.Kind != "out":
			c.wrong(k, "the webhook can't be read")
		case r.Kind == "in" && len(r.Hash) != 32:
			c.wrong(k, "the webhook has no hash of its secret")
		case r.Kind == "out":
			if _, ok := c.get(storage.In(storage.SpaceHookNext).Str(id).Str(r.Conv)); !ok {
				c.wrong(k, "the webhook has no position in %s", r.Conv)
			}
		}
	})
	c.scan(storage.SpaceHookNext, func(k, rest storage.Key, v []byte) {
		id, log, ok := two(rest)
		var p struct {
			Next uint64 `cbor:"1,keyasint"`
		}
		if !ok || storage.Unmarshal(v, &p) != nil {
			c.wrong(k, "the position of a webhook can't be read")
			return
		}
		if head := c.spanOf(log).head; p.Next == 0 || p.Next > head+1 {
			c.wrong(k, "the webhook goes on at %d, but the log ends at %d", p.Next, head)
		}
		if _, ok := c.get(storage.In(storage.SpaceWebhook).Str(id)); !ok {
			c.odd(k, "there is no webhook %s", id)
		}
	})
}
