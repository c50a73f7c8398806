package rpc

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/petrelchat/petrel/broker/auth"
	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// Options is what a Service is made of. Only Now, NewID, PublicURL and Log may be nil.
type Options struct {
	Hub      Hub
	Store    storage.Reader
	Barrier  func() error // returns when all that was committed before is durable
	Accounts Accounts
	Profiles Profiles
	Devices  Devices
	Admin    Admin

	Now   func() int64  // ms since 1970
	NewID func() string // an id for a group, or the code of an invitation: at least 128 random bits as [a-z0-9]{10,64}
	// Erase removes an account and begins to erase what the user left; nil: that is not offered.
	Erase  func(ctx context.Context, user string) error
	Search Searcher // nil: nothing is searched
	// Runs say which commits are this store's: for tokens that a client brings to a restored server. nil: that is not known.
	Runs storage.Runs
	// Webhooks and Bots are what programs use; nil: they are not offered.
	Webhooks Webhooks
	Bots     Bots
	// Push tells those who are away; nil: that is not offered.
	Push Push
	// Calls are audio and video calls; nil: they are not offered.
	Calls Calls
	ICE   ICE // nil: there are no servers to name
	// PublicURL is where people reach this server with a browser, without a slash at its end; nil or "": nowhere.
	PublicURL func() string
	Log       *slog.Logger
}

// Service carries out requests. Its methods may be called from any goroutine that may wait for the disk,
// so not from the pipeline's and not from an owner's.
type Service struct {
	o       Options
	methods map[string]method
	rosters rosters
	// Few searches run at a time in the whole server.
	searches turns
	people   *people
	cbor     cbor.EncMode
}

// Caller is who asks.
type Caller struct {
	User   string // "" for a guest
	Admin  bool
	Client string // the client id of the session that asks
}

// MaxReply bounds a reply when the caller names no bound: PROTOCOL's limit of a packet.
const MaxReply = 1 << 20

// New returns a service over the parts of a server.
func New(o Options) *Service {
	if o.Now == nil {
		o.Now = func() int64 { return time.Now().UnixMilli() }
	}
	if o.NewID == nil {
		o.NewID = func() string { return strings.ToLower(rand.Text()) }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic("rpc: " + err.Error()) // the options are constants
	}
	s := &Service{o: o, people: newPeople(), cbor: mode}
	s.methods = map[string]method{
		"group.create":    with(groupCreate),
		"group.get":       with(groupGet),
		"group.update":    with(groupUpdate),
		"group.delete":    with(groupDelete),
		"group.join":      with(groupJoin),
		"group.leave":     with(groupLeave),
		"member.list":     with(memberList),
		"member.add":      with(memberAdd),
		"member.remove":   with(memberRemove),
		"member.role":     with(memberRole),
		"member.ban":      with(memberBan),
		"member.unban":    with(memberUnban),
		"member.mute":     with(memberMute),
		"member.bans":     with(memberBans),
		"invite.create":   with(inviteCreate),
		"invite.list":     with(inviteList),
		"invite.revoke":   with(inviteRevoke),
		"invite.accept":   with(inviteAccept),
		"request.list":    with(requestList),
		"request.approve": with(requestApprove),
		"request.deny":    with(requestDeny),
		"history":         with(history),
		"receipts":        with(receipts),
		"receipts.since":  with(receiptsSince),
		"conv.list":       with(convList),
		"sync":            with(syncSince),
		"user.get":        with(userGet),
		"user.update":     with(userUpdate),
		"device.list":     with(deviceList),
		"device.revoke":   with(deviceRevoke),
		"device.update":   with(deviceUpdate),
	}
	maps.Copy(s.methods, peopleMethods())
	maps.Copy(s.methods, eventMethods())
	maps.Copy(s.methods, programMethods(&o))
	maps.Copy(s.methods, searchMethods(&o))
	maps.Copy(s.methods, pushMethods(&o))
	maps.Copy(s.methods, callMethods(&o))
	for _, name := range o.Admin.Methods() {
		s.methods[name] = administrative
	}
	return s
}

// Methods returns the names of all methods, in no order.
func (s *Service) Methods() []string {
	names := make([]string, 0, len(s.methods))
	for name := range s.methods {
		names = append(names, name)
	}
	return names
}

// call is one request on its way.
type call struct {
	*Service
	Caller
	ctx context.Context
	req protocol.Request
	max int // bytes of the reply
	now int64
}

type method func(c *call) (any, error)

// with turns a handler of typed parameters into a method.
func with[P any](fn func(*call, *P) (any, error)) method {
	return func(c *call) (any, error) {
		p := new(P)
		if err := c.req.Params(p); err != nil {
			return nil, err
		}
		return fn(c, p)
	}
}

