package rpc

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"

	"github.com/petrelchat/petrel/chat"
)

// callMethods are the methods about calls, where the server carries them.
func callMethods(o *Options) map[string]method {
	if o.Calls == nil {
		return nil
	}
	return map[string]method{
		"call.ice":   with(callICE),
		"call.state": with(callState),
	}
}

type callParams struct {
	Call string `json:"call"`
}

type callICEReply struct {
	Servers []ICEServer `json:"servers"`
	TTL     int64       `json:"ttl"`   // seconds
	Relay   bool        `json:"relay"` // relayed candidates only
}

// callICE gives ICE servers with fresh credentials: for a call that the caller takes part in or is rung by, or
// ahead for one that is still to begin.
func callICE(c *call, p *callParams) (any, error) {
	if p.Call != "" && !c.o.Calls.Takes(c.User, p.Call) {
		return nil, noSuchCall()
	}
	rec, err := c.o.Profiles.Profile(c.User)
	if err != nil {
		return nil, err
	}
	reply := callICEReply{Servers: []ICEServer{}, Relay: rec.Relay == chat.RelayAlways}
	if rec.Relay == chat.RelayUntilAccepted && p.Call != "" {
		if reply.Relay, err = c.relayed(p.Call); err != nil {
			return nil, err
		}
	}
	if c.o.ICE == nil {
		return reply, nil
	}
	servers, ttl, err := c.o.ICE.Servers(c.User, p.Call)
	if err != nil {
		return nil, err
	}
	reply.Servers, reply.TTL = append(reply.Servers, servers...), int64(ttl/time.Second)
	return reply, nil
}

// relayed reports whether the caller still has to accept a call and gives away no addresses before.
func (c *call) relayed(id string) (bool, error) {
	b, err := c.o.Calls.State(c.ctx, c.User, id)
	if err != nil {
		return false, err
	}
	var state struct {
		Calls []struct {
			Relay bool `json:"relay"`
		} `json:"calls"`
	}
	err = json.Unmarshal(b, &state)
	return err == nil && len(state.Calls) > 0 && state.Calls[0].Relay, err
}

// callState shows the live calls that concern the caller, or one of them.
func callState(c *call, p *callParams) (any, error) {
	b, err := c.o.Calls.State(c.ctx, c.User, p.Call)
	if err != nil {
		return nil, err
	}
	if !c.req.CBOR {
		return json.RawMessage(b), nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return exact(v), nil
}

// exact makes numbers of JSON integers where they are, so that they are integers in CBOR too.
func exact(v any) any {
	switch x := v.(type) {
	case map[string]any:
		for k := range x {
			x[k] = exact(x[k])
		}
	case []any:
		for i := range x {
			x[i] = exact(x[i])
		}
	case json.Number:
		if n, err := strconv.ParseInt(x.String(), 10, 64); err == nil {
			return n
		}
		f, _ := x.Float64() // the decoder has taken it for a number
		return f
	}
	return v
}

func noSuchCall() error {
	return chat.Refuse(chat.NotFound, "there is no such call of yours: it may be over")
}
