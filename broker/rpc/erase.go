package rpc

import (
	"github.com/petrelchat/petrel/broker/auth"
	"github.com/petrelchat/petrel/chat"
)

type userEraseParams struct {
	Confirm string `json:"confirm"` // the caller's own id
}

type userEraseReply struct {
	User   string `json:"user"`
	Erased bool   `json:"erased"` // the account; what the user wrote follows
}

// userErase ends the caller's account. Nobody can log in with it from the reply on; what the user wrote is
// withdrawn in the background, also if the server is restarted meanwhile.
func userErase(c *call, p *userEraseParams) (any, error) {
	if p.Confirm != c.User {
		return nil, chat.Refuse(chat.BadRequest, "confirm is your own user id: this cannot be undone")
	}
	if c.o.Erase == nil {
		return nil, chat.Refuse(chat.Unavailable, "this server erases no accounts: ask its administrator")
	}
	return userEraseReply{c.User, true}, c.o.Erase(auth.WithActor(c.ctx, c.User), c.User)
}
