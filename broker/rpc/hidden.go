package rpc

import (
	"strconv"
	"strings"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

type hiddenReply struct {
	Hidden *list  `json:"hidden"`
	After  string `json:"after,omitempty"`
	More   bool   `json:"more"`
}

// hidden lists what the caller deleted for themselves, by conversation and seq: for devices that did not get all of their
// own log. After is the last row, as "conv/seq".
func hidden(c *call, p *pageParams) (any, error) {
	limit, err := pageOf(p.Limit, 500, 2000)
	if err != nil {
		return nil, err
	}
	prefix := storage.In(storage.SpaceHidden).Str(c.User)
	var behind storage.Key
	if p.After != "" {
		conv, number, _ := strings.Cut(p.After, "/")
		seq, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return nil, chat.Refuse(chat.BadRequest, "after is that of the page before")
		}
		behind = storage.HiddenKey(c.User, conv, seq)
	}
	reply := hiddenReply{Hidden: c.list(64)}
	var bad error
	err = c.o.Store.Scan(prefix, behind, func(k storage.Key, _ []byte) bool {
		conv, rest, ok := storage.TakeStr(k[len(prefix):])
		seq, _, whole := storage.TakeU64(rest)
		if !ok || !whole {
			bad = storage.ErrRecord
			return false
		}
		if reply.More = len(reply.Hidden.items) == limit; reply.More {
			return false
		}
		if ok, bad = reply.Hidden.add(hideReply{conv, seq}); !ok {
			reply.More = true
			return false
		}
		reply.After = conv + "/" + strconv.FormatUint(seq, 10)
		return true
	})
	if err == nil {
		err = bad
	}
	if err != nil {
		return nil, err
	}
	if !reply.More {
		reply.After = ""
	}
	return reply, c.o.Barrier()
}
