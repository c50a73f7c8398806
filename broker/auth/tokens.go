package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// A device token reads petrel_ + id + secret. The id begins with a hash of the user id, so that the
// tokens of one user are neighbours in the store; the secret has 160 bits, so that a plain hash
// protects it: there is nothing to guess.
const (
	tokenMark   = "petrel_"
	tokenUser   = 8  // base32 characters from the user id
	tokenID     = 16 // with 40 random bits
	tokenSecret = 32
)

const (
	maxTokenConvs = 256
	maxTokenName  = 100              // bytes
	usedEvery     = 60 * time.Second // at most so often is the last use of a token written
)

var tokenEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// token is the record under SpaceToken.
type token struct {
	Version int      `json:"v"`
	ID      string   `json:"id"`
	User    string   `json:"user"`
	Name    string   `json:"name,omitempty"`
	Convs   []string `json:"convs,omitempty"`
	Read    bool     `json:"read,omitempty"`
	Write   bool     `json:"write,omitempty"`
	Created int64    `json:"created"`           // ms since 1970
	Expires int64    `json:"expires,omitempty"` // ms since 1970; 0: never
	Used    int64    `json:"used,omitempty"`    // ms since 1970; 0: not yet
	Hash    []byte   `json:"hash"`              // SHA-256 of the secret
}

// TokenSpec says what a new device token may do.
type TokenSpec struct {
	Name        string   // for people: "greenhouse sensor"
	Convs       []string // conversation ids; nil: all of the user's
	Read, Write bool     // at least one
	Expires     time.Time
}

// TokenInfo is what may be told of a device token. Zero times: never.
type TokenInfo struct {
	ID, User, Name         string
	Convs                  []string
	Read, Write            bool
	Created, Expires, Used time.Time
}

func (t *token) info() TokenInfo {
	at := func(ms int64) time.Time {
		if ms == 0 {
			return time.Time{}
		}
		return time.UnixMilli(ms)
	}
	return TokenInfo{
		ID: t.ID, User: t.User, Name: t.Name, Convs: t.Convs, Read: t.Read, Write: t.Write,
		Created: at(t.Created), Expires: at(t.Expires), Used: at(t.Used),
	}
}

// scope returns nil for a token without limits: such a session is like any other of its user.
func (t *token) scope() *Scope {
	if t.Convs == nil && t.Read && t.Write {
		return nil
	}
	sc := &Scope{Read: t.Read, Write: t.Write}
	if t.Convs != nil {
		sc.Convs = make(map[string]bool, len(t.Convs))
		for _, c := range t.Convs {
			sc.Convs[c] = true
		}
	}
	return sc
}

func tokenKey(id string) storage.Key { return storage.In(storage.SpaceToken).Str(id) }

// tokenPrefix is what the ids of a user's tokens begin with. Another user may share it by chance.
func tokenPrefix(user string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(user)))
	return tokenEncoding.EncodeToString(sum[:])[:tokenUser]
}

// isToken says whether s has the form of a device token.
func isToken(s string) bool {
	rest, ok := strings.CutPrefix(s, tokenMark)
	return ok && len(rest) == tokenID+tokenSecret && isTokenText(rest)
}

func isTokenText(s string) bool {
	for i := range len(s) {
		if c := s[i]; !(c >= 'a' && c <= 'z' || c >= '2' && c <= '7') {
			return false
		}
	}
	return true
}

func decodeToken(v []byte) (*token, error) {
	t := new(token)
	if err := json.Unmarshal(v, t); err != nil || t.Version != recordVersion || !ValidUser(t.User) || len(t.Hash) != sha256.Size {
		return nil, fmt.Errorf("auth: a token record can't be read: %w", storage.ErrDamaged)
	}
	return t, nil
}

// readToken returns nil when there is none.
func (s *Service) readToken(id string) (*token, error) {
	v, ok, err := s.o.Store.Get(tokenKey(id))
	if err != nil {
		return nil, fmt.Errorf("auth: reading a token: %w", err)
	}
	if !ok {
		return nil, nil
	}
	return decodeToken(v)
}

