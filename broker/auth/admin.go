package auth

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/petrelchat/petrel/chat"
)

// Admin is what administrators may ask for: the one implementation behind the control socket and
// rpc/admin.*. Whoever calls it has checked that the caller is an administrator, and names them with
// WithActor.
type Admin struct {
	s       *Service
	methods map[string]adminMethod
}

// NewAdmin returns the methods over s.
func NewAdmin(s *Service) *Admin {
	a := &Admin{s: s}
	a.methods = map[string]adminMethod{
		"admin.user.add":     with(a.userAdd),
		"admin.user.passwd":  with(a.userPasswd),
		"admin.user.update":  with(a.userUpdate),
		"admin.user.del":     with(a.userDel),
		"admin.user.list":    with(a.userList),
		"admin.token.add":    with(a.tokenAdd),
		"admin.token.revoke": with(a.tokenRevoke),
		"admin.token.list":   with(a.tokenList),
		"admin.audit":        with(a.audit),
	}
	return a
}

// Methods lists what Call knows, in alphabetical order.
func (a *Admin) Methods() []string {
	return slices.Sorted(maps.Keys(a.methods))
}

// Call carries out a method. decode fills a request struct with json tags from the caller's bytes; use
// a strict one. The reply has json tags. A refusal is a *chat.Refusal; any other error is a fault of the
// server that the caller logs and answers with unavailable.
func (a *Admin) Call(ctx context.Context, method string, decode func(any) error) (any, error) {
	fn, ok := a.methods[method]
	if !ok {
		return nil, chat.Refuse(chat.NotFound, "There is no method %.64q.", method)
	}
	return fn(ctx, decode)
}

type adminMethod func(ctx context.Context, decode func(any) error) (any, error)

// with turns a method on a request struct into one on a decoder.
func with[Req any](fn func(context.Context, Req) (any, error)) adminMethod {
	return func(ctx context.Context, decode func(any) error) (any, error) {
		var req Req
		if err := decode(&req); err != nil {
			return nil, badRequest(err)
		}
		return fn(ctx, req)
	}
}

// badRequest keeps a refusal, and names the field of a JSON fault. Other texts might quote the request,
// which may hold a password.
func badRequest(err error) error {
	var refusal *chat.Refusal
	if errors.As(err, &refusal) {
		return refusal
	}
	var field *json.UnmarshalTypeError
	if errors.As(err, &field) && field.Field != "" {
		return chat.Refuse(chat.BadRequest, "The field %s must be of type %s.", field.Field, field.Type)
	}
	return chat.Refuse(chat.BadRequest, "The request can't be decoded: check its syntax and the names of its fields.")
}

// UserRequest is the request of admin.user.add, .passwd, .update and .del. Each takes its own fields.
type UserRequest struct {
	User     string  `json:"user"`
	Password *string `json:"password,omitempty"` // add, passwd
	Admin    *bool   `json:"admin,omitempty"`    // add, update
	Disabled *bool   `json:"disabled,omitempty"` // update
}

// only refuses fields that the method does not take, instead of ignoring them.
func (r UserRequest) only(password, admin, disabled bool) error {
	switch {
	case r.User == "":
		return chat.Refuse(chat.BadRequest, "The field user is missing.")
	case r.Password != nil && !password:
		return chat.Refuse(chat.BadRequest, "This method takes no password; admin.user.passwd sets one.")
	case r.Admin != nil && !admin:
		return chat.Refuse(chat.BadRequest, "This method takes no field admin; admin.user.update sets it.")
	case r.Disabled != nil && !disabled:
		return chat.Refuse(chat.BadRequest, "This method takes no field disabled; admin.user.update sets it.")
	}
	return nil
}

// ListRequest is the request of the methods that list.
type ListRequest struct {
	User  string `json:"user,omitempty"`  // admin.token.list: of this user only
	After string `json:"after,omitempty"` // the last user or id of the page before
	Limit int    `json:"limit,omitempty"` // 100, at most 1,000
}

// TokenRequest is the request of admin.token.add. If neither read nor write is given, both are meant;
// if one is, the other is false.
type TokenRequest struct {
	User    string   `json:"user"`
	Name    string   `json:"name,omitempty"`
	Convs   []string `json:"convs,omitempty"`
	Read    *bool    `json:"read,omitempty"`
	Write   *bool    `json:"write,omitempty"`
	Expires int64    `json:"expires,omitempty"` // seconds from now; 0: never
}

