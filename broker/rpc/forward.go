package rpc

import (
	"cmp"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
)

type forwardParams struct {
	From string `json:"from"` // the conversation that has the post
	Seq  uint64 `json:"seq"`
	Conv string `json:"conv"` // where it goes
	ID   string `json:"id"`
}

type forwardReply struct {
	Conv string `json:"conv"`
	Seq  uint64 `json:"seq"`
}

// forward posts what the caller may read to another conversation, as the caller's own post: newest text, media,
// ext and ciphertext. Who is mentioned and what it replied to stay behind. What disappears does so in the copy
// at the same time. With id, a repetition makes no second post.
func forward(c *call, p *forwardParams) (any, error) {
	direct, err := kindOf(p.Conv)
	if err != nil {
		return nil, err
	}
	if a, b, ok := chat.Parties(p.Conv); ok && !(c.o.Accounts.Exists(a) && c.o.Accounts.Exists(b)) {
		return nil, chat.NoSuchConversation()
	}
	s, err := c.see(p.From)
	if err != nil {
		return nil, err
	}
	post, err := c.postAt(p.From, p.Seq, s)
	if err != nil {
		return nil, err
	}
	if post.Kind != chat.KindPost {
		return nil, chat.Refuse(chat.BadRequest, "only posts can be forwarded")
	}
	ends := post.Due()
	if edit, ok, err := c.lastEdit(p.From, &post, s); err != nil {
		return nil, err
	} else if end := edit.Due(); ok && end != 0 { // its text may go before the post does
		ends = min(end, cmp.Or(ends, end))
	}
	if _, err := c.latest(p.From, &post, s); err != nil {
		return nil, err
	}
	var origin *chat.Forward
	if err := c.query(p.From, func(v hub.View) error { origin = v.State.Origin(&post, p.Conv); return nil }); err != nil {
		return nil, err
	}
	copied := chat.Event{Kind: chat.KindPost, ID: p.ID, Text: post.Text, Enc: post.Enc, Media: post.Media, Ext: post.Ext}
	hash := protocol.ContentHash(&copied) // a repetition comes later, when less time is left
	if ends > 0 {
		copied.Expire = uint64(max(1, (ends-c.now)/1000))
	}
	res := c.o.Hub.Do(&hub.Request{Conv: p.Conv, Direct: direct, Cmd: chat.Command{
		Op: chat.OpAppend, Actor: c.User, Event: copied, Fwd: origin, Hash: hash,
	}})
	return forwardReply{p.Conv, res.Seq}, res.Err
}

type convUpdateParams struct {
	Conv    string  `json:"conv"`
	Expire  *uint32 `json:"expire"`
	Forward *string `json:"forward"`
}

type convUpdateReply struct {
	Conv string `json:"conv"`
	protocol.InfoView
}

// convUpdate changes the settings that a direct conversation has too. In a group it is group.update with fewer
// fields.
func convUpdate(c *call, p *convUpdateParams) (any, error) {
	change := &chat.InfoChange{Expire: p.Expire, Forward: p.Forward}
	if err := c.do(p.Conv, chat.Command{Op: chat.OpUpdate, Info: change}); err != nil {
		return nil, err
	}
	reply := convUpdateReply{Conv: p.Conv}
	err := c.query(p.Conv, func(v hub.View) error {
		if err := v.State.MayRead(c.User); err != nil {
			return err
		}
		m, _ := v.State.Member(c.User)
		reply.InfoView = protocol.NewInfoView(&v.State.Info, v.State.Count(), m.Role, v.State.Head)
		return nil
	})
	return reply, err
}
