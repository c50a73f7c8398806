package link

import (
	"strings"
	"time"

	"github.com/petrelchat/petrel/chat"
)

// Handler learns what happens to a Link. Its methods are called one at a time, in this order for each
// connection: Connecting, Up, Message any number of times, Down; or Connecting, Down when the attempt failed.
// They must not wait for an answer of the server, nor call Close.
type Handler interface {
	// Connecting tells that an attempt begins.
	Connecting()
	// Up tells that there is a connection. What is sent from within Up goes out first.
	Up(Session)
	// Down tells that there is none: what ended it, or why the attempt failed (a *Refused when the server said
	// why), and when the next attempt begins. A zero retry means not before Renew. It is called after the
	// last Message of the connection and after all its done functions have been called with ErrLost.
	Down(err error, retry time.Time)
	// Message hands over what was received; replies to Call excepted. While it runs nothing else is delivered,
	// and reading stops when some megabytes wait. m and its Payload are the handler's.
	Message(m *Message)
}

// Session is what CONNACK says.
type Session struct {
	Present    bool          // the server still had the session: subscriptions and what was missed
	ReceiveMax int           // how many Publish of QoS 1 may be unacknowledged; more than that wait in the link
	MaxPacket  int           // longest packet, bytes, that the server takes; 0: no limit
	KeepAlive  time.Duration // after so much silence the link will ask
	Expiry     time.Duration // how long the server keeps the session; negative: for good
	Resumed    bool          // the TLS session was resumed
	RTT        time.Duration // from CONNECT to CONNACK
}

// Message is a PUBLISH of the server.
type Message struct {
	Topic      string
	Payload    []byte
	QoS        byte
	Retain     bool
	Dup        bool // may have been delivered before
	Properties []Property

	from *connection // of QoS 1 and 2
	due  *due
}

// Ack acknowledges a message of QoS 1 or 2, once the receiver has it safe. It returns at once; any goroutine
// may call it, in any order: acknowledgements go out in the order of the messages [MQTT-4.6.0-2],
// all that have gathered in one write. For QoS 0, the second time, or after the connection ended it does nothing.
func (m *Message) Ack() {
	if m.due != nil {
		m.from.ack(m.due)
	}
}

// Publish is what to publish.
type Publish struct {
	Topic      string
	Payload    []byte // must not change until done was called
	QoS        byte   // 0 or 1
	Retain     bool
	Expiry     time.Duration // Message Expiry, whole seconds; 0: none
	Properties []Property
}

// Ack is the server's answer to a Publish: PUBACK. Of QoS 0 it is always zero.
type Ack struct {
	Code       byte   // 0x80 and above: refused
	Reason     string // the reason string: a stable code, a colon, a sentence; bounded and printable
	Properties []Property
}

// Property returns the first user property with that key, "" if there is none.
func (a Ack) Property(key string) string {
	for _, p := range a.Properties {
		if p.Key == key {
			return p.Value
		}
	}
	return ""
}

// Retry tells whether the same may be tried again later: rate limits, a full disk, a fault of the server.
func (a Ack) Retry() bool { return a.Code == 0x97 || a.Code == 0x80 }

// Refusal returns why a publish was refused, nil if it was accepted.
func (a Ack) Refusal() *chat.Refusal {
	if a.Code < 0x80 {
		return nil
	}
	code, reason, ok := strings.Cut(a.Reason, ": ")
	if ok && knownCode(chat.Code(code)) {
		return &chat.Refusal{Code: chat.Code(code), Reason: reason}
	}
	r := &chat.Refusal{Code: codeOf(a.Code), Reason: a.Reason}
	if r.Reason == "" {
		r.Reason = meaning(a.Code)
	}
	return r
}

// Filter is one subscription.
type Filter struct {
	Topic             string
	QoS               byte // 0 or 1
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    byte // 0: retained messages come; 1: if the subscription is new; 2: never
}
