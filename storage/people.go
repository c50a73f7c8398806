package storage

import "github.com/petrelchat/petrel/chat"

// The records of people: what users keep beside the conversations. Each change of one is written in one
// batch with the event of the user's own log that tells their devices.

// Setting is a private setting that follows the user (SpaceSetting, by its name).
type Setting struct {
	Value []byte `cbor:"1,keyasint,omitempty"` // CBOR; opaque to the server
	At    int64  `cbor:"2,keyasint"`           // ms since 1970, by the server's clock, when it was set
}

// ConvSetting is how a user has put a conversation away (SpaceSetting, by ConvSettingKey).
type ConvSetting struct {
	Mute     int64 `cbor:"1,keyasint,omitempty"` // ms since 1970 before which nothing is notified; -1: until unmuted
	Archived bool  `cbor:"2,keyasint,omitempty"`
	Pinned   bool  `cbor:"3,keyasint,omitempty"`
	At       int64 `cbor:"4,keyasint,omitempty"` // ms, when it was changed last
}

// MutedForGood is the Mute of a conversation that stays muted until it is unmuted.
const MutedForGood = -1

// Muted reports whether the conversation is muted at now (ms since 1970).
func (c ConvSetting) Muted(now int64) bool { return c.Mute == MutedForGood || c.Mute > now }

// Parts of the names in SpaceSetting. The names that users choose have no slash, so they are none of these.
const (
	convSetting  = "conv/"
	draftSetting = "draft/"
)

// SettingKey is where a user's setting of a chosen name is.
func SettingKey(user, name string) Key { return In(SpaceSetting).Str(user).Str(name) }

// ConvSettingKey is where a user's ConvSetting of a conversation is.
func ConvSettingKey(user, conv string) Key { return SettingKey(user, convSetting+conv) }

// DraftKey is where a user's draft for a conversation is: a Setting whose value is CBOR text.
func DraftKey(user, conv string) Key { return SettingKey(user, draftSetting+conv) }

// ConvSettings reads how a user has put a conversation away; the zero ConvSetting if they have not.
func ConvSettings(r Reader, user, conv string) (c ConvSetting, err error) {
	v, ok, err := r.Get(ConvSettingKey(user, conv))
	if err == nil && ok {
		err = Unmarshal(v, &c)
	}
	return c, err
}

// ContactState says how far two users have come with being contacts.
type ContactState uint8

// States of a Contact, from the side of the user whose record it is.
const (
	ContactRequested ContactState = 1 // the user has asked
	ContactIncoming  ContactState = 2 // the other has asked
	ContactAccepted  ContactState = 3 // they are contacts
	ContactDeclined  ContactState = 4 // the other has asked, and the user does not want it: kept, so that they are not asked again
)

// String returns the state's name on the wire; "none" for no contact.
func (s ContactState) String() string {
	switch s {
	case ContactRequested:
		return "requested"
	case ContactIncoming:
		return "incoming"
	case ContactAccepted:
		return "accepted"
	}
	return "none"
}

// Contact is one side of what two users are to each other (SpaceContact).
type Contact struct {
	State ContactState `cbor:"1,keyasint"`
	At    int64        `cbor:"2,keyasint"`           // ms since 1970, of the last change
	Text  string       `cbor:"3,keyasint,omitempty"` // words that came with the request
}

// ContactKey is where a user's side of a contact is.
func ContactKey(user, other string) Key { return In(SpaceContact).Str(user).Str(other) }

// Block says that of two users one takes nothing from the other, or neither from either (SpaceBlock). Each
// of the two has a record, so that one look tells both sides.
type Block struct {
	At int64 `cbor:"1,keyasint,omitempty"` // ms since 1970, when the user blocked the other; 0: they do not
	By int64 `cbor:"2,keyasint,omitempty"` // ms, when the other blocked the user; 0: they do not
}

// BlockKey is where a user's Block with another is.
func BlockKey(user, other string) Key { return In(SpaceBlock).Str(user).Str(other) }

// Blocks reports whether user takes nothing from other.
func Blocks(r Reader, user, other string) (bool, error) {
	b, err := BlockOf(r, user, other)
	return b.At != 0, err
}

// BlockOf reads who of two users takes nothing from the other, from the side of the first.
func BlockOf(r Reader, user, other string) (b Block, err error) {
	v, ok, err := r.Get(BlockKey(user, other))
	if err == nil && ok {
		err = Unmarshal(v, &b)
	}
	return b, err
}

// Blocked reports whether either of two users takes nothing from the other: then there are no messages, no
// calls and no presence between them.
func Blocked(r Reader, a, b string) (bool, error) {
	rec, err := BlockOf(r, a, b)
	return rec != Block{}, err
}

// IsContact reports whether two users are contacts.
func IsContact(r Reader, a, b string) (bool, error) {
	v, ok, err := r.Get(ContactKey(a, b))
	if err != nil || !ok {
		return false, err
	}
	var c Contact
	err = Unmarshal(v, &c)
	return c.State == ContactAccepted, err
}

// IsMember reports whether a user is a member of a conversation now.
func IsMember(r Reader, user, conv string) (bool, error) {
	v, ok, err := r.Get(In(SpaceMembership).Str(user).Str(conv))
	if err != nil || !ok {
		return false, err
	}
	m, err := DecodeMember(v)
	return err == nil && m.Role != chat.RoleNone, err
}
