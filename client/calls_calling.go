package client

import (
	"context"
	"time"
)

// CallingCalls are the requests about audio and video calls: see [Caller]. The calls themselves go over the topics
// c/{conv}/call and k/{call}/{verb} (docs/protocol.md, Calls).
type CallingCalls struct{ Via Caller }

// ICEServers are the servers that a device finds a way to others with.
type ICEServers struct {
	Servers []ICEServer
	TTL     time.Duration // how long the credentials are valid
	Relay   bool          // relayed candidates only
}

// ICEServer is an RTCIceServer, as WebRTC has it.
type ICEServer struct {
	URLs       []string `json:"urls"`
	Username   string   `json:"username,omitempty"`
	Credential string   `json:"credential,omitempty"`
}

type wireCall struct {
	Call string `json:"call,omitempty"`
}

type wireICE struct {
	Servers []ICEServer `json:"servers"`
	TTL     int64       `json:"ttl"`
	Relay   bool        `json:"relay"`
}

// ICE returns ICE servers with fresh credentials for a call that the user takes part in or is rung by; "": for one that
// is still to begin. A call that is over, or others', is not-found.
func (c CallingCalls) ICE(ctx context.Context, id string) (ICEServers, error) {
	r, err := call[wireICE](ctx, c.Via, "call.ice", wireCall{id})
	return ICEServers{r.Servers, time.Duration(r.TTL) * time.Second, r.Relay}, err
}

// CallState is a live call as one of those concerned sees it.
type CallState struct {
	Call    string      `json:"call"`
	Conv    string      `json:"conv"`
	Seq     uint64      `json:"seq"` // grows with each change
	At      Millis      `json:"at"`
	Exp     Millis      `json:"exp,omitempty"` // until when it rings
	From    string      `json:"from"`          // who calls
	Media   []string    `json:"media,omitempty"`
	State   string      `json:"state"` // new, ringing, connecting, active, reconnecting, ended
	Reason  string      `json:"reason,omitempty"`
	Party   string      `json:"party,omitempty"` // the user's part in it on this device
	Waiting bool        `json:"waiting,omitempty"`
	Relay   bool        `json:"relay,omitempty"`
	Mode    string      `json:"mode,omitempty"` // mesh, sfu
	Version uint64      `json:"version,omitempty"`
	Parties []CallParty `json:"parties,omitempty"`
}

// CallParty is one device's part in a call.
type CallParty struct {
	Party string   `json:"party"`
	User  string   `json:"user"`
	State string   `json:"state"`
	Epoch uint64   `json:"epoch,omitempty"` // grows when its media begin anew
	Media []string `json:"media,omitempty"`
	Hold  bool     `json:"hold,omitempty"`
}

type wireCallStates struct {
	Calls []CallState `json:"calls"`
}

// State returns the live calls that concern the user; with an id that one. A call that is over, or others', is not-found.
func (c CallingCalls) State(ctx context.Context, id string) ([]CallState, error) {
	r, err := call[wireCallStates](ctx, c.Via, "call.state", wireCall{id})
	return r.Calls, err
}
