package verify

import (
	"bytes"
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

// audit follows the chain: each entry has the hash of the one before. What retention took away is missing at
// the beginning only, and a record has the hash of the last.
func (c *checker) audit() {
	var hash []byte // of the entry before; nil: there is none
	var number uint64
	chained := false
	c.scan(storage.SpaceAudit, func(k, rest storage.Key, v []byte) {
		c.sum.Audited++
		var entry struct {
			Version int     `json:"v"`
			Prev    *[]byte `json:"prev"` // nil: from before there was a chain
		}
		if len(rest) != 16 || json.Unmarshal(v, &entry) != nil || entry.Version != 1 {
			c.wrong(k, "the audit entry can't be read")
			return
		}
		_, rest, _ = storage.TakeU64(rest)
		n, _, _ := storage.TakeU64(rest)
		switch {
		case hash == nil: // what was before is not there any more
		case entry.Prev == nil && chained:
			c.wrong(k, "the audit entry stands outside the chain: somebody else than the server wrote it")
		case entry.Prev != nil && (!bytes.Equal(*entry.Prev, hash) || n != number+1):
			c.wrong(k, "an audit entry before it was changed or removed")
		}
		hash, number, chained = storage.AuditHash(k, v), n, chained || entry.Prev != nil
	})
	var head storage.AuditHead
	k := storage.AuditHeadKey()
	switch v, ok := c.get(k); {
	case ok && storage.Unmarshal(v, &head) != nil:
		c.wrong(k, "the head of the audit trail can't be read")
	case ok && hash != nil && (!bytes.Equal(head.Hash, hash) || head.Number != number), !ok && chained:
		c.wrong(k, "the newest audit entries were changed or removed")
	}
}
