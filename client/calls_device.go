package client

import (
	"context"
	"iter"
)

// DeviceCalls are the calls about the user's sessions: see [Caller].
type DeviceCalls struct{ Via Caller }

// Device is a session of the user's.
type Device struct {
	Device  string `json:"device"` // client id
	Name    string `json:"name,omitempty"`
	Online  bool   `json:"online"`
	Current bool   `json:"current,omitempty"` // the one that asks
	Created Millis `json:"created"`
	Seen    Millis `json:"seen,omitempty"` // when its connection ended, or now; 0: a crash ended it
	Addr    string `json:"addr,omitempty"`
	// Expiry is how many seconds the session outlives its connection; nil: it does not end.
	Expiry  *uint32 `json:"expiry,omitempty"`
	Subs    int     `json:"subs"`              // subscriptions
	Max     uint32  `json:"max,omitempty"`     // longest packet that it takes, bytes; 0: any
	Catchup uint32  `json:"catchup,omitempty"` // most events of a conversation after being away; 0: all
}

// List goes through the sessions, connected or not, by the byte order of their client ids.
func (d DeviceCalls) List(ctx context.Context) iter.Seq2[Device, error] { return each(ctx, d.ListPage) }

// ListPage is one page of [DeviceCalls.List], as many as fit; Limit means nothing.
func (d DeviceCalls) ListPage(ctx context.Context, o ListOptions) (PageOf[Device], error) {
	type list struct {
		Devices []Device `json:"devices"`
		More    bool     `json:"more"`
	}
	reply, err := call[list](ctx, d.Via, "device.list", wireAfter{o.After})
	return pagedBy(reply.Devices, reply.More, func(d *Device) string { return d.Device }), err
}

type wireDevice struct {
	Device string `json:"device"`
}

// Revoke ends another session for good, its connection and push registration too. It takes no credentials away: change the
// password, or revoke the token, of a device that was lost. There is no such session: not-found; the one that asks: bad-request.
func (d DeviceCalls) Revoke(ctx context.Context, device string) error {
	return d.Via.Call(ctx, "device.revoke", wireDevice{device}, nil)
}

// DeviceChange changes a session. nil leaves a field as it is.
type DeviceChange struct {
	Device  string  `json:"device,omitempty"`  // "": the one that asks
	Max     *uint32 `json:"max,omitempty"`     // longest packet that it takes, bytes, at least 64; 0: any. From the next packet on
	Catchup *uint32 `json:"catchup,omitempty"` // most events of a conversation after being away; 0: all. From the next connection on
}

// Update changes a session and returns it.
func (d DeviceCalls) Update(ctx context.Context, change DeviceChange) (Device, error) {
	return call[Device](ctx, d.Via, "device.update", &change)
}
