package auth

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// Service holds accounts and judges credentials.
type Service struct {
	o      Options
	log    *slog.Logger
	hasher *hasher
	thr    *throttle
	logins logins
	bots   bots
	jwt    atomic.Pointer[verifier]
	rules  atomic.Pointer[[]Rule]

	// Changes to one account happen one after the other; those to different accounts share a sync.
	// Lock order: an account's stripe, tokens, mu.
	stripes [256]sync.Mutex
	tokens  sync.Mutex // changes to token records

	mu       sync.Mutex
	accounts *recent[string, *account] // by lower-case id; nil: there is none
	changes  uint64                    // how often accounts was changed by a writer
	used     map[string]int64          // token id: last use in ms, not on disk yet
}

// accountsCached bounds the accounts in memory, about 200 bytes each.
const accountsCached = 4_096

// New returns a service over the accounts in o.Store. It reads the key files that o.JWT names.
func New(o Options) (*Service, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Argon2 = o.Argon2.withDefaults()
	s := &Service{
		o:        o,
		log:      o.Log,
		hasher:   newHasher(o.Argon2, runtime.GOMAXPROCS(0)),
		accounts: newRecent[string, *account](accountsCached),
		used:     map[string]int64{},
	}
	if err := s.openTrail(); err != nil {
		return nil, err
	}
	if err := s.loadBots(); err != nil {
		return nil, err
	}
	if o.Dev {
		o.Throttle.Off = true
	}
	s.thr = newThrottle(o.Throttle)
	if err := s.Reload(o.JWT); err != nil {
		return nil, err
	}
	if err := s.ReloadACL(o.ACL); err != nil {
		return nil, err
	}
	return s, nil
}

// Attempt is what a CONNECT brings along.
type Attempt struct {
	User        string
	Password    []byte // may be a JWT or a device token
	HasPassword bool
	ClientID    string
	Addr        netip.Addr // where limits per address apply; not valid: none
	CertCN      string     // common name of a verified client certificate; "": none
}

// Identity is who a connection acts as.
type Identity struct {
	User    string    // canonical spelling; "" for a guest
	Guest   bool      // plain topics only
	Admin   bool      // may call rpc/admin.*; never true for a device token
	Scope   *Scope    // nil: everything that the user may
	Expires time.Time // when the connection must end; zero: never
	TokenID string    // the device token used
	Method  string    // "password", "jwt", "cert", "token", "dev" or "guest"

	epoch uint64 // of the account when the credential was checked
}

// Scope is what a device token is limited to.
type Scope struct {
	Convs       map[string]bool // nil: all of the user's
	Read, Write bool
}

// MayRead says whether the scope lets its session read the conversation. A nil scope lets everything.
func (sc *Scope) MayRead(conv string) bool {
	return sc == nil || sc.Read && (sc.Convs == nil || sc.Convs[conv])
}

// MayWrite says whether the scope lets its session write to the conversation.
func (sc *Scope) MayWrite(conv string) bool {
	return sc == nil || sc.Write && (sc.Convs == nil || sc.Convs[conv])
}

// ValidUser says whether s is a user id by the grammar: [A-Za-z0-9._-]{1,64}.
func ValidUser(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 64
}

// Authenticate judges an attempt. Every error is a *chat.Refusal: not-authorized with one text for all
// causes (in dev mode with the cause), rate-limited with the seconds to wait, bad-request for a user
// name that can't be one, unavailable when the store fails or ctx ends while waiting for a turn.
//
// A verified certificate decides alone. Otherwise a password of a token's or a JWT's form is only
// taken as such.
func (s *Service) Authenticate(ctx context.Context, a Attempt) (Identity, error) {
	if a.User != "" && !ValidUser(a.User) {
		return Identity{}, badUser()
	}
	id, err := s.judge(ctx, a)
	s.noteLogin(&a, &id, err)
	if err == nil {
		return id, nil
	}
	var no *denied
	if errors.As(err, &no) {
		s.log.DebugContext(ctx, "login refused", "user", a.User, "client", a.ClientID, "addr", a.Addr, "cause", no.cause)
		if s.o.Dev {
			return Identity{}, chat.Refuse(chat.NotAuthorized, "%s", no.cause)
		}
		return Identity{}, chat.Refuse(chat.NotAuthorized, "The user name or the password is wrong.")
	}
	var refusal *chat.Refusal
	if errors.As(err, &refusal) {
		return Identity{}, refusal
	}
	// The cause is for the operator, the refusal for the client: they are different messages.
	s.log.ErrorContext(ctx, "login failed", "user", a.User, "client", a.ClientID, "addr", a.Addr, "err", err)
	return Identity{}, chat.Refuse(chat.Unavailable, "The server can't check accounts now. Try again later.")
}

