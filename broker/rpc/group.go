package rpc

import (
	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
)

// settings are the parameters that change a group.
type settings struct {
	Title      *string `json:"title"`
	About      *string `json:"about"`
	Visibility *string `json:"visibility"`
	Join       *string `json:"join"`
	History    *string `json:"history"`
	Limit      *uint32 `json:"limit"`
	Forward    *string `json:"forward"`
	Expire     *uint32 `json:"expire"`
	Withdraw   *uint32 `json:"withdraw"`
	// Perms has the least role for actions; what is not in it stays as it is.
	Perms map[string]string `json:"perms"`
}

func (s *settings) change() (*chat.InfoChange, error) {
	perms, err := permsOf(s.Perms)
	return &chat.InfoChange{
		Title: s.Title, About: s.About, Visibility: s.Visibility, Join: s.Join, History: s.History, Limit: s.Limit,
		Forward: s.Forward, Expire: s.Expire, Withdraw: s.Withdraw, Perms: perms,
	}, err
}

// permsOf reads a permission table; nil for one that names nothing.
func permsOf(names map[string]string) (*chat.Perms, error) {
	if len(names) == 0 {
		return nil, nil //nolint:nilnil // nothing is to change
	}
	perms := new(chat.Perms)
	known := 0
	for _, a := range chat.Actions() {
		name, ok := names[a.String()]
		if !ok {
			continue
		}
		known++
		role, ok := protocol.ParseRole(name)
		if !ok || role == chat.RoleNone {
			return nil, chat.Refuse(chat.BadRequest, "perms.%s is the least role: member, moderator, admin or owner", a)
		}
		perms[a] = role
	}
	if known < len(names) {
		return nil, chat.Refuse(chat.BadRequest, "perms has an action that there is not: it is post, add, pin, info, delete or call")
	}
	return perms, nil
}

type convParams struct {
	Conv string `json:"conv"`
}

// groupView is a conversation in a reply.
type groupView struct {
	Conv string `json:"conv"`
	protocol.InfoView
	Muted   int64 `json:"muted,omitempty"`   // ms since 1970 before which the caller may not write
	Pending bool  `json:"pending,omitempty"` // the caller's request to join waits
}

type groupCreateParams struct {
	ID      *string  `json:"id"`
	Members []string `json:"members"`
	settings
}

// publicID is how many characters of a random id a public group gets: it is not secret, only unlikely to
// be taken. A private group's id is all that keeps strangers from guessing it, so it gets the whole.
const publicID = 10

// groupCreate makes a group. An id that is taken is told so, also when a private group has it: a chosen id
// cannot be given twice. Who wants nobody to know lets the server give the id.
func groupCreate(c *call, p *groupCreateParams) (any, error) {
	for _, user := range p.Members {
		if err := c.account("members", user); err != nil {
			return nil, err
		}
		if err := c.mayBring(user); err != nil {
			return nil, err
		}
	}
	change, err := p.change()
	if err != nil {
		return nil, err
	}
	cmd := chat.Command{Op: chat.OpCreate, Info: change, Members: p.Members}
	if p.ID != nil {
		if !chat.ValidGroup(*p.ID) {
			return nil, chat.Refuse(chat.BadRequest, "id is 1 to 64 of a-z, 0-9 and '-', and does not start with '-'; without it the server gives one")
		}
		return convParams{*p.ID}, c.do(*p.ID, cmd)
	}
	for range 4 {
		id := c.o.NewID()
		if p.Visibility != nil && *p.Visibility == chat.Public {
			id = id[:publicID]
		}
		known := false
		if err := c.query(id, func(v hub.View) error { known = v.State.Head > 0; return nil }); err != nil {
			return nil, err
		}
		if known {
			continue
		}
		if err := c.do(id, cmd); err != nil {
			return nil, err
		}
		return convParams{id}, nil
	}
	return nil, chat.Refuse(chat.Unavailable, "no free id was found: try again, or choose one")
}

func groupGet(c *call, p *convParams) (any, error) {
	return c.view(p.Conv)
}

// view shows a conversation to those who can see it.
func (c *call) view(conv string) (any, error) {
	view := groupView{Conv: conv}
	err := c.query(conv, func(v hub.View) error {
		st := v.State
		if st.Head == 0 || !st.CanSee(c.User) {
			return chat.NoSuchConversation()
		}
		m, _ := st.Member(c.User)
		view.InfoView = protocol.NewInfoView(&st.Info, st.Count(), m.Role, st.Head)
		view.Pending = st.Requested(c.User)
		if m.Muted > c.now {
			view.Muted = m.Muted
		}
		return nil
	})
	return view, err
}

type groupUpdateParams struct {
	Conv string `json:"conv"`
	settings
}

func groupUpdate(c *call, p *groupUpdateParams) (any, error) {
	change, err := p.change()
	if err != nil {
		return nil, err
	}
	if err := c.do(p.Conv, chat.Command{Op: chat.OpUpdate, Info: change}); err != nil {
		return nil, err
	}
	return c.view(p.Conv)
}

type groupEnded struct {
	Conv  string `json:"conv"`
	Ended bool   `json:"ended"`
}

func groupDelete(c *call, p *convParams) (any, error) {
	return groupEnded{p.Conv, true}, c.do(p.Conv, chat.Command{Op: chat.OpEnd})
}

type groupState struct {
	Conv  string `json:"conv"`
	State string `json:"state"`
}

type groupJoinParams struct {
	Conv string `json:"conv"`
	Text string `json:"text"` // for those who decide about a request
}

// groupJoin joins an open group, and asks to join one that takes requests.
func groupJoin(c *call, p *groupJoinParams) (any, error) {
	res := c.command(p.Conv, chat.Command{Op: chat.OpJoin, Text: p.Text})
	if res.Pending {
		return groupState{p.Conv, "pending"}, res.Err
	}
	return groupState{p.Conv, "member"}, res.Err
}

// groupLeave leaves a group; who is none of its members yet takes back their request to join.
func groupLeave(c *call, p *convParams) (any, error) {
	return groupState{p.Conv, "left"}, c.do(p.Conv, chat.Command{Op: chat.OpLeave})
}

// InfoPayload returns what c/{conv}/info retains for a user: JSON as one member sees the conversation. ok
// is false for who is no member, and for what does not exist or has ended: the topic is empty then. What
// the payload says is durable.
func (s *Service) InfoPayload(user, conv string) (payload []byte, ok bool, err error) {
	direct, err := kindOf(conv)
	if err != nil {
		return nil, false, nil //nolint:nilerr // what is no id names no conversation
	}
	var view protocol.InfoView
	err = s.o.Hub.Query(conv, direct, func(v hub.View) {
		m, member := v.State.Member(user)
		if ok = member; ok {
			view = protocol.NewInfoView(&v.State.Info, v.State.Count(), m.Role, v.State.Head)
		}
	})
	if err != nil || !ok {
		return nil, false, err
	}
	return view.Append(nil), true, nil
}
