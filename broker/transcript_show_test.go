package broker_test

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/petrelchat/petrel/internal/mqttc"
)

var packetNames = map[byte]string{
	mqttc.CONNACK: "CONNACK", mqttc.PUBLISH: "PUBLISH", mqttc.PUBACK: "PUBACK", mqttc.PUBREC: "PUBREC", mqttc.PUBREL: "PUBREL",
	mqttc.PUBCOMP: "PUBCOMP", mqttc.SUBACK: "SUBACK", mqttc.UNSUBACK: "UNSUBACK", mqttc.DISCONNECT: "DISCONNECT",
}

// show writes a packet as it came, but for packet ids that say nothing.
func (a *actor) show(p *mqttc.Packet) string {
	words := []string{packetNames[p.Type]}
	add := func(on bool, format string, args ...any) {
		if on {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	add(p.Type == mqttc.CONNACK, "present=%d", map[bool]int{true: 1}[p.SessionPresent])
	if p.Type == mqttc.PUBLISH {
		add(!a.aliasOnly(p), "%s", p.Topic)
		add(p.Alias != 0, "alias=%d", p.Alias)
		add(true, "q%d", p.QoS)
		add(p.Dup, "dup")
		add(p.Retain, "retain")
		add(p.QoS > 0 && (a.silent || p.Dup), "id=%d", p.ID)
	} else {
		add(a.named[p.ID] && p.ID != 0, "id=%d", p.ID)
	}
	add(len(p.Codes) > 0, "% x", p.Codes)
	add(p.Code != 0, "0x%02X", p.Code)
	words = append(words, a.properties(p.Props)...)
	if code := coded.Find(p.Payload); code != nil {
		a.st.code = string(code)
	}
	add(p.Type == mqttc.PUBLISH, "%s", coded.ReplaceAllString(body(p.Payload), "<code>"))
	return strings.Join(words, " ")
}

// aliasOnly reports whether a PUBLISH came with an empty topic, which the client library fills in.
func (a *actor) aliasOnly(p *mqttc.Packet) bool {
	bare := mqttc.Publish{QoS: p.QoS, ID: 1, Payload: p.Payload, Props: p.Props}
	return p.Alias != 0 && len(mqttc.AppendPublish(nil, 5, bare)) == p.Size
}

func body(b []byte) string {
	text := utf8.Valid(b)
	for _, r := range string(b) {
		text = text && (unicode.IsPrint(r) || r == '\n' || r == '\t')
	}
	switch {
	case !text:
		return "hex:" + hex.EncodeToString(b)
	case len(b) > 0 && b[0] == '{':
		return string(b)
	}
	return strconv.Quote(string(b))
}

// properties writes a list of properties, the topic alias aside, MQTT 5 §2.2.2.
func (a *actor) properties(list []byte) (words []string) {
	text := func() string {
		n := 2 + int(binary.BigEndian.Uint16(list))
		s := string(list[2:n])
		list = list[n:]
		return s
	}
	number := func(size int) (n uint64) {
		for _, b := range list[:size] {
			n = n<<8 | uint64(b)
		}
		list = list[size:]
		return n
	}
	for len(list) > 0 {
		id := list[0]
		list = list[1:]
		switch id {
		case mqttc.PropUser:
			words = append(words, text()+"="+text())
		case mqttc.PropReason:
			words = append(words, strconv.Quote(text()))
		case mqttc.PropCorrelationData:
			words = append(words, "correlation="+text())
		case mqttc.PropResponseTopic:
			words = append(words, "response="+text())
		case mqttc.PropMessageExpiry:
			words = append(words, fmt.Sprint("expiry=", number(4)))
		case mqttc.PropSessionExpiry:
			words = append(words, fmt.Sprint("session=", number(4)))
		case mqttc.PropMaximumPacketSize:
			words = append(words, fmt.Sprint("packet=", number(4)))
		case mqttc.PropTopicAliasMaximum:
			words = append(words, fmt.Sprint("aliases=", number(2)))
		case mqttc.PropReceiveMaximum:
			words = append(words, fmt.Sprint("receive=", number(2)))
		case mqttc.PropTopicAlias:
			number(2) // shown beside the topic
		default:
			a.st.fatal("property ", id, " has no words here")
		}
	}
	return words
}
