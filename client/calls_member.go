package client

import (
	"context"
	"iter"
)

// MemberCalls are the calls about the members of a conversation: see [Caller].
//
// Nobody acts upon an equal or higher role (not-authorized). Who is not in the conversation gets not-found.
type MemberCalls struct{ Via Caller }

// GroupMember is a member of a conversation as the server has it, or a former one.
type GroupMember struct {
	User      string  `json:"user"`
	Role      string  `json:"role,omitempty"` // member, moderator, admin, owner; "": no member (any more)
	Joined    uint64  `json:"joined"`         // seq of the event that made them one
	Left      uint64  `json:"left,omitempty"` // seq of the event that ended it; 0: it has not ended
	Delivered uint64  `json:"delivered"`      // seq up to which one of their devices has everything
	Read      *uint64 `json:"read,omitempty"` // seq up to which they have read; nil: they do not tell, or the caller does not
	Muted     Millis  `json:"muted,omitempty"`
	// Banned is when they may come back, 0 in it: never; nil: they are not banned. It and Muted (before which they may
	// not write; 0: they may) are for moderators and above.
	Banned *Millis `json:"banned,omitempty"`
}

// Ban is a user who may not come back to a group.
type Ban struct {
	User  string `json:"user"`
	Until Millis `json:"until,omitempty"` // 0: for good
}

// List goes through the members by the byte order of their ids.
func (m MemberCalls) List(ctx context.Context, conv string) iter.Seq2[GroupMember, error] {
	return each(ctx, func(ctx context.Context, o ListOptions) (PageOf[GroupMember], error) { return m.ListPage(ctx, conv, o) })
}

type wireMembers struct {
	Members []GroupMember `json:"members"`
	More    bool          `json:"more"`
}

// ListPage is one page of [MemberCalls.List]: 100 members, at most 1,000.
func (m MemberCalls) ListPage(ctx context.Context, conv string, o ListOptions) (PageOf[GroupMember], error) {
	reply, err := call[wireMembers](ctx, m.Via, "member.list", wireConvPage{conv, o.wire()})
	return pagedBy(reply.Members, reply.More, func(g *GroupMember) string { return g.User }), err
}

type wireMember struct {
	Conv string `json:"conv"`
	User string `json:"user"`
}

type wireMemberRole struct {
	wireMember
	Role string `json:"role"`
}

type wireMemberUntil struct {
	wireMember
	Until Millis `json:"until"`
}

// Add makes a user a member; role is "member" if it is left out (""). It takes the permission add. Who has blocked the
// caller can only be invited (not-authorized).
func (m MemberCalls) Add(ctx context.Context, conv, user, role string) (GroupMember, error) {
	if role == "" {
		role = "member"
	}
	return call[GroupMember](ctx, m.Via, "member.add", wireMemberRole{wireMember{conv, user}, role})
}

// Remove ends a membership. Nothing keeps the user from coming back: see [MemberCalls.Ban].
func (m MemberCalls) Remove(ctx context.Context, conv, user string) (GroupMember, error) {
	return call[GroupMember](ctx, m.Via, "member.remove", wireMember{conv, user})
}

// SetRole gives a member a role below the caller's own. With "owner" the owner hands the group over, and is an admin
// then.
func (m MemberCalls) SetRole(ctx context.Context, conv, user, role string) (GroupMember, error) {
	return call[GroupMember](ctx, m.Via, "member.role", wireMemberRole{wireMember{conv, user}, role})
}

// Ban keeps a user out of a group, who need not be a member, until a time; 0: for good. It takes a moderator.
func (m MemberCalls) Ban(ctx context.Context, conv, user string, until Millis) (GroupMember, error) {
	return call[GroupMember](ctx, m.Via, "member.ban", wireMemberUntil{wireMember{conv, user}, until})
}

// Unban lets a user be a member again; it does not make them one.
func (m MemberCalls) Unban(ctx context.Context, conv, user string) (GroupMember, error) {
	return call[GroupMember](ctx, m.Via, "member.unban", wireMember{conv, user})
}

// Mute keeps a member from writing until a time; 0 lets them write again. It takes a moderator. It is not
// [ConvCalls.Mute], which keeps a conversation from notifying the caller.
func (m MemberCalls) Mute(ctx context.Context, conv, user string, until Millis) (GroupMember, error) {
	return call[GroupMember](ctx, m.Via, "member.mute", wireMemberUntil{wireMember{conv, user}, until})
}

// Bans goes through those who are banned: for moderators and above.
func (m MemberCalls) Bans(ctx context.Context, conv string) iter.Seq2[Ban, error] {
	return each(ctx, func(ctx context.Context, o ListOptions) (PageOf[Ban], error) { return m.BansPage(ctx, conv, o) })
}

type wireBans struct {
	Bans []Ban `json:"bans"`
	More bool  `json:"more"`
}

// BansPage is one page of [MemberCalls.Bans]: 100, at most 1,000.
func (m MemberCalls) BansPage(ctx context.Context, conv string, o ListOptions) (PageOf[Ban], error) {
	reply, err := call[wireBans](ctx, m.Via, "member.bans", wireConvPage{conv, o.wire()})
	return pagedBy(reply.Bans, reply.More, func(b *Ban) string { return b.User }), err
}
