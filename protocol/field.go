package protocol

import (
	"bytes"
	"encoding/base64"
	"math"
	"strings"
	"unicode"

	"github.com/petrelchat/petrel/chat"
)

func tooLarge(field string, limit int) error {
	return chat.Refuse(chat.TooLarge, "%s may have at most %d bytes", field, limit)
}

func wrongType(field, want string) error {
	return chat.Refuse(chat.BadRequest, "%s must be %s; leave it out when there is none", field, want)
}

// put sets the field of a known key from its value.
func (a *assembler) put(key uint64, val []byte) error {
	name := fieldNames[key]
	if a.seen&(1<<key) != 0 {
		return errDuplicate(name)
	}
	a.seen |= 1 << key
	switch key {
	case keySeq, keyFrom, keyAt, keyThread, keyMember, keyInfo, keyTo, keyConv, keyFwd:
		if !a.server {
			return chat.Refuse(chat.BadRequest, "%s is set by the server: leave it out", name)
		}
		return a.putServer(key, val)
	}
	var err error
	e := &a.ev
	switch key {
	case keyKind:
		e.Kind, err = a.kind(val)
	case keyID:
		e.ID, err = asText(name, val, MaxID)
		if strings.IndexFunc(e.ID, unicode.IsControl) >= 0 {
			return chat.Refuse(chat.BadRequest, "id must not contain control characters")
		}
	case keyText:
		e.Text, err = asText(name, val, MaxText)
	case keyRe:
		e.Re, err = asUint(name, val)
		if err == nil && e.Re == 0 {
			return chat.Refuse(chat.BadRequest, "re must be the seq of an event; the first is 1")
		}
	case keyEmoji:
		e.Emoji, err = asText(name, val, MaxEmoji)
	case keyMentions:
		e.Mentions, err = asUsers(name, val)
	case keyExpire:
		e.Expire, err = asUint(name, val)
		if e.Expire > maxExpire {
			return chat.Refuse(chat.BadRequest, "expire must be at most %d seconds", uint64(maxExpire))
		}
	case keyMedia:
		e.Media, err = asMedia(val)
	case keyEnc:
		e.Enc, err = a.enc(val)
	case keyExt:
		if e.Ext, err = asMap(name, val); len(e.Ext) > MaxExt {
			return tooLarge(name, MaxExt)
		}
	}
	return err
}

// putServer sets a field that only the server sets: in deliveries.
func (a *assembler) putServer(key uint64, val []byte) error {
	var err error
	e, name := &a.ev, fieldNames[key]
	switch key {
	case keySeq:
		e.Seq, err = asUint(name, val)
	case keyFrom:
		e.From, err = asText(name, val, MaxText)
	case keyAt:
		var at uint64
		at, err = asUint(name, val)
		e.At = int64(min(at, math.MaxInt64))
	case keyThread:
		e.Thread, err = asUint(name, val)
	case keyMember:
		e.Member, err = asMember(val)
	case keyInfo:
		e.Info, err = asInfo(val)
	case keyTo:
		a.to, err = asUint(name, val)
	case keyConv:
		e.Conv, err = asText(name, val, MaxText)
	case keyFwd:
		e.Fwd, err = asForward(val)
	}
	return err
}

func (a *assembler) kind(val []byte) (chat.Kind, error) {
	var k chat.Kind
	it, body := splitItem(val)
	switch {
	case a.json && it.major == majText:
		k, _ = ParseKind(string(body))
	case !a.json && it.major == majUint:
		if it.arg < uint64(len(kindNames)) && kindNames[it.arg] != "" {
			k = chat.Kind(it.arg)
		}
	case a.json:
		return 0, wrongType("kind", "a string")
	default:
		return 0, wrongType("kind", "a small integer")
	}
	switch {
	case a.server:
		return k, nil // 0: a kind of a newer server
	case k == 0:
		return 0, chat.Refuse(chat.BadRequest, "kind must be post, edit, delete, react, unreact, pin or unpin")
	case k >= chat.KindCreate:
		return 0, chat.Refuse(chat.BadRequest, "events of kind %s are written by the server only", KindName(k))
	}
	return k, nil
}

// enc takes bytes, in JSON base64url with or without padding (RFC 4648 §5).
func (a *assembler) enc(val []byte) ([]byte, error) {
	it, body := splitItem(val)
	if !a.json {
		if it.major != majBytes {
			return nil, wrongType("enc", "a byte string")
		}
		return cloneOrNil(body), nil
	}
	if it.major != majText || bytes.ContainsAny(body, "\r\n") {
		return nil, wrongType("enc", "a string in base64url")
	}
	body = bytes.TrimRight(body, "=")
	out := make([]byte, base64.RawURLEncoding.DecodedLen(len(body)))
	n, err := base64.RawURLEncoding.Strict().Decode(out, body)
	if err != nil {
		return nil, wrongType("enc", "a string in base64url")
	}
	return cloneOrNil(out[:n]), nil
}

func cloneOrNil(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return bytes.Clone(b)
}

