package auth

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// account is the record under SpaceAccount. It is never changed once it is in the cache.
type account struct {
	Version  int    `json:"v"`
	User     string `json:"user"` // as spelled when the account was made
	Admin    bool   `json:"admin,omitempty"`
	Disabled bool   `json:"disabled,omitempty"`
	PHC      string `json:"phc,omitempty"` // "": no way in with a password
	Created  int64  `json:"created"`       // ms since 1970
	Epoch    uint64 `json:"epoch"`         // changes whenever live sessions must end

	Bot   bool   `json:"bot,omitempty"`   // comes in with a token of its own only
	Owner string `json:"owner,omitempty"` // of a bot: who made it
	Since int64  `json:"since,omitempty"` // of a bot: when the owner's account was made; another of that name is not the owner
	Hook  string `json:"hook,omitempty"`  // of a bot: the webhook that posts as it
}

const recordVersion = 1

// Account is what may be told of an account.
type Account struct {
	User        string
	Admin       bool
	Disabled    bool
	HasPassword bool
	Created     time.Time
	Bot         bool
	Owner       string // of a bot
	Hook        string // of a bot: the webhook that posts as it
}

func (a *account) public() Account {
	return Account{User: a.User, Admin: a.Admin, Disabled: a.Disabled, HasPassword: a.PHC != "", Created: time.UnixMilli(a.Created),
		Bot: a.Bot, Owner: a.Owner, Hook: a.Hook}
}

func newEpoch() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

func accountKey(lower string) storage.Key { return storage.In(storage.SpaceAccount).Str(lower) }

func decodeAccount(v []byte) (*account, error) {
	a := new(account)
	if err := json.Unmarshal(v, a); err != nil || a.Version != recordVersion || !ValidUser(a.User) {
		return nil, fmt.Errorf("auth: an account record can't be read: %w", storage.ErrDamaged)
	}
	return a, nil
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("auth: a record of plain fields can't be encoded: " + err.Error())
	}
	return b
}

// lookup returns the account, nil if there is none.
func (s *Service) lookup(lower string) (*account, error) {
	s.mu.Lock()
	acc, ok := s.accounts.get(lower)
	before := s.changes
	s.mu.Unlock()
	if ok {
		return acc, nil
	}
	v, ok, err := s.o.Store.Get(accountKey(lower))
	if err != nil {
		return nil, fmt.Errorf("auth: reading an account: %w", err)
	}
	if ok {
		if acc, err = decodeAccount(v); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changes == before { // else what was read may be older than what a writer has put there
		s.accounts.put(lower, acc)
	}
	return acc, nil
}

// publish puts the outcome of a change into the cache.
func (s *Service) publish(lower string, acc *account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	s.accounts.put(lower, acc)
}

func (s *Service) stripe(lower string) *sync.Mutex {
	h := uint32(2166136261) // FNV-1a
	for i := range len(lower) {
		h = (h ^ uint32(lower[i])) * 16777619
	}
	return &s.stripes[h%uint32(len(s.stripes))]
}

// commit stores a batch. A full disk is a refusal, all else a fault.
func (s *Service) commit(b *storage.Batch) error {
	err := s.o.Commit(b)
	var refusal *chat.Refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refusal):
		return refusal
	case errors.Is(err, storage.ErrFull):
		return chat.Refuse(chat.Unavailable, "The disk of the server is full, so nothing was changed. Free some space and try again.")
	}
	return fmt.Errorf("auth: storing a change: %w", err)
}

// change applies fn to a copy of the account and stores it with an audit record. fn returns whether
// live sessions must end.
func (s *Service) change(ctx context.Context, user, what string, fn func(*account) (cut bool)) error {
	cut, canonical, err := s.changeLocked(ctx, user, what, fn)
	if err == nil && cut {
		s.revoked(canonical, "")
	}
	return err
}

func (s *Service) changeLocked(ctx context.Context, user, what string, fn func(*account) bool) (bool, string, error) {
	lower := strings.ToLower(user)
	lock := s.stripe(lower)
	lock.Lock()
	defer lock.Unlock()
	acc, err := s.existing(user)
	if err != nil {
		return false, "", err
	}
	next := *acc
	cut := fn(&next)
	if cut {
		next.Epoch = newEpoch()
	}
	b := new(storage.Batch)
	b.Set(accountKey(lower), encode(&next))
	s.audit(ctx, b, what, acc.User)
	if err := s.commit(b); err != nil {
		return false, "", err
	}
	s.publish(lower, &next)
	return cut, acc.User, nil
}

