package signaling

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/signaling/call"
	"github.com/petrelchat/petrel/signaling/sdp"
)

// MaxPayload and MaxSignal are the most bytes of a payload on c/{conv}/call and k/{call}/{verb}, and on k/{call}/signal.
const (
	MaxPayload = 16 << 10
	MaxSignal  = 32 << 10
)

// maxCandidates is how many candidates one signal has at most.
const maxCandidates = 32

// validRe reports whether a string is two numbers of 64 bits, as in an o= line (RFC 8866 §5.2).
func validRe(re string) bool {
	id, version, _ := strings.Cut(re, " ")
	for _, n := range []string{id, version} {
		if n == "" || len(n) > 20 || strings.Trim(n, "0123456789") != "" {
			return false
		}
	}
	return true
}

// maxWant bounds what a party says it wants of the SFU, in bytes.
const maxWant = 2 << 10

// fields are those of all verbs: they are read at once, so that each has one meaning and one bound.
type fields struct {
	Media  *[]string       `json:"media"`
	ID     string          `json:"id"`
	Ring   []string        `json:"ring"`
	Device bool            `json:"device"`
	Reason string          `json:"reason"`
	Party  string          `json:"party"`
	Seq    uint64          `json:"seq"`
	Hears  []string        `json:"hears"`
	Fresh  bool            `json:"fresh"`
	To     string          `json:"to"`
	Of     uint32          `json:"of"`
	Re     string          `json:"re"`
	Type   string          `json:"type"`
	Body   json.RawMessage `json:"body"`
}

// parse reads a payload of limit bytes at most, for a call that has room for so many parties; nothing is the same as {}.
func parse(payload []byte, limit, parties int) (*fields, call.Media, error) {
	f := &fields{}
	if len(payload) > limit {
		return nil, 0, chat.Refuse(chat.TooLarge, "the payload has at most %d bytes", limit)
	}
	if len(bytes.TrimSpace(payload)) > 0 {
		if err := json.Unmarshal(payload, f); err != nil {
			return nil, 0, chat.Refuse(chat.BadRequest, "the payload is no JSON object with the fields of the verb")
		}
	}
	switch {
	case len(f.ID) > 64:
		return nil, 0, chat.Refuse(chat.BadRequest, "id has at most 64 bytes")
	case len(f.Ring) > parties:
		return nil, 0, chat.Refuse(chat.BadRequest, "ring names at most %d users", parties)
	case len(f.Hears) > parties:
		return nil, 0, chat.Refuse(chat.BadRequest, "hears names at most %d parties", parties)
	case f.Party != "" && !validParty(f.Party):
		return nil, 0, chat.Refuse(chat.BadRequest, "party is the id of a party: 8 characters")
	case f.Device && f.Reason != "":
		return nil, 0, chat.Refuse(chat.BadRequest, "a reason is for all devices: leave out device or reason")
	}
	for _, u := range f.Ring {
		if !chat.ValidUser(u) {
			return nil, 0, chat.Refuse(chat.BadRequest, "ring is a list of user ids")
		}
	}
	media, err := readMedia(f.Media)
	return f, media, err
}

func readMedia(names *[]string) (call.Media, error) {
	if names == nil {
		return 0, nil
	}
	if len(*names) > 8 {
		return 0, chat.Refuse(chat.BadRequest, "media names each kind once")
	}
	return call.ParseMedia(*names)
}

// signal is what one party has for another one.
type signal struct {
	kind  string
	of    uint32          // epoch of the receiver that the sender knows; 0: it does not say
	re    string          // of an answer: session id and version in the o= line of its offer; "": it does not say
	body  json.RawMessage // as it is passed on
	plain []byte          // for the SFU: SDP, or JSON
	media call.Media      // negotiate
	said  bool            // media was there
	hold  *bool
	void  bool // all that it said is not to be told
}

// readSignal checks what a party sends, and makes it fit to be passed on; relayed: by somebody who gives away no addresses but those
// of relays. Nothing of it gets into an error.
func readSignal(f *fields, relayed bool) (*signal, error) {
	sig := &signal{kind: f.Type, of: f.Of, re: f.Re}
	if f.Re != "" && (f.Type != "answer" || !validRe(f.Re)) {
		return nil, chat.Refuse(chat.BadRequest, "re is of an answer: session id and version in its offer's o= line, with a space between them")
	}
	switch f.Type {
	case "offer", "answer":
		return sig, sig.description(f.Body, f.To == call.SFUParty, relayed)
	case "candidates":
		return sig, sig.candidates(f.Body, relayed)
	case "negotiate":
		return sig, sig.negotiate(f.Body)
	}
	return nil, chat.Refuse(chat.BadRequest, "type is offer, answer, candidates or negotiate")
}

