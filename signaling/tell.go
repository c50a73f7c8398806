package signaling

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"slices"

	"github.com/petrelchat/petrel/signaling/call"
	"github.com/petrelchat/petrel/signaling/sdp"
	"github.com/petrelchat/petrel/storage"
)

// out is a payload for devices of a user.
type out struct {
	user    string
	only    string   // this device; "": all
	but     []string // not these
	to      Session  // this session alone; user and the above say nothing then
	party   string   // on u/{user}/calls/{party}
	until   int64    // ms from when on it is not told any more; 0: always
	payload []byte
}

func (s *Service) tell(o *out, now int64) {
	if o.until != 0 && now >= o.until {
		return
	}
	if o.to != nil {
		o.to.Tell(o.party, o.payload)
		return
	}
	for _, x := range s.o.World.Sessions(o.user) {
		d := x.Device().Client
		if (o.only == "" || o.only == d) && !slices.Contains(o.but, d) {
			x.Tell(o.party, o.payload)
		}
	}
}

// here reports whether the device of a session hears what it is told.
func (s *Service) here(d Device) bool {
	return slices.ContainsFunc(s.o.World.Sessions(d.User), func(x Session) bool { return x.Device().Client == d.Client })
}

// signalFor is how long a signal is kept, in ms.
const signalFor = 60_000

// writer writes what devices are told of one state of a call. What is the same for all is written once.
type writer struct {
	s    *Service
	st   *call.State
	now  int64
	body []byte // what all have in common, from a comma to the closing brace
}

type partyBody struct {
	Party string   `json:"party"`
	User  string   `json:"user"`
	State string   `json:"state"`
	Epoch uint32   `json:"epoch"`
	Media []string `json:"media"`
	Hold  bool     `json:"hold,omitempty"`
}

type stateBody struct {
	Call     string       `json:"call"`
	Conv     string       `json:"conv"`
	Seq      uint64       `json:"seq"`
	Version  uint64       `json:"version"`
	At       int64        `json:"at"`
	From     string       `json:"from"`
	Media    []string     `json:"media"`
	State    string       `json:"state"`
	Reason   call.Reason  `json:"reason,omitempty"`
	Outcome  call.Outcome `json:"outcome,omitempty"`
	Duration int64        `json:"duration,omitempty"`
	Mode     string       `json:"mode"`
	SFU      uint32       `json:"sfu,omitempty"`
	Parties  []partyBody  `json:"parties"`
}

type headBody struct {
	Kind    string `json:"kind"`
	Exp     int64  `json:"exp,omitempty"`
	Party   string `json:"party,omitempty"`
	Waiting bool   `json:"waiting,omitempty"`
	Relay   bool   `json:"relay,omitempty"`
}

type rosterBody struct {
	Call    string      `json:"call"`
	Version uint64      `json:"version"`
	Mode    string      `json:"mode"`
	SFU     uint32      `json:"sfu,omitempty"`
	Media   []string    `json:"media"`
	From    string      `json:"from"`
	At      int64       `json:"at"`
	Parties []partyBody `json:"parties"`
}

// mustJSON encodes structs of strings and numbers, which never fails. It leaves < and & as they are: what is passed on must not be six
// times as long as what came.
func mustJSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("signaling: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func mode(st *call.State) string {
	if st.SFU != 0 {
		return "sfu"
	}
	return "mesh"
}

func parties(st *call.State) []partyBody {
	all := make([]partyBody, len(st.Parties))
	for i := range st.Parties {
		p := &st.Parties[i]
		all[i] = partyBody{Party: p.ID, User: p.User, State: p.Word(st), Epoch: p.Epoch, Media: p.Media.Names(), Hold: p.Hold}
	}
	return all
}

// with returns a payload with the head that is someone's own.
func (w *writer) with(h headBody) []byte {
	st := w.st
	if w.body == nil {
		w.body = mustJSON(stateBody{
			Call: st.ID, Conv: st.Conv, Seq: st.Version, Version: st.Version, At: w.now, From: st.From, Media: st.Media.Names(),
			State: st.Word(), Reason: st.Reason, Outcome: st.Outcome, Duration: st.Duration(), Mode: mode(st), SFU: st.SFU, Parties: parties(st),
		})
		w.body[0] = ','
	}
	head := mustJSON(h)
	return append(head[:len(head)-1:len(head)-1], w.body...)
}

func (w *writer) roster() []byte {
	st := w.st
	if !st.Live() {
		return nil
	}
	return mustJSON(rosterBody{
		Call: st.ID, Version: st.Version, Mode: mode(st), SFU: st.SFU, Media: st.Media.Names(), From: st.From, At: w.now, Parties: parties(st),
	})
}

func (w *writer) ring(user string) out {
	r := w.st.RingOf(user)
	exp := r.Exp()
	h := headBody{Kind: "ring", Exp: exp, Waiting: r.Waiting, Relay: w.s.o.World.Relayed(user, false)}
	return out{user: user, but: r.Deaf, until: exp, payload: w.with(h)}
}

func (w *writer) taken(user, device string) out {
	return out{user: user, but: []string{device}, payload: w.with(headBody{Kind: "taken"})}
}

func (w *writer) missed(user string) out {
	return out{user: user, payload: w.with(headBody{Kind: "missed"})}
}

