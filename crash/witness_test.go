package crash_test

import (
	"fmt"
	"time"

	"github.com/petrelchat/petrel/internal/mqttc"
	"github.com/petrelchat/petrel/protocol"
)

// witness is a device that is away most of the time and catches up once in a round, with a session that
// lives through all crashes. It must get every seq once, and nothing of what was gone when it came.
type witness struct {
	w            *world
	user, client string
	known        bool
	last         map[string]uint64
}

func newWitness(w *world, user, client string) *witness {
	return &witness{w: w, user: user, client: client, last: make(map[string]uint64)}
}

// catchUp connects, takes what waits up to the heads of the board's groups, and goes away again.
func (v *witness) catchUp(b *board) {
	heads := make(map[string]uint64)
	r := v.w.reader(v.user)
	for _, conv := range b.convs {
		if conv != private {
			heads[conv] = r.head(conv)
		}
	}
	r.close()
	from := now()
	ctx, cancel := within()
	defer cancel()
	conn, ack, err := mqttc.Dial(ctx, v.w.server.addr, mqttc.ConnectOptions{
		Version: 5, ClientID: v.client, Username: v.user, SessionExpiry: 1 << 31,
	})
	if err != nil {
		v.w.t.Fatalf("%v: the witness cannot connect: %v", v.w, err)
	}
	must := func(err error) {
		v.w.t.Helper()
		if err != nil {
			v.w.t.Fatalf("%v: the witness: %v; it has %v of %v", v.w, err, v.last, heads)
		}
	}
	must(conn.SetReadDeadline(time.Now().Add(patience)))
	if v.known != ack.SessionPresent {
		v.w.wrongf("the session of the witness is there: %v", ack.SessionPresent)
	}
	if !v.known {
		must(conn.WriteSubscribe(1, []mqttc.Filter{{Topic: "c/+/json", QoS: 1}}))
		must(conn.Flush())
		_, err := conn.Await(mqttc.SUBACK, func(mqttc.Packet) error { return nil })
		must(err)
		for conv, head := range heads { // a subscription begins at the head
			v.last[conv] = head
		}
		v.known = true
	}
	for !v.has(heads) {
		must(conn.Flush())
		p, err := conn.ReadPacket()
		must(err)
		if p.Type == mqttc.PUBLISH {
			must(v.take(b, &p, from))
			must(conn.WriteAck(mqttc.PUBACK, p.ID, 0))
		}
	}
	must(conn.Disconnect(patience))
}

func (v *witness) has(heads map[string]uint64) bool {
	for conv, head := range heads {
		if v.last[conv] < head {
			return false
		}
	}
	return true
}

func (v *witness) take(b *board, p *mqttc.Packet, from int64) error {
	var conv string
	if _, err := fmt.Sscanf(string(p.Topic), "c/%s", &conv); err != nil {
		return err
	}
	conv = conv[:len(conv)-len("/json")]
	ev, err := protocol.ParseDelivery(protocol.ViewJSON, p.Payload)
	if err != nil {
		return err
	}
	last, begun := v.last[conv]
	switch {
	case begun && ev.Seq > last+1:
		v.w.wrongf("the witness gets seq %d of %s after %d", ev.Seq, conv, last)
	case begun && ev.Seq <= last && !p.Dup:
		v.w.wrongf("the witness gets seq %d of %s again without DUP, after %d", ev.Seq, conv, last)
	}
	v.last[conv] = max(last, ev.Seq, ev.To)
	b.mustNotSee("a delivery of "+conv, from, string(p.Payload))
	return nil
}
