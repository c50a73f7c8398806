package calls

import (
	"bufio"
	"encoding/json"
	"io"
	"maps"
	"net"
	"strings"
	"sync"

	"github.com/petrelchat/petrel/internal/mqttc"
)

// moment is when the server is killed: around something that a device publishes about a call.
type moment struct {
	who  string // the device, as ann/a; bob/ is any of bob's
	what string // start, a verb, or the type of a signal
	when when
}

type when uint8

const (
	published when = iota // it has left the device
	stored                // the server has answered; the answer is lost
	answered              // the answer has arrived; nobody else has heard of it
	spread                // somebody else has, too
)

func (w when) String() string { return [...]string{"published", "stored", "answered", "spread"}[w] }

func (m moment) String() string { return m.who + " " + m.what + " " + m.when.String() }

// tap is the way of one device to the server, on which the killer listens.
type tap struct {
	k   *killer
	who string
	ln  net.Listener
}

func (k *killer) tap(who string) *tap {
	k.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(k.t, err)
	x := &tap{k, who, ln}
	k.work.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			k.work.Go(func() { x.serve(conn) })
		}
	})
	return x
}

// tapped is one connection of a device.
type tapped struct {
	*tap
	client, server net.Conn
	once           sync.Once
	sent, told     map[uint16]string // topics by alias, of either direction

	over map[string]bool // calls of which nothing may ring here any more; with killer.mu held
}

func (x *tap) serve(client net.Conn) {
	w := &tapped{tap: x, client: client, sent: make(map[uint16]string), told: make(map[uint16]string)}
	if !x.k.opens(w) {
		_ = client.Close()
		return
	}
	x.k.work.Go(func() { defer w.close(); w.up() })
	w.down()
	w.close()
	x.k.closed(w)
}

func (w *tapped) close() {
	w.once.Do(func() {
		_ = w.client.Close()
		_ = w.server.Close()
	})
}

// up passes on what the device sends, packet by packet.
func (w *tapped) up() {
	r := bufio.NewReader(w.client)
	for {
		frame, err := packet(r)
		if err != nil {
			return
		}
		strikes := false
		if p, topic := decode(frame, w.sent); p.Type == mqttc.PUBLISH {
			strikes = w.k.publishes(w, action(topic, p.Payload), p.ID)
		}
		if _, err := w.server.Write(frame); err != nil {
			return
		}
		if strikes {
			w.k.strike()
		}
	}
}

// down passes on what the server sends.
func (w *tapped) down() {
	r := bufio.NewReader(w.server)
	for {
		frame, err := packet(r)
		if err != nil {
			return
		}
		p, topic := decode(frame, w.told)
		pass, strikes := w.k.passes(w, &p, topic)
		if pass {
			if _, err := w.client.Write(frame); err != nil {
				return
			}
		}
		if strikes {
			w.k.strike()
		}
	}
}

// packet reads one MQTT packet.
func packet(r *bufio.Reader) ([]byte, error) {
	first, err := r.ReadByte()
	if err != nil {
		return nil, err
	}
	frame, n := []byte{first}, 0
	for shift := 0; ; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return nil, err
		}
		frame = append(frame, b)
		if n |= int(b&0x7F) << shift; b < 0x80 || shift > 21 {
			break
		}
	}
	head := len(frame)
	frame = append(frame, make([]byte, n)...)
	_, err = io.ReadFull(r, frame[head:])
	return frame, err
}

// decode reads a PUBLISH or PUBACK; of anything else it tells nothing.
func decode(frame []byte, aliases map[uint16]string) (p mqttc.Packet, topic string) {
	if t := frame[0] >> 4; t != mqttc.PUBLISH && t != mqttc.PUBACK {
		return p, ""
	}
	p, err := mqttc.Decode(5, frame)
	if err != nil {
		return mqttc.Packet{}, ""
	}
	topic = string(p.Topic)
	if p.Alias != 0 {
		if topic == "" {
			topic = aliases[p.Alias]
		} else {
			aliases[p.Alias] = topic
		}
	}
	return p, topic
}

// action names what is published about a call; "": nothing is.
func action(topic string, payload []byte) string {
	if strings.HasSuffix(topic, "/call") {
		return "start"
	}
	parts := strings.Split(topic, "/")
	if len(parts) != 3 || parts[0] != "k" {
		return ""
	}
	var s struct{ Type string }
	if parts[2] == verbSignal && json.Unmarshal(payload, &s) == nil {
		return s.Type
	}
	return parts[2]
}

// opens connects a device to the server, if there is one.
func (k *killer) opens(w *tapped) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dead {
		return false
	}
	conn, err := net.Dial("tcp", k.srv.MQTT)
	if err != nil {
		return false
	}
	w.server, w.over = conn, maps.Clone(k.over)
	k.wires[w] = true
	return true
}

func (k *killer) closed(w *tapped) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.wires, w)
}

// cut ends the connections of a device, or of all ("").
func (k *killer) cut(who string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for w := range k.wires {
		if strings.HasPrefix(w.who, who) {
			w.close()
		}
	}
}

// publishes is told what a device is about to publish. true: then the server is to be killed.
func (k *killer) publishes(w *tapped, what string, id uint16) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.at == nil || k.hit != nil || what != k.at.what || !strings.HasPrefix(w.who, k.at.who) {
		return false
	}
	k.hit = &hit{w: w, id: id}
	return k.at.when == published
}

// hit is the publish that a moment is about.
type hit struct {
	w               *tapped
	id              uint16
	answered, heard bool
}

// passes says whether a device gets what the server sends, and whether the server is to be killed then.
func (k *killer) passes(w *tapped, p *mqttc.Packet, topic string) (pass, strikes bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	calls := strings.HasPrefix(topic, "u/") && strings.Contains(topic, "/calls")
	if k.dead {
		return false, false
	}
	if k.at != nil && k.hit != nil {
		h := k.hit
		switch {
		case p.Type == mqttc.PUBACK && h.w == w && p.ID == h.id && p.Code >= 0x80: // no transition: another one is waited for
			k.hit = nil
			for other := range k.wires { // what was kept from them they are told again
				if other != w {
					other.close()
				}
			}
		case p.Type == mqttc.PUBACK && h.w == w && p.ID == h.id:
			h.answered = true
			switch k.at.when {
			case stored:
				return false, true
			case answered:
				return true, true
			}
			strikes = k.at.when == spread && h.heard
		case calls && h.w.who != w.who && k.at.when == spread:
			h.heard = true
			strikes = h.answered
		case calls && h.w.who != w.who:
			return false, false
		}
	}
	if calls {
		k.listen(w, p.Payload)
	}
	return true, strikes
}

// listen fails the test when a device is rung for what is over.
func (k *killer) listen(w *tapped, payload []byte) {
	var m struct{ Kind, Call, State string }
	if json.Unmarshal(payload, &m) != nil {
		return
	}
	switch {
	case m.Kind == "ring" && w.over[m.Call]:
		k.t.Errorf("%s is rung for a call that is over: %s", w.who, payload)
	case m.Kind == "taken":
		w.over[m.Call] = true
	case m.Kind == "missed", m.State == "ended":
		w.over[m.Call], k.over[m.Call] = true, true
	}
}
