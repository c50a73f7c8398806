package rpc

import (
	"context"

	"github.com/petrelchat/petrel/broker/delivery"
	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// Hub is what the methods ask of the hub.
type Hub interface {
	Do(r *hub.Request) hub.Result
	Query(conv string, direct bool, fn func(hub.View)) error
	Head(log string) (seq, commit uint64, err error)
	Durable() uint64
}

// Accounts knows who there is.
type Accounts interface {
	// Exists says whether there is an account of exactly that spelling.
	Exists(user string) bool
}

// Profiles keeps what users say about themselves, and says who is there.
type Profiles interface {
	// Profile returns the record of a user; the zero Profile if there is none.
	Profile(user string) (storage.Profile, error)
	// UpdateProfile changes the record, and returns when that is durable. change may run on any goroutine,
	// and must only change what it was given.
	UpdateProfile(user string, change func(*storage.Profile)) error
	// Seen returns the presence of user as viewer may see it; ok is false when that is not at all.
	Seen(viewer, user string) (p protocol.Presence, ok bool)
}

// Devices knows the sessions of users, connected or not.
type Devices interface {
	// Devices lists the user's sessions in the order of their client ids.
	Devices(user string) ([]delivery.Device, error)
	// Revoke ends a session for good, its connection included. found is false when there was none.
	Revoke(ctx context.Context, k delivery.Key) (found bool, err error)
	// UpdateDevice changes settings of a session; nil leaves one as it is.
	UpdateDevice(ctx context.Context, k delivery.Key, maxSize, catchup *uint32) (found bool, err error)
}

// Admin carries out what administrators ask for. It trusts that the caller is one.
type Admin interface {
	Methods() []string
	Call(ctx context.Context, method string, decode func(any) error) (any, error)
}

var (
	_ Hub     = (*hub.Hub)(nil)
	_ Devices = (*delivery.Registry)(nil)
)