// states are what all whom the call concerned or concerns are told, but those who get something else. few: only who did
// it, and whom it does not concern any more.
func (w *writer) states(prev *call.State, effects []call.Effect, few bool, actor string) []out {
	var all []out
	seen := make(map[string]bool, len(prev.Parties)+len(w.st.Parties)+2)
	for _, e := range effects {
		switch e.Kind {
		case call.TellRing, call.TellMissed:
			seen[e.User] = true
		case call.TellTaken:
			seen[e.User] = true // but for its device
			if e.Device != "" {
				all = append(all, w.state(e.User, e.Device)...)
			}
		}
	}
	if prev.Phase == 0 && w.st.Phase == call.Ended { // busy at once: it never had a party
		all = append(all, w.state(w.st.From, "")...)
	}
	add := func(u string) {
		if !seen[u] && (!few || u == actor || !w.st.Concerns(u)) {
			seen[u] = true
			all = append(all, w.state(u, "")...)
		}
	}
	for _, st := range []*call.State{w.st, prev} {
		for i := range st.Parties {
			add(st.Parties[i].User)
		}
		for i := range st.Rings {
			if r := &st.Rings[i]; !r.Silent {
				add(r.User)
			}
		}
	}
	return all
}

// state tells a user's devices, or one of them. The device that has the user's party learns which it is.
func (w *writer) state(user, only string) []out {
	h := headBody{Kind: "state", Exp: w.st.Exp(user)}
	p := w.st.PartyOf(user)
	if p == nil {
		return []out{{user: user, only: only, payload: w.with(h)}}
	}
	var all []out
	if only == "" {
		all = append(all, out{user: user, but: []string{p.Device}, payload: w.with(h)})
	}
	if only == "" || only == p.Device {
		h.Party = p.ID
		all = append(all, out{user: user, only: p.Device, payload: w.with(h)})
	}
	return all
}

// stand tells a session how things stand, and sends again what is kept for its party. told: the state is told anyway.
func (w *writer) stand(l *live, boxes map[string]box, x Session, after uint64, told bool) []out {
	d := x.Device()
	st := w.st
	var all []out
	p, r := st.PartyOf(d.User), st.RingOf(d.User)
	switch {
	case told || p == nil && r == nil || r != nil && r.Silent:
	case r != nil && !slices.Contains(r.Deaf, d.Client):
		o := w.ring(d.User)
		o.to = x
		all = append(all, o)
	default:
		h := headBody{Kind: "state", Exp: st.Exp(d.User)}
		if p != nil && p.Device == d.Client {
			h.Party = p.ID
		}
		all = append(all, out{to: x, payload: w.with(h)})
	}
	if p == nil || p.Device != d.Client {
		return all
	}
	b := boxes[p.ID]
	if after = max(after+1, b.first, 1); after > b.last {
		return all
	}
	err := w.s.o.Store.Scan(storage.SignalsTo(l.id, p.ID), storage.SignalKey(l.id, p.ID, after-1), func(_ storage.Key, v []byte) bool {
		if len(v) > 8 {
			if exp := int64(binary.BigEndian.Uint64(v)); exp > w.now {
				all = append(all, out{to: x, party: p.ID, until: exp, payload: slices.Clone(v[8:])})
			}
		}
		return true
	})
	if err != nil {
		w.s.log.Error("signals cannot be read", "call", l.id, "party", p.ID, "error", err)
	}
	return all
}

type signalBody struct {
	Kind  string          `json:"kind"`
	Call  string          `json:"call"`
	Party string          `json:"party"`
	From  string          `json:"from"`
	User  string          `json:"user"`
	Epoch uint32          `json:"epoch"`
	Of    uint32          `json:"of,omitempty"`
	Re    string          `json:"re,omitempty"`
	Seq   uint64          `json:"seq"`
	At    int64           `json:"at"`
	Exp   int64           `json:"exp"`
	Type  string          `json:"type"`
	Body  json.RawMessage `json:"body"`
}

// signal writes a signal for a party, and what is kept of it: when it expires (8 bytes), then the payload.
func (w *writer) signal(sig *signal, to, from *call.Party, seq uint64) (out, []byte) {
	exp := w.now + signalFor
	epoch := from.Epoch
	if from.ID == call.SFUParty {
		epoch = w.st.SFU
	}
	value := binary.BigEndian.AppendUint64(make([]byte, 0, len(sig.body)+320), uint64(exp))
	value = append(value, mustJSON(signalBody{
		Kind: "signal", Call: w.st.ID, Party: to.ID, From: from.ID, User: from.User, Epoch: epoch, Of: sig.of, Re: sig.re, Seq: seq, At: w.now, Exp: exp,
		Type: sig.kind, Body: sig.body,
	})...)
	return out{user: to.User, only: to.Device, party: to.ID, payload: value[8:]}, value
}

// states is the answer of rpc/call.state: how the calls of a user stand.
func (s *Service) states(user string, all []*live) []byte {
	reply := struct {
		Calls []json.RawMessage `json:"calls"`
	}{Calls: []json.RawMessage{}}
	for _, l := range all {
		st := l.durable.Load()
		w := writer{s: s, st: st, now: s.now()}
		h := headBody{Kind: "state", Exp: st.Exp(user)}
		if p := st.PartyOf(user); p != nil {
			h.Party = p.ID
		} else if r := st.RingOf(user); r == nil || r.Silent {
			continue
		} else {
			h.Waiting, h.Relay = r.Waiting, s.o.World.Relayed(user, false)
		}
		reply.Calls = append(reply.Calls, w.with(h))
	}
	return mustJSON(reply)
}

// deflateFrom is the length of an SDP of the SFU in bytes from which on it is deflated.
const deflateFrom = 2048

// description is the body of an offer or answer of the SFU.
func description(plain []byte) json.RawMessage {
	if len(plain) < deflateFrom {
		return mustJSON(string(plain))
	}
	return deflated(plain)
}

// zBody is a description in raw deflate, base64.
type zBody struct {
	Z string `json:"z"`
}

func deflated(plain []byte) json.RawMessage {
	return mustJSON(zBody{base64.StdEncoding.EncodeToString(sdp.Deflate(plain))})
}
