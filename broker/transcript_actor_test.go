package broker_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/petrelchat/petrel/internal/mqttc"
)

// actor is one connection of a story, and the ones that follow it under the same name.
type actor struct {
	st     *story
	name   string
	conn   *mqttc.Conn
	wire   *net.TCPConn
	open   bool
	silent bool // does not acknowledge by itself
	pid    uint16
	named  map[uint16]bool // packet ids that the script chose
	last   mqttc.Packet    // the last PUBLISH that came
	got    []string        // since the step began
	topics []string        // of the messages among them
}

func (st *story) actor(name string) *actor {
	for _, a := range st.actors {
		if a.name == name {
			return a
		}
	}
	a := &actor{st: st, name: name, named: make(map[uint16]bool)}
	st.actors = append(st.actors, a)
	return a
}

// speech is a line that a client says: words, key=value and, to the end of the line, a payload.
type speech struct {
	st      *story
	words   []string
	keys    map[string]string
	payload []byte
}

func (st *story) parse(line string) (verb string, x *speech) {
	verb, rest, _ := strings.Cut(line, " ")
	x = &speech{st: st, keys: make(map[string]string)}
	for rest = strings.TrimSpace(rest); rest != ""; rest = strings.TrimSpace(rest) {
		var err error
		switch {
		case rest[0] == '{':
			x.payload = []byte(rest)
			return verb, x
		case rest[0] == '"':
			var text string
			text, err = strconv.Unquote(rest)
			x.payload = []byte(text)
		case strings.HasPrefix(rest, "hex:"):
			x.payload, err = hex.DecodeString(rest[4:])
		default:
			var word string
			word, rest, _ = strings.Cut(rest, " ")
			if k, v, ok := strings.Cut(word, "="); ok {
				x.keys[k] = v
			} else {
				x.words = append(x.words, word)
			}
			continue
		}
		if err != nil {
			st.fatal(err)
		}
		break
	}
	return verb, x
}

// is takes a word out of the line and reports whether it was there.
func (x *speech) is(word string) bool {
	i := slices.Index(x.words, word)
	if i >= 0 {
		x.words = slices.Delete(x.words, i, i+1)
	}
	return i >= 0
}

// value takes a key out of the line.
func (x *speech) value(key string) string {
	v := x.keys[key]
	delete(x.keys, key)
	return v
}

func (x *speech) number(key string) uint32 {
	v := x.value(key)
	if v == "" {
		return 0
	}
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil {
		x.st.fatal(err)
	}
	return uint32(n)
}

// qos takes q0, q1 or q2 out of the line; 0 if there is none.
func (x *speech) qos() byte {
	for q := range byte(3) {
		if x.is(fmt.Sprint("q", q)) {
			return q
		}
	}
	return 0
}

// users takes everything that is left of the keys as user properties.
func (x *speech) users() (list []mqttc.UserProperty) {
	for k, v := range x.keys {
		list = append(list, mqttc.UserProperty{Key: k, Value: v})
	}
	clear(x.keys)
	slices.SortFunc(list, func(a, b mqttc.UserProperty) int { return strings.Compare(a.Key, b.Key) })
	return list
}

