package protocol

import (
	"strings"
	"unicode/utf8"

	"github.com/petrelchat/petrel/chat"
)

// View is one of the encodings in which a conversation can be posted to and read.
type View uint8

// The views.
const (
	ViewText View = iota + 1 // c/{conv}/text: the text alone
	ViewJSON                 // c/{conv}/json
	ViewCBOR                 // c/{conv}/cbor
)

// String returns the view's level in topics.
func (v View) String() string {
	switch v {
	case ViewText:
		return "text"
	case ViewJSON:
		return "json"
	case ViewCBOR:
		return "cbor"
	}
	return "?"
}

func parseView(level string) (View, bool) {
	switch level {
	case "text":
		return ViewText, true
	case "json":
		return ViewJSON, true
	case "cbor":
		return ViewCBOR, true
	}
	return 0, false
}

// Space says which part of the server a topic belongs to. Its first level alone decides.
type Space uint8

// The spaces.
const (
	SpacePlain Space = iota + 1 // everything that the others leave: ordinary MQTT
	SpaceConv                   // c/…
	SpaceUser                   // u/…
	SpaceCall                   // k/…
	SpaceRPC                    // rpc/…
	SpaceSys                    // $…: the server's own
)

// SpaceOf returns the space of a topic name or of a filter without its $share prefix. A filter that
// begins with a wildcard means plain topics only.
func SpaceOf(topic string) Space {
	if strings.HasPrefix(topic, "$") {
		return SpaceSys
	}
	first, _, _ := strings.Cut(topic, "/")
	switch first {
	case "c":
		return SpaceConv
	case "u":
		return SpaceUser
	case "k":
		return SpaceCall
	case "rpc":
		return SpaceRPC
	}
	return SpacePlain
}

// maxTopic is what the two length bytes of an MQTT string can say, [MQTT-4.7.3-3].
const maxTopic = 65535

// The refusals of the topic grammar. They are values, not formatted at each use, so that refusing
// costs nothing and ReasonCode can tell them from other bad requests. Nobody changes them.
var (
	errTopicEmpty = chat.Refuse(chat.BadRequest, "a topic must not be empty")
	errTopicLong  = chat.Refuse(chat.BadRequest, "a topic must not exceed 65535 bytes")
	errTopicUTF8  = chat.Refuse(chat.BadRequest, "a topic must be valid UTF-8 without U+0000")
	errTopicWild  = chat.Refuse(chat.BadRequest, "a topic to publish to must not contain + or #")
	errWildPlace  = chat.Refuse(chat.BadRequest, "in a filter, + and # must stand alone between slashes and # must be the last level")
	errShareForm  = chat.Refuse(chat.BadRequest, "a shared subscription is $share/{name}/{filter}, with a name without /, + or #")
	errShareKind  = chat.Refuse(chat.BadRequest, "only c/{conv}/text/+, c/{conv}/json, c/{conv}/cbor and plain topics can be shared")
	errConvID     = chat.Refuse(chat.BadRequest, "a conversation is a group id ([a-z0-9][a-z0-9-]{0,63}) or two user ids in byte order, joined by ~")
	errUserID     = chat.Refuse(chat.BadRequest, "a user id is 1 to 64 letters, digits, dots, underscores or hyphens")
	errConvTopic  = chat.Refuse(chat.BadRequest, "publish to c/{conv}/text, json, cbor, typing, read or call")
	errConvFilter = chat.Refuse(chat.BadRequest, "subscribe to c/{conv}/text/+, json, cbor, typing/+, receipts, info or call, with + or an id as {conv}")
	errSenderPart = chat.Refuse(chat.BadRequest, "publish without the sender's level: the server adds it")
	errUserTopic  = chat.Refuse(chat.BadRequest, "publish to u/{user}/text, json, cbor or call, or to your own u/{me}/status")
	errUserFilter = chat.Refuse(chat.BadRequest, "subscribe to u/{me}/events, errors, rpc, rpc/+, calls or calls/+, or to u/{user}/presence or u/+/presence")
	errMethod     = chat.Refuse(chat.BadRequest, "a request goes to rpc/{method}; a method is lower-case words joined by dots")
	errRPCFilter  = chat.Refuse(chat.BadRequest, "replies arrive at u/{me}/rpc; nothing can be subscribed to under rpc/")
	errCallTopic  = chat.Refuse(chat.BadRequest, "publish to k/{call}/{verb}: the call is the id that the start was answered with; the verb is ringing, accept, decline, cancel, hangup, join, leave, resume or signal")
	errCallFilter = chat.Refuse(chat.BadRequest, "calls arrive at u/{me}/calls; nothing can be subscribed to under k/")

	errServerTopic = chat.Refuse(chat.NotAuthorized, "only the server publishes there")
	errSysFilter   = chat.Refuse(chat.NotAuthorized, "of the topics that begin with $, only $SYS and $share can be subscribed to")
	errGuest       = chat.Refuse(chat.NotAuthorized, "a guest may use plain topics only: connect with a user name")
	errForeign     = chat.Refuse(chat.NotAuthorized, "this topic belongs to another user")
)

