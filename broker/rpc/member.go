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
	Read      *uint64 `json:"read,omitempty"` // left out: the member does not tell
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
	if user == c.User {
		return false, nil
	}
	p, err := c.o.Profiles.Profile(user)
	return p.NoRead, err
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
		if err := v.State.MayPost(c.User); err != nil {
			return err
		}
		users := after(v.State.MemberList(), p.After)
		reply.More = len(users) > limit
		for _, user := range users[:min(limit, len(users))] {
			page = append(page, viewMember(v, user))
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
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &m, c.discreet(&m)
}
