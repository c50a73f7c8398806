package link

import "github.com/eclipse/paho.golang/packets"

// due is a message that is to be acknowledged.
type due struct {
	id    uint16
	kind  byte // PUBACK or PUBREC
	ready bool
	taken map[uint16]bool // of QoS 2: where it is noted that the message was taken
}

// dues are the acknowledgements that we owe, in the order of the messages [MQTT-4.6.0-2]. The connection guards it.
type dues struct{ list []*due }

func (d *dues) add(id uint16, qos byte) *due {
	one := &due{id: id, kind: packets.PUBACK}
	if qos == 2 {
		one.kind = packets.PUBREC
	}
	d.list = append(d.list, one)
	return one
}

// mark notes an acknowledgement, and tells whether something can be sent now.
func (d *dues) mark(one *due) bool {
	if one.ready {
		return false
	}
	one.ready = true
	if one.taken != nil {
		one.taken[one.id] = true
	}
	return len(d.list) > 0 && d.list[0] == one
}

// appendReady appends the packets of all that can be sent, without reason code or properties: four bytes
// each, §3.4.2.1.
func (d *dues) appendReady(buf []byte) []byte {
	n := 0
	for ; n < len(d.list) && d.list[n].ready; n++ {
		buf = appendAck(buf, d.list[n].kind, d.list[n].id)
		d.list[n] = nil
	}
	d.list = d.list[n:]
	return buf
}

func appendAck(buf []byte, kind byte, id uint16) []byte {
	flags := byte(0)
	if kind == packets.PUBREL {
		flags = 2
	}
	return append(buf, kind<<4|flags, 2, byte(id>>8), byte(id))
}