// byToken checks a password of a token's form.
func (s *Service) byToken(a Attempt, secret string) (Identity, error) {
	rest := secret[len(tokenMark):]
	t, err := s.readToken(rest[:tokenID])
	if err != nil {
		return Identity{}, err
	}
	if t == nil {
		return Identity{}, deny("there is no such device token")
	}
	sum := sha256.Sum256([]byte(rest[tokenID:]))
	if subtle.ConstantTimeCompare(sum[:], t.Hash) != 1 {
		return Identity{}, deny("the secret of the device token is wrong")
	}
	if a.User != "" && a.User != t.User {
		return Identity{}, deny("the device token belongs to another user")
	}
	now := s.o.Now()
	if t.Expires != 0 && now.UnixMilli() >= t.Expires {
		return Identity{}, deny("the device token has expired")
	}
	acc, err := s.lookup(strings.ToLower(t.User))
	if err != nil {
		return Identity{}, err
	}
	if err := usable(acc, t.User); err != nil {
		return Identity{}, err
	}
	if err := s.orphaned(acc); err != nil {
		return Identity{}, err
	}
	s.noteUse(t, now)
	return Identity{
		User: t.User, Scope: t.scope(), Expires: t.info().Expires, TokenID: t.ID, Method: "token", epoch: acc.Epoch,
	}, nil
}

func (s *Service) noteUse(t *token, now time.Time) {
	ms := now.UnixMilli()
	if ms-t.Used < usedEvery.Milliseconds() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used[t.ID] = ms
}

// flushBatch bounds the tokens of one batch, about 300 bytes each.
const flushBatch = 1000

// Flush writes when tokens were last used. A crash, or a store that fails, loses at most that.
func (s *Service) Flush() error {
	s.flushLogins()
	s.mu.Lock()
	used := s.used
	s.used = map[string]int64{}
	s.mu.Unlock()
	s.tokens.Lock() // a token that is revoked meanwhile must not come back
	defer s.tokens.Unlock()
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(used)), flushBatch) {
		b := new(storage.Batch)
		for _, id := range ids {
			t, err := s.readToken(id)
			if err != nil {
				return err
			}
			if t != nil && used[id] > t.Used {
				t.Used = used[id]
				b.Set(tokenKey(id), encode(t))
			}
		}
		if b.Len() == 0 {
			continue
		}
		if err := s.commit(b); err != nil {
			return err
		}
	}
	return nil
}

// AddToken makes a device token and returns its text, which can't be had again.
func (s *Service) AddToken(ctx context.Context, user string, spec TokenSpec) (TokenInfo, string, error) {
	if err := s.checkSpec(user, spec); err != nil {
		return TokenInfo{}, "", err
	}
	lock := s.stripe(strings.ToLower(user))
	lock.Lock() // against DeleteUser
	defer lock.Unlock()
	s.tokens.Lock()
	defer s.tokens.Unlock()
	if _, err := s.existing(user); err != nil {
		return TokenInfo{}, "", err
	}
	var random [25]byte
	rand.Read(random[:])
	id := tokenPrefix(user) + tokenEncoding.EncodeToString(random[:5])
	secret := tokenEncoding.EncodeToString(random[5:])
	if t, err := s.readToken(id); err != nil {
		return TokenInfo{}, "", err
	} else if t != nil { // 40 random bits met: as likely as it sounds, but it would replace a token
		return TokenInfo{}, "", chat.Refuse(chat.Unavailable, "The token's id was taken. Try again.")
	}
	sum := sha256.Sum256([]byte(secret))
	t := &token{
		Version: recordVersion, ID: id, User: user, Name: spec.Name, Convs: slices.Clone(spec.Convs),
		Read: spec.Read, Write: spec.Write, Created: s.o.Now().UnixMilli(), Hash: sum[:],
	}
	if !spec.Expires.IsZero() {
		t.Expires = spec.Expires.UnixMilli()
	}
	b := new(storage.Batch)
	b.Set(tokenKey(id), encode(t))
	s.audit(ctx, b, "token.add", user+" "+id)
	if err := s.commit(b); err != nil {
		return TokenInfo{}, "", err
	}
	return t.info(), tokenMark + id + secret, nil
}

