package protocol

import (
	"slices"
	"unicode/utf8"

	"github.com/petrelchat/petrel/chat"
)

// Limits of the fields of an event, in bytes of their CBOR form where they are structured.
const (
	MaxText     = 64 << 10
	MaxExt      = 4 << 10 // ext, and likewise all unknown keys together
	MaxID       = 64
	MaxEmoji    = 64
	MaxMentions = 64
	maxExpire   = 1<<32 - 1 // seconds; as much as MQTT 5's Message Expiry Interval can say
)

// DecodeEvent decodes what a client posts in a view. The result has only fields that a sender may
// set; those of the server are refused, not ignored. Keys that this version does not know are kept in
// Extra. The size of the whole payload is for the caller to bound. Errors are *chat.Refusal; they
// never contain text of the message.
func DecodeEvent(view View, payload []byte) (chat.Event, error) {
	a := assembler{}
	if view == ViewText {
		if len(payload) == 0 {
			return chat.Event{}, chat.Refuse(chat.BadRequest, "a message must not be empty")
		}
		if !utf8.Valid(payload) {
			return chat.Event{}, chat.Refuse(chat.BadRequest, "a message must be valid UTF-8; for other data use media or ext")
		}
		if len(payload) > MaxText {
			return chat.Event{}, tooLarge("text", MaxText)
		}
		return chat.Event{Kind: chat.KindPost, Text: string(payload)}, nil
	}
	if err := a.decode(view, payload); err != nil {
		return chat.Event{}, err
	}
	if err := a.checkPost(); err != nil {
		return chat.Event{}, err
	}
	return a.ev, nil
}

// Delivery is what a subscriber of the JSON or CBOR view receives: an event, or a stub that stands
// for the events Seq to To.
type Delivery struct {
	chat.Event        // Kind is 0 when this version does not know it
	To         uint64 // stubs only
}

// ParseDelivery decodes a delivery of the JSON or CBOR view: for clients.
func ParseDelivery(view View, payload []byte) (Delivery, error) {
	a := assembler{server: true}
	if err := a.decode(view, payload); err != nil {
		return Delivery{}, err
	}
	return Delivery{Event: a.ev, To: a.to}, nil
}

// assembler puts an event together from the keys and values of either encoding. Values arrive as
// deterministic CBOR, so that both encodings are checked by the same code.
type assembler struct {
	ev     chat.Event
	to     uint64
	server bool   // a delivery: fields of the server are fine
	json   bool   // kind is a name, enc is base64url
	seen   uint32 // bit k: key k occurred
	extra  []byte // the pairs of unknown keys
	pairs  []pair // where they stand in extra
}

func (a *assembler) decode(view View, payload []byte) error {
	var err error
	switch view {
	case ViewJSON:
		a.json = true
		err = a.fromJSON(payload)
	case ViewCBOR:
		err = a.fromCBOR(payload)
	default:
		err = chat.Refuse(chat.BadRequest, "an event is JSON or CBOR")
	}
	if err != nil {
		return err
	}
	if a.ev.Kind == 0 && a.seen&(1<<keyKind) == 0 {
		a.ev.Kind = chat.KindPost
	}
	if len(a.pairs) == 0 {
		return nil
	}
	if a.ev.Extra, err = sealMap(a.extra, 0, a.pairs); err != nil {
		return err
	}
	if len(a.ev.Extra) > MaxExt {
		return chat.Refuse(chat.TooLarge, "unknown keys may take at most %d bytes together; put large data into media", MaxExt)
	}
	a.ev.Extra = slices.Clip(a.ev.Extra)
	return nil
}

