package rpc

import (
	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

const maxBlocks = 5000 // of one user

type blockReply struct {
	User    string `json:"user"`
	Blocked bool   `json:"blocked"`
}

// blockUser takes nothing from somebody any more. It takes effect in the direct conversation and in the
// records in one batch. Who was a contact is none any more.
func blockUser(c *call, p *userParams) (any, error) {
	if err := c.peer(p.User); err != nil {
		return nil, err
	}
	defer c.people.lock(c.User, p.User)()
	pair, err := c.contact(p.User)
	if err != nil {
		return nil, err
	}
	mine, err := storage.BlockOf(c.o.Store, c.User, p.User)
	if err != nil {
		return nil, err
	}
	if mine.At != 0 {
		return blockReply{p.User, true}, nil
	}
	n := 0
	err = c.scan(storage.SpaceBlock, c.User, "", func(string, []byte) (bool, error) { n++; return n < maxBlocks, nil })
	if err != nil {
		return nil, err
	}
	if n >= maxBlocks {
		return nil, chat.Refuse(chat.TooLarge, "you have blocked %d users already: unblock some first", maxBlocks)
	}
	pair.remove()
	mine.At = c.now
	return blockReply{p.User, true}, c.storeBlock(chat.OpBlock, p.User, mine, pair)
}

func unblockUser(c *call, p *userParams) (any, error) {
	if err := c.peer(p.User); err != nil {
		return nil, err
	}
	defer c.people.lock(c.User, p.User)()
	mine, err := storage.BlockOf(c.o.Store, c.User, p.User)
	if err != nil {
		return nil, err
	}
	if mine.At == 0 {
		return blockReply{p.User, false}, nil
	}
	mine.At = 0
	return blockReply{p.User, false}, c.storeBlock(chat.OpUnblock, p.User, mine, &contacts{c: c, other: p.User})
}

// storeBlock has the owner of the direct conversation take over a block, with both records, what else
// changes, and a word to the caller's other devices. The other one is not told.
func (c *call) storeBlock(op chat.Op, other string, mine storage.Block, pair *contacts) error {
	b := &pair.b
	for _, side := range []struct {
		key storage.Key
		rec storage.Block
	}{{storage.BlockKey(c.User, other), mine}, {storage.BlockKey(other, c.User), storage.Block{At: mine.By, By: mine.At}}} {
		if side.rec == (storage.Block{}) {
			b.Delete(side.key)
		} else {
			b.Set(side.key, storage.Marshal(side.rec))
		}
	}
	word := "blocked"
	if op == chat.OpUnblock {
		word = "unblocked"
	}
	own := append(pair.own, hub.Own{User: c.User, Event: chat.Event{
		From: c.User, At: c.now, Kind: chat.KindContact, Text: word, Member: &chat.MemberChange{User: other},
	}})
	err := c.o.Hub.Do(&hub.Request{
		Conv: chat.DirectID(c.User, other), Direct: true, Cmd: chat.Command{Op: op, Actor: c.User}, With: *b, Own: own,
	}).Err
	if err != nil {
		return err
	}
	if op == chat.OpBlock && c.o.Calls != nil {
		c.o.Calls.Left(chat.DirectID(c.User, other), c.User)
	}
	return c.o.Profiles.Refresh(c.User, other)
}

type blockListReply struct {
	Users *list  `json:"users"`
	After string `json:"after,omitempty"`
	More  bool   `json:"more"`
}

type blockView struct {
	face
	At int64 `json:"at"`
}

func blockList(c *call, p *pageParams) (any, error) {
	limit, err := pageOf(p.Limit, 100, 1000)
	if err != nil {
		return nil, err
	}
	reply := blockListReply{Users: c.list(128)}
	reply.After, reply.More, err = c.page(reply.Users, storage.SpaceBlock, p.After, limit, func(user string, v []byte) (any, bool, error) {
		var rec storage.Block
		if err := storage.Unmarshal(v, &rec); err != nil || rec.At == 0 {
			return nil, false, err
		}
		f, err := c.face(user)
		return &blockView{f, rec.At}, true, err
	})
	return reply, err
}