// existing returns the account of exactly that spelling, or a refusal.
func (s *Service) existing(user string) (*account, error) {
	if !ValidUser(user) {
		return nil, badUser()
	}
	acc, err := s.lookup(strings.ToLower(user))
	switch {
	case err != nil:
		return nil, err
	case acc == nil:
		return nil, chat.Refuse(chat.NotFound, "There is no user %s.", user)
	case acc.User != user:
		return nil, chat.Refuse(chat.NotFound, "There is no user %s; did you mean %s?", user, acc.User)
	}
	return acc, nil
}

func (s *Service) revoked(user, tokenID string) {
	if s.o.OnRevoke == nil {
		return
	}
	s.o.OnRevoke(user, tokenID)
	if tokenID == "" {
		for _, bot := range s.bots.of(user) { // which end with their owner
			s.o.OnRevoke(bot, "")
		}
	}
}

// AddUser makes an account. With a nil password it can be used with certificates, JWTs and device
// tokens only. Refusals: conflict when the id is taken in any spelling, bad-request.
func (s *Service) AddUser(ctx context.Context, user string, password []byte, admin bool) error {
	if !ValidUser(user) {
		return badUser()
	}
	record, err := s.newRecord(ctx, password)
	if err != nil {
		return err
	}
	_, created, err := s.insert(ctx, &account{User: user, Admin: admin, PHC: record})
	if err == nil && !created {
		return chat.Refuse(chat.Conflict, "The user id %s is taken, be it in another spelling.", user)
	}
	return err
}

// create makes an account without a password, or returns the one that somebody else just made.
func (s *Service) create(ctx context.Context, user string) (*account, error) {
	acc, _, err := s.insert(ctx, &account{User: user})
	return acc, err
}

// insert stores acc unless its id is taken; then it returns what is there.
func (s *Service) insert(ctx context.Context, acc *account) (*account, bool, error) {
	lower := strings.ToLower(acc.User)
	lock := s.stripe(lower)
	lock.Lock()
	defer lock.Unlock()
	there, err := s.lookup(lower)
	if err != nil || there != nil {
		return there, false, err
	}
	if _, erased, err := s.o.Store.Get(storage.ErasingKey(lower)); err != nil {
		return nil, false, err
	} else if erased {
		return nil, false, chat.Refuse(chat.Conflict, "The user id %s belonged to an account that was deleted. It is not given again: choose another one.", acc.User)
	}
	acc.Version, acc.Created, acc.Epoch = recordVersion, s.o.Now().UnixMilli(), newEpoch()
	b := new(storage.Batch)
	b.Set(accountKey(lower), encode(acc))
	if acc.Bot {
		b.Set(botKey(acc.Owner, acc.User), storage.Marshal(&botRecord{}))
		s.audit(ctx, b, "bot.add", acc.User)
	} else {
		s.audit(ctx, b, "user.add", acc.User)
	}
	if err := s.commit(b); err != nil {
		return nil, false, err
	}
	s.publish(lower, acc)
	return acc, true, nil
}

// newRecord hashes a password that somebody chose; nil gives no record.
func (s *Service) newRecord(ctx context.Context, password []byte) (string, error) {
	switch {
	case password == nil:
		return "", nil
	case len(password) == 0 || len(password) > maxPassword:
		return "", chat.Refuse(chat.BadRequest, "A password takes 1 to %d bytes.", maxPassword)
	case isToken(string(password)) || looksLikeJWT(string(password)):
		return "", chat.Refuse(chat.BadRequest, "A password must not look like a device token or a JWT. Choose another one.")
	}
	release, err := s.hasher.acquire(ctx)
	if err != nil {
		return "", chat.Refuse(chat.Unavailable, "The server is busy checking passwords. Try again.")
	}
	defer release()
	return s.hasher.hash(password), nil
}

// SetPassword replaces the password, and ends the user's sessions. A nil one takes it away.
func (s *Service) SetPassword(ctx context.Context, user string, password []byte) error {
	if acc, err := s.existing(user); err != nil {
		return err
	} else if acc.Bot {
		return refuseBot(user)
	}
	record, err := s.newRecord(ctx, password)
	if err != nil {
		return err
	}
	return s.change(ctx, user, "user.passwd", func(a *account) bool {
		a.PHC = record
		return true
	})
}

// SetAdmin gives or takes the rights of an administrator, and ends the user's sessions if that changes.
func (s *Service) SetAdmin(ctx context.Context, user string, admin bool) error {
	if acc, err := s.existing(user); err != nil {
		return err
	} else if acc.Bot {
		return refuseBot(user)
	}
	what := "user.admin.off"
	if admin {
		what = "user.admin.on"
	}
	return s.change(ctx, user, what, func(a *account) bool {
		was := a.Admin
		a.Admin = admin
		return was != admin
	})
}

