package protocol

import (
	"strconv"

	"github.com/petrelchat/petrel/chat"
)

// AppendEvent appends the delivery of an event in a view. Fields that are empty are left out, and so
// is the kind of a post. The id goes to the sender's own devices only: withID. The text view has the
// text alone. The encoding depends on nothing else, so one encoding serves all receivers of a view.
func AppendEvent(dst []byte, view View, e *chat.Event, withID bool) []byte {
	if e.Kind == chat.KindGone || e.Kind == chat.KindLarge {
		return AppendStub(dst, view, e.Seq, e.Seq, e.Kind)
	}
	switch view {
	case ViewText:
		return append(dst, e.Text...)
	case ViewJSON:
		return appendEventJSON(dst, e, withID)
	case ViewCBOR:
		return appendEventCBOR(dst, e, withID)
	}
	return dst
}

// AppendStub appends the delivery that stands for the events from to to (both included), which this
// reader does not get: kind is chat.KindGone or chat.KindLarge. The text view has no stubs.
func AppendStub(dst []byte, view View, from, to uint64, kind chat.Kind) []byte {
	switch view {
	case ViewJSON:
		dst = strconv.AppendUint(append(dst, `{"seq":`...), from, 10)
		dst = strconv.AppendUint(append(dst, `,"to":`...), to, 10)
		dst = append(dst, `,"kind":"`...)
		return append(append(dst, KindName(kind)...), `"}`...)
	case ViewCBOR:
		dst = append(dst, majMap<<5|3)
		dst = appendUintField(dst, keySeq, from)
		dst = appendUintField(dst, keyKind, uint64(kind))
		return appendUintField(dst, keyTo, to)
	}
	return dst
}

func appendEventJSON(dst []byte, e *chat.Event, withID bool) []byte {
	start := len(dst)
	if e.Seq != 0 {
		dst = strconv.AppendUint(append(dst, `,"seq":`...), e.Seq, 10)
	}
	if e.From != "" {
		dst = appendJSONString(append(dst, `,"from":`...), e.From)
	}
	if e.At > 0 {
		dst = strconv.AppendInt(append(dst, `,"at":`...), e.At, 10)
	}
	if e.Kind > chat.KindPost {
		dst = appendJSONString(append(dst, `,"kind":`...), KindName(e.Kind))
	}
	if withID && e.ID != "" {
		dst = appendJSONString(append(dst, `,"id":`...), e.ID)
	}
	if e.Text != "" {
		dst = appendJSONString(append(dst, `,"text":`...), e.Text)
	}
	if e.Re != 0 {
		dst = strconv.AppendUint(append(dst, `,"re":`...), e.Re, 10)
	}
	if e.Thread != 0 {
		dst = strconv.AppendUint(append(dst, `,"thread":`...), e.Thread, 10)
	}
	if e.Emoji != "" {
		dst = appendJSONString(append(dst, `,"emoji":`...), e.Emoji)
	}
	if len(e.Mentions) > 0 {
		dst = append(dst, `,"mentions":[`...)
		for i, user := range e.Mentions {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendJSONString(dst, user)
		}
		dst = append(dst, ']')
	}
	dst = appendRareJSON(dst, e)
	if len(dst) == start {
		return append(dst, '{', '}')
	}
	dst[start] = '{' // was the first comma
	return append(dst, '}')
}

// appendRareJSON appends what few events have.
func appendRareJSON(dst []byte, e *chat.Event) []byte {
	if e.Expire != 0 {
		dst = strconv.AppendUint(append(dst, `,"expire":`...), e.Expire, 10)
	}
	if len(e.Media) > 0 {
		dst = appendJSONOf(append(dst, `,"media":`...), e.Media)
	}
	if len(e.Enc) > 0 {
		dst = appendJSONBytes(append(dst, `,"enc":`...), e.Enc)
	}
	if e.Member != nil {
		dst = appendJSONOf(append(dst, `,"member":`...), appendMember(nil, e.Member))
	}
	if e.Info != nil {
		dst = appendJSONOf(append(dst, `,"info":`...), appendInfo(nil, e.Info))
	}
	if len(e.Ext) > 0 {
		dst = appendJSONOf(append(dst, `,"ext":`...), e.Ext)
	}
	if e.Conv != "" {
		dst = appendJSONString(append(dst, `,"conv":`...), e.Conv)
	}
	if e.Fwd != nil {
		dst = appendJSONOf(append(dst, `,"fwd":`...), appendForward(nil, e.Fwd))
	}
	if len(e.Extra) == 0 {
		return dst
	}
	// The pairs of Extra stand beside the fields: its braces go.
	open := len(dst)
	dst = appendJSONOf(dst, e.Extra)
	if dst[open] != '{' || len(dst) == open+2 {
		return dst[:open]
	}
	dst[open] = ','
	return dst[:len(dst)-1]
}

func appendUintField(dst []byte, key byte, n uint64) []byte {
	return appendHead(append(dst, key), majUint, n)
}

