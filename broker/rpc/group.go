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
}

func (s *settings) change() *chat.InfoChange {
	return &chat.InfoChange{
		Title: s.Title, About: s.About, Visibility: s.Visibility, Join: s.Join, History: s.History, Limit: s.Limit,
	}
}

type convParams struct {
	Conv string `json:"conv"`
}

// groupView is a conversation in a reply.
type groupView struct {
	Conv string `json:"conv"`
	protocol.InfoView
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
	}
	cmd := chat.Command{Op: chat.OpCreate, Info: p.change(), Members: p.Members}
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
		return nil
	})
	return view, err
}

type groupUpdateParams struct {
	Conv string `json:"conv"`
	settings
}

func groupUpdate(c *call, p *groupUpdateParams) (any, error) {
	if err := c.do(p.Conv, chat.Command{Op: chat.OpUpdate, Info: p.change()}); err != nil {
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

func groupJoin(c *call, p *convParams) (any, error) {
	return groupState{p.Conv, "member"}, c.do(p.Conv, chat.Command{Op: chat.OpJoin})
}

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
