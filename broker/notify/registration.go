package notify

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// Registration is where one device of a user gets its notifications (SpacePush). User and Name are in its key.
type Registration struct {
	User string `cbor:"-"`
	Name string `cbor:"-"` // of the device

	Kind     string `cbor:"1,keyasint"`
	Endpoint string `cbor:"2,keyasint,omitempty"` // URL: webpush, unifiedpush, webhook
	Token    string `cbor:"3,keyasint,omitempty"` // fcm, apns
	P256dh   string `cbor:"4,keyasint,omitempty"` // webpush, unifiedpush: the device's public key, base64url (RFC 8291)
	Auth     string `cbor:"5,keyasint,omitempty"` // and its authentication secret
	Secret   string `cbor:"6,keyasint,omitempty"` // webhook: what its signatures are made with
	Private  bool   `cbor:"7,keyasint,omitempty"` // no text, no names
	Lang     string `cbor:"8,keyasint,omitempty"`
	Created  int64  `cbor:"9,keyasint"` // ms
}

// MaxRegistrations is how many a user may have.
const MaxRegistrations = 20

// Bounds of a registration's fields, in bytes.
const (
	maxName     = 128
	maxEndpoint = 2048
	maxToken    = 4096
	minSecret   = 16
	maxSecret   = 256
)

// PushKey is where a registration is stored. The name "" is the user's own [UserSettings].
func PushKey(user, name string) storage.Key {
	return storage.In(storage.SpacePush).Str(user).Str(name)
}

// subscribers are the users who have a registration.
type subscribers struct {
	count atomic.Int64 // len(users)

	mu    sync.RWMutex
	users map[string]int // registrations
	tests map[string]time.Time
	gen   uint64 // changes with users

	change sync.Mutex // one change of registrations at a time
}

// among appends those of users who have a registration.
func (s *subscribers) among(dst, users []string) (found []string, gen uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, u := range users {
		if s.users[u] > 0 {
			dst = append(dst, u)
		}
	}
	return dst, s.gen
}

func (s *subscribers) set(user string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > 0 {
		s.users[user] = n
	} else {
		delete(s.users, user)
	}
	s.gen++
	s.count.Store(int64(len(s.users)))
}

func (s *Service) loadSubscribers() error {
	users := make(map[string]int)
	err := s.o.Store.Scan(storage.In(storage.SpacePush), nil, func(k storage.Key, _ []byte) bool {
		user, rest, ok := storage.TakeStr(k[1:])
		if name, _, ok2 := storage.TakeStr(rest); ok && ok2 && name != "" {
			users[user]++
		}
		return true
	})
	s.subs.mu.Lock()
	defer s.subs.mu.Unlock()
	s.subs.users, s.subs.tests = users, make(map[string]time.Time)
	s.subs.count.Store(int64(len(users)))
	return err
}

// Registrations returns a user's registrations in the order of their names.
func (s *Service) Registrations(user string) (all []Registration, err error) {
	prefix := storage.In(storage.SpacePush).Str(user)
	var bad error
	err = s.o.Store.Scan(prefix, nil, func(k storage.Key, v []byte) bool {
		name, _, ok := storage.TakeStr(k[len(prefix):])
		if !ok || name == "" {
			return true
		}
		r := Registration{User: user, Name: name}
		if bad = storage.Unmarshal(v, &r); bad != nil {
			return false
		}
		all = append(all, r)
		return true
	})
	return all, errors.Join(err, bad)
}

// Register checks and stores a registration, in place of the user's of the same name, and returns it as
// stored: a webhook's secret is made when it has none. It returns after the sync. Errors: *chat.Refusal, or
// what the store returns.
func (s *Service) Register(r Registration) (Registration, error) {
	if err := s.check(&r); err != nil {
		return r, err
	}
	if r.Kind == Webhook && r.Secret == "" {
		r.Secret = rand.Text()
	}
	r.Created = s.now()
	s.subs.change.Lock()
	defer s.subs.change.Unlock()
	all, err := s.Registrations(r.User)
	if err != nil {
		return r, err
	}
	n := len(all)
	if !slices.ContainsFunc(all, func(o Registration) bool { return o.Name == r.Name }) {
		n++
	}
	if n > MaxRegistrations {
		return r, chat.Refuse(chat.Conflict, "you have %d registrations already: remove one first, see push.list", MaxRegistrations)
	}
	var b storage.Batch
	b.Set(PushKey(r.User, r.Name), storage.Marshal(&r))
	if s.subs.count.Load() == 0 { // from here on the position counts
		b.Set(positionKey(), appendPosition(s.o.Durable()))
	}
	if err := s.o.CommitWait(&b); err != nil {
		return r, err
	}
	s.subs.set(r.User, n)
	return r, nil
}

// Remove removes a registration and returns after the sync; found is false when there was none.
func (s *Service) Remove(user, name string) (found bool, err error) { return s.remove(user, name, 0) }

