package protocol

import (
	"encoding/binary"
	"errors"

	"github.com/petrelchat/petrel/chat"
)

// The stored form of an event, version 1:
//
//	version byte · kind byte · fields (uvarint, one bit for each below) · seq (uvarint) · at (varint) · from
//	then, for each set bit in ascending order, the field
//
// Strings and bytes are a uvarint length and the bytes. Unlike the views it keeps everything, and it
// is made to be read fast, not to be read by others.
const storedVersion = 1

// Bits of fields. Never reuse one: a new field takes the next.
const (
	hasID = 1 << iota
	hasText
	hasRe
	hasThread
	hasEmoji
	hasMentions
	hasExpire
	hasMedia
	hasEnc
	hasMember
	hasInfo
	hasExt
	hasExtra
	hasConv
	hasUntil
	hasFwd
	hasUnknown // the first bit that version 1 does not know
)

// Bits of the settings in a stored InfoChange: title, about, visibility, join, history have bits 0 to 4.
const (
	infoLimit   = 1 << 5
	infoMore    = 1 << 6 // another byte of bits follows the limit
	infoUnknown = 1 << 7
)

// Bits of the further settings.
const (
	moreForward = 1 << iota
	moreExpire
	moreWithdraw
	morePerms
	moreUnknown
)

// ErrStored says that a stored event can't be read: the store is damaged or was written by a newer version.
var ErrStored = errors.New("protocol: not a stored event of a known version")

// EncodeStored appends the form of an event on disk, with everything that it holds.
func EncodeStored(dst []byte, e *chat.Event) []byte {
	dst = append(dst, storedVersion, byte(e.Kind))
	has := storedFields(e)
	dst = binary.AppendUvarint(dst, has)
	dst = binary.AppendUvarint(dst, e.Seq)
	dst = binary.AppendVarint(dst, e.At)
	dst = putString(dst, e.From)
	if has&hasID != 0 {
		dst = putString(dst, e.ID)
	}
	if has&hasText != 0 {
		dst = putString(dst, e.Text)
	}
	if has&^(hasID|hasText) == 0 {
		return dst // nearly every event
	}
	if has&hasRe != 0 {
		dst = binary.AppendUvarint(dst, e.Re)
	}
	if has&hasThread != 0 {
		dst = binary.AppendUvarint(dst, e.Thread)
	}
	if has&hasEmoji != 0 {
		dst = putString(dst, e.Emoji)
	}
	if has&hasMentions != 0 {
		dst = binary.AppendUvarint(dst, uint64(len(e.Mentions)))
		for _, user := range e.Mentions {
			dst = putString(dst, user)
		}
	}
	if has&hasExpire != 0 {
		dst = binary.AppendUvarint(dst, e.Expire)
	}
	if has&hasMedia != 0 {
		dst = putString(dst, e.Media)
	}
	if has&hasEnc != 0 {
		dst = putString(dst, e.Enc)
	}
	if has&hasMember != 0 {
		dst = putString(dst, e.Member.User)
		dst = append(dst, byte(e.Member.Role))
		dst = putString(dst, e.Member.By)
	}
	if has&hasInfo != 0 {
		dst = putInfo(dst, e.Info)
	}
	if has&hasExt != 0 {
		dst = putString(dst, e.Ext)
	}
	if has&hasExtra != 0 {
		dst = putString(dst, e.Extra)
	}
	if has&hasConv != 0 {
		dst = putString(dst, e.Conv)
	}
	if has&hasUntil != 0 {
		dst = binary.AppendVarint(dst, e.Member.Until)
	}
	if has&hasFwd != 0 {
		dst = putString(dst, e.Fwd.Conv)
		dst = binary.AppendUvarint(dst, e.Fwd.Seq)
		dst = putString(dst, e.Fwd.From)
		dst = binary.AppendVarint(dst, e.Fwd.At)
	}
	return dst
}

func storedFields(e *chat.Event) (has uint64) {
	set := func(bit uint64, there bool) {
		if there {
			has |= bit
		}
	}
	set(hasID, e.ID != "")
	set(hasText, e.Text != "")
	set(hasRe, e.Re != 0)
	set(hasThread, e.Thread != 0)
	set(hasEmoji, e.Emoji != "")
	set(hasMentions, len(e.Mentions) > 0)
	set(hasExpire, e.Expire != 0)
	set(hasMedia, len(e.Media) > 0)
	set(hasEnc, len(e.Enc) > 0)
	set(hasMember, e.Member != nil)
	set(hasInfo, e.Info != nil)
	set(hasExt, len(e.Ext) > 0)
	set(hasExtra, len(e.Extra) > 0)
	set(hasConv, e.Conv != "")
	set(hasUntil, e.Member != nil && e.Member.Until != 0)
	set(hasFwd, e.Fwd != nil)
	return has
}

func putString[S string | []byte](dst []byte, s S) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func putInfo(dst []byte, c *chat.InfoChange) []byte {
	texts := [...]*string{c.Title, c.About, c.Visibility, c.Join, c.History}
	var has byte
	for i, s := range texts {
		if s != nil {
			has |= 1 << i
		}
	}
	if c.Limit != nil {
		has |= infoLimit
	}
	more := moreOf(c)
	if more != 0 {
		has |= infoMore
	}
	dst = append(dst, has)
	for _, s := range texts {
		if s != nil {
			dst = putString(dst, *s)
		}
	}
	if c.Limit != nil {
		dst = binary.AppendUvarint(dst, uint64(*c.Limit))
	}
	if more == 0 {
		return dst
	}
	dst = append(dst, more)
	if c.Forward != nil {
		dst = putString(dst, *c.Forward)
	}
	for _, n := range [...]*uint32{c.Expire, c.Withdraw} {
		if n != nil {
			dst = binary.AppendUvarint(dst, uint64(*n))
		}
	}
	if c.Perms != nil {
		dst = append(dst, byte(len(c.Perms)))
		for _, r := range c.Perms {
			dst = append(dst, byte(r))
		}
	}
	return dst
}

