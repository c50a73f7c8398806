package storage

import "github.com/petrelchat/petrel/chat"

// What stands at the gate of a group: requests to join it (SpaceRequest) and invitations (SpaceInvite, and
// SpaceCode for who has the code alone).

type requestRecord struct {
	At     int64  `cbor:"1,keyasint"` // ms since 1970
	Text   string `cbor:"2,keyasint,omitempty"`
	Closed int64  `cbor:"3,keyasint,omitempty"` // ms
	By     string `cbor:"4,keyasint,omitempty"`
}

type inviteRecord struct {
	By      string `cbor:"1,keyasint"`
	At      int64  `cbor:"2,keyasint"` // ms since 1970
	Uses    uint32 `cbor:"3,keyasint,omitempty"`
	Used    uint32 `cbor:"4,keyasint,omitempty"`
	Expires int64  `cbor:"5,keyasint,omitempty"` // ms since 1970
}

// RequestKey is where a user's request to join a group is.
func RequestKey(conv, user string) Key { return In(SpaceRequest).Str(conv).Str(user) }

// InviteKey is where an invitation to a group is.
func InviteKey(conv, code string) Key { return In(SpaceInvite).Str(conv).Str(code) }

// CodeKey is where the group is named that an invitation leads to.
func CodeKey(code string) Key { return In(SpaceCode).Str(code) }

// EncodeRequest encodes a request to join.
func EncodeRequest(r chat.Request) []byte { return Marshal(requestRecord(r)) }

// DecodeRequest is the inverse of EncodeRequest.
func DecodeRequest(b []byte) (chat.Request, error) {
	var rec requestRecord
	err := Unmarshal(b, &rec)
	return chat.Request(rec), err
}

// EncodeInvite encodes an invitation.
func EncodeInvite(i chat.Invite) []byte { return Marshal(inviteRecord(i)) }

// DecodeInvite is the inverse of EncodeInvite.
func DecodeInvite(b []byte) (chat.Invite, error) {
	var rec inviteRecord
	err := Unmarshal(b, &rec)
	return chat.Invite(rec), err
}

// ConvOfCode returns the group that an invitation leads to; ok is false for a code that there is not.
func ConvOfCode(r Reader, code string) (conv string, ok bool, err error) {
	v, ok, err := r.Get(CodeKey(code))
	return string(v), ok && err == nil, err
}