func (s *Service) judge(ctx context.Context, a Attempt) (Identity, error) {
	if a.CertCN != "" {
		return s.byCert(ctx, a)
	}
	secret := string(a.Password)
	if !a.HasPassword {
		secret = ""
	}
	token, isJWT := isToken(secret), s.jwt.Load().enabled() && looksLikeJWT(secret)
	if s.o.Dev {
		return s.byDev(ctx, a, secret, token, isJWT)
	}
	switch {
	case token:
		return s.unguessable(a, func() (Identity, error) { return s.byToken(a, secret) })
	case isJWT:
		return s.unguessable(a, func() (Identity, error) { return s.byJWT(ctx, a, secret) })
	case a.User == "":
		return Identity{}, deny("a user name is needed")
	case secret == "":
		return Identity{}, deny("a password is needed")
	}
	return s.byPassword(ctx, a)
}

// unguessable checks a credential that can't be found by trying. A right one is never held up by the
// throttle, so that one broken device doesn't lock out a fleet; a wrong one is charged to the address.
func (s *Service) unguessable(a Attempt, check func() (Identity, error)) (Identity, error) {
	id, err := check()
	var no *denied
	if !errors.As(err, &no) {
		return id, err
	}
	now := s.o.Now()
	tk := s.thr.ticket(a.Addr, "", now)
	if wait := s.thr.admit(tk, now); wait > 0 {
		return Identity{}, slowDown(wait)
	}
	s.thr.fail(tk, now)
	return Identity{}, err
}

func (s *Service) byDev(ctx context.Context, a Attempt, secret string, token, isJWT bool) (Identity, error) {
	var no *denied
	if token {
		if id, err := s.byToken(a, secret); !errors.As(err, &no) {
			return id, err
		}
	}
	if isJWT {
		if id, err := s.byJWT(ctx, a, secret); !errors.As(err, &no) {
			return id, err
		}
	}
	if a.User == "" {
		return Identity{Guest: true, Method: "guest"}, nil
	}
	return s.admitted(ctx, a.User, "dev", true)
}

func (s *Service) byCert(ctx context.Context, a Attempt) (Identity, error) {
	if !ValidUser(a.CertCN) {
		return Identity{}, deny("the common name of the certificate is no user id: it takes 1 to 64 of A-Z a-z 0-9 . _ -")
	}
	if a.User != "" && a.User != a.CertCN {
		return Identity{}, deny("the user name is not the common name of the certificate")
	}
	return s.admitted(ctx, a.CertCN, "cert", !s.o.CertNoCreate)
}

// admitted is the end of the ways in that need no password record: the account must be usable, and
// comes into being if it may.
func (s *Service) admitted(ctx context.Context, user, method string, create bool) (Identity, error) {
	acc, err := s.lookup(strings.ToLower(user))
	if err == nil && acc == nil && create {
		acc, err = s.create(WithActor(ctx, method), user)
	}
	if err != nil {
		return Identity{}, err
	}
	if err := usable(acc, user); err != nil {
		return Identity{}, err
	}
	if acc.Bot {
		return Identity{}, deny("the account is a bot: it comes in with its token only")
	}
	return Identity{User: acc.User, Admin: acc.Admin, Method: method, epoch: acc.Epoch}, nil
}

func usable(acc *account, user string) error {
	switch {
	case acc == nil:
		return deny("there is no such account")
	case acc.User != user:
		return deny("the account is spelled " + acc.User)
	case acc.Disabled:
		return deny("the account is disabled")
	}
	return nil
}