// say sends what a line says and waits for the answer that it has by itself.
func (a *actor) say(line string) {
	verb, x := a.st.parse(line)
	if !a.open && verb != "CONNECT" {
		a.st.fatal(a.name, " is not connected")
	}
	var answers []byte
	var err error
	switch verb {
	case "CONNECT":
		a.connect(x)
		return
	case "SUBSCRIBE":
		answers, err = []byte{mqttc.SUBACK}, a.subscribe(x)
	case "UNSUBSCRIBE":
		answers, err = []byte{mqttc.UNSUBACK}, a.conn.WriteUnsubscribe(a.next(), x.words...)
		x.words = nil
	case "PUBLISH":
		answers, err = a.publish(x)
	case "PUBACK":
		err = a.conn.WriteAck(mqttc.PUBACK, a.last.ID, 0)
		if !x.is("last") {
			a.st.fatal("PUBACK last")
		}
	case "PUBREL":
		answers, err = []byte{mqttc.PUBCOMP}, a.conn.WriteAck(mqttc.PUBREL, uint16(x.number("id")), 0)
	case "DISCONNECT":
		if err = a.conn.WriteDisconnect(0); err == nil {
			err = a.conn.Flush()
		}
		a.toTheEnd()
		a.got = slices.DeleteFunc(a.got, func(l string) bool { return l == closed })
	default:
		a.st.fatal("what is ", verb)
	}
	if err == nil {
		err = a.conn.Flush()
	}
	if err != nil && a.open || len(x.words)+len(x.keys) > 0 {
		a.st.fatal(line, ": ", err, " ", x.words, x.keys)
	}
	if len(answers) > 0 {
		a.read(func(p *mqttc.Packet) bool {
			return slices.Contains(answers, p.Type) || p.Type == mqttc.PUBREC && p.Code >= 0x80
		})
	}
}

func (a *actor) next() uint16 {
	a.pid++
	return a.pid
}

func (a *actor) connect(x *speech) {
	user, _, _ := strings.Cut(a.name, ".")
	o := mqttc.ConnectOptions{ClientID: a.name, Username: user, CleanStart: true}
	if x.is("v5") {
		o.Version = 5
	} else if !x.is("v4") {
		a.st.fatal("CONNECT v4 or v5")
	}
	if id := x.value("client"); id != "" {
		o.ClientID = id
	}
	if x.is("stay") {
		o.CleanStart = false
	}
	o.SessionExpiry = x.number("expiry")
	o.CleanStart = o.CleanStart && o.SessionExpiry == 0
	o.ReceiveMaximum, o.TopicAliasMaximum, o.MaximumPacketSize = uint16(x.number("receive")), uint16(x.number("aliases")), x.number("packet")
	if token := x.value("pass"); token != "" {
		o.Password = []byte(a.st.tokens[token])
	} else if !a.st.dev {
		o.Password = []byte(passwordOf(user))
	}
	if topic := x.value("will"); topic != "" {
		o.Will = &mqttc.Will{Topic: topic, Payload: x.payload, QoS: x.qos(), Retain: x.is("retain"), Delay: x.number("delay")}
	}
	if o.UserProperties = x.users(); len(x.words) > 0 {
		a.st.fatal("CONNECT ", x.words)
	}
	nc, err := net.Dial("tcp", a.st.s.Addr("mqtt"))
	if err != nil {
		a.st.fatal(err)
	}
	a.st.t.Cleanup(func() { _ = nc.Close() })
	a.wire, a.conn = nc.(*net.TCPConn), mqttc.NewConn(nc, o)
	a.open = true
	if err := errors.Join(a.conn.Raw(mqttc.AppendConnect(nil, o)), a.conn.Flush()); err != nil {
		a.st.fatal(err)
	}
	a.read(func(p *mqttc.Packet) bool { return p.Type == mqttc.CONNACK })
}

func (a *actor) subscribe(x *speech) error {
	f := mqttc.Filter{QoS: x.qos(), NoLocal: x.is("nolocal"), RetainAsPublished: x.is("rap")}
	list := make([]mqttc.Filter, len(x.words))
	for i, topic := range x.words {
		list[i] = f
		list[i].Topic = topic
	}
	x.words = nil
	return a.conn.WriteSubscribe(a.next(), list, x.users()...)
}

