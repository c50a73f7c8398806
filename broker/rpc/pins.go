package rpc

import (
	"errors"

	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

type pinsParams struct {
	Conv  string `json:"conv"`
	After uint64 `json:"after"` // seq of the last pin of the page before
	Limit *int64 `json:"limit"`
}

type pinsReply struct {
	Pins *list `json:"pins"`
	More bool  `json:"more"`
}

type pinRow struct {
	By     string              `json:"by"`
	At     int64               `json:"at"`               // ms, when it was pinned
	Edited int64               `json:"edited,omitempty"` // ms, when the text became this
	Event  protocol.EventReply `json:"event"`
}

// pins lists what is pinned, in the order of the pinned events, with their newest texts.
func pins(c *call, p *pinsParams) (any, error) {
	limit, err := pageOf(p.Limit, 50, 100)
	if err != nil {
		return nil, err
	}
	s, err := c.see(p.Conv)
	if err != nil {
		return nil, err
	}
	type pinned struct {
		seq uint64
		storage.Pin
	}
	var page []pinned
	prefix := storage.PinsOf(p.Conv)
	reply := pinsReply{Pins: c.list(32)}
	var bad error
	err = c.o.Store.Scan(prefix, storage.PinKey(p.Conv, max(p.After, s.from-1)), func(k storage.Key, v []byte) bool {
		seq, _, ok := storage.TakeU64(k[len(prefix):])
		if !ok || seq > s.head {
			return false
		}
		pin, err := storage.DecodePin(v)
		if bad = err; bad != nil {
			return false
		}
		if reply.More = len(page) == limit; !reply.More {
			page = append(page, pinned{seq, pin})
		}
		return !reply.More
	})
	if err = errors.Join(err, bad); err != nil {
		return nil, err
	}
	for _, pin := range page {
		row := pinRow{By: pin.By, At: pin.At}
		ev, err := c.eventAt(p.Conv, pin.seq, s)
		if err == nil {
			row.Edited, err = c.latest(p.Conv, &ev, s)
		}
		if err != nil {
			return nil, err
		}
		row.Event = c.shown(&ev)
		ok, err := reply.Pins.add(&row)
		if err != nil {
			return nil, err
		}
		if !ok {
			reply.More = true
			break
		}
	}
	return reply, c.o.Barrier()
}