// IDRequest is the request of admin.token.revoke.
type IDRequest struct {
	ID string `json:"id"`
}

// UserReply is one account. Times are ms since 1970.
type UserReply struct {
	User     string `json:"user"`
	Admin    bool   `json:"admin"`
	Disabled bool   `json:"disabled"`
	Password bool   `json:"password"` // has one
	Created  int64  `json:"created"`
}

// UserListReply is the reply of admin.user.list.
type UserListReply struct {
	Users []UserReply `json:"users"`
	More  bool        `json:"more"`
}

// TokenAddReply is the reply of admin.token.add: the only time that the token is shown.
type TokenAddReply struct {
	ID    string `json:"id"`
	Token string `json:"token"`
}

// TokenReply is one device token. Times are ms since 1970; 0: never.
type TokenReply struct {
	ID      string   `json:"id"`
	User    string   `json:"user"`
	Name    string   `json:"name,omitempty"`
	Convs   []string `json:"convs,omitempty"`
	Read    bool     `json:"read"`
	Write   bool     `json:"write"`
	Created int64    `json:"created"`
	Expires int64    `json:"expires,omitempty"`
	Used    int64    `json:"used,omitempty"`
}

// TokenListReply is the reply of admin.token.list.
type TokenListReply struct {
	Tokens []TokenReply `json:"tokens"`
	More   bool         `json:"more"`
}

// AuditRequest is the request of admin.audit. All may be left out.
type AuditRequest struct {
	After  string `json:"after,omitempty"`  // id of an entry, or a time in ms since 1970
	Before string `json:"before,omitempty"` // the same
	User   string `json:"user,omitempty"`   // who did it, or to whom
	Kind   string `json:"kind,omitempty"`   // what, or the beginning of it: token for token.add and token.revoke
	Conv   string `json:"conv,omitempty"`
	Limit  int    `json:"limit,omitempty"` // 100, at most 1,000
}

// AuditReply is one entry of the audit trail. At is ms since 1970; prev is the hash of the entry before.
type AuditReply struct {
	ID     string `json:"id"`
	At     int64  `json:"at"`
	Who    string `json:"who"`
	What   string `json:"what"`
	Target string `json:"target"`
	Conv   string `json:"conv,omitempty"`
	Seq    uint64 `json:"seq,omitempty"`
	Addr   string `json:"addr,omitempty"`
	Note   string `json:"note,omitempty"`
	Count  int    `json:"count,omitempty"`
	Prev   string `json:"prev,omitempty"` // hexadecimal SHA-256
	Hash   string `json:"hash"`
}

// AuditListReply is the reply of admin.audit, oldest first.
type AuditListReply struct {
	Entries []AuditReply `json:"entries"`
	More    bool         `json:"more"`
}

func (a *Admin) user(name string) (any, error) {
	acc, ok := a.s.GetUser(name)
	if !ok {
		return nil, chat.Refuse(chat.NotFound, "The user %s is gone again.", name)
	}
	return userReply(acc), nil
}

func userReply(acc Account) UserReply {
	return UserReply{
		User: acc.User, Admin: acc.Admin, Disabled: acc.Disabled, Password: acc.HasPassword, Created: acc.Created.UnixMilli(),
	}
}

func (a *Admin) userAdd(ctx context.Context, r UserRequest) (any, error) {
	if err := r.only(true, true, false); err != nil {
		return nil, err
	}
	var password []byte
	if r.Password != nil {
		password = []byte(*r.Password)
	}
	if err := a.s.AddUser(ctx, r.User, password, r.Admin != nil && *r.Admin); err != nil {
		return nil, err
	}
	return a.user(r.User)
}

func (a *Admin) userPasswd(ctx context.Context, r UserRequest) (any, error) {
	if err := r.only(true, false, false); err != nil {
		return nil, err
	}
	if r.Password == nil {
		return nil, chat.Refuse(chat.BadRequest, "The field password is missing.")
	}
	if err := a.s.SetPassword(ctx, r.User, []byte(*r.Password)); err != nil {
		return nil, err
	}
	return a.user(r.User)
}