// isTopicRefusal reports whether r says that a topic or filter was malformed.
func isTopicRefusal(r *chat.Refusal) bool {
	switch r {
	case errTopicEmpty, errTopicLong, errTopicUTF8, errTopicWild, errWildPlace, errShareForm, errShareKind,
		errConvID, errUserID, errConvTopic, errConvFilter, errSenderPart, errUserTopic, errUserFilter,
		errMethod, errRPCFilter, errCallTopic, errCallFilter:
		return true
	}
	return false
}

// ValidTopic returns nil when topic can be published to by the rules of MQTT: [MQTT-3.3.2-2] no
// wildcards, [MQTT-4.7.3-1] at least one character, [MQTT-4.7.3-2] no U+0000, [MQTT-4.7.3-3] at most
// 65535 bytes, [MQTT-1.5.4-1] valid UTF-8.
func ValidTopic(topic string) error {
	if err := validString(topic); err != nil {
		return err
	}
	if strings.ContainsAny(topic, "+#") {
		return errTopicWild
	}
	return nil
}

// ValidFilter returns nil when filter can be subscribed to by the rules of MQTT: those of ValidTopic,
// [MQTT-4.7.1-1] and [MQTT-4.7.1-2] on where wildcards stand, and [MQTT-4.8.2-1], [MQTT-4.8.2-2] on
// shared subscriptions.
func ValidFilter(filter string) error {
	if err := validString(filter); err != nil {
		return err
	}
	first, rest, more := strings.Cut(filter, "/")
	if first != "$share" {
		return validWildcards(filter)
	}
	name, inner, ok := strings.Cut(rest, "/")
	if !more || !ok || name == "" || inner == "" || strings.ContainsAny(name, "+#") ||
		inner == "$share" || strings.HasPrefix(inner, "$share/") {
		return errShareForm
	}
	return validWildcards(inner)
}

func validString(s string) error {
	switch {
	case s == "":
		return errTopicEmpty
	case len(s) > maxTopic:
		return errTopicLong
	case !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0:
		return errTopicUTF8
	}
	return nil
}

func validWildcards(filter string) error {
	for i := 0; i < len(filter); i++ {
		switch filter[i] {
		case '#':
			if i != len(filter)-1 || i > 0 && filter[i-1] != '/' {
				return errWildPlace // [MQTT-4.7.1-1]
			}
		case '+':
			if i > 0 && filter[i-1] != '/' || i < len(filter)-1 && filter[i+1] != '/' {
				return errWildPlace // [MQTT-4.7.1-2]
			}
		}
	}
	return nil
}

// MatchTopic reports whether a topic matches a filter by the rules of MQTT. Both must be valid, and
// the filter without its $share prefix. A filter that begins with a wildcard does not match a topic
// that begins with $, [MQTT-4.7.2-1]. It knows nothing of petrel's own spaces: give it plain topics.
func MatchTopic(filter, topic string) bool {
	if strings.HasPrefix(topic, "$") && (strings.HasPrefix(filter, "+") || strings.HasPrefix(filter, "#")) {
		return false
	}
	for {
		f, frest, fmore := strings.Cut(filter, "/")
		if f == "#" {
			return true
		}
		t, trest, tmore := strings.Cut(topic, "/")
		if f != "+" && f != t {
			return false
		}
		if !tmore {
			return !fmore || frest == "#" // "a/#" matches "a" too, MQTT 5 §4.7.1.2
		}
		if !fmore {
			return false
		}
		filter, topic = frest, trest
	}
}

// DirectID returns the id of the direct conversation of two users: their ids in byte order, joined by
// a tilde. With oneself it is a~a.
func DirectID(a, b string) string { return chat.DirectID(a, b) }

// DirectPeers returns the two users of a direct conversation; ok is false when conv is not the id of
// one.
func DirectPeers(conv string) (a, b string, ok bool) { return chat.Parties(conv) }

// ValidUser reports whether s can be a user id.
func ValidUser(s string) bool { return chat.ValidUser(s) }

// ValidGroupID reports whether s can be the id of a group.
func ValidGroupID(s string) bool { return chat.ValidGroup(s) }

// ValidConv reports whether s can be the id of a conversation, direct or group.
func ValidConv(s string) bool {
	if chat.ValidGroup(s) {
		return true
	}
	_, _, ok := chat.Parties(s)
	return ok
}

func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }
