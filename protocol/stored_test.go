package protocol

import (
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/chat"
)

func ptr[T any](v T) *T { return &v }

// full has every field that there is; TestStoredKeepsAll fails when chat.Event gets one that it lacks.
func full() chat.Event {
	e := first()
	e.Member.Until = 1 << 41
	e.Fwd = &chat.Forward{Conv: "c", Seq: 7, From: "f", At: 1 << 40}
	e.Info.Forward, e.Info.Expire, e.Info.Withdraw = ptr("origin"), ptr(uint32(60)), ptr(uint32(0))
	e.Info.Perms = &chat.Perms{chat.ActPost: chat.RoleAdmin}
	return e
}

// first has the fields of the first version.
func first() chat.Event {
	return chat.Event{
		Seq: 1 << 63, From: "alice", At: -5, Kind: chat.KindEnded, ID: "id", Text: "text\xff", Re: 3, Thread: 2,
		Emoji: "👍", Mentions: []string{"a", "b"}, Expire: 1 << 40, Media: []byte{0x81, 0xa0}, Enc: []byte{0, 1},
		Member: &chat.MemberChange{User: "u", Role: chat.RoleOwner, By: "b"},
		Info: &chat.InfoChange{
			Title: ptr("t"), About: ptr(""), Visibility: ptr("v"), Join: ptr("j"), History: ptr("h"), Limit: ptr(uint32(1<<32 - 1)),
		},
		Ext: []byte{0xa1, 1, 1}, Extra: []byte{0xa1, 0x13, 1}, Conv: "a~b",
	}
}

func TestStoredKeepsAll(t *testing.T) {
	e := full()
	v := reflect.ValueOf(e)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Fatalf("the test lacks %s", v.Type().Field(i).Name)
		}
	}
	got, err := DecodeStored(EncodeStored(nil, &e))
	if err != nil || !reflect.DeepEqual(got, e) {
		t.Errorf("%+v, %v", got, err)
	}
	// Each field alone, too.
	for i := range v.NumField() {
		var one chat.Event
		reflect.ValueOf(&one).Elem().Field(i).Set(v.Field(i))
		b := EncodeStored([]byte{9}, &one)
		if got, err := DecodeStored(b[1:]); err != nil || !reflect.DeepEqual(got, one) {
			t.Errorf("%s: %+v, %v", v.Type().Field(i).Name, got, err)
		}
	}
	for _, one := range []chat.InfoChange{
		{About: ptr("x")}, {Forward: ptr("")}, {Expire: ptr(uint32(1))}, {Withdraw: ptr(uint32(1))}, {Perms: &chat.Perms{}},
	} {
		info := chat.Event{Info: &one}
		if got, err := DecodeStored(EncodeStored(nil, &info)); err != nil || !reflect.DeepEqual(got, info) {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

// The bytes on disk must not change: old stores are read with them.
func TestStoredGolden(t *testing.T) {
	e := first()
	for want, e := range map[string]chat.Event{
		"01010211" + "80a0d5edee66" + "05616c696365" + "0568656c6c6f": {Kind: chat.KindPost, Seq: 17, At: 1767225600000, From: "alice", Text: "hello"},
		"012bff7f80808080808080808001" + "09" + "05616c696365" + "026964" + "0574657874ff" + "03" + "02" + "04f09f918d" + "0201610162" +
			"808080808020" + "0281a0" + "020001" + "0175" + "04" + "0162" + "3f" + "017400017601" + "6a0168" + "ffffffff0f" + "03a10101" + "03a11301" + "03617e62": e,
	} {
		if got := hex.EncodeToString(EncodeStored(nil, &e)); got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	}
}

func TestDecodeStoredDamaged(t *testing.T) {
	e := full()
	b := EncodeStored(nil, &e)
	for n := range b {
		if _, err := DecodeStored(b[:n]); !errors.Is(err, ErrStored) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	if _, err := DecodeStored(append(b, 0)); !errors.Is(err, ErrStored) {
		t.Error("something follows")
	}
	for _, h := range []string{
		"", "01", "0001000000", "0201000000", "0101808004000000", // an unknown version, an unknown field
		"010120000000" + "ffffffffffffffffff01",                                                 // mentions without end
		"010100ffffffffffffffffff020000",                                                        // more than 64 bits
		"0101000000ff01",                                                                        // a string that is too long
		"0101800800000080", "0101800800000040" + "10", "01018008000000" + "20" + "ffffffffff01", // unknown settings, a limit of 33 bits and more
	} {
		b, err := hex.DecodeString(h)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := DecodeStored(b); !errors.Is(err, ErrStored) || e.From != "" {
			t.Errorf("%s: %+v, %v", h, e, err)
		}
	}
}

func TestContentHash(t *testing.T) {
	e := chat.Event{Kind: chat.KindPost, Text: "hello"}
	// Stored with retry keys: these values must never change.
	for want, e := range map[uint64]chat.Event{0xec15048240806: e, 0x7d30b16ce7c018a3: first()} {
		if got := ContentHash(&e); got != want {
			t.Errorf("%#x, want %#x", got, want)
		}
	}
	// What the server sets does not count; everything that a sender sets does.
	base := full()
	h := ContentHash(&base)
	sender := "Kind Text Re Emoji Mentions Expire Media Enc Ext Extra"
	v := reflect.ValueOf(base)
	for i := range v.NumField() {
		other, name := full(), v.Type().Field(i).Name
		reflect.ValueOf(&other).Elem().Field(i).SetZero()
		if changed := ContentHash(&other) != h; changed != strings.Contains(" "+sender+" ", " "+name+" ") {
			t.Errorf("%s: changes the hash: %v", name, changed)
		}
	}
	// Neighbouring fields and lengths do not run into each other.
	seen := map[uint64]bool{}
	for _, e := range []chat.Event{
		{Text: "ab"}, {Text: "ab\x00"}, {Text: "a"}, {Emoji: "ab"}, {Mentions: []string{"ab"}}, {Mentions: []string{"a", "b"}},
		{Media: []byte("ab")}, {Enc: []byte("ab")}, {Ext: []byte("ab")}, {Extra: []byte("ab")}, {Re: 1}, {Expire: 1},
		{Text: strings.Repeat("\x00", 8)}, {Text: strings.Repeat("\x00", 16)}, {},
	} {
		seen[ContentHash(&e)] = true
	}
	if len(seen) != 15 {
		t.Errorf("%d different hashes", len(seen))
	}
	// A retry in the other encoding is the same.
	j, err1 := DecodeEvent(ViewJSON, []byte(`{"re":1,"text":"a","id":"1","enc":"AQ==","x":{"b":1,"a":2}}`))
	c, err2 := DecodeEvent(ViewCBOR, AppendEvent(nil, ViewCBOR, &j, true))
	if err1 != nil || err2 != nil || ContentHash(&j) != ContentHash(&c) {
		t.Errorf("%v, %v", err1, err2)
	}
}