func asUint(name string, val []byte) (uint64, error) {
	it, _ := splitItem(val)
	if it.major != majUint {
		return 0, wrongType(name, "a whole number that is not negative")
	}
	return it.arg, nil
}

func asText(name string, val []byte, limit int) (string, error) {
	it, body := splitItem(val)
	if it.major != majText {
		return "", wrongType(name, "a string")
	}
	if len(body) > limit {
		return "", tooLarge(name, limit)
	}
	return string(body), nil
}

func asUsers(name string, val []byte) ([]string, error) {
	it, _ := splitItem(val)
	if it.major != majArray {
		return nil, wrongType(name, "an array of user ids")
	}
	if it.arg > MaxMentions {
		return nil, chat.Refuse(chat.TooLarge, "%s may name at most %d users", name, MaxMentions)
	}
	var users []string
	err := eachElem(val, func(v []byte) error {
		it, body := splitItem(v)
		if it.major != majText || !ValidUser(string(body)) {
			return wrongType(name, "an array of user ids")
		}
		users = append(users, string(body))
		return nil
	})
	return users, err
}

// asMap takes a map as it is; an empty one is none.
func asMap(name string, val []byte) ([]byte, error) {
	it, body := splitItem(val)
	if it.major != majMap {
		return nil, wrongType(name, "a map")
	}
	if len(body) == 0 {
		return nil, nil
	}
	return bytes.Clone(val), nil
}

func asMedia(val []byte) ([]byte, error) {
	it, body := splitItem(val)
	if it.major != majArray {
		return nil, wrongType("media", "an array of objects")
	}
	if len(body) == 0 {
		return nil, nil
	}
	err := eachElem(val, func(v []byte) error {
		if it, _ := splitItem(v); it.major != majMap {
			return wrongType("media", "an array of objects")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return bytes.Clone(val), nil
}

func asMember(val []byte) (*chat.MemberChange, error) {
	if _, err := asMap("member", val); err != nil {
		return nil, err
	}
	m := new(chat.MemberChange)
	err := eachPair(val, func(key, val []byte) error {
		var err error
		switch keyName(key) {
		case "user":
			m.User, err = asText("member.user", val, MaxText)
		case "by":
			m.By, err = asText("member.by", val, MaxText)
		case "role":
			var role string
			role, err = asText("member.role", val, MaxText)
			m.Role, _ = ParseRole(role)
		case "until":
			m.Until, err = asTime("member.until", val)
		}
		return err
	})
	return m, err
}

// asTime takes ms since 1970.
func asTime(name string, val []byte) (int64, error) {
	n, err := asUint(name, val)
	return int64(min(n, math.MaxInt64)), err
}

func asForward(val []byte) (*chat.Forward, error) {
	if _, err := asMap("fwd", val); err != nil {
		return nil, err
	}
	f := new(chat.Forward)
	err := eachPair(val, func(key, val []byte) error {
		var err error
		switch keyName(key) {
		case "conv":
			f.Conv, err = asText("fwd.conv", val, MaxText)
		case "from":
			f.From, err = asText("fwd.from", val, MaxText)
		case "seq":
			f.Seq, err = asUint("fwd.seq", val)
		case "at":
			f.At, err = asTime("fwd.at", val)
		}
		return err
	})
	return f, err
}

// asPerms takes a permission table; actions and roles of a newer server are passed over.
func asPerms(val []byte) (*chat.Perms, error) {
	if _, err := asMap("info.perms", val); err != nil {
		return nil, err
	}
	p := new(chat.Perms)
	err := eachPair(val, func(key, val []byte) error {
		role, err := asText("info.perms", val, MaxText)
		for _, a := range chat.Actions() {
			if a.String() == keyName(key) {
				p[a], _ = ParseRole(role)
			}
		}
		return err
	})
	return p, err
}

func asInfo(val []byte) (*chat.InfoChange, error) {
	if _, err := asMap("info", val); err != nil {
		return nil, err
	}
	c := new(chat.InfoChange)
	err := eachPair(val, func(key, val []byte) error {
		var to **string
		switch keyName(key) {
		case "title":
			to = &c.Title
		case "about":
			to = &c.About
		case "visibility":
			to = &c.Visibility
		case "join":
			to = &c.Join
		case "history":
			to = &c.History
		case "limit":
			n, err := asUint("info.limit", val)
			limit := uint32(min(n, math.MaxUint32))
			c.Limit = &limit
			return err
		case "expire", "withdraw":
			n, err := asUint("info."+keyName(key), val)
			seconds := uint32(min(n, math.MaxUint32))
			if keyName(key) == "expire" {
				c.Expire = &seconds
			} else {
				c.Withdraw = &seconds
			}
			return err
		case "perms":
			var err error
			c.Perms, err = asPerms(val)
			return err
		case "forward":
			to = &c.Forward
		default:
			return nil // a setting of a newer server
		}
		s, err := asText("info."+keyName(key), val, MaxText)
		*to = &s
		return err
	})
	return c, err
}
