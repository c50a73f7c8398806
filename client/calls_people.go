package client

import (
	"context"
	"iter"

	"github.com/petrelchat/petrel/protocol"
)

// PeopleCalls are the calls about other people: see [Caller]. Whoever is blocked, was declined, or is a stranger to
// somebody who takes nothing from strangers is refused not-authorized in the same words.
type PeopleCalls struct{ Via Caller }

// Contact is somebody whom the caller has asked, or who has asked them, or both.
type Contact struct {
	User     string             `json:"user"`
	Name     string             `json:"name,omitempty"`
	Avatar   string             `json:"avatar,omitempty"`
	State    string             `json:"state"` // requested: the caller asked; incoming: they asked; accepted; none
	Conv     string             `json:"conv"`  // the direct conversation with them, begun or not
	At       Millis             `json:"at"`    // when the state became this
	Text     string             `json:"text,omitempty"`
	Presence *protocol.Presence `json:"presence,omitempty"` // nil: not for the caller
}

type wireContactAsk struct {
	User string `json:"user"`
	Text string `json:"text,omitempty"`
}

type wireContactState struct {
	User  string `json:"user"`
	State string `json:"state"`
}

func (p PeopleCalls) contact(ctx context.Context, method string, req any) (state string, err error) {
	reply, err := call[wireContactState](ctx, p.Via, method, req)
	return reply.State, err
}

// RequestContact asks somebody to be a contact, with at most 256 bytes of text, and returns what they are to the caller
// then: [Contact.State]. Requests that cross make two contacts. At most 200 wait (rate-limited), 5,000 contacts
// (too-large).
func (p PeopleCalls) RequestContact(ctx context.Context, user, text string) (state string, err error) {
	return p.contact(ctx, "contact.request", wireContactAsk{user, text})
}

// AcceptContact accepts a request, also one that was declined before. It accepts message requests between the two too. Who has
// not asked is not-found.
func (p PeopleCalls) AcceptContact(ctx context.Context, user string) (state string, err error) {
	return p.contact(ctx, "contact.accept", wireUser{user})
}

// DeclineContact puts a request away. Who asked is not told.
func (p PeopleCalls) DeclineContact(ctx context.Context, user string) error {
	_, err := p.contact(ctx, "contact.decline", wireUser{user})
	return err
}

// RemoveContact ends a contact, or withdraws a request.
func (p PeopleCalls) RemoveContact(ctx context.Context, user string) error {
	_, err := p.contact(ctx, "contact.remove", wireUser{user})
	return err
}

// Contacts goes through contacts and requests of both directions, by the byte order of their ids.
func (p PeopleCalls) Contacts(ctx context.Context) iter.Seq2[Contact, error] {
	return each(ctx, p.ContactsPage)
}

// ContactsPage is one page of [PeopleCalls.Contacts]: 100, at most 1,000.
func (p PeopleCalls) ContactsPage(ctx context.Context, o ListOptions) (PageOf[Contact], error) {
	type list struct {
		Contacts []Contact `json:"contacts"`
		After    string    `json:"after"`
		More     bool      `json:"more"`
	}
	reply, err := call[list](ctx, p.Via, "contact.list", o.wire())
	return paged(reply.Contacts, reply.More, reply.After), err
}

// MessageRequest is a direct conversation that somebody began and that waits for the caller. It can be read before it
// is accepted.
type MessageRequest struct {
	User   string `json:"user"` // who wrote
	Name   string `json:"name,omitempty"`
	Avatar string `json:"avatar,omitempty"`
	Conv   string `json:"conv"`
	Head   uint64 `json:"head"` // events that wait
	At     Millis `json:"at"`   // of the newest
}

// MessageRequests goes through those that wait, by the byte order of the conversations.
func (p PeopleCalls) MessageRequests(ctx context.Context) iter.Seq2[MessageRequest, error] {
	return each(ctx, p.MessageRequestsPage)
}

// MessageRequestsPage is one page of [PeopleCalls.MessageRequests]: 50, at most 200.
func (p PeopleCalls) MessageRequestsPage(ctx context.Context, o ListOptions) (PageOf[MessageRequest], error) {
	type list struct {
		Requests []MessageRequest `json:"requests"`
		After    string           `json:"after"`
		More     bool             `json:"more"`
	}
	reply, err := call[list](ctx, p.Via, "message.requests", o.wire())
	return paged(reply.Requests, reply.More, reply.After), err
}

// AcceptMessages accepts what a user wrote, as writing an answer does: all of it is delivered. It returns the
// conversation.
func (p PeopleCalls) AcceptMessages(ctx context.Context, user string) (conv string, err error) {
	reply, err := call[wireConvReply](ctx, p.Via, "message.accept", wireUser{user})
	return reply.Conv, err
}

// DeclineMessages lets the user write nothing more. It can be accepted later all the same. It returns the conversation.
func (p PeopleCalls) DeclineMessages(ctx context.Context, user string) (conv string, err error) {
	reply, err := call[wireConvReply](ctx, p.Via, "message.decline", wireUser{user})
	return reply.Conv, err
}

// Block takes nothing from a user any more: no direct messages, presence, receipts, requests. They are not told. At most
// 5,000 (too-large).
func (p PeopleCalls) Block(ctx context.Context, user string) error {
	return p.Via.Call(ctx, "block", wireUser{user}, nil)
}

// Unblock ends a block. Who was a contact before is none.
func (p PeopleCalls) Unblock(ctx context.Context, user string) error {
	return p.Via.Call(ctx, "unblock", wireUser{user}, nil)
}

// BlockedUser is a user whom the caller blocks.
type BlockedUser struct {
	User   string `json:"user"`
	Name   string `json:"name,omitempty"`
	Avatar string `json:"avatar,omitempty"`
	At     Millis `json:"at"` // since when
}

// Blocked goes through those whom the caller blocks, by the byte order of their ids.
func (p PeopleCalls) Blocked(ctx context.Context) iter.Seq2[BlockedUser, error] {
	return each(ctx, p.BlockedPage)
}

// BlockedPage is one page of [PeopleCalls.Blocked]: 100, at most 1,000.
func (p PeopleCalls) BlockedPage(ctx context.Context, o ListOptions) (PageOf[BlockedUser], error) {
	type list struct {
		Users []BlockedUser `json:"users"`
		After string        `json:"after"`
		More  bool          `json:"more"`
	}
	reply, err := call[list](ctx, p.Via, "block.list", o.wire())
	return paged(reply.Users, reply.More, reply.After), err
}

// NewReport is what is reported: an event or a conversation (Conv, with Seq or without), or a User, or both.
type NewReport struct {
	Conv   string `json:"conv,omitempty"`
	Seq    uint64 `json:"seq,omitempty"`
	User   string `json:"user,omitempty"`
	Reason string `json:"reason"` // 1 to 1,024 bytes
}

// Report tells the moderators of the group and the administrators, and returns the report's id. The event and up to four
// before it go with it. At most 20 a day (rate-limited).
func (p PeopleCalls) Report(ctx context.Context, r NewReport) (id string, err error) {
	reply, err := call[wireID](ctx, p.Via, "report", &r)
	return reply.ID, err
}

type wireID struct {
	ID string `json:"id"`
}
