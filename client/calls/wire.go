package calls

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"

	"github.com/petrelchat/petrel/client"
	"github.com/pion/webrtc/v4"
)

// Bounds of what the server passes on, bytes.
const (
	sdpMost    = 128 << 10
	bodyMost   = 256 << 10
	candsMost  = 32 // of one signal
	sfuParty   = "sfu"
	verbSignal = "signal"
)

// told is a payload on u/{me}/calls or u/{me}/calls/{party}.
type told struct {
	Kind string `json:"kind"` // ring, state, taken, missed; signal
	client.CallState
	SFU      uint32 `json:"sfu"` // grows when the SFU begins anew
	Outcome  string `json:"outcome"`
	Duration int64  `json:"duration"` // s

	// Of a signal; its Party is the receiver, From a party, Seq that of the receiver's signals.
	User  string          `json:"user"`
	Epoch uint64          `json:"epoch"`
	Of    uint64          `json:"of"` // epoch of the receiver that the sender knows; 0: it does not say
	Re    string          `json:"re"` // names the offer that an answer is for; "": it does not say
	Type  string          `json:"type"`
	Body  json.RawMessage `json:"body"`
}

// request is what is published about a call.
type request struct {
	Media  []string `json:"media,omitempty"`
	ID     string   `json:"id,omitempty"`
	Ring   []string `json:"ring,omitempty"`
	Device bool     `json:"device,omitempty"`
	Reason string   `json:"reason,omitempty"`
	Party  string   `json:"party,omitempty"`
	Seq    uint64   `json:"seq,omitempty"`
	Hears  []string `json:"hears,omitempty"`
	Fresh  bool     `json:"fresh,omitempty"`
	To     string   `json:"to,omitempty"`
	Of     uint64   `json:"of,omitempty"`
	Re     string   `json:"re,omitempty"`
	Type   string   `json:"type,omitempty"`
	Body   any      `json:"body,omitempty"`
}

// candidate is one of a signal of type candidates.
type candidate struct {
	C   string  `json:"c"`
	Mid *string `json:"mid,omitempty"`
	M   *uint16 `json:"m,omitempty"`
}

// UnmarshalJSON takes the line alone too.
func (c *candidate) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &c.C)
	}
	type plain candidate
	return json.Unmarshal(b, (*plain)(c))
}

func (c *candidate) init() webrtc.ICECandidateInit {
	i := webrtc.ICECandidateInit{Candidate: c.C, SDPMid: c.Mid, SDPMLineIndex: c.M}
	if i.SDPMid == nil && i.SDPMLineIndex == nil {
		zero := uint16(0)
		i.SDPMLineIndex = &zero
	}
	return i
}

// negotiation is the body of a signal of type negotiate.
type negotiation struct {
	Media []string `json:"media,omitempty"`
	Hold  *bool    `json:"hold,omitempty"`
	Want  *want    `json:"want,omitempty"`
}

// want is for one other side: of the SFU, how many slots would be of use; of a party in a mesh, what it wants to get.
type want struct {
	Audio *int `json:"audio,omitempty"`
	Video *int `json:"video,omitempty"` // of a party: 0 if it does not want to see anything
	Limit int  `json:"limit,omitempty"` // bits per second that pictures may take; 0: any
	// Of a party in a mesh that becomes a call through the SFU: all that the other side sends arrives through the SFU, the connection
	// to it is needed no longer. Nothing else is said with it.
	Through bool `json:"through,omitempty"`
}

// packed is SDP in raw deflate (RFC 1951), base64.
type packed struct {
	Z string `json:"z"`
}

// describe makes the body of an offer or answer: deflated where that is shorter.
func describe(sdp string) any {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		return sdp
	}
	if _, err = io.WriteString(w, sdp); err == nil {
		err = w.Close()
	}
	if z := base64.StdEncoding.EncodeToString(b.Bytes()); err == nil && len(z)+len(`{"z":}`) < len(sdp) {
		return packed{z}
	}
	return sdp
}

var errBody = errors.New("the body of a signal can't be read")

// description is the inverse of describe. What comes was checked by the server, and is bounded here all the same.
func description(body json.RawMessage) (string, error) {
	var text string
	if json.Unmarshal(body, &text) == nil {
		if len(text) > sdpMost {
			return "", errBody
		}
		return text, nil
	}
	var p packed
	if json.Unmarshal(body, &p) != nil {
		return "", errBody
	}
	z, err := base64.StdEncoding.DecodeString(p.Z)
	if err != nil {
		if z, err = base64.RawStdEncoding.DecodeString(p.Z); err != nil {
			if z, err = base64.RawURLEncoding.DecodeString(p.Z); err != nil {
				return "", errBody
			}
		}
	}
	out, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(z)), sdpMost+1))
	if err != nil || len(out) > sdpMost {
		return "", errBody
	}
	return string(out), nil
}
