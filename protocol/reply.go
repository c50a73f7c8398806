package protocol

import (
	"encoding/json"

	"github.com/fxamacker/cbor/v2"

	"github.com/petrelchat/petrel/chat"
)

// Events is a list of events in a reply. It marshals as deliveries do, in JSON and in CBOR; an
// event's id is shown to Me only if Me sent it.
type Events struct {
	Me   string
	List []chat.Event
}

// EventReply is one event in a reply, null when Event is nil.
type EventReply struct {
	Me    string
	Event *chat.Event
}

// MarshalJSON implements json.Marshaler.
func (l Events) MarshalJSON() ([]byte, error) {
	out := []byte{'['}
	for i := range l.List {
		if i > 0 {
			out = append(out, ',')
		}
		out = appendFor(out, ViewJSON, l.Me, &l.List[i])
	}
	return append(out, ']'), nil
}

// MarshalCBOR implements cbor.Marshaler.
func (l Events) MarshalCBOR() ([]byte, error) {
	out := appendHead(nil, majArray, uint64(len(l.List)))
	for i := range l.List {
		out = appendFor(out, ViewCBOR, l.Me, &l.List[i])
	}
	return out, nil
}

// UnmarshalJSON implements json.Unmarshaler: for clients.
func (l *Events) UnmarshalJSON(b []byte) error {
	var raw []json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	return unmarshalEvents(l, ViewJSON, raw)
}

// UnmarshalCBOR implements cbor.Unmarshaler: for clients.
func (l *Events) UnmarshalCBOR(b []byte) error {
	var raw []cbor.RawMessage
	if err := cbor.Unmarshal(b, &raw); err != nil {
		return err
	}
	return unmarshalEvents(l, ViewCBOR, raw)
}

func unmarshalEvents[R ~[]byte](l *Events, view View, raw []R) error {
	l.List = make([]chat.Event, 0, len(raw))
	for _, r := range raw {
		d, err := ParseDelivery(view, r)
		if err != nil {
			return err
		}
		l.List = append(l.List, d.Event)
	}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (r EventReply) MarshalJSON() ([]byte, error) {
	if r.Event == nil {
		return []byte("null"), nil
	}
	return appendFor(nil, ViewJSON, r.Me, r.Event), nil
}

// MarshalCBOR implements cbor.Marshaler.
func (r EventReply) MarshalCBOR() ([]byte, error) {
	if r.Event == nil {
		return []byte{cborNull}, nil
	}
	return appendFor(nil, ViewCBOR, r.Me, r.Event), nil
}

// UnmarshalJSON implements json.Unmarshaler: for clients.
func (r *EventReply) UnmarshalJSON(b []byte) error {
	return r.unmarshal(ViewJSON, b, string(b) == "null")
}

// UnmarshalCBOR implements cbor.Unmarshaler: for clients.
func (r *EventReply) UnmarshalCBOR(b []byte) error {
	return r.unmarshal(ViewCBOR, b, len(b) == 1 && b[0] == cborNull)
}

func (r *EventReply) unmarshal(view View, b []byte, null bool) error {
	if r.Event = nil; null {
		return nil
	}
	d, err := ParseDelivery(view, b)
	if err == nil {
		r.Event = &d.Event
	}
	return err
}

func appendFor(dst []byte, view View, me string, e *chat.Event) []byte {
	return AppendEvent(dst, view, e, me != "" && e.From == me)
}
