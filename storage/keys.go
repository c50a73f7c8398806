package storage

import "encoding/binary"

// Key is an order-preserving key: a space byte, then parts. Strings end with a zero byte (no id and
// no MQTT string contains one, [MQTT-1.5.4-2]); numbers are 8 bytes big-endian (packet ids 2), so
// that byte order is the order of the parts.
//
// This file is the whole key layout of the records; how an engine keys the entries of logs is its own
// affair. Never reuse a space byte.
type Key []byte

// Space is the first byte of a key.
type Space byte

// The spaces, each with the parts that follow.
const (
	SpaceMeta       Space = 'm' // name                     format, development mark, counters, runs
	SpaceConv       Space = 'c' // conv                     settings of a conversation
	SpaceMember     Space = 'M' // conv, user               role and visible range
	SpaceMembership Space = 'U' // user, conv               the same, from the user's side
	SpaceCursor     Space = 'C' // conv, user               delivered and read
	SpaceRetry      Space = 'r' // conv, user, id           seq and hash of the event with that id
	SpaceExpire     Space = 'x' // ms, conv, seq            events that disappear then
	SpaceJournal    Space = 'j' // commit                   inbound packet ids of that commit
	SpaceAccount    Space = 'A' // user (lower case)        account
	SpaceProfile    Space = 'a' // user                     presence, status, last seen, settings
	SpaceToken      Space = 'T' // token id                 device token
	SpaceSession    Space = 'S' // user, client id          session
	SpaceSessionEnd Space = 'E' // ms, user, client id      when the session expires
	SpacePosition   Space = 'P' // sid, view, log           where a lagging log of a session goes on
	SpaceInflight   Space = 'I' // sid                      packets that were sent and not acknowledged
	SpaceFilter     Space = 'F' // sid, filter              plain filter of a session
	SpaceMessage    Space = 'q' // n                        plain message that waits for someone
	SpaceRef        Space = 'Q' // sid, n                   it waits for this session
	SpaceReceived   Space = '2' // sid, packet id           inbound QoS 2 packet id in use
	SpaceReleased   Space = '3' // sid, packet id           outbound QoS 2 packet id between PUBREC and PUBCOMP
	SpaceRetained   Space = 't' // topic                    retained message
	SpaceWill       Space = 'W' // user, client id          will of a connected client
	SpaceAudit      Space = 'u' // ms, n                    audit entry
	SpaceShare      Space = 'h' // user, filter             where a shared subscription to conversations goes on
	SpaceSharer     Space = 'H' // user, filter, sid        durable session that has it; the value is its QoS

	// What stands beside the logs for the sake of conversations.
	SpaceRequest   Space = 'R' // conv, user               request to join the group
	SpaceInvite    Space = 'i' // conv, code               invitation
	SpaceCode      Space = 'k' // code                     the group that it invites to
	SpaceAct       Space = 'n' // conv, seq, seq           the second event acts upon the first: an edit, a pin; its kind
	SpaceReaction  Space = 'e' // conv, seq, emoji, user   reaction to the event; the seq that made it
	SpaceThread    Space = 'd' // conv, root, seq          post of a thread; its depth and author
	SpaceThreadSum Space = 'D' // conv, root               what a thread amounts to
	SpacePin       Space = 'p' // conv, seq                pinned post; by whom and when
	SpaceHidden    Space = 'v' // user, conv, seq          event that the user deleted for themselves
	SpaceContact   Space = 'o' // user, other              contact, with its state
	SpaceBlock     Space = 'b' // user, other              the user takes nothing from the other
	SpaceSetting   Space = 's' // user, name               private setting that follows the user
	SpaceReport    Space = 'y' // ms, n                    report of an event or a user
	SpaceUntold    Space = 'V' // user, conv               draft that the user's devices were not told of yet
	SpaceErasing   Space = 'X' // user (lower case)        account that is being erased, or was, and how far that has come
	SpaceRead      Space = 'w' // conv, ms, user           where a member's cursors came to then
	SpacePush      Space = 'B' // user, name               where notifications of a user go
	SpaceNotice    Space = 'g' // ms, user, conv           notification that is gathered until then
	SpaceBot       Space = 'f' // owner, bot               its slash commands
	SpaceWebhook   Space = 'K' // id                       incoming or outgoing webhook
	SpaceHookNext  Space = 'O' // id, log                  where an outgoing webhook goes on
	SpaceDerived   Space = 'z' // name                     how far a derived view has come (search)
	SpaceCall      Space = 'G' // call                     a call that lives, or ended and is not in its conversation's log yet
	SpaceSignal    Space = 'Z' // call, party, seq         a signal that is kept for the party
)

// In starts a key in a space.
func In(s Space) Key { return append(make(Key, 0, 48), byte(s)) }

// Str appends a string part.
func (k Key) Str(s string) Key { return append(append(k, s...), 0) }

// U64 appends a number part.
func (k Key) U64(n uint64) Key { return binary.BigEndian.AppendUint64(k, n) }

// U16 appends a packet id.
func (k Key) U16(n uint16) Key { return binary.BigEndian.AppendUint16(k, n) }

// Raw appends bytes without a terminator: for a prefix of a string part.
func (k Key) Raw(s string) Key { return append(k, s...) }

// TakeStr splits the first string part off a key's rest.
func TakeStr(k Key) (s string, rest Key, ok bool) {
	for i, c := range k {
		if c == 0 {
			return string(k[:i]), k[i+1:], true
		}
	}
	return "", nil, false
}

// TakeU64 splits the first number part off a key's rest.
func TakeU64(k Key) (n uint64, rest Key, ok bool) {
	if len(k) < 8 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint64(k), k[8:], true
}

// TakeU16 splits a packet id off a key's rest.
func TakeU16(k Key) (n uint16, rest Key, ok bool) {
	if len(k) < 2 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint16(k), k[2:], true
}

// OwnLog is the name of a user's own log. '@' stands in no conversation id.
func OwnLog(user string) string { return "@" + user }
