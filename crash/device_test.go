package crash_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/petrelchat/petrel/internal/mqttc"
)

// sub is a filter that a device subscribes to for good.
type sub struct {
	filter string
	qos    byte
}

// device is one client with a persistent session: sender and receiver. One goroutine at a time drives
// it; what it knows is read by the others only between the phases of a round.
type device struct {
	w            *world
	user, client string
	version      byte
	receiveMax   uint16
	ticker       bool
	base         []sub
	rng          *rand.Rand
	fault        error

	conn   *mqttc.Conn
	in     chan mqttc.Packet
	known  bool // the server acknowledged subscriptions: the session must be there from now on
	window int

	n       int // operations so far
	flight  []*op
	settled []*op
	pending map[uint16]change
	vol     [volatiles]membership
	floor   map[string]uint64 // acknowledged read cursors
	kept    map[string]string // retained topics: the last value that was acknowledged
	ticked  int               // acknowledged ticks

	held   map[uint16]bool // QoS 2 packet ids between PUBLISH and PUBREL
	owed   []uint16        // PUBACKs
	last   map[string]uint64
	got    map[string][]event // deliveries of this round, JSON and CBOR
	texts  map[string][]event // first deliveries of this round, text view
	seen   map[string]int     // text view: how often each token came without DUP
	plain  map[string]*plainGot
	probed map[string]string
}

// membership of a volatile filter, as far as the client knows.
type membership uint8

const (
	out membership = iota
	in
	unsure
)

const volatiles = 4

// change is a SUBSCRIBE or UNSUBSCRIBE that waits for its answer.
type change struct {
	k   int
	sub bool
}

func (w *world) device(user, client string, version byte, base ...sub) *device {
	return &device{
		w: w, user: user, client: client, version: version, base: base,
		rng:   rand.New(rand.NewPCG(w.rng.Uint64(), w.rng.Uint64())),
		floor: make(map[string]uint64), kept: make(map[string]string), held: make(map[uint16]bool), last: make(map[string]uint64),
		pending: make(map[uint16]change), got: make(map[string][]event), texts: make(map[string][]event), seen: make(map[string]int),
		plain: make(map[string]*plainGot), probed: make(map[string]string),
	}
}

func (d *device) String() string { return d.user + "-" + d.client }

type faultError struct{ error }

// failf ends the device's phase with a fault.
func (d *device) failf(format string, args ...any) {
	panic(faultError{fmt.Errorf(format, args...)})
}

// caught returns the fault that fn ended with.
func caught(fn func()) (fault error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case faultError:
			fault = r.error
		default:
			panic(r)
		}
	}()
	fn()
	return nil
}

// reconnect makes a connection and sends again what was not answered. It returns false when the
// server is dead.
func (d *device) reconnect() bool {
	ctx, cancel := within()
	defer cancel()
	conn, ack, err := mqttc.Dial(ctx, d.w.server.addr, mqttc.ConnectOptions{
		Version: d.version, ClientID: d.client, Username: d.user, SessionExpiry: 1 << 31, ReceiveMaximum: d.receiveMax,
	})
	if err != nil {
		if d.w.server.dying.Load() {
			return false
		}
		d.failf("connecting: %v", err)
	}
	if d.known && !ack.SessionPresent {
		d.failf("the session is gone")
	}
	d.conn, d.in, d.owed = conn, make(chan mqttc.Packet, 64), nil
	clear(d.pending)
	go func(in chan<- mqttc.Packet) {
		defer close(in)
		for {
			p, err := conn.ReadPacket()
			if err != nil {
				return
			}
			p.Topic, p.Payload, p.Codes = append([]byte(nil), p.Topic...), append([]byte(nil), p.Payload...), append([]byte(nil), p.Codes...)
			in <- p
		}
	}(d.in)
	d.resend()
	return true
}

// resend repeats in the order of sending what was not answered [MQTT-4.4.0-1]. Some posts are given up,
// and some with an id go out with another packet id, as a client does that lost its session state.
func (d *device) resend() {
	old := d.flight
	d.flight = nil
	for _, o := range old {
		p := mqttc.Publish{Topic: o.topic, Payload: o.payload, QoS: o.qos, Retain: o.kind == retain, ID: o.pid, Dup: true}
		switch {
		case o.rec:
			d.flight = append(d.flight, o)
			d.check(d.conn.WriteAck(mqttc.PUBREL, o.pid, 0))
			o.tell("round %d: PUBREL again", d.w.round)
			continue
		case o.kind == post && d.rng.IntN(12) == 0:
			o.state = abandoned
			o.tell("round %d: given up", d.w.round)
			d.settled = append(d.settled, o)
			continue
		case o.id != "" && d.rng.IntN(2) == 0:
			o.pid = d.freePID(old)
			p.ID, p.Dup = o.pid, false
		}
		o.resent++
		o.tell("round %d: again, packet id %d, DUP %v", d.w.round, p.ID, p.Dup)
		d.flight = append(d.flight, o)
		d.check(d.conn.WritePublish(p))
	}
	d.check(d.conn.Flush())
}

