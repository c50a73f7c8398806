package crash_test

import (
	"slices"
	"strings"
	"time"

	"github.com/petrelchat/petrel/internal/mqttc"
	"github.com/petrelchat/petrel/protocol"
)

// shade is a device of one of the audience. It listens until the server dies, and comes again when everything was
// said. Its session lives through all crashes, and goes with its user in and out of the groups.
type shade struct {
	w     *world
	user  string
	known bool
	came  []mqttc.Packet // before the server died
	deaf  chan struct{}  // closed when that was all
	conv  string
	last  uint64          // in conv
	got   map[uint64]bool // in conv; stubs are not in it
}

func newShade(w *world, user string) *shade {
	return &shade{w: w, user: user, got: make(map[uint64]bool)}
}

// listener is a connection that takes what is delivered.
type listener struct {
	w    *world
	who  string
	conn *mqttc.Conn
}

func (w *world) listener(user, client string, expiry uint32) (l *listener, present bool) {
	w.t.Helper()
	ctx, cancel := within()
	defer cancel()
	conn, ack, err := mqttc.Dial(ctx, w.server.addr, mqttc.ConnectOptions{
		Version: 5, ClientID: client, Username: user, CleanStart: expiry == 0, SessionExpiry: expiry,
	})
	l = &listener{w, user + "-" + client, conn}
	l.must(err)
	l.must(conn.SetReadDeadline(time.Now().Add(patience)))
	return l, ack.SessionPresent
}

func (l *listener) must(err error) {
	l.w.t.Helper()
	if err != nil {
		l.w.t.Fatalf("%v: %s: %v", l.w, l.who, err)
	}
}

// subscribe returns the code of the answer. What came before it is shown to got.
func (l *listener) subscribe(filter string, got func(*mqttc.Packet), props ...mqttc.UserProperty) byte {
	l.w.t.Helper()
	l.must(l.conn.WriteSubscribe(1, []mqttc.Filter{{Topic: filter, QoS: 1}}, props...))
	return l.await(mqttc.SUBACK, got).Codes[0]
}

// await reads up to a packet of that type.
func (l *listener) await(kind byte, got func(*mqttc.Packet)) mqttc.Packet {
	l.w.t.Helper()
	for {
		l.must(l.conn.Flush())
		p, err := l.conn.ReadPacket()
		l.must(err)
		if p.Type == kind {
			return p
		}
		l.show(&p, got)
	}
}

// show hands a delivery on, and acknowledges it.
func (l *listener) show(p *mqttc.Packet, got func(*mqttc.Packet)) {
	l.w.t.Helper()
	if p.Type != mqttc.PUBLISH {
		return
	}
	got(p)
	if p.QoS > 0 {
		l.must(l.conn.WriteAck(mqttc.PUBACK, p.ID, 0))
	}
}

// take reads until what must come is there, then what else has come, and says goodbye.
func (l *listener) take(there func() bool, got func(*mqttc.Packet)) {
	l.w.t.Helper()
	for !there() {
		l.must(l.conn.Flush())
		p, err := l.conn.ReadPacket()
		l.must(err)
		l.show(&p, got)
	}
	l.must(l.conn.WritePing())
	l.await(mqttc.PINGRESP, got)
	l.must(l.conn.Disconnect(patience))
}

// settle makes the session, if it is not there yet.
func (d *shade) settle() {
	if d.known {
		return
	}
	l, _ := d.w.listener(d.user, "shade", 1<<31)
	nothing := func(*mqttc.Packet) {}
	if code := l.subscribe("c/+/json", nothing); code >= 0x80 {
		d.w.t.Fatalf("%v: %s: subscribing: 0x%02X", d.w, l.who, code)
	}
	l.take(func() bool { return true }, nothing)
	d.known = true
}

