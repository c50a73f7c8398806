package crash_test

import (
	"strings"

	"github.com/petrelchat/petrel/internal/mqttc"
	"github.com/petrelchat/petrel/protocol"
)

// handle takes one packet of the server.
func (d *device) handle(p *mqttc.Packet) {
	switch p.Type {
	case mqttc.PUBLISH:
		d.received(p)
	case mqttc.PUBACK, mqttc.PUBREC, mqttc.PUBCOMP:
		d.answered(p)
	case mqttc.PUBREL:
		delete(d.held, p.ID)
		d.check(d.conn.WriteAck(mqttc.PUBCOMP, p.ID, 0))
	case mqttc.SUBACK, mqttc.UNSUBACK:
		c, ok := d.pending[p.ID]
		if !ok {
			d.failf("an answer to no SUBSCRIBE, packet id %d", p.ID)
		}
		delete(d.pending, p.ID)
		for _, code := range p.Codes {
			if code >= 0x80 {
				d.failf("subscribing was refused: 0x%02X", code)
			}
		}
		if c.k >= 0 {
			d.vol[c.k] = out
			if c.sub {
				d.vol[c.k] = in
			}
		}
	case mqttc.DISCONNECT:
		if !d.w.server.dying.Load() {
			d.failf("the server says goodbye: 0x%02X", p.Code)
		}
	}
}

// answered settles an operation.
func (d *device) answered(p *mqttc.Packet) {
	for i, o := range d.flight {
		if o.pid != p.ID || o.qos == 1 != (p.Type == mqttc.PUBACK) {
			if o.qos == 1 && p.Type == mqttc.PUBACK {
				d.failf("PUBACK %d comes before that of %v [MQTT-4.6.0-2]", p.ID, o)
			}
			continue
		}
		o.tell("round %d: answer %d 0x%02X", d.w.round, p.Type, p.Code)
		if p.Type == mqttc.PUBREC {
			o.rec = true
			d.check(d.conn.WriteAck(mqttc.PUBREL, o.pid, 0))
			return
		}
		if p.Type == mqttc.PUBCOMP && !o.rec {
			d.failf("PUBCOMP before PUBREC of %v", o)
		}
		d.flight = append(d.flight[:i:i], d.flight[i+1:]...)
		d.settled = append(d.settled, o)
		switch {
		case o.kind == wrong:
			o.state = refused
			if d.version == 5 && p.Code < 0x80 {
				d.failf("accepted, which it must not be: %v", o)
			}
			return
		case p.Code >= 0x80 && !(p.Type == mqttc.PUBCOMP && p.Code == 0x92): // normal in recovery, MQTT 5 §3.7.2.1
			d.failf("refused with 0x%02X: %v", p.Code, o)
		}
		o.state = acked
		switch o.kind {
		case read:
			d.floor[o.conv] = max(d.floor[o.conv], o.seq)
		case retain:
			d.kept[o.topic] = string(o.payload)
		case tick:
			d.ticked++
		}
		return
	}
	d.failf("answer %d for packet id %d, which is not in use", p.Type, p.ID)
}

// received takes a PUBLISH and owes or sends its acknowledgement.
func (d *device) received(p *mqttc.Packet) {
	if p.QoS == 2 {
		if !d.held[p.ID] { // else it has it already [MQTT-4.3.3-10]
			d.held[p.ID] = true
			d.note(p)
		} else if !p.Dup {
			d.failf("packet id %d of QoS 2 is in use, and comes again without DUP: %s", p.ID, p.Topic)
		}
		d.check(d.conn.WriteAck(mqttc.PUBREC, p.ID, 0))
		return
	}
	d.note(p)
	if p.QoS == 1 {
		d.owed = append(d.owed, p.ID)
		if len(d.owed) > 3 || d.rng.IntN(3) == 0 { // some acknowledgements die with the connection
			d.payOwed()
		}
	}
}

func (d *device) payOwed() {
	for _, id := range d.owed {
		d.check(d.conn.WriteAck(mqttc.PUBACK, id, 0))
	}
	d.owed = d.owed[:0]
}

// note keeps what a message says.
func (d *device) note(p *mqttc.Packet) {
	topic, payload := string(p.Topic), string(p.Payload)
	levels := strings.Split(topic, "/")
	switch {
	case levels[0] == "c" && levels[2] == "text":
		if _, again := d.seen[payload]; !again {
			d.texts[levels[1]] = append(d.texts[levels[1]], event{from: levels[3], text: payload})
		}
		if d.seen[payload] += 0; !p.Dup {
			d.seen[payload]++
		}
	case levels[0] == "c", levels[0] == "u" && levels[2] == "events":
		d.event(p, levels)
	case levels[0] == "vol":
		d.probed[topic] = payload
	case levels[0] == "plain", levels[0] == "will":
		g := d.plain[payload]
		if g == nil {
			g = &plainGot{order: len(d.plain)}
			d.plain[payload] = g
		}
		g.total++
		if !p.Dup {
			g.fresh++
		}
	}
}

// event checks a delivery of a view in which every seq appears (PROTOCOL: delivery 2).
func (d *device) event(p *mqttc.Packet, levels []string) {
	view := protocol.ViewJSON
	if levels[2] == "cbor" {
		view = protocol.ViewCBOR
	}
	ev, err := protocol.ParseDelivery(view, p.Payload)
	if err != nil {
		d.failf("%s: %v", p.Topic, err)
	}
	log := levels[1]
	if levels[0] == "u" {
		log = "@" + log
	}
	last, begun := d.last[log]
	switch {
	case ev.Seq <= last && !p.Dup:
		d.failf("%s: seq %d comes again without DUP, after %d", p.Topic, ev.Seq, last)
	case ev.Seq > last+1 && begun:
		d.failf("%s: seq %d follows %d", p.Topic, ev.Seq, last)
	}
	d.last[log] = max(last, ev.Seq)
	d.got[log] = append(d.got[log], event{ev.Seq, ev.From, ev.Text})
}
