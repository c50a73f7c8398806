package rpc

import (
	"context"
	"time"

	"github.com/petrelchat/petrel/broker/auth"
	"github.com/petrelchat/petrel/broker/delivery"
	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/broker/notify"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// Hub is what the methods ask of the hub.
type Hub interface {
	Do(r *hub.Request) hub.Result
	Tell(n *hub.Note) error
	Query(conv string, direct bool, fn func(hub.View)) error
	Head(log string) (seq, commit uint64, err error)
	Durable() uint64
	Settled() uint64
	Changes(user string, convs []string, since uint64) (hub.Changes, bool)
	MembershipsChanged(user string, since uint64) bool
}

// Accounts knows who there is.
type Accounts interface {
	// Exists says whether there is an account of exactly that spelling.
	Exists(user string) bool
	// GetUser returns what may be told of an account.
	GetUser(user string) (auth.Account, bool)
}

// Profiles keeps what users say about themselves, and says who is there.
type Profiles interface {
	// Profile returns the record of a user; the zero Profile if there is none.
	Profile(user string) (storage.Profile, error)
	// UpdateProfile changes the record, and returns when that is durable. change may run on any goroutine,
	// and must only change what it was given.
	UpdateProfile(user string, change func(*storage.Profile)) error
	// HidesReads says, from memory, whether a user hides what they have read.
	HidesReads(user string) bool
	// Seen returns the presence of user as viewer may see it; ok is false when that is not at all.
	Seen(viewer, user string) (p protocol.Presence, ok bool)
	// Refresh tells two users anew what they see of each other, after it has changed what they are.
	Refresh(a, b string) error
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

// Push keeps where users' notifications go. Changes return when they are durable.
type Push interface {
	// PublicKey is what browsers subscribe with.
	PublicKey() string
	// Offers returns the kinds of registrations that this server takes.
	Offers() []string
	Registrations(user string) ([]notify.Registration, error)
	Register(r notify.Registration) (notify.Registration, error)
	Remove(user, name string) (found bool, err error)
	// Test sends a notification at once.
	Test(user, name string) error
	UserSettings(user string) (notify.UserSettings, error)
	UpdateSettings(user string, change func(*notify.UserSettings)) (notify.UserSettings, error)
}

// Calls answers what is asked about calls.
type Calls interface {
	// State returns the live calls that concern a user, or one of them, as {"calls":[…]}.
	State(ctx context.Context, user, call string) (payload []byte, err error)
	// Takes reports whether the user takes part in the call, or is being called.
	Takes(user, call string) bool
	// Left ends a user's part in the call of a conversation.
	Left(conv, user string)
}

// ICE names the servers that a device finds a way to others with.
type ICE interface {
	// Servers returns them with credentials for one user and call ("": one that is still to begin), and how long
	// these are valid.
	Servers(user, call string) (servers []ICEServer, ttl time.Duration, err error)
}

// ICEServer is an RTCIceServer, as WebRTC has it.
type ICEServer struct {
	URLs       []string `json:"urls"`
	Username   string   `json:"username,omitempty"`
	Credential string   `json:"credential,omitempty"`
}

var (
	_ Push    = (*notify.Service)(nil)
	_ Hub     = (*hub.Hub)(nil)
	_ Devices = (*delivery.Registry)(nil)
)
