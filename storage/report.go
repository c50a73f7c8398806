package storage

import "strings"

// Report is what somebody reported (SpaceReport).
type Report struct {
	By     string   `cbor:"1,keyasint"`
	Conv   string   `cbor:"2,keyasint,omitempty"`
	Seq    uint64   `cbor:"3,keyasint,omitempty"` // of the event; 0: none in particular
	User   string   `cbor:"4,keyasint,omitempty"` // who is reported
	Reason string   `cbor:"5,keyasint,omitempty"`
	Events [][]byte `cbor:"6,keyasint,omitempty"` // copies: those before the event, and the event, as stored
	Seqs   []uint64 `cbor:"7,keyasint,omitempty"` // of Events
	Done   int64    `cbor:"8,keyasint,omitempty"` // ms since 1970, when it was settled; 0: it is open
	DoneBy string   `cbor:"9,keyasint,omitempty"`
	Note   string   `cbor:"10,keyasint,omitempty"` // of who settled it
}

// ReportKey is where a report is: at is ms since 1970.
func ReportKey(at, n uint64) Key { return In(SpaceReport).U64(at).U64(n) }

// Tally counts what a user may do so often a day (SpaceSetting, by TallyKey).
type Tally struct {
	Day int64 `cbor:"1,keyasint"` // days since 1970, UTC
	N   int   `cbor:"2,keyasint"`
}

// TallyKey is where the server counts something that a user does.
func TallyKey(user, what string) Key { return SettingKey(user, "count/"+what) }

// Erasing is how far the erasure of an account has come (SpaceErasing).
type Erasing struct {
	At   int64  `cbor:"1,keyasint"`           // ms since 1970, when the account was deleted
	Conv string `cbor:"2,keyasint,omitempty"` // the last conversation that is done
	Seq  uint64 `cbor:"3,keyasint,omitempty"` // of the next one, events up to it are done
	User string `cbor:"4,keyasint"`
	Done int64  `cbor:"5,keyasint,omitempty"` // ms, when all was erased; 0: that goes on
	Bot  bool   `cbor:"6,keyasint,omitempty"` // what it wrote stays
}

// ErasingKey is where it stands that an account is being erased, or was. User ids are unique without regard to
// case, so the key is in lower case.
func ErasingKey(user string) Key { return In(SpaceErasing).Str(strings.ToLower(user)) }
