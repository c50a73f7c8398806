package hooks

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/petrelchat/petrel/broker/delivery"
	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
)

// Calls is the authority on calls.
type Calls interface {
	// Start carries out a publish to c/{conv}/call. done is called once, from any goroutine, when it is stored or
	// refused.
	Start(d Device, conv string, p CallPacket, payload []byte, done func(CallAnswer))
	// Do carries out a publish to k/{call}/{verb}; done as in Start.
	Do(d Device, call, verb string, payload []byte, done func(CallAnswer))
	// Came says that a device is connected and subscribes to u/{me}/calls, or has subscribed anew.
	Came(d Device)
	// Went says that it does so no longer.
	Went(d Device)
	// ConvOf returns the conversation of a live call, "" if there is no such call.
	ConvOf(call string) string
	// SendCurrent calls send with the running call of each of the user's groups, or of one (conv); not at all where
	// there is none, or the user is no member. What comes after it in time, the session gets after it.
	SendCurrent(user, conv string, send func(conv string, payload []byte)) error
}

// CallPacket is the PUBLISH of a start: its id (0 at QoS 0), and whether it may have come before.
type CallPacket struct {
	ID  uint16
	Dup bool
}

// Device is one connection as calls see it, the same value for as long as it lasts. Its methods may be called from
// any goroutine, and never block.
type Device interface {
	Who() (user, client string)
	// Tell sends a payload on u/{me}/calls, or on u/{me}/calls/{party}, if the session subscribes to it.
	Tell(party string, payload []byte)
}

// CallAnswer says how a publish about a call ended. Call and Party go into the user properties of its
// acknowledgement.
type CallAnswer struct {
	Call, Party string
	Err         error
}

// Bounds of what is published about calls, bytes.
const (
	callMax   = 16 << 10
	signalMax = 32 << 10
)

var errNoCalls error = chat.Refuse(chat.Unavailable, "this server does not carry calls")

// aboutCall reports whether a topic is one of those that calls are made with.
func aboutCall(topic string) bool {
	return strings.HasPrefix(topic, "k/") || strings.HasSuffix(topic, "/call") && protocol.SpaceOf(topic) != protocol.SpacePlain
}

// calling hands what a client wants of a call to the service. It runs aside: who may call whom may have to be read.
func (c *conn) calling(x *inbound, t *protocol.Publish) {
	if c.a.o.Calls == nil {
		c.answer(x, errNoCalls)
		return
	}
	payload, most := x.pk.Payload, callMax
	if t.Verb == "signal" {
		most = signalMax
	}
	if len(payload) > most {
		c.answer(x, chat.Refuse(chat.TooLarge, "this has at most %d bytes", most))
		return
	}
	in, topic, packet := x.in, x.pk.TopicName, CallPacket{x.pk.PacketID, x.pk.FixedHeader.Dup}
	done := func(an CallAnswer) { c.called(in, topic, an) }
	c.acted = true
	aside(func() {
		conv := t.Conv
		if c.id.Scope != nil && t.Call != "" {
			conv = c.a.o.Calls.ConvOf(t.Call)
		}
		switch {
		case !c.id.Scope.MayWrite(conv):
			done(CallAnswer{Err: chat.Refuse(chat.NotAuthorized, "this device's token does not allow calls there")})
		case t.Call == "":
			c.a.o.Calls.Start(c, conv, packet, payload, done)
		default:
			c.a.o.Calls.Do(c, t.Call, t.Verb, payload, done)
		}
	})
}

// called answers a publish about a call. It may run on any goroutine.
func (c *conn) called(in *delivery.Inbound, topic string, an CallAnswer) {
	var refusal *chat.Refusal
	if an.Err != nil {
		c.a.stats.Denied.Add(1)
		if !errors.As(an.Err, &refusal) {
			an.Err = chat.Refuse(chat.Unavailable, "the server cannot store this now; try again later")
		}
	}
	switch {
	case in != nil:
		for _, p := range [][2]string{{"call", an.Call}, {"party", an.Party}} {
			if p[1] != "" {
				in.User = append(in.User, p)
			}
		}
		in.SettleNow(hub.Result{Err: an.Err})
	case an.Err != nil:
		c.s.ErrorLine(an.Err, topic, 0, "")
	}
}

// Who implements Device.
func (c *conn) Who() (user, client string) { return c.id.User, c.client }

// Tell implements Device. A device with a token hears of calls only where it may read.
func (c *conn) Tell(party string, payload []byte) {
	if c.id.Scope != nil && party == "" {
		var about struct {
			Conv string `json:"conv"`
		}
		if json.Unmarshal(payload, &about) != nil || !c.id.Scope.MayRead(about.Conv) {
			return
		}
	}
	c.s.Tell(protocol.FilterCalls, "", protocol.CallsTopic(c.id.User, party), payload)
}

var _ Device = (*conn)(nil)

// Devices returns the connected sessions of a user that subscribe to u/{me}/calls. It does not block.
func (a *Adapter) Devices(user string) (all []Device) {
	for _, s := range a.o.Registry.Sessions(user) {
		if c, ok := s.Owner().(*conn); ok && s.Hears(protocol.FilterCalls, "", protocol.CallsTopic(user, "")) {
			all = append(all, c)
		}
	}
	return all
}

func (c *conn) hearsCalls() bool {
	return c.s.Hears(protocol.FilterCalls, "", protocol.CallsTopic(c.id.User, ""))
}

// hears tells the service that the session is there for calls, or has subscribed anew.
func (c *conn) hears() {
	if c.hearsCalls() {
		c.heard = true
		c.a.o.Calls.Came(c)
	}
}

// deaf tells the service that the session hears of calls no longer.
func (c *conn) deaf() {
	c.heard, c.acted = false, false
	c.a.o.Calls.Went(c)
}

// resumeCalls lets a session that has its subscriptions from before learn how calls stand.
func (c *conn) resumeCalls() error {
	if c.a.o.Calls == nil || c.id.Guest {
		return nil
	}
	c.hears()
	if !c.a.o.Registry.Wanted(protocol.FilterCall) {
		return nil
	}
	return c.rosters("", false)
}

// parted ends the session's part in calls when its connection has ended and all that it sent is answered.
func (c *conn) parted() {
	if c.heard || c.acted {
		c.deaf()
	}
}

// rosters sends the running call of a group, or of all ("").
func (c *conn) rosters(conv string, retain bool) error {
	return c.a.o.Calls.SendCurrent(c.id.User, conv, func(conv string, payload []byte) {
		if c.id.Scope.MayRead(conv) {
			c.s.Live(protocol.FilterCall, conv, protocol.CallTopic(conv), payload, nil, retain)
		}
	})
}
