package bench

import (
	"compress/flate"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/petrelchat/petrel/internal/mqttc"
)

// line is a device that calls by MQTT alone: no client, no media. One goroutine publishes or hears at a time.
type line struct {
	*client
	user string
	id   uint16
}

// told is what a line hears on u/{me}/calls, and below.
type told struct {
	Kind  string          `json:"kind"`
	Call  string          `json:"call"`
	From  string          `json:"from"`
	State string          `json:"state"`
	Type  string          `json:"type"`
	Body  json.RawMessage `json:"body"`
}

// lineWait is how long a line waits for an answer, or for what the other side did.
const lineWait = 30 * time.Second

// line connects the i-th device; it rings.
func (cr *crew) line(s *server, i int, user, device string) (*line, error) {
	o := s.options(user, device)
	o.Version, o.CleanStart, o.LocalAddr, o.ReadBuffer = 5, true, s.source(i), 512
	c, err := cr.dial(s, o)
	if err == nil {
		topic := "u/" + user + "/calls"
		err = c.subscribe(mqttc.Filter{Topic: topic}, mqttc.Filter{Topic: topic + "/+"})
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", user, err)
	}
	return &line{client: c, user: user}, nil
}

// acked is what PUBACK says: when it came, and the call and the part in it.
type acked struct {
	at          int64
	call, party string
}

// send publishes, and leaves PUBACK to hears.
func (l *line) send(topic, payload string) error {
	if l.id++; l.id == 0 {
		l.id = 1
	}
	if err := l.WritePublish(mqttc.Publish{Topic: topic, Payload: []byte(payload), QoS: 1, ID: l.id}); err != nil {
		return err
	}
	return l.Flush()
}

// publish publishes and waits for PUBACK. What else comes meanwhile is passed over.
func (l *line) publish(clk clock, topic, payload string) (acked, error) {
	if err := l.send(topic, payload); err != nil {
		return acked{}, err
	}
	_ = l.SetReadDeadline(time.Now().Add(lineWait))
	for {
		p, err := l.ReadPacket()
		switch {
		case err != nil:
			return acked{}, fmt.Errorf("%s: no answer to %s: %w", l.user, topic, err)
		case p.Type == mqttc.DISCONNECT:
			return acked{}, fmt.Errorf("%s was disconnected: 0x%02X", l.user, p.Code)
		case p.Type != mqttc.PUBACK || p.ID != l.id:
			continue
		case p.Code >= 0x80:
			return acked{}, l.refused(topic, p)
		}
		a := acked{at: clk.now()}
		a.call, _ = p.Props.User("call")
		a.party, _ = p.Props.User("party")
		return a, nil
	}
}

// hears waits until something comes that is wanted, and returns it and when it came.
func (l *line) hears(clk clock, what string, want func(*told) bool) (t told, at int64, err error) {
	_ = l.SetReadDeadline(time.Now().Add(lineWait))
	for {
		p, err := l.ReadPacket()
		switch {
		case err != nil:
			return t, 0, fmt.Errorf("%s does not hear of %s: %w", l.user, what, err)
		case p.Type == mqttc.DISCONNECT:
			return t, 0, fmt.Errorf("%s was disconnected: 0x%02X", l.user, p.Code)
		case p.Type == mqttc.PUBACK && p.Code >= 0x80:
			return t, 0, l.refused("what should lead to "+what, p)
		case p.Type != mqttc.PUBLISH:
			continue
		}
		at, t = clk.now(), told{}
		if err := json.Unmarshal(p.Payload, &t); err == nil && want(&t) {
			return t, at, nil
		}
	}
}

func (l *line) refused(what string, p mqttc.Packet) error {
	reason, _ := p.Props.String(mqttc.PropReason)
	return fmt.Errorf("%s: %s was refused: 0x%02X %s", l.user, what, p.Code, reason)
}

// start calls somebody and returns the call and the part in it.
func (l *line) start(clk clock, user string) (acked, error) {
	return l.publish(clk, "u/"+user+"/call", `{"media":["audio"]}`)
}

// verb publishes to a call.
func (l *line) verb(clk clock, call, verb, payload string) (acked, error) {
	return l.publish(clk, "k/"+call+"/"+verb, payload)
}

// signal is the payload of one; SDP is deflated, as our client does it.
func signal(to, kind, sdp string) string {
	body := `"` + sdp + `"`
	if kind == "offer" || kind == "answer" {
		var b strings.Builder
		w, _ := flate.NewWriter(&b, flate.BestCompression) // the level is a valid one, and a Builder takes all
		_, _ = io.WriteString(w, sdp)
		_ = w.Close()
		body = `{"z":"` + base64.StdEncoding.EncodeToString([]byte(b.String())) + `"}`
	} else if kind == "candidates" {
		body = "[" + body + "]"
	}
	return `{"to":"` + to + `","type":"` + kind + `","body":` + body + `}`
}

// description reads the body of an offer or answer.
func (t *told) description() (string, error) {
	var text string
	if json.Unmarshal(t.Body, &text) == nil {
		return text, nil
	}
	var z struct{ Z []byte }
	if err := json.Unmarshal(t.Body, &z); err != nil {
		return "", err
	}
	b, err := io.ReadAll(flate.NewReader(strings.NewReader(string(z.Z))))
	return string(b), err
}
