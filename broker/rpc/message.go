package rpc

import (
	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// messageView is a message request: who wrote, and where it can be read.
type messageView struct {
	face
	Conv string `json:"conv"`
	Head uint64 `json:"head"`
	At   int64  `json:"at"` // of the last event
}

type messageRequestsReply struct {
	Requests *list  `json:"requests"`
	After    string `json:"after,omitempty"`
	More     bool   `json:"more"`
}

// messageRequests lists the direct conversations that wait for the caller to accept them, in the byte order
// of their ids. Those that were declined, or whose sender is blocked, are not shown.
func messageRequests(c *call, p *pageParams) (any, error) {
	limit, err := pageOf(p.Limit, 50, 200)
	if err != nil {
		return nil, err
	}
	var convs []string
	err = c.scan(storage.SpaceMembership, c.User, p.After, func(conv string, v []byte) (bool, error) {
		m, err := storage.DecodeMember(v)
		if err == nil && m.Asked() {
			convs = append(convs, conv)
		}
		return len(convs) <= limit, err
	})
	if err != nil {
		return nil, err
	}
	reply := messageRequestsReply{Requests: c.list(192), More: len(convs) > limit}
	for _, conv := range convs[:min(limit, len(convs))] {
		view, err := c.viewRequest(conv)
		if err != nil {
			return nil, err
		}
		ok, err := reply.Requests.add(view)
		if err != nil {
			return nil, err
		}
		if !ok {
			reply.More = true
			break
		}
		reply.After = conv
	}
	if !reply.More {
		reply.After = ""
	}
	return reply, nil
}

func (c *call) viewRequest(conv string) (*messageView, error) {
	a, b, _ := chat.Parties(conv)
	if a == c.User {
		a = b
	}
	f, err := c.face(a)
	if err != nil {
		return nil, err
	}
	view := &messageView{face: f, Conv: conv}
	return view, c.query(conv, func(v hub.View) error {
		view.Head, view.At = v.State.Head, v.State.LastAt
		return nil
	})
}

type messageReply struct {
	Conv  string `json:"conv"`
	State string `json:"state"`
}

// messageAccept makes the caller a member of the direct conversation: all that waits is delivered.
func messageAccept(c *call, p *userParams) (any, error) {
	return c.answerRequest(p.User, chat.OpTake, "member")
}

// messageDecline lets nothing more be written. It can be accepted later all the same.
func messageDecline(c *call, p *userParams) (any, error) {
	return c.answerRequest(p.User, chat.OpDismiss, "declined")
}

func (c *call) answerRequest(other string, op chat.Op, state string) (any, error) {
	if err := c.peer(other); err != nil {
		return nil, err
	}
	conv := chat.DirectID(c.User, other)
	return messageReply{conv, state}, c.do(conv, chat.Command{Op: op})
}
