package rpc

import (
	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
)

type requestListReply struct {
	Requests *list `json:"requests"`
	More     bool  `json:"more"`
}

// requestView is a request to join in a reply.
type requestView struct {
	User string `json:"user"`
	At   int64  `json:"at"` // ms since 1970
	Text string `json:"text,omitempty"`
}

// requestList lists the requests to join that wait, in the byte order of the users: for those who decide.
func requestList(c *call, p *memberListParams) (any, error) {
	limit, err := pageOf(p.Limit, 100, 1000)
	if err != nil {
		return nil, err
	}
	var page []requestView
	reply := requestListReply{Requests: c.list(32)}
	err = c.query(p.Conv, func(v hub.View) error {
		if err := v.State.May(c.User, chat.ActAdd); err != nil {
			return err
		}
		users := after(v.State.Requesters(), p.After)
		reply.More = len(users) > limit
		for _, user := range users[:min(limit, len(users))] {
			r, _ := v.State.Request(user)
			page = append(page, requestView{user, r.At, r.Text})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return reply, fill(reply.Requests, page, &reply.More)
}

// requestApprove makes whoever asked a member.
func requestApprove(c *call, p *memberParams) (any, error) {
	if err := c.account("user", p.User); err != nil {
		return nil, err
	}
	return c.changeMember(p.Conv, chat.Command{Op: chat.OpApprove, User: p.User})
}

type requestState struct {
	Conv  string `json:"conv"`
	User  string `json:"user"`
	State string `json:"state"`
}

func requestDeny(c *call, p *memberParams) (any, error) {
	if p.User == "" {
		return nil, chat.Refuse(chat.BadRequest, "user is missing: name who asked")
	}
	return requestState{p.Conv, p.User, "denied"}, c.do(p.Conv, chat.Command{Op: chat.OpDeny, User: p.User})
}
