package storage

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
	"github.com/petrelchat/petrel/chat"
)

// ErrRecord is wrapped by the error of a record that does not decode: the store is damaged or was
// written by something else.
var ErrRecord = errors.New("storage: malformed record")

// AppendMember encodes a member's record (SpaceMember, SpaceMembership).
func AppendMember(dst []byte, m chat.Member) []byte {
	dst = append(dst, byte(m.Role))
	dst = binary.AppendUvarint(dst, m.Since)
	dst = binary.AppendUvarint(dst, m.Joined)
	dst = binary.AppendUvarint(dst, m.Left)
	if m.Muted == 0 && m.Banned == 0 && m.Flags == 0 {
		return dst // nearly everybody
	}
	dst = binary.AppendUvarint(dst, uint64(m.Muted))
	dst = binary.AppendUvarint(dst, uint64(m.Banned+1)) // which is -1 or more
	return binary.AppendUvarint(dst, uint64(m.Flags))
}

// DecodeMember is the inverse of AppendMember.
func DecodeMember(b []byte) (m chat.Member, err error) {
	if len(b) < 1 || b[0] > byte(chat.RoleOwner) {
		return m, fmt.Errorf("%w: member", ErrRecord)
	}
	m.Role = chat.Role(b[0])
	rest, err := takeUvarints(b[1:], "member", &m.Since, &m.Joined, &m.Left)
	if err != nil || len(rest) == 0 {
		return m, err
	}
	var muted, banned, flags uint64
	err = uvarints(rest, "member", &muted, &banned, &flags)
	m.Muted, m.Banned, m.Flags = int64(muted), int64(banned)-1, chat.MemberFlags(flags)
	return m, err
}

// AppendCursor encodes a member's cursors (SpaceCursor).
func AppendCursor(dst []byte, c chat.Cursor) []byte {
	dst = binary.AppendUvarint(dst, c.Delivered)
	return binary.AppendUvarint(dst, c.Read)
}

// DecodeCursor is the inverse of AppendCursor.
func DecodeCursor(b []byte) (c chat.Cursor, err error) {
	err = uvarints(b, "cursor", &c.Delivered, &c.Read)
	return c, err
}

// AppendPrior encodes what an idempotency key stands for (SpaceRetry).
func AppendPrior(dst []byte, p chat.Prior) []byte {
	dst = binary.AppendUvarint(dst, p.Seq)
	return binary.BigEndian.AppendUint64(dst, p.Hash)
}

// DecodePrior is the inverse of AppendPrior.
func DecodePrior(b []byte) (p chat.Prior, err error) {
	n, k := binary.Uvarint(b)
	if k <= 0 || len(b) != k+8 {
		return p, fmt.Errorf("%w: retry key", ErrRecord)
	}
	return chat.Prior{Seq: n, Hash: binary.BigEndian.Uint64(b[k:])}, nil
}

func uvarints(b []byte, what string, into ...*uint64) error {
	b, err := takeUvarints(b, what, into...)
	if err == nil && len(b) != 0 {
		err = fmt.Errorf("%w: %s has %d bytes too many", ErrRecord, what, len(b))
	}
	return err
}

// takeUvarints returns what follows the numbers.
func takeUvarints(b []byte, what string, into ...*uint64) (rest []byte, err error) {
	for _, p := range into {
		n, k := binary.Uvarint(b)
		if k <= 0 {
			return nil, fmt.Errorf("%w: %s", ErrRecord, what)
		}
		*p, b = n, b[k:]
	}
	return b, nil
}

// Conv is the record of a conversation (SpaceConv).
type Conv struct {
	Info  chat.Info `cbor:"1,keyasint"`
	Ended bool      `cbor:"2,keyasint,omitempty"`
}

// Session is the record of a durable session (SpaceSession).
type Session struct {
	SID     uint64 `cbor:"1,keyasint"`
	Created int64  `cbor:"2,keyasint"`           // ms
	Ended   int64  `cbor:"3,keyasint,omitempty"` // ms when the connection ended; 0 while connected
	Expiry  uint32 `cbor:"4,keyasint"`           // seconds after Ended; MaxUint32: never
	Subs    []Sub  `cbor:"5,keyasint,omitempty"`
	Catchup uint32 `cbor:"6,keyasint,omitempty"` // at most the last N events of each conversation; 0: all
	MaxSize uint32 `cbor:"7,keyasint,omitempty"` // longest packet that a 3.1.1 device takes; 0: any
	Name    string `cbor:"8,keyasint,omitempty"`
	Addr    string `cbor:"9,keyasint,omitempty"`  // of the last connection
	Since   uint64 `cbor:"10,keyasint,omitempty"` // commit before which nothing is owed to the session
	Crashed uint64 `cbor:"11,keyasint,omitempty"` // its connection ended with the server: what commits up to here may have been sent
}