// check ignores errors of a connection that the server's death ended: the reader reports that.
func (d *device) check(err error) {
	if err != nil && !d.w.server.dying.Load() {
		d.failf("writing: %v", err)
	}
}

// freePID is the lowest packet id that is free: what many clients take.
func (d *device) freePID(also []*op) uint16 {
	used := func(id uint16) bool {
		_, busy := d.pending[id]
		for _, list := range [][]*op{d.flight, also} {
			for _, o := range list {
				busy = busy || o.pid == id
			}
		}
		return busy
	}
	id := uint16(2)
	for used(id) {
		id++
	}
	return id
}

// load sends up to n operations, until the server dies.
func (d *device) load(n int) {
	d.window = 1 + d.rng.IntN(8)
	if d.ticker {
		d.window = 1
	}
	for d.conn != nil {
		for n > 0 && len(d.flight)+len(d.pending) < d.window {
			n--
			if !d.act() {
				return
			}
			if !d.take(false) {
				return
			}
		}
		if n <= 0 || !d.take(true) {
			return
		}
	}
}

// settle waits until everything that was sent is answered.
func (d *device) settle() {
	for len(d.flight)+len(d.pending) > 0 {
		if !d.take(true) {
			d.failf("the server ended the connection")
		}
	}
}

// take handles the packets that are there; with wait at least one. It returns false when the
// connection ended.
func (d *device) take(wait bool) bool {
	for {
		select {
		case p, ok := <-d.in:
			if !ok {
				return d.ended()
			}
			d.handle(&p)
			wait = false
			continue
		default:
		}
		d.payOwed()
		d.check(d.conn.Flush())
		if !wait {
			return true
		}
		select {
		case p, ok := <-d.in:
			if !ok {
				return d.ended()
			}
			d.handle(&p)
			wait = false
		case <-time.After(patience):
			d.failf("nothing comes; waiting for %v", d.flight)
		}
	}
}

func (d *device) ended() bool {
	if !d.w.server.dying.Load() {
		d.failf("the server ended the connection")
	}
	_ = d.conn.Close()
	d.conn = nil
	return false
}

// cut ends the connection: with a goodbye, after which everything that comes is still read, or like a
// phone in a tunnel, which sees nothing of what was on its way to it.
func (d *device) cut(goodbye bool) bool {
	d.w.cuts.Add(1)
	if goodbye {
		d.check(d.conn.WriteDisconnect(0))
		d.check(d.conn.Flush())
		for p := range d.in {
			d.handle(&p)
		}
		d.owed = nil
		_ = d.conn.Close()
	} else {
		_ = d.conn.Close()
		for range d.in {
		}
		for _, o := range d.flight {
			o.cut = true
			o.tell("round %d: cut by the client", d.w.round)
		}
	}
	for _, c := range d.pending {
		d.vol[c.k] = unsure
	}
	d.conn = nil
	return d.reconnect()
}

// subscribe subscribes to the base filters and waits for the answer.
func (d *device) subscribe() {
	list := []mqttc.Filter{{Topic: "u/" + d.user + "/errors"}}
	for _, s := range d.base {
		list = append(list, mqttc.Filter{Topic: s.filter, QoS: s.qos})
	}
	id := d.freePID(nil)
	d.pending[id] = change{k: -1}
	d.check(d.conn.WriteSubscribe(id, list))
	d.check(d.conn.Flush())
	d.settle()
	d.known = true
}

// sync returns when everything that the server sent before now was handled.
func (d *device) sync() {
	d.check(d.conn.WritePing())
	d.check(d.conn.Flush())
	for pong := false; !pong; {
		select {
		case p, ok := <-d.in:
			if !ok {
				d.failf("%v", errors.New("the server ended the connection"))
			}
			pong = p.Type == mqttc.PINGRESP
			d.handle(&p)
		case <-time.After(patience):
			d.failf("no PINGRESP")
		}
	}
	d.payOwed()
	d.check(d.conn.Flush())
}
