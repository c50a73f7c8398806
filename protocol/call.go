package protocol

import (
	"slices"
	"strings"

	"github.com/fxamacker/cbor/v2"

	"github.com/petrelchat/petrel/chat"
)

// CallVerbs returns what can be published to k/{call}/{verb}.
func CallVerbs() []string {
	return []string{"ringing", "accept", "decline", "cancel", "hangup", "join", "leave", "resume", "signal"}
}

// Lengths of the ids that the server gives to calls and to those who take part in them.
const (
	callLen  = 13
	partyLen = 8
)

// ValidCall reports whether s can be the id of a call.
func ValidCall(s string) bool { return len(s) == callLen && isBase32(s) }

// ValidParty reports whether s can be the id of a party of a call.
func ValidParty(s string) bool { return len(s) == partyLen && isBase32(s) }

// isBase32: the alphabet of RFC 4648 §6, in lower case.
func isBase32(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isLower(c) && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// parseCall resolves what stands after "k/".
func parseCall(rest string) (call, verb string, err error) {
	call, verb, _ = strings.Cut(rest, "/")
	if !ValidCall(call) || !slices.Contains(CallVerbs(), verb) {
		return "", "", errCallTopic
	}
	return call, verb, nil
}

// CallTopic returns the topic of a group's running call.
func CallTopic(conv string) string { return "c/" + conv + "/call" }

// CallsTopic returns where a user's devices learn of calls, or, with a party, where that party gets its signals.
func CallsTopic(me, party string) string {
	if party == "" {
		return "u/" + me + "/calls"
	}
	return "u/" + me + "/calls/" + party
}

// CallEnd is what the event of a call that ended says in its ext.
type CallEnd struct {
	Call     string   `cbor:"call"`
	Media    []string `cbor:"media"`
	Duration int64    `cbor:"duration"` // seconds
	Outcome  string   `cbor:"outcome"`  // answered, missed, declined, busy, cancelled, failed
	With     []string `cbor:"with"`     // who took part
}

// CallEndOf reads it; ok is false for an event that is no such one.
func CallEndOf(ev *chat.Event) (end CallEnd, ok bool) {
	if ev.Kind != chat.KindCall || len(ev.Ext) == 0 {
		return end, false
	}
	err := cbor.Unmarshal(ev.Ext, &end)
	return end, err == nil
}

// CallRing is what the entry of a user's own log says in its ext who is called.
type CallRing struct {
	Call string `cbor:"call"`
	Exp  int64  `cbor:"exp"` // ms since 1970 UTC: it rings until then
}

// AppendCallRing appends it as an event's ext.
func AppendCallRing(dst []byte, r CallRing) []byte {
	dst = appendHead(dst, majMap, 2) // RFC 8949 §4.2.1: the shorter key comes first
	dst = appendHead(appendText(dst, "exp"), majUint, uint64(max(r.Exp, 0)))
	return appendText(appendText(dst, "call"), r.Call)
}
