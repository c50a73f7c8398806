package client

import (
	"encoding/json"

	"github.com/fxamacker/cbor/v2"

	"github.com/petrelchat/petrel/protocol"
)

// deliveries are events in a reply, stubs with their ranges.
type deliveries []protocol.Delivery

// UnmarshalJSON implements json.Unmarshaler.
func (d *deliveries) UnmarshalJSON(b []byte) error {
	var raw []json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	return parseAll(d, protocol.ViewJSON, raw)
}

// UnmarshalCBOR implements cbor.Unmarshaler.
func (d *deliveries) UnmarshalCBOR(b []byte) error {
	var raw []cbor.RawMessage
	if err := cbor.Unmarshal(b, &raw); err != nil {
		return err
	}
	return parseAll(d, protocol.ViewCBOR, raw)
}

func parseAll[R ~[]byte](to *deliveries, view protocol.View, raw []R) error {
	*to = make(deliveries, 0, len(raw))
	for _, r := range raw {
		d, err := protocol.ParseDelivery(view, r)
		if err != nil {
			return err
		}
		*to = append(*to, d)
	}
	return nil
}

// historyPage is the reply of history.
type historyPage struct {
	Events deliveries `json:"events"`
	Head   uint64     `json:"head"`
	More   bool       `json:"more"`
}

// syncPage is the reply of sync.
type syncPage struct {
	Convs  []syncRow         `json:"convs"`
	Reads  map[string]uint64 `json:"reads"`
	Relist bool              `json:"relist"`
	Own    *struct {
		Head   uint64     `json:"head"`
		Events deliveries `json:"events"`
		Gap    bool       `json:"gap"`
	} `json:"own"`
	Receipts []meanwhile `json:"receipts"`
	Unsaid   bool        `json:"receipts_more"`
	Since    string      `json:"since"`
	More     bool        `json:"more"`
}

// syncRow is a conversation that changed.
type syncRow struct {
	Conv      string             `json:"conv"`
	Left      bool               `json:"left"`
	Kind      string             `json:"kind"`
	Info      *protocol.InfoView `json:"info"`
	Head      uint64             `json:"head"`
	Read      uint64             `json:"read"`
	Delivered uint64             `json:"delivered"`
	Unread    uint64             `json:"unread"`
	Mentions  int                `json:"mentions"`
	Pending   bool               `json:"pending"`
	Mute      int64              `json:"mute"`
	Archived  bool               `json:"archived"`
	Pinned    bool               `json:"pinned"`
	Events    deliveries         `json:"events"`
	Gap       bool               `json:"gap"`
}

// meanwhile is what was delivered and read of the user's: by name, or counts.
type meanwhile struct {
	Conv  string `json:"conv"`
	Users []struct {
		User      string  `json:"user"`
		Delivered uint64  `json:"delivered"`
		Read      *uint64 `json:"read"`
	} `json:"users"`
	protocol.Tally
}

// rawValue is a value in CBOR, whichever encoding it came in.
type rawValue []byte

// UnmarshalCBOR implements cbor.Unmarshaler.
func (v *rawValue) UnmarshalCBOR(b []byte) error {
	*v = append(rawValue(nil), b...)
	return nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *rawValue) UnmarshalJSON(b []byte) error {
	var x any
	if err := json.Unmarshal(b, &x); err != nil {
		return err
	}
	if f, ok := x.(float64); ok && f == float64(int64(f)) {
		x = int64(f)
	}
	out, err := cbor.Marshal(x)
	*v = out
	return err
}
