package verify

import (
	"crypto/sha256"
	"encoding/json"
	"strings"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// The records of package auth, as far as they are checked.
type account struct {
	Version int    `json:"v"`
	User    string `json:"user"`
	PHC     string `json:"phc"`
}

type token struct {
	Version int    `json:"v"`
	ID      string `json:"id"`
	User    string `json:"user"`
	Hash    []byte `json:"hash"`
}

func (c *checker) accounts() {
	c.scan(storage.SpaceAccount, func(k, rest storage.Key, v []byte) {
		c.sum.Accounts++
		lower, rest, ok := storage.TakeStr(rest)
		var a account
		switch {
		case !ok || len(rest) > 0 || json.Unmarshal(v, &a) != nil || a.Version != 1 || !chat.ValidUser(a.User):
			c.wrong(k, "the account can't be read")
		case strings.ToLower(a.User) != lower:
			c.wrong(k, "it is the account of %s", a.User)
		case a.PHC != "" && !strings.HasPrefix(a.PHC, "$argon2id$"):
			c.wrong(k, "the password record can't be read: set the password anew")
		}
	})
}

func (c *checker) tokens() {
	c.scan(storage.SpaceToken, func(k, rest storage.Key, v []byte) {
		c.sum.Tokens++
		id, rest, ok := storage.TakeStr(rest)
		var t token
		if !ok || len(rest) > 0 || json.Unmarshal(v, &t) != nil || t.Version != 1 || !chat.ValidUser(t.User) || len(t.Hash) != sha256.Size {
			c.wrong(k, "the device token can't be read")
			return
		}
		if t.ID != id {
			c.wrong(k, "it is the device token %s", t.ID)
		}
		if _, ok := c.get(storage.In(storage.SpaceAccount).Str(strings.ToLower(t.User))); !ok {
			c.wrong(k, "its user %s has no account", t.User)
		}
	})
}

func (c *checker) profiles() {
	c.scan(storage.SpaceProfile, func(k, rest storage.Key, v []byte) {
		c.sum.Profiles++
		user, rest, ok := storage.TakeStr(rest)
		var p storage.Profile
		if !ok || len(rest) > 0 || !chat.ValidUser(user) || storage.Unmarshal(v, &p) != nil {
			c.wrong(k, "the profile can't be read")
		}
	})
}

func (c *checker) audit() {
	c.scan(storage.SpaceAudit, func(k, rest storage.Key, v []byte) {
		c.sum.Audited++
		var entry struct {
			Version int `json:"v"`
		}
		if len(rest) != 16 || json.Unmarshal(v, &entry) != nil || entry.Version != 1 {
			c.wrong(k, "the audit entry can't be read")
		}
	})
}
