package crash_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/petrelchat/petrel/internal/mqttc"
)

// reader is a fresh client that looks at what the server has.
type reader struct {
	w    *world
	user string
	conn *mqttc.Conn
	pid  uint16
	live map[string]string // retained values and presence, by topic

	seen func(what string, from int64, payload string) // is shown each reply; may be nil
}

// reader connects a client of a user with a new session, which ends with it.
func (w *world) reader(user string) *reader {
	w.t.Helper()
	ctx, cancel := within()
	defer cancel()
	conn, _, err := mqttc.Dial(ctx, w.server.addr, mqttc.ConnectOptions{ClientID: "reader", Username: user, CleanStart: true, MaxPacket: 16 << 20})
	if err != nil {
		w.t.Fatalf("%v: a reader cannot connect: %v", w, err)
	}
	r := &reader{w: w, user: user, conn: conn, live: make(map[string]string)}
	r.subscribe("u/" + user + "/rpc")
	return r
}

func (r *reader) close() { _ = r.conn.Close() }

func (r *reader) must(err error) {
	r.w.t.Helper()
	if err != nil {
		r.w.t.Fatalf("%v: the reader of %s: %v", r.w, r.user, err)
	}
}

// await reads up to a packet of that type; messages meanwhile are noted.
func (r *reader) await(kind byte) mqttc.Packet {
	r.w.t.Helper()
	r.must(r.conn.Flush())
	r.must(r.conn.SetReadDeadline(time.Now().Add(patience)))
	p, err := r.conn.Await(kind, func(p mqttc.Packet) error {
		if p.Type == mqttc.PUBLISH {
			r.live[string(p.Topic)] = string(p.Payload)
		}
		return nil
	})
	r.must(err)
	if p.Type != kind {
		r.w.t.Fatalf("%v: the reader of %s waits for packet type %d and got %d, code 0x%02X", r.w, r.user, kind, p.Type, p.Code)
	}
	return p
}

// subscribe subscribes at QoS 0 and returns when everything retained has come.
func (r *reader) subscribe(filter string) {
	r.w.t.Helper()
	r.pid = r.pid%60000 + 1
	r.must(r.conn.WriteSubscribe(r.pid, []mqttc.Filter{{Topic: filter}}))
	if p := r.await(mqttc.SUBACK); p.Codes[0] >= 0x80 {
		r.w.t.Fatalf("%v: subscribing to %s: 0x%02X", r.w, filter, p.Codes[0])
	}
	r.must(r.conn.WritePing())
	r.await(mqttc.PINGRESP)
}

// publish sends at QoS 1 and waits for the acknowledgement.
func (r *reader) publish(topic, payload string) {
	r.w.t.Helper()
	r.pid = r.pid%60000 + 1
	r.must(r.conn.WritePublish(mqttc.Publish{Topic: topic, Payload: []byte(payload), QoS: 1, ID: r.pid}))
	r.await(mqttc.PUBACK)
}

// ask makes a request that may be refused.
func (r *reader) ask(method string, params map[string]any) answer {
	r.w.t.Helper()
	params["tag"] = "t"
	body, err := json.Marshal(params)
	r.must(err)
	topic := "u/" + r.user + "/rpc"
	delete(r.live, topic)
	x := answer{outcome: carried, from: now()}
	r.publish("rpc/"+method, string(body))
	x.to = now()
	var reply struct {
		OK    json.RawMessage
		Error *struct{ Code, Reason string }
	}
	r.must(json.Unmarshal([]byte(r.live[topic]), &reply))
	if x.body = reply.OK; reply.Error != nil {
		x.outcome, x.code, x.reason = turned, reply.Error.Code, reply.Error.Reason
	}
	if r.seen != nil {
		r.seen(fmt.Sprint(method, " ", params), x.from, r.live[topic])
	}
	return x
}

func (r *reader) decode(x *answer, out any) {
	r.w.t.Helper()
	r.must(json.Unmarshal(x.body, out))
}

