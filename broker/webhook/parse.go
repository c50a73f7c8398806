package webhook

import (
	"mime"
	"net/http"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
)

// MaxBody bounds what is posted to an incoming webhook, bytes.
const MaxBody = 64 << 10

// unsupported refuses a body of another type: it has a status of its own.
type unsupported struct{ *chat.Refusal }

func (u unsupported) Unwrap() error { return u.Refusal }

func refuseType() error {
	return unsupported{chat.Refuse(chat.BadRequest, "the Content-Type is text/plain (the text itself, UTF-8) or application/json")}
}

// parse turns the body of a request into a post. Errors are *chat.Refusal, or wrap one.
func parse(h http.Header, body []byte) (chat.Event, error) {
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return chat.Event{}, refuseType()
	}
	if c, ok := params["charset"]; ok && !strings.EqualFold(c, "utf-8") && !strings.EqualFold(c, "us-ascii") {
		return chat.Event{}, refuseType()
	}
	var ev chat.Event
	switch kind {
	case "text/plain":
		if !utf8.Valid(body) {
			return chat.Event{}, chat.Refuse(chat.BadRequest, "the text is not UTF-8")
		}
		ev.Text = string(body)
	case "application/json":
		if ev, err = protocol.DecodeEvent(protocol.ViewJSON, body); err != nil {
			return chat.Event{}, err
		}
	default:
		return chat.Event{}, refuseType()
	}
	// Only these: whatever else an event can have is for members who can be asked about it.
	post := chat.Event{ID: ev.ID, Text: ev.Text, Re: ev.Re, Mentions: ev.Mentions, Ext: ev.Ext}
	if ev.Kind == chat.KindPost {
		ev.Kind = 0
	}
	if !reflect.DeepEqual(ev, post) {
		return chat.Event{}, chat.Refuse(chat.BadRequest, "a webhook takes the fields text, id, re, mentions and ext: leave the others out")
	}
	key, err := idempotencyKey(h)
	switch {
	case err != nil:
		return chat.Event{}, err
	case key != "" && post.ID != "" && key != post.ID:
		return chat.Event{}, chat.Refuse(chat.BadRequest, "Idempotency-Key and the field id differ: give one of them")
	case key != "":
		post.ID = key
	}
	return post, nil
}

// idempotencyKey reads the header of that name: a quoted string as in structured fields (RFC 8941 §3.3.3),
// or the bare key, which many send.
func idempotencyKey(h http.Header) (string, error) {
	values := h.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	if inner, ok := strings.CutPrefix(key, `"`); ok {
		if inner, ok = strings.CutSuffix(inner, `"`); !ok {
			key = ""
		} else {
			key = inner
		}
	}
	bad := len(values) > 1 || key == "" || len(key) > 64
	for i := range len(key) {
		bad = bad || key[i] < ' ' || key[i] > '~' || key[i] == '"' || key[i] == '\\'
	}
	if bad {
		return "", chat.Refuse(chat.BadRequest, "Idempotency-Key is 1 to 64 printable ASCII characters, at best a UUID")
	}
	return key, nil
}