// remove removes a registration, if it is the one that was made at that time; 0: any.
func (s *Service) remove(user, name string, created int64) (found bool, err error) {
	s.subs.change.Lock()
	defer s.subs.change.Unlock()
	all, err := s.Registrations(user)
	if err != nil {
		return false, err
	}
	n := len(all)
	all = slices.DeleteFunc(all, func(r Registration) bool {
		return r.Name == name && (created == 0 || created == r.Created)
	})
	if len(all) == n {
		return false, nil
	}
	var b storage.Batch
	b.Vital = true
	b.Delete(PushKey(user, name))
	if len(all) == 0 { // and how far the user was told
		b.DeletePrefix(markKey(user, ""))
	}
	if err := s.o.CommitWait(&b); err != nil {
		return false, err
	}
	s.subs.set(user, len(all))
	return true, nil
}

// recount looks how many registrations a user has: they are removed with the account too.
func (s *Service) recount(user string) error {
	s.subs.change.Lock()
	defer s.subs.change.Unlock()
	all, err := s.Registrations(user)
	if err != nil {
		return err
	}
	s.subs.set(user, len(all))
	if len(all) > 0 {
		return nil
	}
	var b storage.Batch
	b.Vital = true
	b.DeletePrefix(markKey(user, ""))
	return s.o.CommitWait(&b)
}

func (s *Service) check(r *Registration) error {
	if !chat.ValidUser(r.User) {
		return chat.Refuse(chat.NotAuthorized, "only a user has notifications")
	}
	if r.Name == "" || len(r.Name) > maxName || !isPlain(r.Name) {
		return chat.Refuse(chat.BadRequest, "name is the device's name: 1 to %d bytes of UTF-8 without control characters", maxName)
	}
	if KindIndex(r.Kind) < 0 {
		return chat.Refuse(chat.BadRequest, "kind is one of %s", strings.Join(Kinds(), ", "))
	}
	if s.o.Senders[r.Kind] == nil {
		return chat.Refuse(chat.BadRequest, "this server is not set up for %s: its operator has to configure it", r.Kind)
	}
	if !validLang(r.Lang) {
		return chat.Refuse(chat.BadRequest, "lang is a language tag, like en or pt-BR")
	}
	switch r.Kind {
	case FCM, APNs:
		return checkToken(r)
	}
	return s.checkEndpoint(r)
}

func checkToken(r *Registration) error {
	switch {
	case r.Endpoint != "" || r.P256dh != "" || r.Auth != "" || r.Secret != "":
		return chat.Refuse(chat.BadRequest, "%s takes a token; leave endpoint, keys and secret out", r.Kind)
	case r.Token == "" || len(r.Token) > maxToken || strings.ContainsFunc(r.Token, func(c rune) bool { return c <= ' ' || c >= 0x7F }):
		return chat.Refuse(chat.BadRequest, "token is what the device got from %s: at most %d bytes of ASCII", r.Kind, maxToken)
	case r.Kind == APNs && strings.Trim(r.Token, "0123456789abcdefABCDEF") != "": // it becomes part of a path
		return chat.Refuse(chat.BadRequest, "token is the device token in hexadecimal digits")
	}
	return nil
}

func (s *Service) checkEndpoint(r *Registration) error {
	switch {
	case r.Token != "":
		return chat.Refuse(chat.BadRequest, "%s takes an endpoint; leave token out", r.Kind)
	case r.Endpoint == "" || len(r.Endpoint) > maxEndpoint:
		return chat.Refuse(chat.BadRequest, "endpoint is a URL of at most %d bytes", maxEndpoint)
	case r.Kind != Webhook && r.Secret != "":
		return chat.Refuse(chat.BadRequest, "secret is for webhooks: %s takes keys", r.Kind)
	case r.Secret != "" && (len(r.Secret) < minSecret || len(r.Secret) > maxSecret):
		return chat.Refuse(chat.BadRequest, "secret is %d to %d bytes; without it one is made", minSecret, maxSecret)
	case r.Kind == Webhook && (r.P256dh != "" || r.Auth != ""):
		return chat.Refuse(chat.BadRequest, "keys are for webpush and unifiedpush: a webhook has a secret")
	}
	if r.Kind == WebPush || r.P256dh != "" || r.Auth != "" {
		if err := checkKeys(r.P256dh, r.Auth); err != nil {
			return err
		}
	}
	if s.o.Check != nil {
		return s.o.Check(r.Endpoint)
	}
	return nil
}

// checkKeys: an uncompressed point of P-256, and 16 bytes (RFC 8291 §2, §3.2).
func checkKeys(p256dh, auth string) error {
	point, err := decodeKey(p256dh)
	if err == nil {
		_, err = ecdh.P256().NewPublicKey(point)
	}
	if err != nil {
		return chat.Refuse(chat.BadRequest, "keys.p256dh is the subscription's public key: 65 bytes of base64url, as PushSubscription.getKey gives it")
	}
	if secret, err := decodeKey(auth); err != nil || len(secret) != 16 {
		return chat.Refuse(chat.BadRequest, "keys.auth is the subscription's secret: 16 bytes of base64url, as PushSubscription.getKey gives it")
	}
	return nil
}

func decodeKey(s string) ([]byte, error) {
	if len(s) > 128 {
		return nil, base64.CorruptInputError(128)
	}
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
}

func isPlain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// validLang takes what looks like a language tag (RFC 5646), and none.
func validLang(s string) bool {
	if len(s) > 35 {
		return false
	}
	return !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-'
	})
}
