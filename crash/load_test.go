package crash_test

import (
	"fmt"
	"strings"

	"github.com/petrelchat/petrel/internal/mqttc"
)

// act does one random thing. It returns false when the server is dead.
func (d *device) act() bool {
	switch r := d.rng.IntN(100); {
	case d.ticker && r < 97:
		d.publish(&op{kind: tick, token: "tick", topic: "c/" + group + "/text", payload: []byte("tick"), qos: 1, conv: group, pid: 1})
	case r < 50:
		d.post()
	case r < 53:
		tok := d.token()
		d.publish(&op{kind: wrong, token: tok, topic: "c/" + group + "/json", payload: fmt.Appendf(nil, `{"text":%q,"seq":1}`, tok), qos: 1, conv: group})
	case r < 64:
		tok := d.token()
		d.publish(&op{kind: plain1, token: tok, topic: "plain/q1/" + d.String(), payload: []byte(tok), qos: 1})
	case r < 75:
		tok := d.token()
		d.publish(&op{kind: plain2, token: tok, topic: "plain/q2/" + d.String(), payload: []byte(tok), qos: 2})
	case r < 82:
		tok := d.token()
		o := &op{kind: retain, token: tok, topic: fmt.Sprintf("ret/%s/%d", d, d.rng.IntN(4)), qos: 1}
		if d.rng.IntN(3) > 0 {
			o.payload = []byte(tok)
		}
		d.publish(o)
	case r < 88:
		d.readUpTo()
	case r < 96:
		d.resubscribe()
	case r < 98:
		return d.cut(true)
	default:
		return d.cut(false)
	}
	return true
}

// token names an operation for good.
func (d *device) token() string { return fmt.Sprintf("r%d.%s.%d", d.w.round, d, d.n) }

// publish sends an operation for the first time.
func (d *device) publish(o *op) {
	o.by, o.n = d, d.n
	d.n++
	if o.pid == 0 {
		o.pid = d.freePID(nil)
	}
	o.tell("round %d: sent, packet id %d", d.w.round, o.pid)
	d.flight = append(d.flight, o)
	d.check(d.conn.WritePublish(mqttc.Publish{Topic: o.topic, Payload: o.payload, QoS: o.qos, ID: o.pid, Retain: o.kind == retain}))
}

// post sends a message to one of the user's conversations: as text, or JSON with or without an id.
func (d *device) post() {
	o := &op{kind: post, token: d.token(), qos: 1, conv: d.anyConv()}
	o.topic = "c/" + o.conv
	if a, b, ok := strings.Cut(o.conv, "~"); ok && d.rng.IntN(2) == 0 {
		o.topic = "u/" + strings.Trim(strings.Replace(a+"~"+b, d.user, "", 1), "~")
	}
	switch d.rng.IntN(3) {
	case 0:
		o.topic += "/text"
		o.payload = []byte(o.token)
	case 1:
		o.topic += "/json"
		o.payload = fmt.Appendf(nil, `{"text":%q}`, o.token)
	default:
		o.id = o.token
		o.topic += "/json"
		o.payload = fmt.Appendf(nil, `{"text":%q,"id":%q}`, o.token, o.id)
	}
	d.publish(o)
}

func (d *device) anyConv() string {
	mine := []string{group}
	for _, c := range directs {
		if a, b, _ := strings.Cut(c, "~"); a == d.user || b == d.user {
			mine = append(mine, c)
		}
	}
	return mine[d.rng.IntN(len(mine))]
}

// readUpTo moves the read cursor to something that the device has received.
func (d *device) readUpTo() {
	conv := d.anyConv()
	last := d.last[conv]
	if last == 0 {
		return
	}
	seq := last - min(last-1, uint64(d.rng.IntN(5)))
	d.publish(&op{kind: read, token: d.token(), topic: "c/" + conv + "/read", payload: fmt.Append(nil, seq), qos: 1, conv: conv, seq: seq})
}

func (d *device) volatile(k int) string { return fmt.Sprintf("vol/%s/%d", d, k) }

// resubscribe subscribes to a filter, or gives it up.
func (d *device) resubscribe() {
	k := d.rng.IntN(volatiles)
	for _, c := range d.pending {
		if c.k == k {
			return
		}
	}
	id := d.freePID(nil)
	c := change{k: k, sub: d.vol[k] == out || d.vol[k] == unsure && d.rng.IntN(2) == 0}
	d.vol[k] = unsure
	d.pending[id] = c
	if c.sub {
		d.check(d.conn.WriteSubscribe(id, []mqttc.Filter{{Topic: d.volatile(k), QoS: 1}}))
	} else {
		d.check(d.conn.WriteUnsubscribe(id, d.volatile(k)))
	}
}
