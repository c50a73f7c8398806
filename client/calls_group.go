package client

import (
	"context"
	"iter"

	"github.com/petrelchat/petrel/protocol"
)

// GroupCalls are the calls about groups as a whole: see [Caller].
type GroupCalls struct{ Via Caller }

// Group is a conversation as the caller sees it. The settings of a direct one are Expire and Forward only. InfoView has
// Title, About, Visibility, Join, History, Forward, Limit (0: the server's), Expire and Withdraw (seconds; 0: never,
// always), Perms (what differs from the defaults), Members (how many), Role (the caller's; "": no member),
// Created (ms since 1970) and Head.
type Group struct {
	Conv string `json:"conv"`
	protocol.InfoView
	Muted   Millis `json:"muted,omitempty"`   // the caller may not write before; 0: they may
	Pending bool   `json:"pending,omitempty"` // the caller has asked to join
}

// GroupSettings are what a group can be told about itself. nil leaves a setting as it is, at creation at its
// default; new("Crew") is a pointer to a value.
type GroupSettings struct {
	Title      *string           `json:"title,omitempty"`      // 1 to 128 bytes; a new group needs one
	About      *string           `json:"about,omitempty"`      // at most 1,024 bytes
	Visibility *string           `json:"visibility,omitempty"` // private (default) or public: whether others than members can find it
	Join       *string           `json:"join,omitempty"`       // invite (default), request or open
	History    *string           `json:"history,omitempty"`    // all (default) or joined: whether new members see what was before
	Limit      *uint32           `json:"limit,omitempty"`      // most members; 0: the server's limit
	Forward    *string           `json:"forward,omitempty"`    // origin or hidden: whether forwarded posts tell where they are from
	Expire     *uint32           `json:"expire,omitempty"`     // seconds until posts disappear that say nothing else; 0: never
	Withdraw   *uint32           `json:"withdraw,omitempty"`   // seconds within which authors delete for everyone; 0: always
	Perms      map[string]string `json:"perms,omitempty"`      // least role (member, moderator, admin, owner) for post, add, pin, info, delete, call
}

// NewGroup is a group to be created. The caller owns it.
type NewGroup struct {
	// ID is 1 to 64 of a-z, 0-9 and '-', not beginning with '-'; "": the server gives one, which for a private group nobody
	// can guess. One that is taken is a conflict.
	ID      string   `json:"id,omitempty"`
	Members []string `json:"members,omitempty"` // users who are members from the beginning
	GroupSettings
}

// Create makes a group and returns its id.
//
// Refusals: conflict (the id is taken; more members than the limit), not-found (a member is no user), not-authorized (a
// member takes nothing from the caller), bad-request.
func (g GroupCalls) Create(ctx context.Context, group NewGroup) (conv string, err error) {
	var reply wireConv
	err = g.Via.Call(ctx, "group.create", &group, &reply)
	return reply.Conv, err
}

// Get returns a group, or a direct conversation of the caller's. What the caller may not see is not-found.
func (g GroupCalls) Get(ctx context.Context, conv string) (Group, error) {
	return call[Group](ctx, g.Via, "group.get", wireConv{conv})
}

type wireGroupUpdate struct {
	Conv string `json:"conv"`
	GroupSettings
}

// Update changes settings and returns the group as it is then. It takes the permission info, perms the role admin
// (not-authorized).
func (g GroupCalls) Update(ctx context.Context, conv string, change GroupSettings) (Group, error) {
	return call[Group](ctx, g.Via, "group.update", wireGroupUpdate{conv, change})
}

// Delete ends a group for all its members: for its owner (not-authorized).
func (g GroupCalls) Delete(ctx context.Context, conv string) error {
	return g.Via.Call(ctx, "group.delete", wireConv{conv}, nil)
}

type wireGroupJoin struct {
	Conv string `json:"conv"`
	Text string `json:"text,omitempty"`
}

type wireGroupState struct {
	Conv  string `json:"conv"`
	State string `json:"state"`
}

// Join joins an open group, and asks to join one that takes requests: pending is true then. text, at most 256 bytes, is for
// those who decide. Asking again while a request waits changes nothing; after a denial or a withdrawal it is
// rate-limited for an hour. Groups that nobody can join like this are not-found or not-authorized.
func (g GroupCalls) Join(ctx context.Context, conv, text string) (pending bool, err error) {
	reply, err := call[wireGroupState](ctx, g.Via, "group.join", wireGroupJoin{conv, text})
	return reply.State == "pending", err
}

// Leave ends the caller's membership, or takes back their request to join. An owner's place goes to the highest role
// that stays; the last one to leave ends the group.
func (g GroupCalls) Leave(ctx context.Context, conv string) error {
	return g.Via.Call(ctx, "group.leave", wireConv{conv}, nil)
}

type wireGroupFind struct {
	Q string `json:"q,omitempty"`
	wirePage
}

type wireGroups struct {
	Groups []Group `json:"groups"`
	After  string  `json:"after"`
	More   bool    `json:"more"`
	Behind bool    `json:"behind"`
}

func (g GroupCalls) find(ctx context.Context, method, q string, o ListOptions) (PageOf[Group], error) {
	reply, err := call[wireGroups](ctx, g.Via, method, wireGroupFind{q, o.wire()})
	p := paged(reply.Groups, reply.More, reply.After)
	p.Behind = reply.Behind
	return p, err
}

// Search finds public groups by the beginnings of words in their title and about, the best first; q "": all, the largest
// first. A server without an index knows no such method (not-found).
func (g GroupCalls) Search(ctx context.Context, q string) iter.Seq2[Group, error] {
	return each(ctx, func(ctx context.Context, o ListOptions) (PageOf[Group], error) { return g.SearchPage(ctx, q, o) })
}

// SearchPage is one page of [GroupCalls.Search]: 20 groups, at most 100.
func (g GroupCalls) SearchPage(ctx context.Context, q string, o ListOptions) (PageOf[Group], error) {
	return g.find(ctx, "group.search", q, o)
}

// Recommend names public groups that the caller is not in: with people whom they know, and lively ones.
func (g GroupCalls) Recommend(ctx context.Context) iter.Seq2[Group, error] {
	return each(ctx, g.RecommendPage)
}

// RecommendPage is one page of [GroupCalls.Recommend]: 20 groups, at most 100.
func (g GroupCalls) RecommendPage(ctx context.Context, o ListOptions) (PageOf[Group], error) {
	return g.find(ctx, "group.recommend", "", o)
}

// call carries out a request and returns its reply.
func call[Reply any](ctx context.Context, via Caller, method string, req any) (reply Reply, err error) {
	err = via.Call(ctx, method, req, &reply)
	return reply, err
}