func (a *Admin) userUpdate(ctx context.Context, r UserRequest) (any, error) {
	if err := r.only(false, true, true); err != nil {
		return nil, err
	}
	if r.Admin == nil && r.Disabled == nil {
		return nil, chat.Refuse(chat.BadRequest, "Nothing to change: give admin or disabled.")
	}
	if r.Admin != nil {
		if err := a.s.SetAdmin(ctx, r.User, *r.Admin); err != nil {
			return nil, err
		}
	}
	if r.Disabled != nil {
		if err := a.s.SetDisabled(ctx, r.User, *r.Disabled); err != nil {
			return nil, err
		}
	}
	return a.user(r.User)
}

func (a *Admin) userDel(ctx context.Context, r UserRequest) (any, error) {
	if err := r.only(false, false, false); err != nil {
		return nil, err
	}
	if err := a.s.DeleteUser(ctx, r.User); err != nil {
		return nil, err
	}
	return struct{}{}, nil
}

func (a *Admin) userList(_ context.Context, r ListRequest) (any, error) {
	if r.User != "" {
		return nil, chat.Refuse(chat.BadRequest, "This method takes no field user; after continues a list.")
	}
	list, more, err := a.s.ListUsers(r.After, r.Limit)
	if err != nil {
		return nil, err
	}
	reply := UserListReply{Users: make([]UserReply, 0, len(list)), More: more}
	for _, acc := range list {
		reply.Users = append(reply.Users, userReply(acc))
	}
	return reply, nil
}

// maxTokenSeconds keeps an expiry within what a time.Duration holds.
const maxTokenSeconds = 100 * 365 * 24 * 3600

func (a *Admin) tokenAdd(ctx context.Context, r TokenRequest) (any, error) {
	spec := TokenSpec{Name: r.Name, Convs: r.Convs, Read: r.Read == nil && r.Write == nil, Write: r.Read == nil && r.Write == nil}
	if r.Read != nil {
		spec.Read = *r.Read
	}
	if r.Write != nil {
		spec.Write = *r.Write
	}
	switch {
	case r.User == "":
		return nil, chat.Refuse(chat.BadRequest, "The field user is missing.")
	case r.Expires < 0 || r.Expires > maxTokenSeconds:
		return nil, chat.Refuse(chat.BadRequest, "expires is in seconds from now, up to %d; 0 means never.", maxTokenSeconds)
	case r.Expires > 0:
		spec.Expires = a.s.o.Now().Add(time.Duration(r.Expires) * time.Second)
	}
	info, text, err := a.s.AddToken(ctx, r.User, spec)
	if err != nil {
		return nil, err
	}
	return TokenAddReply{ID: info.ID, Token: text}, nil
}

func (a *Admin) tokenRevoke(ctx context.Context, r IDRequest) (any, error) {
	if err := a.s.RevokeToken(ctx, r.ID); err != nil {
		return nil, err
	}
	return struct{}{}, nil
}

func (a *Admin) tokenList(_ context.Context, r ListRequest) (any, error) {
	if r.User != "" {
		if _, err := a.s.existing(r.User); err != nil {
			return nil, err
		}
	}
	list, more, err := a.s.ListTokens(r.User, r.After, r.Limit)
	if err != nil {
		return nil, err
	}
	ms := func(t time.Time) int64 {
		if t.IsZero() {
			return 0
		}
		return t.UnixMilli()
	}
	reply := TokenListReply{Tokens: make([]TokenReply, 0, len(list)), More: more}
	for _, t := range list {
		reply.Tokens = append(reply.Tokens, TokenReply{
			ID: t.ID, User: t.User, Name: t.Name, Convs: t.Convs, Read: t.Read, Write: t.Write,
			Created: ms(t.Created), Expires: ms(t.Expires), Used: ms(t.Used),
		})
	}
	return reply, nil
}

func (a *Admin) audit(_ context.Context, r AuditRequest) (any, error) {
	list, more, err := a.s.Audit(AuditQuery(r))
	if err != nil {
		return nil, err
	}
	reply := AuditListReply{Entries: make([]AuditReply, 0, len(list)), More: more}
	for _, e := range list {
		reply.Entries = append(reply.Entries, AuditReply{
			ID: e.ID, At: e.At.UnixMilli(), Who: e.Who, What: e.What, Target: e.Target, Conv: e.Conv, Seq: e.Seq,
			Addr: e.Addr, Note: e.Note, Count: e.Count, Prev: hex.EncodeToString(e.Prev), Hash: hex.EncodeToString(e.Hash),
		})
	}
	return reply, nil
}
