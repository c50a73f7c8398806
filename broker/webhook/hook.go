package webhook

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// The kinds of webhooks.
const (
	In  = "in"
	Out = "out"
)

// record is the record under SpaceWebhook. Of an incoming webhook only the hash of its secret is kept. That
// of an outgoing one signs what is sent, so it must be there itself.
type record struct {
	ID      string   `cbor:"1,keyasint"`
	Kind    string   `cbor:"2,keyasint"`
	Conv    string   `cbor:"3,keyasint"`
	By      string   `cbor:"4,keyasint"` // who made it, or switched it on again
	Since   int64    `cbor:"5,keyasint"` // when the account of By was made: another of that name is not them
	Created int64    `cbor:"6,keyasint"` // ms
	Name    string   `cbor:"7,keyasint,omitempty"`
	Bot     string   `cbor:"8,keyasint,omitempty"`  // in: who posts
	OwnBot  bool     `cbor:"9,keyasint,omitempty"`  // in: the bot was made for it, and ends with it
	Hash    []byte   `cbor:"10,keyasint,omitempty"` // in: SHA-256 of the secret
	URL     string   `cbor:"11,keyasint,omitempty"` // out
	Secret  string   `cbor:"12,keyasint,omitempty"` // out
	Events  []string `cbor:"13,keyasint,omitempty"` // out: kinds; none: posts
	Off     int64    `cbor:"14,keyasint,omitempty"` // ms; 0: on
	Why     string   `cbor:"15,keyasint,omitempty"` // it is off
	Making  bool     `cbor:"16,keyasint,omitempty"` // its bot is being made: after a crash it is removed
}

// position is the record under SpaceHookNext.
type position struct {
	Next   uint64 `cbor:"1,keyasint"`           // the first seq that was not delivered
	Failed int    `cbor:"2,keyasint,omitempty"` // times in a row
	Since  int64  `cbor:"3,keyasint,omitempty"` // ms of the first of these
}

func hookKey(id string) storage.Key      { return storage.In(storage.SpaceWebhook).Str(id) }
func nextKey(id, log string) storage.Key { return storage.In(storage.SpaceHookNext).Str(id).Str(log) }

// hook is a webhook in memory. The record is replaced, never changed.
type hook struct {
	*record
	out *out // of an outgoing one
}

// wants says whether an outgoing webhook sends events of that kind.
func (r *record) wants(k chat.Kind) bool {
	if len(r.Events) == 0 {
		return k == chat.KindPost
	}
	return slices.Contains(r.Events, protocol.KindName(k))
}

// Bounds of webhooks.
const (
	perConv     = 16     // of one conversation
	perUser     = 256    // made by one user: nobody takes all that there are
	hooksMax    = 10_000 // of the server; about 500 bytes of memory each
	maxName     = 64     // characters
	maxURL      = 2048   // bytes
	secretChars = 26     // base32 of 130 bits
	idChars     = 16
)

func newID() string     { return strings.ToLower(rand.Text())[:idChars] }
func newSecret() string { return strings.ToLower(rand.Text())[:secretChars] }

func hashOf(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// Spec says what a new webhook is to be.
type Spec struct {
	Conv   string
	Kind   string   // In or Out
	Name   string   // for people; of an incoming one the name of its bot too
	Bot    string   // in: a bot of the creator's that posts; "": one is made
	URL    string   // out
	Events []string // out: kinds of events; none: posts
}

func (s *Spec) validate(plain bool) error {
	switch {
	case s.Kind != In && s.Kind != Out:
		return chat.Refuse(chat.BadRequest, `kind is "in" (HTTP to the conversation) or "out" (the conversation to HTTP)`)
	case utf8.RuneCountInString(s.Name) > maxName || !utf8.ValidString(s.Name) || strings.ContainsFunc(s.Name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return chat.Refuse(chat.BadRequest, "name is at most %d characters without control characters", maxName)
	case s.Kind == In && (s.URL != "" || len(s.Events) > 0):
		return chat.Refuse(chat.BadRequest, "url and events are for webhooks of kind out: leave them out")
	case s.Kind == Out && s.Bot != "":
		return chat.Refuse(chat.BadRequest, "bot is for webhooks of kind in: leave it out")
	case s.Kind == Out:
		if err := checkURL(s.URL, plain); err != nil {
			return err
		}
		return checkKinds(s.Events)
	}
	return nil
}

// checkURL takes https only, but http where the operator has let webhooks into their own network.
func checkURL(s string, plain bool) error {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return chat.Refuse(chat.BadRequest, "url is missing: where the events go")
	case err != nil || len(s) > maxURL || u.Host == "" || u.Opaque != "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return chat.Refuse(chat.BadRequest, "url is at most %d bytes like https://example.org/path", maxURL)
	case u.Scheme != "https" && !(plain && u.Scheme == "http"):
		return chat.Refuse(chat.BadRequest, "url begins with https://")
	case u.User != nil || u.Fragment != "":
		return chat.Refuse(chat.BadRequest, "url has no user and no fragment: what is sent is signed")
	}
	return nil
}

func checkKinds(list []string) error {
	if len(list) > 32 {
		return chat.Refuse(chat.BadRequest, "events has at most 32 kinds")
	}
	for _, name := range list {
		if k, ok := protocol.ParseKind(name); !ok || k >= chat.KindGone {
			return chat.Refuse(chat.BadRequest, "events are kinds of events of a conversation, like post, edit, delete, join")
		}
	}
	return nil
}

// View is what members who may change the settings see of a webhook. Times are ms since 1970.
type View struct {
	ID      string
	Kind    string
	Conv    string
	Name    string
	By      string
	Created int64
	Bot     string
	URL     string
	Events  []string
	Off     int64
	Why     string
	Next    uint64 // out: the first seq that was not delivered
	Failed  int    // out: times in a row
	Last    string // out: what the last failure was
}

// Made is what the creator gets: the only time that the secret is shown.
type Made struct {
	ID     string
	URL    string // in: where to post to
	Secret string // out: what deliveries are signed with
	Bot    string
}

// decodeRecord reads a record under its key.
func decodeRecord(k storage.Key, v []byte) (*record, error) {
	id, rest, ok := storage.TakeStr(k[1:])
	r := new(record)
	if err := storage.Unmarshal(v, r); err != nil {
		return nil, err
	}
	if !ok || len(rest) > 0 || r.ID != id || r.Kind != In && r.Kind != Out {
		return nil, errors.Join(storage.ErrRecord, errors.New("webhook: another record than its key says"))
	}
	return r, nil
}
