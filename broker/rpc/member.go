package rpc

import (
	"slices"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
)

// memberView is a member in a reply.
type memberView struct {
	User      string  `json:"user"`
	Role      string  `json:"role,omitempty"` // left out: no member any more
	Joined    uint64  `json:"joined"`
	Left      uint64  `json:"left,omitempty"`
	Delivered uint64  `json:"delivered"`
	Read      *uint64 `json:"read,omitempty"`   // left out: the member does not tell
	Muted     int64   `json:"muted,omitempty"`  // for moderators: ms since 1970 before which the member may not write
	Banned    *int64  `json:"banned,omitempty"` // for moderators: ms since 1970 before which the user may not come back; 0: for good
}

// keeping adds to the view of a member what moderators and above may see.
func (c *call) keeping(view *memberView, v hub.View) {
	if me, _ := v.State.Member(c.User); me.Role < chat.RoleModerator {
		return
	}
	m, _ := v.State.Member(view.User)
	if m.Muted > c.now {
		view.Muted = m.Muted
	}
	if m.BannedAt(c.now) {
		until := max(m.Banned, 0)
		view.Banned = &until
	}
}

func viewMember(v hub.View, user string) memberView {
	m, _ := v.State.Member(user)
	cur := v.Cursors[user]
	read := cur.Read
	return memberView{
		User: user, Role: protocol.RoleName(m.Role), Joined: m.Joined, Left: m.Left,
		Delivered: max(cur.Delivered, cur.Read), Read: &read,
	}
}

// discreet takes the read cursor out of the view of a member who hides it from others.
func (c *call) discreet(m *memberView) error {
	hides, err := c.hidesReads(m.User)
	if hides {
		m.Read = nil
	}
	return err
}

func (c *call) hidesReads(user string) (bool, error) {
	// Who hides it does not see it of others.
	return user != c.User && (c.o.Profiles.HidesReads(user) || c.o.Profiles.HidesReads(c.User)), nil
}

type memberListParams struct {
	Conv  string `json:"conv"`
	After string `json:"after"` // the last user of the page before
	Limit *int64 `json:"limit"`
}

type memberListReply struct {
	Members *list `json:"members"`
	More    bool  `json:"more"`
}