// Call carries out one request and returns the payload of the reply, in the encoding of the request. It
// may wait for the disk, and for a connection to end (device.revoke: no longer than ctx lasts). The
// reply takes at most maxReply bytes, 0: MaxReply; only a refusal may exceed a bound below some 300 bytes.
func (s *Service) Call(ctx context.Context, caller Caller, name string, payload []byte, maxReply int) []byte {
	if maxReply <= 0 {
		maxReply = MaxReply
	}
	req, err := protocol.ParseRequest(name, payload)
	c := &call{Service: s, Caller: caller, ctx: ctx, req: req, max: maxReply, now: s.o.Now()}
	var ok any
	if err == nil {
		ok, err = c.carryOut(name)
	}
	if err != nil {
		var refusal *chat.Refusal
		if !errors.As(err, &refusal) {
			s.o.Log.Error("a request failed", "method", name, "user", caller.User, "client", caller.Client, "error", err)
		}
		return protocol.AppendReply(nil, req.CBOR, req.Tag, nil, err)
	}
	reply := protocol.AppendReply(nil, req.CBOR, req.Tag, ok, nil)
	if len(reply) > maxReply {
		return protocol.AppendReply(nil, req.CBOR, req.Tag, nil, errReplySize(maxReply))
	}
	return reply
}

func (c *call) carryOut(name string) (any, error) {
	if c.User == "" {
		return nil, chat.Refuse(chat.NotAuthorized, "a guest may use plain topics only: connect with a user name")
	}
	if strings.HasPrefix(name, "admin.") && !c.Admin { // before it is known whether there is such a method
		return nil, chat.Refuse(chat.NotAuthorized, "only an administrator may ask for this")
	}
	fn, ok := c.methods[name]
	if !ok {
		return nil, chat.Refuse(chat.NotFound, "unknown method: see the table of methods in the protocol")
	}
	return fn(c)
}

// administrative hands a request to the one implementation of administration.
func administrative(c *call) (any, error) {
	return c.o.Admin.Call(auth.WithActor(c.ctx, c.User), c.req.Method, c.req.Params)
}

func errReplySize(limit int) error {
	return chat.Refuse(chat.TooLarge, "the reply does not fit into the %d bytes that this connection takes: "+
		"ask for less, or connect with a larger Maximum Packet Size", limit)
}

// kindOf says whether an id is that of a direct conversation, or refuses what can be neither.
func kindOf(conv string) (direct bool, err error) {
	if _, _, ok := chat.Parties(conv); ok {
		return true, nil
	}
	switch {
	case chat.ValidGroup(conv):
		return false, nil
	case conv == "":
		return false, chat.Refuse(chat.BadRequest, "conv is missing: name the conversation")
	}
	return false, chat.Refuse(chat.BadRequest, "conv is a group id ([a-z0-9][a-z0-9-]{0,63}) or two user ids in byte order, joined by ~")
}

// query shows fn a conversation and returns when all that it saw is durable; an error of fn goes first.
func (c *call) query(conv string, fn func(v hub.View) error) error {
	direct, err := kindOf(conv)
	if err != nil {
		return err
	}
	var refused error
	if err := c.o.Hub.Query(conv, direct, func(v hub.View) { refused = fn(v) }); err != nil {
		return err
	}
	return refused
}

// do has the hub carry out a command of the caller.
func (c *call) do(conv string, cmd chat.Command) error { return c.command(conv, cmd).Err }

// command is do with all of the result.
func (c *call) command(conv string, cmd chat.Command) hub.Result {
	direct, err := kindOf(conv)
	if err != nil {
		return hub.Result{Err: err}
	}
	cmd.Actor = c.User
	return c.o.Hub.Do(&hub.Request{Conv: conv, Direct: direct, Cmd: cmd})
}

// pageOf reads the parameter limit: beyond the most that a method gives it means that most.
func pageOf(limit *int64, normal, most int) (int, error) {
	switch {
	case limit == nil:
		return normal, nil
	case *limit < 1:
		return 0, chat.Refuse(chat.BadRequest, "limit is 1 to %d; without it you get %d", most, normal)
	}
	return int(min(*limit, int64(most))), nil
}

// account refuses users that there are not. whose names the parameter.
func (c *call) account(whose, user string) error {
	switch {
	case user == "":
		return chat.Refuse(chat.BadRequest, "%s is missing: name the user", whose)
	case !chat.ValidUser(user):
		return chat.Refuse(chat.BadRequest, "%s has something that is no user id", whose)
	case !c.o.Accounts.Exists(user):
		return chat.Refuse(chat.NotFound, "there is no user %s", user)
	}
	return nil
}
