package rpc

import (
	"context"
	"errors"
	"time"

	"github.com/petrelchat/petrel/broker/delivery"
	"github.com/petrelchat/petrel/chat"
)

// revokeWait is how long a revoked connection may take to go.
const revokeWait = 10 * time.Second

// deviceView is a session in a reply. Times are ms since 1970.
type deviceView struct {
	Device  string  `json:"device"` // client id
	Name    string  `json:"name,omitempty"`
	Online  bool    `json:"online"`
	Current bool    `json:"current,omitempty"` // the session that asks
	Created int64   `json:"created"`
	Seen    int64   `json:"seen,omitempty"` // now, or when its connection ended; left out: a crash ended it
	Addr    string  `json:"addr,omitempty"`
	Expiry  *uint32 `json:"expiry,omitempty"` // seconds that it outlives its connection; left out: no end
	Subs    int     `json:"subs"`             // subscriptions
	Max     uint32  `json:"max,omitempty"`
	Catchup uint32  `json:"catchup,omitempty"`
}

func (c *call) viewDevice(d *delivery.Device) deviceView {
	v := deviceView{
		Device: d.Client, Name: d.Name, Online: d.Online, Current: d.Client == c.Client, Created: d.Created, Seen: d.Ended,
		Addr: d.Addr, Expiry: &d.Expiry, Subs: d.Subs, Max: d.MaxSize, Catchup: d.Catchup,
	}
	if d.Online {
		v.Seen = c.now
	}
	if d.Expiry == delivery.NeverExpires {
		v.Expiry = nil
	}
	return v
}

type deviceListParams struct {
	After string `json:"after"`
}

type deviceListReply struct {
	Devices *list `json:"devices"`
	More    bool  `json:"more"`
}

func deviceList(c *call, p *deviceListParams) (any, error) {
	all, err := c.o.Devices.Devices(c.User)
	if err != nil {
		return nil, err
	}
	reply := deviceListReply{Devices: c.list(32)}
	for i := range all {
		if p.After != "" && all[i].Client <= p.After {
			continue
		}
		ok, err := reply.Devices.add(c.viewDevice(&all[i]))
		if err != nil {
			return nil, err
		}
		if reply.More = !ok; !ok {
			break
		}
	}
	return reply, nil
}

type deviceParams struct {
	Device string `json:"device"`
}

// deviceRevoke ends another session of the caller's. It takes no credentials away: the device can come
// back with a new session as long as its password or token holds.
func deviceRevoke(c *call, p *deviceParams) (any, error) {
	switch p.Device {
	case "":
		return nil, chat.Refuse(chat.BadRequest, "device is missing: name its client id, see device.list")
	case c.Client:
		return nil, chat.Refuse(chat.BadRequest, "this is the device that asks: end its session by disconnecting with "+
			"a Session Expiry Interval of 0, or by connecting with a clean start")
	}
	ctx, cancel := context.WithTimeout(c.ctx, revokeWait)
	defer cancel()
	found, err := c.o.Devices.Revoke(ctx, delivery.Key{User: c.User, Client: p.Device})
	if err == nil && c.o.Push != nil { // a device that was lost learns nothing any more
		_, err = c.o.Push.Remove(c.User, p.Device)
	}
	return deviceParams{p.Device}, deviceResult(found, err)
}

func deviceResult(found bool, err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
		return chat.Refuse(chat.Unavailable, "the device's connection is still being ended; try again later")
	case err == nil && !found:
		return chat.Refuse(chat.NotFound, "you have no such device: see device.list")
	}
	return err
}

type deviceUpdateParams struct {
	Device  string  `json:"device"` // "": the one that asks
	Max     *uint32 `json:"max"`
	Catchup *uint32 `json:"catchup"`
}

// minPacket keeps a device from setting a length that nothing fits into.
const minPacket = 64

func deviceUpdate(c *call, p *deviceUpdateParams) (any, error) {
	if p.Device == "" {
		p.Device = c.Client
	}
	if p.Max != nil && *p.Max != 0 && *p.Max < minPacket {
		return nil, chat.Refuse(chat.BadRequest, "max is the longest packet in bytes, at least %d; 0 takes any", minPacket)
	}
	ctx, cancel := context.WithTimeout(c.ctx, revokeWait)
	defer cancel()
	found, err := c.o.Devices.UpdateDevice(ctx, delivery.Key{User: c.User, Client: p.Device}, p.Max, p.Catchup)
	if err := deviceResult(found, err); err != nil {
		return nil, err
	}
	all, err := c.o.Devices.Devices(c.User)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].Client == p.Device {
			return c.viewDevice(&all[i]), nil
		}
	}
	return nil, deviceResult(false, nil)
}
