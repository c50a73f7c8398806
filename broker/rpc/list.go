package rpc

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/fxamacker/cbor/v2"
)

// list is a list in a reply that knows how much room is left. Its items are in the reply's encoding already.
type list struct {
	mode  cbor.EncMode // nil: JSON
	items [][]byte
	size  int
	max   int // bytes
	limit int // of the whole reply: for the refusal
}

// envelope is what surrounds the fields of a reply: ok, tag, braces.
const envelope = 32

// list returns an empty list that leaves room for so many bytes of other fields.
func (c *call) list(others int) *list {
	l := &list{limit: c.max, max: c.max - envelope - others - 6*len(c.req.Tag)} // JSON writes a control character with six bytes
	if c.req.CBOR {
		l.mode = c.cbor
	}
	return l
}

// add appends an item unless it exceeds the room: then it returns false, or an error when even an empty
// list has no room for it.
func (l *list) add(v any) (ok bool, err error) {
	b, err := l.encode(v)
	if err != nil {
		return false, err
	}
	return l.addRaw(b)
}

func (l *list) addRaw(b []byte) (ok bool, err error) {
	if l.size+len(b)+1 > l.max {
		if len(l.items) == 0 {
			return false, errReplySize(l.limit)
		}
		return false, nil
	}
	l.items = append(l.items, b)
	l.size += len(b) + 1
	return true, nil
}

func (l *list) encode(v any) ([]byte, error) {
	if l.mode != nil {
		return l.mode.Marshal(v)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func (l *list) reverse() { slices.Reverse(l.items) }

// MarshalJSON implements json.Marshaler.
func (l *list) MarshalJSON() ([]byte, error) {
	out := append(make([]byte, 0, l.size+2), '[')
	out = append(out, bytes.Join(l.items, []byte{','})...)
	return append(out, ']'), nil
}

// MarshalCBOR implements cbor.Marshaler.
func (l *list) MarshalCBOR() ([]byte, error) {
	raw := make([]cbor.RawMessage, len(l.items))
	for i, b := range l.items {
		raw[i] = b
	}
	return cbor.Marshal(raw)
}
