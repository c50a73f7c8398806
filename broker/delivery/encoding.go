package delivery

import (
	"strconv"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
)

// encoding holds an event in the views that somebody asked for: each is made once, however many
// receive it. It belongs to one goroutine.
type encoding struct {
	log string
	ev  *chat.Event
	// payload and topic by view; mine is the payload for the sender's own devices, which get their id back.
	payload, mine, topic [viewCount][]byte
}

// viewCount is one more than the highest of protocol's views.
const viewCount = int(protocol.ViewCBOR) + 1

// in returns the event's payload in a view. ok is false where the view does not show such an event.
func (e *encoding) in(view byte, user string) (topic, payload []byte, ok bool) {
	if view == viewOwn {
		if e.topic[0] == nil {
			e.topic[0] = []byte(protocol.OwnEventsTopic(user))
			e.payload[0] = protocol.AppendEvent(nil, protocol.ViewJSON, e.ev, true)
		}
		return e.topic[0], e.payload[0], true
	}
	v := protocol.View(view)
	if v == protocol.ViewText && (e.ev.Kind != chat.KindPost || e.ev.Text == "") {
		return nil, nil, false
	}
	if e.topic[view] == nil {
		e.topic[view] = protocol.AppendEventTopic(nil, e.log, v, e.ev.From)
	}
	if e.ev.ID != "" && user == e.ev.From && v != protocol.ViewText {
		if e.mine[view] == nil {
			e.mine[view] = protocol.AppendEvent(nil, v, e.ev, true)
		}
		return e.topic[view], e.mine[view], true
	}
	if e.payload[view] == nil {
		e.payload[view] = protocol.AppendEvent(make([]byte, 0, len(e.ev.Text)+64), v, e.ev, false)
	}
	return e.topic[view], e.payload[view], true
}

// stub returns what stands for events from..to that the receiver does not get. The text view has none.
func (e *encoding) stub(view byte, user string, from, to uint64, kind chat.Kind) (topic, payload []byte, ok bool) {
	switch view {
	case byte(protocol.ViewText):
		return nil, nil, false
	case viewOwn:
		return []byte(protocol.OwnEventsTopic(user)), protocol.AppendStub(nil, protocol.ViewJSON, from, to, kind), true
	}
	v := protocol.View(view)
	return protocol.AppendEventTopic(nil, e.log, v, ""), protocol.AppendStub(nil, v, from, to, kind), true
}

// Metadata that a subscription to the text view asked for (PROTOCOL: delivery 7).
const (
	metaSeq byte = 1
	metaAt  byte = 2
)

// ParseMeta reads the user property "meta" of a SUBSCRIBE: "seq", "at" or "seq,at".
func ParseMeta(s string) (byte, error) {
	switch s {
	case "seq":
		return metaSeq, nil
	case "at":
		return metaAt, nil
	case "seq,at", "at,seq":
		return metaSeq | metaAt, nil
	}
	return 0, chat.Refuse(chat.BadRequest, "user property meta is seq, at, or seq,at")
}

// metaProps encodes the metadata of a delivery as user properties.
func metaProps(meta byte, ev *chat.Event) []byte {
	var b []byte
	if meta&metaSeq != 0 {
		b = appendUserProp(b, "seq", strconv.FormatUint(ev.Seq, 10))
	}
	if meta&metaAt != 0 {
		b = appendUserProp(b, "at", strconv.FormatInt(ev.At, 10))
	}
	return b
}

// cut shortens text to at most n bytes without breaking a character.
func cut(b []byte, n int) []byte {
	if n < 0 {
		n = 0
	}
	if len(b) <= n {
		return b
	}
	for n > 0 && b[n]&0xC0 == 0x80 {
		n--
	}
	return b[:n]
}
