package calls

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
)

// verb is something that the server is to know.
type verb struct {
	name    string
	payload []byte
	wanted  func() bool // nil: until the call is over
	done    func(client.CallAck, error)
	flying  bool
	tries   int
}

// say has the server told, again and again until it has answered. done runs on the call's goroutine; it may be nil.
func (c *Call) say(name string, r request, done func(client.CallAck, error)) {
	c.sayWhile(nil, name, r, done)
}

func (c *Call) sayWhile(wanted func() bool, name string, r request, done func(client.CallAck, error)) {
	payload, err := json.Marshal(r)
	if err != nil { // of strings and numbers: it does not happen
		c.m.log.Error("a request can't be encoded", "error", err)
		return
	}
	c.pending = append(c.pending, &verb{name: name, payload: payload, wanted: wanted, done: done})
	c.flush()
}

// flush sends what was not sent on this connection, in order.
func (c *Call) flush() {
	if !c.online {
		return
	}
	for _, v := range slices.Clone(c.pending) {
		if v.flying {
			continue
		}
		if v.wanted != nil && !v.wanted() {
			c.settle(v, client.CallAck{}, client.ErrOffline)
			continue
		}
		v.flying = true
		if c.m.said != nil {
			c.m.said(v.payload)
		}
		gen := c.gen
		err := c.m.c.CallVerb(c.id, v.name, v.payload, func(a client.CallAck, err error) {
			c.post(func() { c.answered(v, gen, a, err) })
		})
		if err != nil {
			v.flying = false
			return
		}
	}
}

func (c *Call) answered(v *verb, gen int, a client.CallAck, err error) {
	var refusal *chat.Refusal
	switch {
	case err == nil:
	case !asRefusal(err, &refusal): // the connection ended before the answer
		v.flying = false
		if gen != c.gen {
			c.flush()
		}
		return
	case (refusal.Code == chat.RateLimited || refusal.Code == chat.Unavailable && v.name == verbSignal) && v.tries < 8:
		v.tries++
		time.AfterFunc(time.Duration(v.tries)*500*time.Millisecond, func() {
			c.post(func() { v.flying = false; c.flush() })
		})
		return
	}
	c.settle(v, a, err)
}

func (c *Call) settle(v *verb, a client.CallAck, err error) {
	i := slices.Index(c.pending, v)
	if i < 0 {
		return
	}
	c.pending = slices.Delete(c.pending, i, i+1)
	if v.done != nil {
		v.done(a, err)
	}
}
