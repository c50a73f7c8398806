package crash_test

import (
	"fmt"
	"strings"
)

// kind of an operation: how it is sent and what is promised about it.
type kind uint8

const (
	post   kind = iota // to a conversation
	wrong              // a post that the server must refuse
	plain1             // plain, QoS 1
	plain2             // plain, QoS 2
	retain             // sets or clears a retained message
	read               // moves the read cursor
	tick               // always the same text from the same packet id
)

// state of an operation, as its sender knows it.
type state uint8

const (
	waiting state = iota
	acked
	refused
	abandoned // never answered, and not sent again
)

// op is a PUBLISH at QoS ≥ 1 of one device until it is settled.
type op struct {
	kind    kind
	token   string // its payload, or the text in it; unique but for ticks
	topic   string
	payload []byte
	qos     byte
	conv    string
	id      string // idempotency key
	seq     uint64 // read: up to where
	n       int    // how many the device sent before
	pid     uint16
	state   state
	rec     bool // PUBREC came
	resent  int
	cut     bool // its client cut the connection and may have missed the answer
	by      *device
	story   []string
}

// tell adds a line to what is printed when something is wrong with the message.
func (o *op) tell(format string, args ...any) {
	if len(o.story) < 16 {
		o.story = append(o.story, fmt.Sprintf(format, args...))
	}
}

func (o *op) String() string {
	return fmt.Sprintf("%s to %s from %s (id %q): %s", o.token, o.topic, o.by, o.id, strings.Join(o.story, "; "))
}

// entry is an event of a conversation as a reader found it.
type entry struct{ from, text string }

// convLog is a conversation's log as read so far: log[i] has seq i+1.
type convLog struct {
	log      []entry
	verified int // entries that were compared with the ledger
}

// plainGot is what a device received of one plain message.
type plainGot struct {
	total, fresh int // fresh: without DUP
	order        int
}

// event is one delivery of a conversation to a device.
type event struct {
	seq  uint64
	from string
	text string
}
