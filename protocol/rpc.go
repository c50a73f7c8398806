package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"

	"github.com/fxamacker/cbor/v2"

	"github.com/petrelchat/petrel/chat"
)

// MaxTag is how long the tag of a request may be, in bytes.
const MaxTag = 64

// Request is a request as it came to rpc/{method}.
type Request struct {
	Method string
	Tag    string // comes back in the reply; "" when there is none
	CBOR   bool   // the encoding of the request, and so of the reply
	params []byte // deterministic CBOR map without the tag, whatever the request was
}

// ParseRequest reads the payload of a request: a JSON object or a CBOR map; an empty payload is a
// request without parameters. Errors are *chat.Refusal; the Request is then still good for AppendReply, with
// what could be learnt of it.
func ParseRequest(method string, payload []byte) (Request, error) {
	req := Request{Method: method}
	var all []byte
	var err error
	switch {
	case len(payload) == 0:
		all = []byte{majMap << 5}
	case payload[0]>>5 == majMap:
		req.CBOR = true
		all, err = normalCBOR(payload)
	default:
		all, err = cborOfJSON(payload)
	}
	if err != nil {
		return req, err
	}
	if all[0]>>5 != majMap {
		return req, chat.Refuse(chat.BadRequest, "a request is an object: its fields are the parameters")
	}
	return req, req.take(all)
}

// take splits the tag off.
func (req *Request) take(all []byte) error {
	params := make([]byte, 0, len(all))
	n := uint64(0)
	var tagErr error
	err := eachPair(all, func(key, val []byte) error {
		if key[0]>>5 == majText && keyName(key) == "tag" {
			req.Tag, tagErr = asText("tag", val, MaxTag)
			return nil
		}
		params = append(append(params, key...), val...)
		n++
		return nil
	})
	if err == nil {
		err = tagErr
	}
	req.params = insertHead(params, 0, majMap, n)
	return err
}

func normalCBOR(payload []byte) ([]byte, error) {
	r := cborReader{in: payload}
	out, err := r.value(make([]byte, 0, len(payload)+16), 0)
	if err == nil && r.pos < len(payload) {
		err = r.bad("something follows the value")
	}
	return out, err
}

func cborOfJSON(payload []byte) ([]byte, error) {
	r, err := newJSONReader(payload)
	if err != nil {
		return nil, err
	}
	out, err := r.value(make([]byte, 0, len(payload)+16), 0)
	if err == nil {
		err = r.end()
	}
	return out, err
}

// The modes of the CBOR library; immutable. Input reached it in deterministic encoding, so that
// duplicates, depth and sizes are settled before.
var (
	paramsMode = must(cbor.DecOptions{
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		MaxArrayElements:  1 << 16,
		MaxMapPairs:       1 << 16,
	}.DecMode())
	replyMode = must(cbor.CoreDetEncOptions().EncMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // options are constants
	}
	return v
}

// Params decodes the parameters into a struct with json tags; v points to it. A field that the struct
// does not have is refused, and so is a value of a wrong type. Errors are *chat.Refusal.
func (req Request) Params(v any) error {
	err := paramsMode.Unmarshal(req.params, v)
	var unknown *cbor.UnknownFieldError
	var wrong *cbor.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unknown):
		return errUnknownField(req.unknownField(reflect.TypeOf(v)))
	case errors.As(err, &wrong):
		field := wrong.StructFieldName[strings.LastIndexByte(wrong.StructFieldName, '.')+1:]
		if field == "" {
			field = "a parameter"
		}
		return chat.Refuse(chat.BadRequest, "%s has the wrong type: %s", field, wrong.CBORType)
	}
	return chat.Refuse(chat.BadRequest, "the parameters do not fit the request")
}

func errUnknownField(name string) error {
	if name == "" {
		return chat.Refuse(chat.BadRequest, "a parameter has a field that the method does not know")
	}
	return chat.Refuse(chat.BadRequest, "the method knows no field %s: check its spelling", quoteKey(name))
}

// unknownField finds the first parameter that the struct behind t has no field for; "" when it is
// deeper inside.
func (req Request) unknownField(t reflect.Type) (name string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return ""
	}
	known := map[string]bool{}
	for _, f := range reflect.VisibleFields(t) {
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == "" {
			tag = f.Name
		}
		known[tag] = true
	}
	found := errors.New("found")
	_ = eachPair(req.params, func(key, _ []byte) error {
		if n := keyName(key); key[0]>>5 != majText || !known[n] {
			name = n
			return found
		}
		return nil
	})
	return name
}

// AppendReply appends the reply to a request: {"ok":…} when err is nil, else {"error":{"code","reason"}},
// each with the tag if there is one, in the encoding of the request. ok is a value with json tags, for both encodings; nil
// is an empty object. An err that is no refusal is told as unavailable, without its text.
func AppendReply(dst []byte, asCBOR bool, tag string, ok any, err error) []byte {
	if err == nil && ok != nil {
		var body []byte
		if asCBOR {
			body, err = replyMode.Marshal(ok)
		} else {
			body, err = marshalJSON(ok)
		}
		if err == nil {
			return appendOK(dst, asCBOR, tag, body)
		}
	}
	if err != nil {
		return appendFailure(dst, asCBOR, tag, RefusalOf(err))
	}
	if asCBOR {
		return appendOK(dst, asCBOR, tag, []byte{majMap << 5})
	}
	return appendOK(dst, asCBOR, tag, []byte("{}"))
}

// marshalJSON is json.Marshal without its escaping for HTML.
func marshalJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func appendOK(dst []byte, asCBOR bool, tag string, body []byte) []byte {
	if asCBOR {
		dst = append(dst, majMap<<5|1)
		if tag != "" {
			dst[len(dst)-1]++
		}
		dst = append(appendText(dst, "ok"), body...)
		if tag != "" {
			dst = appendText(appendText(dst, "tag"), tag)
		}
		return dst
	}
	dst = append(append(dst, `{"ok":`...), body...)
	return appendTagJSON(dst, tag)
}

func appendFailure(dst []byte, asCBOR bool, tag string, r *chat.Refusal) []byte {
	if !asCBOR {
		dst = appendRefusal(append(dst, `{"error":`...), r)
		return appendTagJSON(dst, tag)
	}
	dst = append(dst, majMap<<5|1)
	if tag != "" {
		dst[len(dst)-1]++
		dst = appendText(appendText(dst, "tag"), tag)
	}
	dst = append(appendText(dst, "error"), majMap<<5|2)
	dst = appendText(appendText(dst, "code"), string(r.Code))
	return appendText(appendText(dst, "reason"), r.Reason)
}

func appendTagJSON(dst []byte, tag string) []byte {
	if tag != "" {
		dst = appendJSONString(append(dst, `,"tag":`...), tag)
	}
	return append(dst, '}')
}