// call makes a request and decodes the reply into out.
func (r *reader) call(method string, params map[string]any, out any) {
	r.w.t.Helper()
	x := r.ask(method, params)
	if x.outcome != carried {
		r.w.t.Fatalf("%v: %s %v: %v", r.w, method, params, &x)
	}
	r.decode(&x, out)
}

// events reads all of a conversation.
func (r *reader) events(conv string) (list []shown) {
	r.w.t.Helper()
	for after := uint64(0); ; {
		var page struct {
			Events []shown
			More   bool
		}
		r.call("history", map[string]any{"conv": conv, "after": after, "limit": 500}, &page)
		for _, e := range page.Events {
			if e.Seq != after+1 {
				r.w.t.Fatalf("%v: %s has seq %d after %d", r.w, conv, e.Seq, after)
			}
			after = max(e.Seq, e.To)
			list = append(list, e)
		}
		if !page.More {
			return list
		}
	}
}

// head is the last seq of a conversation.
func (r *reader) head(conv string) uint64 {
	r.w.t.Helper()
	var page struct{ Head uint64 }
	r.call("history", map[string]any{"conv": conv, "limit": 1}, &page)
	return page.Head
}

// history reads what comes after a seq, page by page, and appends it.
func (r *reader) history(conv string, log []entry) []entry {
	r.w.t.Helper()
	for {
		var page struct {
			Events []struct {
				Seq              uint64
				From, Text, Kind string
			}
			Head uint64
			More bool
		}
		r.call("history", map[string]any{"conv": conv, "after": len(log), "limit": 500}, &page)
		for _, ev := range page.Events {
			if ev.Seq != uint64(len(log))+1 {
				r.w.t.Fatalf("%v: %s has seq %d after %d", r.w, conv, ev.Seq, len(log))
			}
			if ev.Kind != "" && ev.Kind != "post" {
				ev.Text = ""
			}
			log = append(log, entry{ev.From, ev.Text})
		}
		if !page.More {
			if page.Head != uint64(len(log)) {
				r.w.t.Fatalf("%v: %s ends with seq %d, its head is %d", r.w, conv, len(log), page.Head)
			}
			return log
		}
	}
}

// armed is a client with a will.
type armed struct {
	user, token string
	topic       string
	conn        *mqttc.Conn
	least, most int // how often the will may be published
}

// arm connects this round's clients with wills: two stay until the server dies, one vanishes before,
// and one takes its leave.
func (w *world) arm() {
	w.armed = nil
	for i := range 4 {
		a := &armed{user: ghosts[i%2], token: fmt.Sprintf("r%d.will.%d", w.round, i), topic: "will/" + ghosts[i%2], least: 1, most: 1}
		if i%2 == 1 {
			a.topic = "c/" + group + "/text"
		}
		ctx, cancel := within()
		conn, _, err := mqttc.Dial(ctx, w.server.addr, mqttc.ConnectOptions{
			Version: byte(4 + i%2), ClientID: fmt.Sprintf("will-%d", i), Username: a.user, CleanStart: true,
			Will: &mqttc.Will{Topic: a.topic, Payload: []byte(a.token), QoS: 2},
		})
		cancel()
		if err != nil {
			w.t.Fatalf("%v: connecting with a will: %v", w, err)
		}
		a.conn = conn
		switch i {
		case 2:
			_ = conn.Close()
		case 3:
			if err := conn.Disconnect(patience); err != nil {
				w.t.Fatalf("%v: saying goodbye: %v", w, err)
			}
			a.least, a.most = 0, 0
		}
		w.armed = append(w.armed, a)
	}
}

func (w *world) endArmed() {
	for _, a := range w.armed {
		_ = a.conn.Close()
	}
}

// isWill reports whether a token is that of a will.
func isWill(token string) bool { return strings.Contains(token, ".will.") }