// Sub is one subscription of a session, as the client stated it.
type Sub struct {
	Filter  string `cbor:"1,keyasint"`
	Options byte   `cbor:"2,keyasint"` // as on the wire, MQTT 5 §3.8.3.1
	ID      uint32 `cbor:"3,keyasint,omitempty"`
	Meta    byte   `cbor:"4,keyasint,omitempty"` // metadata on the text view: 1 seq, 2 at
}

// Position is the record of how far a session has come (SpacePosition, key sid): everything up to
// Commit was delivered and acknowledged, but for what Lag and Inflight name.
type Position struct {
	Commit   uint64     `cbor:"1,keyasint"`
	Lag      []Lag      `cbor:"2,keyasint,omitempty"`
	Inflight []Inflight `cbor:"3,keyasint,omitempty"` // in the order of sending
	Alloc    uint64     `cbor:"4,keyasint"`           // packet ids given out so far
	Unseen   []Journal  `cbor:"5,keyasint,omitempty"` // stored publishes whose acknowledgement did not reach the client
	Again    uint64     `cbor:"6,keyasint,omitempty"` // what lags may have been sent before, up to this commit
}

// Lag says that a log is to be read on for a session from seq Next.
type Lag struct {
	Log  string `cbor:"1,keyasint"`
	View byte   `cbor:"2,keyasint"`
	Next uint64 `cbor:"3,keyasint"`
	// Skip are events of the session's own from Next on that No Local leaves out: the first and the last of
	// each run, ascending.
	Skip []uint64 `cbor:"4,keyasint,omitempty"`
}

// Share is the record of how far a shared subscription to conversations has come (SpaceShare):
// everything up to Commit was delivered to one of its sessions and acknowledged, but for what Lag names.
type Share struct {
	Commit uint64      `cbor:"1,keyasint"`
	Lag    []ShareSpan `cbor:"2,keyasint,omitempty"`
	Dup    uint64      `cbor:"3,keyasint,omitempty"` // events of commits up to it may have been sent before
	Online bool        `cbor:"4,keyasint,omitempty"` // one of its sessions was connected then
}

// ShareSpan says that the entries First..Last of a log are owed to a shared subscription; those up to
// Sent were sent before.
type ShareSpan struct {
	Log   string `cbor:"1,keyasint"`
	First uint64 `cbor:"2,keyasint"`
	Last  uint64 `cbor:"3,keyasint"`
	Sent  uint64 `cbor:"4,keyasint,omitempty"`
}

// Inflight is a packet that was sent at QoS 1 and not acknowledged.
type Inflight struct {
	Alloc uint64 `cbor:"1,keyasint"`
	Log   string `cbor:"2,keyasint"`
	View  byte   `cbor:"3,keyasint"`
	Seq   uint64 `cbor:"4,keyasint"`
	QoS   byte   `cbor:"5,keyasint,omitempty"`
}

// Journal is one inbound publish of a durable session, kept until its acknowledgement was handed to
// the connection (SpaceJournal): how a retry with DUP is recognised after a crash.
type Journal struct {
	SID  uint64 `cbor:"1,keyasint"`
	PID  uint16 `cbor:"2,keyasint"`
	Hash uint64 `cbor:"3,keyasint"`
	Seq  uint64 `cbor:"4,keyasint,omitempty"`
	N    uint64 `cbor:"5,keyasint,omitempty"` // of this publish: unique in the store
}

// Profile is what petrel keeps about a user beside the account (SpaceProfile).
type Profile struct {
	Name     string `cbor:"1,keyasint,omitempty"`
	Avatar   string `cbor:"2,keyasint,omitempty"`
	State    string `cbor:"3,keyasint,omitempty"` // status that the user set: "away" or ""
	Text     string `cbor:"4,keyasint,omitempty"`
	Seen     int64  `cbor:"5,keyasint,omitempty"` // ms; when last online
	Online   bool   `cbor:"6,keyasint,omitempty"` // as far as the record knows
	NoRead   bool   `cbor:"7,keyasint,omitempty"` // hides read receipts
	NoSeen   bool   `cbor:"8,keyasint,omitempty"` // hides last seen
	Modified int64  `cbor:"9,keyasint,omitempty"` // ms

	Messages chat.Messages `cbor:"10,keyasint,omitempty"` // from whom the user takes direct messages
	Calls    chat.Callers  `cbor:"11,keyasint,omitempty"` // who may call the user directly
	Relay    chat.Relay    `cbor:"12,keyasint,omitempty"` // when media of the user's calls are relayed
}

// Marshal encodes one of the record structs of this file.
func Marshal(v any) []byte {
	b, err := cbor.Marshal(v)
	if err != nil { // only for types that CBOR has no form for, and these structs have one
		panic("storage: " + err.Error())
	}
	return b
}

// Unmarshal decodes a record that Marshal wrote.
func Unmarshal(b []byte, v any) error {
	if err := cbor.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %T: %v", ErrRecord, v, err)
	}
	return nil
}