// publish writes a PUBLISH. At QoS 0 it is carried out as far as the server's reader when this returns.
func (a *actor) publish(x *speech) (answers []byte, err error) {
	p := mqttc.Publish{Payload: bytes.ReplaceAll(x.payload, []byte("<code>"), []byte(a.st.code)), QoS: x.qos(), Dup: x.is("dup"), Retain: x.is("retain")}
	p.Alias, p.ID = uint16(x.number("alias")), uint16(x.number("id"))
	if s := x.number("expiry"); s > 0 {
		p.Props = binary.BigEndian.AppendUint32(append(p.Props, mqttc.PropMessageExpiry), s)
	}
	if topic := x.value("response"); topic != "" {
		p.Props = str(append(p.Props, mqttc.PropResponseTopic), topic)
	}
	if data := x.value("correlation"); data != "" {
		p.Props = str(append(p.Props, mqttc.PropCorrelationData), data)
	}
	for _, u := range x.users() {
		p.Props = mqttc.AppendUserProperty(p.Props, u.Key, u.Value)
	}
	if len(x.words) > 0 {
		p.Topic, x.words = x.words[0], x.words[1:]
	}
	if a.named[p.ID] = true; p.ID == 0 {
		p.ID = a.next()
		delete(a.named, p.ID)
	}
	switch {
	case p.QoS == 1:
		answers = []byte{mqttc.PUBACK}
	case p.QoS == 2 && a.silent:
		answers = []byte{mqttc.PUBREC}
	case p.QoS == 2:
		answers = []byte{mqttc.PUBCOMP}
	}
	return answers, a.conn.WritePublish(p)
}

// ping reads what is on its way.
func (a *actor) ping() {
	if !a.open {
		return
	}
	if err := errors.Join(a.conn.WritePing(), a.conn.Flush()); err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		a.st.fatal(a.name, ": ", err)
	}
	a.read(func(p *mqttc.Packet) bool { return p.Type == mqttc.PINGRESP })
}

// hears reads until a message of a topic has come in this step, once more for each call.
func (a *actor) hears(topic string) {
	i := slices.Index(a.topics, topic)
	for ; i < 0; i = slices.Index(a.topics, topic) {
		if !a.open {
			a.st.fatal(a.name, " is not connected and waits for ", topic)
		}
		a.read(func(p *mqttc.Packet) bool { return p.Type == mqttc.PUBLISH })
	}
	a.topics[i] = ""
}

const closed = "(closed)"

// toTheEnd reads until the server closes.
func (a *actor) toTheEnd() {
	if a.open {
		a.read(func(*mqttc.Packet) bool { return false })
	}
}

// read notes packets, and acknowledges them, until one is the last or the server closes.
func (a *actor) read(last func(*mqttc.Packet) bool) {
	if err := a.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		a.st.fatal(err)
	}
	for {
		p, err := a.conn.ReadPacket()
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			a.open = false
			a.got = append(a.got, closed)
			_ = a.conn.Close()
			return
		}
		if err != nil {
			a.st.fatal(a.name, " waits in vain: ", err)
		}
		if p.Type != mqttc.PINGRESP && string(p.Topic) != barrierTopic {
			a.got = append(a.got, a.show(&p))
		}
		if p.Type == mqttc.PUBLISH {
			a.topics = append(a.topics, string(p.Topic))
			a.last = mqttc.Packet{ID: p.ID}
		}
		a.acknowledge(&p)
		if last(&p) {
			return
		}
	}
}

func (a *actor) acknowledge(p *mqttc.Packet) {
	answer := byte(0)
	switch {
	case a.silent:
	case p.Type == mqttc.PUBLISH && p.QoS == 1:
		answer = mqttc.PUBACK
	case p.Type == mqttc.PUBLISH && p.QoS == 2:
		answer = mqttc.PUBREC
	case p.Type == mqttc.PUBREC && p.Code < 0x80:
		answer = mqttc.PUBREL
	case p.Type == mqttc.PUBREL:
		answer = mqttc.PUBCOMP
	}
	if answer == 0 {
		return
	}
	// An error is no news: the server closes, which the reading side sees.
	_ = errors.Join(a.conn.WriteAck(answer, p.ID, 0), a.conn.Flush())
}
