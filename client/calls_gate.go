package client

import (
	"context"
	"encoding/base64"
	"fmt"
	"iter"
)

// InviteCalls are the calls about invitations: see [Caller].
//
// Whatever is wrong with a code (it never was, is used up, over, revoked, or its maker may not invite any more), the
// refusal is the same not-found.
type InviteCalls struct{ Via Caller }

// Invite is an invitation to a group: who has its code can join, without knowing the group's id.
type Invite struct {
	Conv    string `json:"conv"`
	Code    string `json:"code"`
	Link    string `json:"link"`    // what opens it: petrel:join?code=…, or a page of the server
	Uses    uint32 `json:"uses"`    // how many may come; 0: any number
	Used    uint32 `json:"used"`    // how many came
	Expires Millis `json:"expires"` // 0: never
	By      string `json:"by"`      // who made it
	At      Millis `json:"at"`      // when
	QR      []byte `json:"-"`       // the link as a QR code, a PNG, if it was asked for
}

// NewInvite is an invitation to be made.
type NewInvite struct {
	Conv    string `json:"conv"`
	Uses    uint32 `json:"uses,omitempty"`    // how many may come; 0: any number
	Expires Millis `json:"expires,omitempty"` // 0: never
	QR      bool   `json:"qr,omitempty"`      // with a QR code of the link
}

type wireInvite struct {
	Invite
	QR string `json:"qr"` // base64url, in CBOR too
}

// Create makes an invitation. It takes the permission add; at most 100 hold at a time in one group (conflict).
func (i InviteCalls) Create(ctx context.Context, invite NewInvite) (Invite, error) {
	reply, err := call[wireInvite](ctx, i.Via, "invite.create", &invite)
	if err != nil || reply.QR == "" {
		return reply.Invite, err
	}
	if reply.Invite.QR, err = base64.RawURLEncoding.DecodeString(reply.QR); err != nil {
		err = fmt.Errorf("client: the QR code of an invitation: %w", err)
	}
	return reply.Invite, err
}

// List returns the invitations that hold, the oldest first: for those who may invite. There are at most a hundred, so
// there is no second page; More says that the caller's Maximum Packet Size had no room for all.
func (i InviteCalls) List(ctx context.Context, conv string) (PageOf[Invite], error) {
	type list struct {
		Invites []Invite `json:"invites"`
		More    bool     `json:"more"`
	}
	reply, err := call[list](ctx, i.Via, "invite.list", wireConv{conv})
	return paged(reply.Invites, reply.More, ""), err
}

type wireCode struct {
	Code string `json:"code"`
	Conv string `json:"conv,omitempty"`
}

// Revoke ends an invitation of one's own or of a lower role and returns the group that it led to. conv may be left out ("").
func (i InviteCalls) Revoke(ctx context.Context, code, conv string) (group string, err error) {
	reply, err := call[wireConvReply](ctx, i.Via, "invite.revoke", wireCode{code, conv})
	return reply.Conv, err
}

// Accept joins the group that a code leads to, and returns which. With conv, a code that leads elsewhere is refused; it may
// be left out ("").
func (i InviteCalls) Accept(ctx context.Context, code, conv string) (group string, err error) {
	reply, err := call[wireConvReply](ctx, i.Via, "invite.accept", wireCode{code, conv})
	return reply.Conv, err
}

// wireConvReply is a reply that repeats what was done; only the conversation is news.
type wireConvReply struct {
	Conv    string `json:"conv"`
	State   string `json:"state"`
	Code    string `json:"code"`
	Revoked bool   `json:"revoked"`
}

// JoinRequestCalls are the calls about those who ask to join a group: see [Caller]. They take the permission add
// (not-authorized).
type JoinRequestCalls struct{ Via Caller }

// JoinRequest is a user who asks to join.
type JoinRequest struct {
	User string `json:"user"`
	At   Millis `json:"at"`
	Text string `json:"text,omitempty"` // what they say about it
}

// List goes through the requests that wait, by the byte order of the users.
func (j JoinRequestCalls) List(ctx context.Context, conv string) iter.Seq2[JoinRequest, error] {
	return each(ctx, func(ctx context.Context, o ListOptions) (PageOf[JoinRequest], error) { return j.ListPage(ctx, conv, o) })
}

// ListPage is one page of [JoinRequestCalls.List]: 100, at most 1,000.
func (j JoinRequestCalls) ListPage(ctx context.Context, conv string, o ListOptions) (PageOf[JoinRequest], error) {
	type list struct {
		Requests []JoinRequest `json:"requests"`
		More     bool          `json:"more"`
	}
	reply, err := call[list](ctx, j.Via, "request.list", wireConvPage{conv, o.wire()})
	return pagedBy(reply.Requests, reply.More, func(r *JoinRequest) string { return r.User }), err
}

// Approve makes whoever asked a member. Who did not ask is not-found.
func (j JoinRequestCalls) Approve(ctx context.Context, conv, user string) (GroupMember, error) {
	return call[GroupMember](ctx, j.Via, "request.approve", wireMember{conv, user})
}

// Deny says no. The user is told, but not who decided, and can ask again in an hour.
func (j JoinRequestCalls) Deny(ctx context.Context, conv, user string) error {
	return j.Via.Call(ctx, "request.deny", wireMember{conv, user}, nil)
}