func (sig *signal) description(body json.RawMessage, toSFU, relayed bool) error {
	bounds, clean := sdp.Peer(), sdp.Clean
	if toSFU {
		bounds = sdp.SFU()
	}
	if relayed {
		clean = sdp.Relayed
	}
	said, packed, err := sig.unpack(body, bounds.Bytes)
	if err != nil {
		return err
	}
	if sig.plain, err = clean(said, bounds); err != nil {
		return chat.Refuse(chat.BadRequest, "the SDP of the %s: %s", sig.kind, err.Error())
	}
	switch same := bytes.Equal(sig.plain, said); {
	case packed == "":
		sig.body = mustJSON(string(sig.plain))
	case same:
		sig.body = mustJSON(zBody{packed})
	default:
		sig.body = deflated(sig.plain)
	}
	return nil
}

// unpack returns the description that a body has, and, where it is deflated, its base64.
func (sig *signal) unpack(body json.RawMessage, limit int) (plain []byte, packed string, err error) {
	var text string
	var z struct{ Z *string }
	switch {
	case json.Unmarshal(body, &text) == nil && text != "":
		return []byte(text), "", nil
	case json.Unmarshal(body, &z) == nil && z.Z != nil:
		raw, err := decode64(*z.Z)
		if err != nil {
			return nil, "", chat.Refuse(chat.BadRequest, "z is base64 of raw deflate")
		}
		if plain, err = sdp.Inflate(raw, limit); err != nil {
			return nil, "", chat.Refuse(chat.BadRequest, "z: %s", err.Error())
		}
		return plain, *z.Z, nil
	}
	return nil, "", chat.Refuse(chat.BadRequest, `the body of an %s is SDP, as a string or {"z": base64 of raw deflate}`, sig.kind)
}

func decode64(s string) ([]byte, error) {
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
		if b, err := e.DecodeString(s); err == nil {
			return b, nil
		}
	}
	return nil, base64.CorruptInputError(0)
}

type candidate struct {
	C   string  `json:"c"`
	M   *uint16 `json:"m,omitempty"`
	Mid *string `json:"mid,omitempty"`
}

// UnmarshalJSON takes the line alone too.
func (c *candidate) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &c.C)
	}
	type plain candidate
	return json.Unmarshal(b, (*plain)(c))
}

func (sig *signal) candidates(body json.RawMessage, relayed bool) error {
	var all []candidate
	if len(body) > 0 {
		if err := json.Unmarshal(body, &all); err != nil {
			return chat.Refuse(chat.BadRequest, `the body of candidates is a list of lines or {"c","m","mid"}, or null at their end`)
		}
	}
	if len(all) > maxCandidates {
		return chat.Refuse(chat.BadRequest, "candidates come at most %d at a time", maxCandidates)
	}
	for i := range all {
		if err := sdp.CheckCandidate(all[i].C); err != nil {
			return chat.Refuse(chat.BadRequest, "candidate %d: %s", i+1, err.Error())
		}
		if m := all[i].Mid; m != nil && len(*m) > 64 {
			return chat.Refuse(chat.BadRequest, "candidate %d: mid has at most 64 bytes", i+1)
		}
	}
	if relayed {
		all = sig.hide(all)
	}
	if len(all) == 0 {
		sig.body = json.RawMessage("null")
	} else {
		sig.body = mustJSON(all)
	}
	sig.plain = sig.body
	return nil
}

// hide leaves out what must not be told. That nothing is left does not mean that there are no more.
func (sig *signal) hide(all []candidate) []candidate {
	told := all[:0]
	for _, c := range all {
		var ok bool
		if c.C, ok = sdp.RelayedCandidate(c.C); ok {
			told = append(told, c)
		}
	}
	sig.void = len(all) > 0 && len(told) == 0
	return told
}

type negotiation struct {
	Media *[]string       `json:"media,omitempty"`
	Hold  *bool           `json:"hold,omitempty"`
	Want  json.RawMessage `json:"want,omitempty"`
}

func (sig *signal) negotiate(body json.RawMessage) error {
	var n negotiation
	if len(body) == 0 || json.Unmarshal(body, &n) != nil {
		return chat.Refuse(chat.BadRequest, `the body of negotiate is {"media","hold","want"}`)
	}
	if len(n.Want) > maxWant {
		return chat.Refuse(chat.BadRequest, "want has at most %d bytes", maxWant)
	}
	var err error
	if sig.media, err = readMedia(n.Media); err != nil {
		return err
	}
	if n.Media != nil {
		names := sig.media.Names()
		n.Media = &names
	}
	sig.said, sig.hold = n.Media != nil, n.Hold
	sig.body = mustJSON(n)
	sig.plain = slices.Clone(sig.body)
	return nil
}