func (s *Service) checkSpec(user string, spec TokenSpec) error {
	switch {
	case !ValidUser(user):
		return badUser()
	case !spec.Read && !spec.Write:
		return chat.Refuse(chat.BadRequest, "A token that may neither read nor write is of no use: allow one of them.")
	case len(spec.Name) > maxTokenName || !utf8.ValidString(spec.Name):
		return chat.Refuse(chat.BadRequest, "The name of a token takes at most %d bytes of UTF-8.", maxTokenName)
	case len(spec.Convs) > maxTokenConvs:
		return chat.Refuse(chat.BadRequest, "A token names at most %d conversations; leave them out to allow all.", maxTokenConvs)
	case spec.Convs != nil && len(spec.Convs) == 0:
		return chat.Refuse(chat.BadRequest, "The list of conversations is empty; leave it out to allow all.")
	case !spec.Expires.IsZero() && !spec.Expires.After(s.o.Now()):
		return chat.Refuse(chat.BadRequest, "The token would have expired already.")
	}
	for _, c := range spec.Convs {
		if err := checkConv(user, c); err != nil {
			return err
		}
	}
	return nil
}

// checkConv refuses what can't be a conversation of the user: a direct one is a~b in byte order, a
// group's id [a-z0-9][a-z0-9-]{0,63}.
func checkConv(user, conv string) error {
	if a, b, direct := strings.Cut(conv, "~"); direct {
		if !ValidUser(a) || !ValidUser(b) || a >= b || a != user && b != user {
			return chat.Refuse(chat.BadRequest, "%.140q is no direct conversation of %s: name it a~b, both user ids in byte order.", conv, user)
		}
		return nil
	}
	ok := len(conv) >= 1 && len(conv) <= 64 && conv[0] != '-'
	for i := range len(conv) {
		c := conv[i]
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-')
	}
	if !ok {
		return chat.Refuse(chat.BadRequest, "%.140q is no conversation id: a group's takes 1 to 64 of a-z 0-9 -", conv)
	}
	return nil
}

// RevokeToken removes a device token and ends its sessions.
func (s *Service) RevokeToken(ctx context.Context, id string) error {
	t, err := s.revokeLocked(ctx, id)
	if err != nil {
		return err
	}
	s.revoked(t.User, t.ID)
	return nil
}

func (s *Service) revokeLocked(ctx context.Context, id string) (*token, error) {
	if isToken(id) { // somebody pasted the whole token
		id = id[len(tokenMark):][:tokenID]
	}
	if len(id) != tokenID || !isTokenText(id) {
		return nil, chat.Refuse(chat.BadRequest, "The id of a token has %d characters of a-z 2-7; the list of tokens has it.", tokenID)
	}
	s.tokens.Lock()
	defer s.tokens.Unlock()
	t, err := s.readToken(id)
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, chat.Refuse(chat.NotFound, "There is no token %s.", id)
	}
	b := new(storage.Batch)
	b.Delete(tokenKey(id))
	s.audit(ctx, b, "token.revoke", t.User+" "+id)
	if err := s.commit(b); err != nil {
		return nil, err
	}
	s.mu.Lock()
	delete(s.used, id)
	s.mu.Unlock()
	return t, nil
}

// ListTokens returns at most limit tokens (0: 100, at most 1,000) whose id comes after the given one,
// of one user or (user "") of all, and whether there are more.
func (s *Service) ListTokens(user, after string, limit int) (list []TokenInfo, more bool, err error) {
	limit = pageSize(limit)
	var from storage.Key
	if after != "" {
		from = tokenKey(after)
	}
	err = s.scanTokens(user, from, func(t *token) bool {
		if more = len(list) == limit; more {
			return false
		}
		s.mu.Lock()
		t.Used = max(t.Used, s.used[t.ID])
		s.mu.Unlock()
		list = append(list, t.info())
		return true
	})
	if err != nil {
		return nil, false, err
	}
	return list, more, nil
}

// scanTokens calls fn with the tokens of a user, or of all users, in the order of their ids.
func (s *Service) scanTokens(user string, after storage.Key, fn func(*token) bool) error {
	prefix := storage.In(storage.SpaceToken)
	if user != "" {
		prefix = prefix.Raw(tokenPrefix(user))
	}
	var err error
	scanErr := s.o.Store.Scan(prefix, after, func(_ storage.Key, v []byte) bool {
		var t *token
		if t, err = decodeToken(v); err != nil {
			return false
		}
		return user != "" && t.User != user || fn(t)
	})
	return errors.Join(err, scanErr)
}