func appendEventCBOR(dst []byte, e *chat.Event, withID bool) []byte {
	start := len(dst)
	dst = append(dst, majMap<<5) // the number of pairs comes last
	zero, rest, n := splitExtra(e.Extra)
	dst = append(dst, zero...)
	uints := func(key byte, v uint64) {
		if v != 0 {
			dst = appendUintField(dst, key, v)
			n++
		}
	}
	texts := func(key byte, s string) {
		if s != "" {
			dst = appendText(append(dst, key), s)
			n++
		}
	}
	items := func(key byte, cbor []byte) {
		if len(cbor) > 0 {
			dst = append(append(dst, key), cbor...)
			n++
		}
	}
	// In the order of the keys, RFC 8949 §4.2.1.
	uints(keySeq, e.Seq)
	texts(keyFrom, e.From)
	uints(keyAt, uint64(max(e.At, 0)))
	if e.Kind > chat.KindPost {
		uints(keyKind, uint64(e.Kind))
	}
	if withID {
		texts(keyID, e.ID)
	}
	texts(keyText, e.Text)
	uints(keyRe, e.Re)
	uints(keyThread, e.Thread)
	texts(keyEmoji, e.Emoji)
	if len(e.Mentions) > 0 {
		dst = appendHead(append(dst, keyMentions), majArray, uint64(len(e.Mentions)))
		for _, user := range e.Mentions {
			dst = appendText(dst, user)
		}
		n++
	}
	uints(keyExpire, e.Expire)
	items(keyMedia, e.Media)
	if len(e.Enc) > 0 {
		dst = append(appendHead(append(dst, keyEnc), majBytes, uint64(len(e.Enc))), e.Enc...)
		n++
	}
	if e.Member != nil {
		dst = appendMember(append(dst, keyMember), e.Member)
		n++
	}
	if e.Info != nil {
		dst = appendInfo(append(dst, keyInfo), e.Info)
		n++
	}
	items(keyExt, e.Ext)
	texts(keyConv, e.Conv)
	if e.Fwd != nil {
		dst = appendForward(append(dst, keyFwd), e.Fwd)
		n++
	}
	dst = append(dst, rest...)
	if n < 24 {
		dst[start] |= byte(n)
		return dst
	}
	dst = append(dst[:start], dst[start+1:]...)
	return insertHead(dst, start, majMap, uint64(n))
}

// splitExtra returns the pairs of Extra: the one with key 0, which sorts before the known keys, and
// the others, which sort behind them; n counts all.
func splitExtra(extra []byte) (zero, rest []byte, n int) {
	if len(extra) == 0 {
		return nil, nil, 0
	}
	it, body := splitItem(extra)
	if it.major != majMap || it.arg == 0 || len(body) == 0 {
		return nil, nil, 0
	}
	if body[0] != 0 {
		return nil, body, int(it.arg)
	}
	r := cborReader{in: body, pos: 1}
	if r.skip(0) != nil {
		return nil, nil, 0
	}
	return body[:r.pos], body[r.pos:], int(it.arg)
}

// appendForward appends {"at","seq","conv","from"} in deterministic order.
func appendForward(dst []byte, f *chat.Forward) []byte {
	start, n := len(dst), 0
	if f.At > 0 {
		dst = appendHead(appendText(dst, "at"), majUint, uint64(f.At))
		n++
	}
	if f.Seq > 0 {
		dst = appendHead(appendText(dst, "seq"), majUint, f.Seq)
		n++
	}
	for _, x := range [...][2]string{{"conv", f.Conv}, {"from", f.From}} {
		if x[1] != "" {
			dst = appendText(appendText(dst, x[0]), x[1])
			n++
		}
	}
	return insertHead(dst, start, majMap, uint64(n))
}

// appendPerms appends the actions that have a role, in deterministic order.
func appendPerms(dst []byte, p *chat.Perms) []byte {
	start, n := len(dst), 0
	for _, a := range [...]chat.Action{chat.ActAdd, chat.ActPin, chat.ActCall, chat.ActInfo, chat.ActPost, chat.ActDelete} {
		if p[a] != chat.RoleNone {
			dst = appendText(appendText(dst, a.String()), RoleName(p[a]))
			n++
		}
	}
	return insertHead(dst, start, majMap, uint64(n))
}

// appendMember appends {"by","role","user","until"} in deterministic order.
func appendMember(dst []byte, m *chat.MemberChange) []byte {
	start, n := len(dst), 0
	for _, f := range [...][2]string{{"by", m.By}, {"role", RoleName(m.Role)}, {"user", m.User}} {
		if f[1] != "" {
			dst = appendText(appendText(dst, f[0]), f[1])
			n++
		}
	}
	if m.Until > 0 {
		dst = appendHead(appendText(dst, "until"), majUint, uint64(m.Until))
		n++
	}
	return insertHead(dst, start, majMap, uint64(n))
}

// appendInfo appends the settings that are set, in deterministic order.
func appendInfo(dst []byte, c *chat.InfoChange) []byte {
	start, n := len(dst), 0
	text := func(key string, s *string) {
		if s != nil {
			dst = appendText(appendText(dst, key), *s)
			n++
		}
	}
	number := func(key string, v *uint32) {
		if v != nil {
			dst = appendHead(appendText(dst, key), majUint, uint64(*v))
			n++
		}
	}
	text("join", c.Join)
	text("about", c.About)
	number("limit", c.Limit)
	if c.Perms != nil {
		dst = appendPerms(appendText(dst, "perms"), c.Perms)
		n++
	}
	text("title", c.Title)
	number("expire", c.Expire)
	text("forward", c.Forward)
	text("history", c.History)
	number("withdraw", c.Withdraw)
	text("visibility", c.Visibility)
	return insertHead(dst, start, majMap, uint64(n))
}