// listen takes what comes while there is a server.
func (d *shade) listen() {
	l, _ := d.w.listener(d.user, "shade", 1<<31)
	d.came, d.deaf = nil, make(chan struct{})
	go func() {
		defer close(d.deaf)
		defer l.conn.Close()
		for {
			p, err := l.conn.ReadPacket()
			if err != nil {
				return
			}
			if p.Type != mqttc.PUBLISH {
				continue
			}
			p.Topic, p.Payload = slices.Clone(p.Topic), slices.Clone(p.Payload)
			d.came = append(d.came, p)
			if l.conn.WriteAck(mqttc.PUBACK, p.ID, 0) != nil || l.conn.Flush() != nil {
				return
			}
		}
	}()
}

// visit takes what waits, and goes away again: all of each stay, and nothing of the time between.
func (d *shade) visit(c *curtain, v *view) {
	if d.conv != c.conv {
		d.conv, d.last = c.conv, 0
		clear(d.got)
	}
	<-d.deaf
	for i := range d.came {
		d.note(v, &d.came[i])
	}
	l, present := d.w.listener(d.user, "shade", 1<<31)
	if !present {
		d.w.wrongf("the session of %s is gone", l.who)
	}
	head := uint64(len(v.log.events))
	end := uint64(0)
	for _, s := range v.stays {
		end = min(s.last, head)
	}
	l.take(func() bool { return d.last >= end }, func(p *mqttc.Packet) { d.note(v, p) })
	for _, s := range v.stays {
		for seq := s.joined; seq <= min(s.last, head); seq++ {
			if !d.got[seq] {
				d.w.wrongf("%s never got seq %d of %s; they were there %+v", l.who, seq, d.conv, v.stays)
				return
			}
		}
	}
}

func (d *shade) note(v *view, p *mqttc.Packet) {
	if string(p.Topic) != "c/"+d.conv+"/json" {
		return
	}
	ev, err := protocol.ParseDelivery(protocol.ViewJSON, p.Payload)
	if err != nil {
		d.w.t.Fatalf("%v: a delivery to %s: %v", d.w, d.user, err)
	}
	if ev.Seq <= d.last && !p.Dup {
		d.w.wrongf("the shade of %s gets seq %d of %s again without DUP, after %d", d.user, ev.Seq, d.conv, d.last)
	}
	if d.last = max(d.last, ev.Seq, ev.To); ev.To != 0 {
		return
	}
	d.got[ev.Seq] = true
	if e := v.log.events[ev.Seq]; !v.ever(ev.Seq) || e.Text != ev.Text || e.From != ev.From {
		d.w.wrongf("the shade of %s gets seq %d of %s, %q; there it is %+v, and they were there %+v", d.user, ev.Seq, d.conv, ev.Text, e, v.stays)
	}
}

// checkFrom: a subscription that asks for the past gets what its user may see now.
func (c *curtain) checkFrom(v *view, from string) {
	for _, kind := range []string{"json", "text/+"} {
		l, _ := c.w.listener(v.user, "past", 0)
		head := uint64(len(v.log.events))
		var want, got []uint64
		for seq := uint64(1); seq <= head; seq++ {
			if e := v.log.events[seq]; v.shows(seq) && (kind == "json" || e.post() && e.Text != "") {
				want = append(want, seq)
			}
		}
		note := func(p *mqttc.Packet) {
			if strings.Contains(string(p.Topic), "/text/") {
				got = append(got, v.texts[string(p.Payload)])
				return
			}
			ev, err := protocol.ParseDelivery(protocol.ViewJSON, p.Payload)
			l.must(err)
			got = append(got, ev.Seq)
		}
		code := l.subscribe("c/"+c.conv+"/"+kind, note, mqttc.UserProperty{Key: "from", Value: from})
		if (code >= 0x80) != (v.now == nil) {
			c.w.wrongf("%s subscribes to %s of %s: 0x%02X; they were there %+v", v.user, kind, c.conv, code, v.stays)
		}
		l.take(func() bool { return len(got) >= len(want) || code >= 0x80 }, note)
		if !slices.Equal(got, want) {
			c.w.wrongf("%s asks for %s of %s from %s on, and gets %v instead of %v; they were there %+v", v.user, kind, c.conv, from, got, want, v.stays)
		}
	}
}