func (s *Service) byPassword(ctx context.Context, a Attempt) (Identity, error) {
	now := s.o.Now()
	tk := s.thr.ticket(a.Addr, strings.ToLower(a.User), now)
	if wait := s.thr.admit(tk, now); wait > 0 {
		return Identity{}, slowDown(wait)
	}
	acc, err := s.lookup(tk.user)
	if err != nil {
		s.thr.giveBack(tk, s.o.Now())
		return Identity{}, err
	}
	cause := usable(acc, a.User)
	if cause == nil && acc.PHC == "" {
		cause = deny("the account has no password")
	}
	if cause == nil && len(a.Password) > maxPassword {
		cause = deny("the password is too long")
	}
	if cause == nil && s.hasher.known(s.hasher.cacheKey(acc.User, a.Password, acc.PHC), now) {
		return s.welcome(tk, acc), nil
	}
	release, err := s.hasher.acquire(ctx)
	if err != nil {
		s.thr.giveBack(tk, s.o.Now())
		return Identity{}, chat.Refuse(chat.Unavailable, "The server is busy checking passwords. Try again.")
	}
	defer release()
	// While this attempt waited for its turn, others may have failed or found the same password right.
	now = s.o.Now()
	if wait := s.thr.admit(tk, now); wait > 0 {
		s.thr.giveBack(tk, now)
		return Identity{}, slowDown(wait)
	}
	if cause == nil {
		cause = s.verify(ctx, acc, a.Password)
	} else {
		// As costly as a real check: the time must not tell who has an account.
		s.hasher.dummy.matches(a.Password[:min(len(a.Password), maxPassword)])
	}
	if cause != nil {
		s.thr.fail(tk, s.o.Now())
		return Identity{}, cause
	}
	return s.welcome(tk, acc), nil
}

func (s *Service) welcome(tk *ticket, acc *account) Identity {
	s.thr.succeed(tk, s.o.Now())
	return Identity{User: acc.User, Admin: acc.Admin, Method: "password", epoch: acc.Epoch}
}

// verify checks the password within a turn of the hasher, and renews a record made with other costs.
func (s *Service) verify(ctx context.Context, acc *account, password []byte) error {
	key := s.hasher.cacheKey(acc.User, password, acc.PHC)
	if s.hasher.known(key, s.o.Now()) {
		return nil
	}
	record, err := parsePHC(acc.PHC)
	if err != nil {
		s.log.ErrorContext(ctx, "password record can't be read: set the password anew", "user", acc.User)
		return deny("the password record is damaged")
	}
	if !record.matches(password) {
		return deny("the password is wrong")
	}
	if record.Params != s.o.Argon2 {
		renewed := s.hasher.hash(password)
		if err := s.renew(acc, renewed); err != nil {
			// The login is right all the same; the next one tries again.
			s.log.WarnContext(ctx, "password record was not renewed", "user", acc.User, "err", err)
		} else {
			key = s.hasher.cacheKey(acc.User, password, renewed)
		}
	}
	s.hasher.remember(key, s.o.Now())
	return nil
}

// Current says whether the credential behind id is still good: the account exists, is enabled and has
// the password that it had, the token was not revoked, nothing has expired. Ask it once the session is
// registered where OnRevoke looks, and close the connection if it says no.
func (s *Service) Current(id Identity) bool {
	if !id.Expires.IsZero() && !s.o.Now().Before(id.Expires) {
		return false
	}
	if id.Guest {
		return true
	}
	acc, err := s.lookup(strings.ToLower(id.User))
	if err != nil || acc == nil || acc.Disabled || acc.Epoch != id.epoch || s.orphaned(acc) != nil {
		return false
	}
	if id.TokenID == "" {
		return true
	}
	_, ok, err := s.o.Store.Get(storage.In(storage.SpaceToken).Str(id.TokenID))
	return err == nil && ok
}

// denied is a wrong credential; the cause stays inside.
type denied struct{ cause string }

func (d *denied) Error() string { return "auth: " + d.cause }

func deny(cause string) error { return &denied{cause} }

func slowDown(wait time.Duration) *chat.Refusal {
	seconds := int64((wait + time.Second - 1) / time.Second)
	return chat.Refuse(chat.RateLimited, "Too many wrong passwords. Try again in %d s.", seconds)
}

func badUser() *chat.Refusal {
	return chat.Refuse(chat.BadRequest, "A user name takes 1 to 64 of A-Z a-z 0-9 . _ -")
}