func (a *assembler) fromJSON(payload []byte) error {
	r, err := newJSONReader(payload)
	if err != nil {
		return err
	}
	if r.next() != '{' {
		return r.bad("an event is an object")
	}
	buf := make([]byte, 0, len(payload)+16)
	err = r.fields(func(key []byte) error {
		name := string(key)
		if k := fieldKey(name); k != 0 {
			val, err := r.value(buf[:0], 1)
			if err != nil {
				return err
			}
			return a.put(k, val)
		}
		var room [80]byte
		head, isInt := room[:0], false
		if canonicalInt(key) {
			head, isInt = appendJSONInt(head, key)
		}
		if !isInt {
			head = appendText(head, name)
		} else if it, _ := splitItem(head); it.major == majUint && it.arg >= keySeq && it.arg <= keyLast {
			return chat.Refuse(chat.BadRequest, "the key %q is %s in CBOR: in JSON use the name", name, fieldNames[it.arg])
		}
		return a.putExtra(head, func(dst []byte) ([]byte, error) { return r.value(dst, 1) })
	})
	if err != nil {
		return err
	}
	return r.end()
}

func (a *assembler) fromCBOR(payload []byte) error {
	r := &cborReader{in: payload}
	it, err := r.head()
	if err != nil {
		return err
	}
	if it.major != majMap {
		return r.bad("an event is a map")
	}
	buf := make([]byte, 0, len(payload)+16)
	var room [80]byte
	for n := 0; ; n++ {
		more, err := r.more(it, n)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		key, err := r.key(room[:0])
		if err != nil {
			return err
		}
		kh, text := splitItem(key)
		if kh.major == majUint && kh.arg >= keySeq && kh.arg <= keyLast {
			val, err := r.value(buf[:0], 1)
			if err != nil {
				return err
			}
			if err := a.put(kh.arg, val); err != nil {
				return err
			}
			continue
		}
		if kh.major == majText {
			if key, err = plainKey(key, text); err != nil {
				return err
			}
		}
		if err := a.putExtra(key, func(dst []byte) ([]byte, error) { return r.value(dst, 1) }); err != nil {
			return err
		}
	}
	if r.pos < len(r.in) {
		return r.bad("something follows the value")
	}
	return nil
}

// plainKey checks a text key in CBOR: the name of a known field has a number, and decimal text means
// the same as the integer, as in JSON.
func plainKey(key, text []byte) ([]byte, error) {
	if k := fieldKey(string(text)); k != 0 {
		return nil, chat.Refuse(chat.BadRequest, "the key %q is %d in CBOR", text, k)
	}
	if !canonicalInt(text) {
		return key, nil
	}
	number, ok := appendJSONInt(nil, text)
	if !ok {
		return key, nil
	}
	if it, _ := splitItem(number); it.major == majUint && it.arg >= keySeq && it.arg <= keyLast {
		return nil, chat.Refuse(chat.BadRequest, "the key %q must be an integer in CBOR", text)
	}
	return number, nil
}

// putExtra keeps a key that this version does not know; value appends what it stands for.
func (a *assembler) putExtra(key []byte, value func(dst []byte) ([]byte, error)) error {
	p := pair{start: len(a.extra)}
	a.extra = append(a.extra, key...)
	p.mid = len(a.extra)
	var err error
	if a.extra, err = value(a.extra); err != nil {
		return err
	}
	if p.end = len(a.extra); p.end > 2*MaxExt {
		return chat.Refuse(chat.TooLarge, "unknown keys may take at most %d bytes together; put large data into media", MaxExt)
	}
	a.pairs = append(a.pairs, p)
	return nil
}

// checkPost holds what a sender sent to the form of its kind. The rules of the conversation are
// chat's.
func (a *assembler) checkPost() error {
	e := &a.ev
	switch e.Kind {
	case chat.KindPost:
		if e.Text == "" && e.Enc == nil && e.Media == nil && e.Ext == nil {
			return chat.Refuse(chat.BadRequest, "a post needs text, enc, media or ext")
		}
	case chat.KindReact, chat.KindUnreact:
		if e.Emoji == "" {
			return chat.Refuse(chat.BadRequest, "a reaction needs emoji")
		}
	}
	if e.Kind != chat.KindPost && e.Re == 0 {
		return chat.Refuse(chat.BadRequest, "an event of kind %s needs re: the seq that it acts upon", KindName(e.Kind))
	}
	return nil
}