// memberList lists the members in the byte order of their ids.
func memberList(c *call, p *memberListParams) (any, error) {
	limit, err := pageOf(p.Limit, 100, 1000)
	if err != nil {
		return nil, err
	}
	var page []memberView
	reply := memberListReply{Members: c.list(32)}
	err = c.query(p.Conv, func(v hub.View) error {
		if err := v.State.MayRead(c.User); err != nil {
			return err
		}
		users := after(v.State.MemberList(), p.After)
		reply.More = len(users) > limit
		for _, user := range users[:min(limit, len(users))] {
			m := viewMember(v, user)
			if user != c.User && v.State.Silent() { // no receipts: one has not accepted the other, or blocks them
				m.Delivered, m.Read = 0, nil
			}
			page = append(page, m)
			c.keeping(&page[len(page)-1], v)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i := range page {
		if err := c.discreet(&page[i]); err != nil {
			return nil, err
		}
		ok, err := reply.Members.add(&page[i])
		if err != nil {
			return nil, err
		}
		if !ok {
			reply.More = true
			break
		}
	}
	return reply, nil
}

// after returns the part of a sorted list behind a name.
func after(users []string, name string) []string {
	i, found := slices.BinarySearch(users, name)
	if found {
		i++
	}
	return users[i:]
}

type memberParams struct {
	Conv string `json:"conv"`
	User string `json:"user"`
}

type memberRoleParams struct {
	memberParams
	Role string `json:"role"`
}

func memberAdd(c *call, p *memberRoleParams) (any, error) {
	role, err := roleOf(p.Role)
	if err != nil {
		return nil, err
	}
	if err := c.account("user", p.User); err != nil {
		return nil, err
	}
	if err := c.mayBring(p.User); err != nil {
		return nil, err
	}
	return c.changeMember(p.Conv, chat.Command{Op: chat.OpAdd, User: p.User, Role: role})
}

func memberRemove(c *call, p *memberParams) (any, error) {
	return c.changeMember(p.Conv, chat.Command{Op: chat.OpRemove, User: p.User})
}

func memberRole(c *call, p *memberRoleParams) (any, error) {
	role, err := roleOf(p.Role)
	if err != nil {
		return nil, err
	}
	return c.changeMember(p.Conv, chat.Command{Op: chat.OpRole, User: p.User, Role: role})
}

type memberBanParams struct {
	memberParams
	Until int64 `json:"until"` // ms since 1970; 0: for good
}

// memberBan keeps a user out, who need not be a member.
func memberBan(c *call, p *memberBanParams) (any, error) {
	if err := c.account("user", p.User); err != nil {
		return nil, err
	}
	return c.changeMember(p.Conv, chat.Command{Op: chat.OpBan, User: p.User, Until: p.Until})
}

func memberUnban(c *call, p *memberParams) (any, error) {
	return c.changeMember(p.Conv, chat.Command{Op: chat.OpUnban, User: p.User})
}

type memberMuteParams struct {
	memberParams
	Until *int64 `json:"until"` // ms since 1970; 0: not muted any more
}

func memberMute(c *call, p *memberMuteParams) (any, error) {
	if p.Until == nil {
		return nil, chat.Refuse(chat.BadRequest, "until is missing: ms since 1970 until when the member may not write; 0 lets them write again")
	}
	return c.changeMember(p.Conv, chat.Command{Op: chat.OpMute, User: p.User, Until: *p.Until})
}

type memberBansReply struct {
	Bans *list `json:"bans"`
	More bool  `json:"more"`
}

type banView struct {
	User  string `json:"user"`
	Until int64  `json:"until,omitempty"` // ms since 1970; left out: for good
}

// memberBans lists who is banned, in the byte order of their ids: for moderators and above.
func memberBans(c *call, p *memberListParams) (any, error) {
	limit, err := pageOf(p.Limit, 100, 1000)
	if err != nil {
		return nil, err
	}
	var page []banView
	reply := memberBansReply{Bans: c.list(32)}
	err = c.query(p.Conv, func(v hub.View) error {
		if err := v.State.MayRead(c.User); err != nil {
			return err
		}
		if me, _ := v.State.Member(c.User); me.Role < chat.RoleModerator {
			return chat.Refuse(chat.NotAuthorized, "only a moderator or above sees who is banned: ask one of them")
		}
		users := after(v.State.Banned(c.now), p.After)
		reply.More = len(users) > limit
		for _, user := range users[:min(limit, len(users))] {
			m, _ := v.State.Member(user)
			page = append(page, banView{user, max(m.Banned, 0)})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return reply, fill(reply.Bans, page, &reply.More)
}

// fill adds a page's items to the list of a reply for as long as there is room; more says that some are
// left.
func fill[T any](to *list, page []T, more *bool) error {
	for i := range page {
		ok, err := to.add(&page[i])
		if err != nil {
			return err
		}
		if !ok {
			*more = true
			break
		}
	}
	return nil
}

func roleOf(name string) (chat.Role, error) {
	role, ok := protocol.ParseRole(name)
	if !ok {
		return 0, chat.Refuse(chat.BadRequest, "role is member, moderator, admin or owner")
	}
	return role, nil
}

// changeMember carries out a command on a member and shows what became of them.
func (c *call) changeMember(conv string, cmd chat.Command) (any, error) {
	if cmd.User == "" {
		return nil, chat.Refuse(chat.BadRequest, "user is missing: name the member")
	}
	if err := c.do(conv, cmd); err != nil {
		return nil, err
	}
	var m memberView
	err := c.query(conv, func(v hub.View) error {
		m = viewMember(v, cmd.User)
		c.keeping(&m, v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &m, c.discreet(&m)
}
