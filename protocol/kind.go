package protocol

import "github.com/petrelchat/petrel/chat"

// kindNames are the names of kinds in JSON; CBOR has the numbers.
var kindNames = [...]string{
	chat.KindPost: "post", chat.KindEdit: "edit", chat.KindDelete: "delete",
	chat.KindReact: "react", chat.KindUnreact: "unreact",
	chat.KindPin: "pin", chat.KindUnpin: "unpin",
	chat.KindCreate: "create", chat.KindInfo: "info", chat.KindJoin: "join", chat.KindAdd: "add",
	chat.KindLeave: "leave", chat.KindRemove: "remove", chat.KindRole: "role", chat.KindEnd: "end",
	chat.KindCall: "call", chat.KindBan: "ban", chat.KindUnban: "unban", chat.KindMute: "mute",
	chat.KindGone: "gone", chat.KindLarge: "large",
	chat.KindAdded: "added", chat.KindRemoved: "removed", chat.KindDevice: "device", chat.KindEnded: "ended",
	chat.KindRequested: "requested", chat.KindDenied: "denied", chat.KindContact: "contact", chat.KindSetting: "setting",
	chat.KindHidden: "hidden", chat.KindReport: "report", chat.KindHook: "webhook",
	chat.KindRing: "ring",
}

// KindName returns the name of a kind in JSON; "" for one that this version does not know.
func KindName(k chat.Kind) string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return ""
}

// ParseKind is the reverse of KindName.
func ParseKind(name string) (chat.Kind, bool) {
	for k, n := range kindNames {
		if n == name && n != "" {
			return chat.Kind(k), true
		}
	}
	return 0, false
}

// RoleName returns the name of a role on the wire; "" for none.
func RoleName(r chat.Role) string {
	if r < chat.RoleMember || r > chat.RoleOwner {
		return ""
	}
	return r.String()
}

// ParseRole is the reverse of RoleName; "" is RoleNone.
func ParseRole(name string) (chat.Role, bool) {
	for r := chat.RoleNone; r <= chat.RoleOwner; r++ {
		if RoleName(r) == name {
			return r, true
		}
	}
	return chat.RoleNone, false
}

// Keys of an event in CBOR. The names are those of JSON. Never reuse a number.
const (
	keySeq      = 1
	keyFrom     = 2
	keyAt       = 3
	keyKind     = 4
	keyID       = 5
	keyText     = 6
	keyRe       = 7
	keyThread   = 8
	keyEmoji    = 9
	keyMentions = 10
	keyExpire   = 11
	keyMedia    = 12
	keyEnc      = 13
	keyMember   = 14
	keyInfo     = 15
	keyExt      = 16
	keyTo       = 17 // of a stub
	keyConv     = 18 // in a user's own log
	keyFwd      = 19
	keyLast     = keyFwd
)

var fieldNames = [...]string{
	keySeq: "seq", keyFrom: "from", keyAt: "at", keyKind: "kind", keyID: "id", keyText: "text",
	keyRe: "re", keyThread: "thread", keyEmoji: "emoji", keyMentions: "mentions", keyExpire: "expire",
	keyMedia: "media", keyEnc: "enc", keyMember: "member", keyInfo: "info", keyExt: "ext",
	keyTo: "to", keyConv: "conv", keyFwd: "fwd",
}

// fieldKey returns the key of an event's field, 0 for a name that is none.
func fieldKey(name string) uint64 {
	for k, n := range fieldNames {
		if n == name && n != "" {
			return uint64(k)
		}
	}
	return 0
}