func moreOf(c *chat.InfoChange) (more byte) {
	for i, there := range [...]bool{c.Forward != nil, c.Expire != nil, c.Withdraw != nil, c.Perms != nil} {
		if there {
			more |= 1 << i
		}
	}
	return more
}

// DecodeStored reads what EncodeStored wrote. b is not kept. The strings of the event share one
// allocation: whoever keeps a short one for long should clone it. An error is ErrStored.
func DecodeStored(b []byte) (chat.Event, error) {
	if len(b) < 2 || b[0] != storedVersion {
		return chat.Event{}, ErrStored
	}
	d := storedReader{rest: string(b[2:])}
	e := chat.Event{Kind: chat.Kind(b[1])}
	has := d.uvarint()
	e.Seq = d.uvarint()
	e.At = d.varint()
	e.From = d.str()
	if has&hasID != 0 {
		e.ID = d.str()
	}
	if has&hasText != 0 {
		e.Text = d.str()
	}
	if has&^(hasID|hasText) != 0 {
		d.others(&e, has)
	}
	if d.bad || d.rest != "" || has >= hasUnknown {
		return chat.Event{}, ErrStored
	}
	return e, nil
}

// others reads the fields that few events have.
func (d *storedReader) others(e *chat.Event, has uint64) {
	if has&hasRe != 0 {
		e.Re = d.uvarint()
	}
	if has&hasThread != 0 {
		e.Thread = d.uvarint()
	}
	if has&hasEmoji != 0 {
		e.Emoji = d.str()
	}
	if has&hasMentions != 0 {
		n := d.uvarint()
		if n > uint64(len(d.rest)) { // each takes a byte at least
			d.fail()
			return
		}
		e.Mentions = make([]string, n)
		for i := range e.Mentions {
			e.Mentions[i] = d.str()
		}
	}
	if has&hasExpire != 0 {
		e.Expire = d.uvarint()
	}
	if has&hasMedia != 0 {
		e.Media = []byte(d.str())
	}
	if has&hasEnc != 0 {
		e.Enc = []byte(d.str())
	}
	if has&hasMember != 0 {
		e.Member = &chat.MemberChange{User: d.str(), Role: chat.Role(d.byte()), By: d.str()}
	}
	if has&hasInfo != 0 {
		e.Info = d.info()
	}
	if has&hasExt != 0 {
		e.Ext = []byte(d.str())
	}
	if has&hasExtra != 0 {
		e.Extra = []byte(d.str())
	}
	if has&hasConv != 0 {
		e.Conv = d.str()
	}
	if has&hasUntil != 0 {
		if e.Member == nil {
			d.fail()
			return
		}
		e.Member.Until = d.varint()
	}
	if has&hasFwd != 0 {
		e.Fwd = &chat.Forward{Conv: d.str(), Seq: d.uvarint(), From: d.str(), At: d.varint()}
	}
}

// storedReader reads from a string, so that the strings of an event are parts of it. After a failure
// it reads zeros.
type storedReader struct {
	rest string
	bad  bool
}

func (d *storedReader) fail() {
	d.bad, d.rest = true, ""
}

func (d *storedReader) byte() byte {
	if d.rest == "" {
		d.fail()
		return 0
	}
	c := d.rest[0]
	d.rest = d.rest[1:]
	return c
}

func (d *storedReader) uvarint() uint64 {
	var n uint64
	for i := 0; i < len(d.rest) && i < binary.MaxVarintLen64; i++ {
		c := d.rest[i]
		if i == binary.MaxVarintLen64-1 && c > 1 {
			break // more than 64 bits
		}
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			d.rest = d.rest[i+1:]
			return n
		}
	}
	d.fail()
	return 0
}

func (d *storedReader) varint() int64 {
	n := d.uvarint()
	return int64(n>>1) ^ -int64(n&1)
}

func (d *storedReader) str() string {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.fail()
		return ""
	}
	s := d.rest[:n]
	d.rest = d.rest[n:]
	return s
}

func (d *storedReader) info() *chat.InfoChange {
	c := new(chat.InfoChange)
	has := d.byte()
	if has >= infoUnknown {
		d.fail()
		return c
	}
	for i, to := range [...]**string{&c.Title, &c.About, &c.Visibility, &c.Join, &c.History} {
		if has&(1<<i) != 0 {
			s := d.str()
			*to = &s
		}
	}
	if has&infoLimit != 0 {
		c.Limit = d.uint32()
	}
	if has&infoMore != 0 {
		d.moreInfo(c)
	}
	return c
}

func (d *storedReader) uint32() *uint32 {
	n := d.uvarint()
	if n > 1<<32-1 {
		d.fail()
	}
	v := uint32(n)
	return &v
}

func (d *storedReader) moreInfo(c *chat.InfoChange) {
	more := d.byte()
	if more == 0 || more >= moreUnknown {
		d.fail()
		return
	}
	if more&moreForward != 0 {
		s := d.str()
		c.Forward = &s
	}
	if more&moreExpire != 0 {
		c.Expire = d.uint32()
	}
	if more&moreWithdraw != 0 {
		c.Withdraw = d.uint32()
	}
	if more&morePerms != 0 {
		c.Perms = new(chat.Perms)
		if int(d.byte()) != len(c.Perms) {
			d.fail()
			return
		}
		for i := range c.Perms {
			c.Perms[i] = chat.Role(d.byte())
		}
	}
}