// SetDisabled locks an account out, ending its sessions, or lets it in again.
func (s *Service) SetDisabled(ctx context.Context, user string, disabled bool) error {
	what := "user.enable"
	if disabled {
		what = "user.disable"
	}
	return s.change(ctx, user, what, func(a *account) bool {
		a.Disabled = disabled
		return disabled
	})
}

// renew stores a password record of other costs, unless the password was changed meanwhile.
func (s *Service) renew(acc *account, record string) error {
	lower := strings.ToLower(acc.User)
	lock := s.stripe(lower)
	lock.Lock()
	defer lock.Unlock()
	there, err := s.lookup(lower)
	if err != nil || there == nil || there.PHC != acc.PHC {
		return err
	}
	next := *there
	next.PHC = record
	b := new(storage.Batch)
	b.Set(accountKey(lower), encode(&next))
	if err := s.commit(b); err != nil {
		return err
	}
	s.publish(lower, &next)
	return nil
}

// DeleteUser removes an account with its device tokens and its bots, and ends their sessions. With
// Options.Erases, what the user wrote is erased then, and the id is not given again; what bots wrote stays.
// Otherwise it stays, and a JWT or certificate that
// still holds makes the account anew where these create accounts.
func (s *Service) DeleteUser(ctx context.Context, user string) error {
	if err := s.deleteLocked(ctx, user); err != nil {
		return err
	}
	s.revoked(user, "")
	for _, bot := range s.bots.of(user) { // which let nobody in any more: see orphaned
		gone := new(chat.Refusal)
		switch err := s.DeleteUser(ctx, bot); {
		case err == nil:
		case errors.As(err, &gone) && gone.Code == chat.NotFound: // whoever erases what the owner left was faster
		default:
			return err
		}
	}
	return nil
}

func (s *Service) deleteLocked(ctx context.Context, user string) error {
	lower := strings.ToLower(user)
	lock := s.stripe(lower)
	lock.Lock()
	defer lock.Unlock()
	s.tokens.Lock()
	defer s.tokens.Unlock()
	acc, err := s.existing(user)
	if err != nil {
		return err
	}
	b := new(storage.Batch)
	b.Delete(accountKey(lower))
	if s.o.Erases {
		gone := storage.Erasing{User: user, At: s.o.Now().UnixMilli(), Bot: acc.Bot} // what programs wrote is the conversation's
		b.Set(storage.ErasingKey(user), storage.Marshal(gone))
	}
	what := "user.del"
	if acc.Bot {
		what = "bot.del"
		b.Delete(botKey(acc.Owner, acc.User))
	}
	err = s.scanTokens(user, nil, func(t *token) bool {
		b.Delete(tokenKey(t.ID))
		return true
	})
	if err != nil {
		return err
	}
	s.audit(ctx, b, what, user)
	if err := s.commit(b); err != nil {
		return err
	}
	s.publish(lower, nil)
	s.bots.forget(user)
	return nil
}

// GetUser returns an account by its id in any spelling. A store that fails has no accounts.
func (s *Service) GetUser(user string) (Account, bool) {
	if !ValidUser(user) {
		return Account{}, false
	}
	acc, err := s.lookup(strings.ToLower(user))
	if err != nil {
		s.log.Error("account can't be read", "user", user, "err", err)
	}
	if acc == nil {
		return Account{}, false
	}
	return acc.public(), true
}

// Exists says whether there is an account of exactly that spelling, disabled ones included. It is
// answered from memory for the accounts, existing or not, that were asked for lately.
func (s *Service) Exists(user string) bool {
	acc, ok := s.GetUser(user)
	return ok && acc.User == user
}

// ListUsers returns at most limit accounts (0: 100, at most 1,000) whose id, without regard to case,
// comes after the given one, and whether there are more.
func (s *Service) ListUsers(after string, limit int) (list []Account, more bool, err error) {
	limit = pageSize(limit)
	var from storage.Key
	if after != "" {
		from = accountKey(strings.ToLower(after))
	}
	scanErr := s.o.Store.Scan(storage.In(storage.SpaceAccount), from, func(_ storage.Key, v []byte) bool {
		if more = len(list) == limit; more {
			return false
		}
		var acc *account
		if acc, err = decodeAccount(v); err != nil {
			return false
		}
		list = append(list, acc.public())
		return true
	})
	if err = errors.Join(err, scanErr); err != nil {
		return nil, false, err
	}
	return list, more, nil
}

func pageSize(limit int) int {
	if limit <= 0 {
		return 100
	}
	return min(limit, 1000)
}
