package signaling

import (
	"context"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// Device names one session of a user.
type Device struct{ User, Client string }

// Session is a connected device, as long as it is connected. Its methods may be called from any goroutine and
// never block.
type Session interface {
	Device() Device
	// Tell sends a payload on u/{me}/calls, or on u/{me}/calls/{party} if party is not empty, if the session
	// subscribes to it. The payload is not kept.
	Tell(party string, payload []byte)
}

// Packet is the PUBLISH in which a start came. It is how a retry is known of a start without an id.
type Packet struct {
	ID  uint16 // 0: at QoS 0, and so it does not come again
	Dup bool   // it may have come before
}

// Answer says how a publish ended. Call and Party go into the user properties of its PUBACK.
type Answer struct {
	Call, Party string
	Err         error // a *chat.Refusal, or an error of the store
}

// Gate says who may call whom. It answers from memory or the store, and may block a little.
type Gate interface {
	// MayStart returns nil if the user may start a call in the conversation, which may be one that does not exist
	// yet if it is direct; else the refusal.
	MayStart(user, conv string) error
	// Member reports whether the user is a member now.
	Member(user, conv string) bool
	// Members returns who may be rung: the members of a group, or the other one of a direct conversation, without those who block
	// the caller, muted calls, or may not be called by them. At most max; more: there are more.
	Members(caller, conv string, max int) (users []string, more bool, err error)
	// Relayed reports whether the user gives away no addresses but those of relays now: accepted says that they take part in the call,
	// and are not only called.
	Relayed(user string, accepted bool) bool
}

// Rung is what somebody is told who is called.
type Rung struct {
	Call, Conv, From string
	Media            []string
	Exp              int64 // ms since 1970 UTC; not to ring after that
}

// World is what the service asks of the server around it.
type World interface {
	Gate
	// Sessions returns the connected sessions of a user that subscribe to u/{me}/calls. It does not block.
	Sessions(user string) []Session
	// Rang tells a user's own log, and the push services of devices that are away, that the user is called. It does not block.
	Rang(user string, r Rung)
	// Roster publishes the running call of a group to its members, retained; nil: none. It does not block.
	Roster(conv string, payload []byte)
	// Append writes the event of a finished call to the log of the conversation, once for each id, and calls done
	// when it is durable or refused for good.
	Append(conv, from string, ev chat.Event, done func(error))
}

// Committer brings batches to the disk: done runs after the sync, in the order of the commits, and must not
// block, commit, or ask the hub. An error of Commit means that nothing was stored and done will not run.
type Committer interface {
	Commit(b *storage.Batch, done func(commit uint64)) error
}

// Verb is what follows the call in a topic k/{call}/{verb}.
type Verb string

// Forwarder is the SFU: the party "sfu" of a call. Its methods don't block.
type Forwarder interface {
	// Signal takes an offer, an answer or candidates from a party; what it answers comes through send, from any
	// goroutine.
	Signal(call, party, user string, kind string, body []byte) error
	// Gone ends what a party has in a call; an empty party ends the call.
	Gone(call, party string)
	// Available is nil, or says why there is no SFU here.
	Available() error
}

// Calls is what the server asks of the service; *Service implements it.
type Calls interface {
	// Start carries out a publish to c/{conv}/call. done is called exactly once, from any goroutine, when the call is
	// durable or refused.
	Start(s Session, conv string, p Packet, payload []byte, done func(Answer))
	// Do carries out a publish to k/{call}/{verb}; done as in Start.
	Do(s Session, call string, verb Verb, payload []byte, done func(Answer))
	// Came says that a session is connected and subscribes to u/{me}/calls (again): it is told how things stand.
	Came(s Session)
	// Went says that a session's connection is gone.
	Went(s Session)
	// Left says that a user is no member of a conversation any more, or that it ended (user "").
	Left(conv, user string)
	// State answers rpc/call.state with the payload of "ok"; call "": all of the user's.
	State(ctx context.Context, user, call string) (payload []byte, err error)
	// Takes reports whether the user takes part in the call, or is being called: who may ask for ICE servers.
	Takes(user, call string) bool
	// ConvOf returns the conversation of a live call, "" if there is no such call: for devices whose token is limited
	// to some conversations. It answers from memory.
	ConvOf(call string) string
}
