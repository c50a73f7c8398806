package client

import (
	"context"
	"errors"
	"iter"
	"strconv"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
)

// Caller carries out requests of the contract (docs/protocol.md, RPC); *[Client] is one. A request is a value with
// json tags, nil for none; reply points to one, nil if it is of no interest. A request that the server declines is a
// [*chat.Refusal], to be found with errors.As; its Code is stable, its Reason is for people.
//
// All requests are there as typed calls, by what they are about. They need the network, unlike what the Client
// itself has for the same things: Send, Messages, Members, MarkRead and so on read and write the local store.
//
//	c.Groups()       GroupCalls       create, get, change, delete, join, leave, find groups
//	c.Roster()       MemberCalls      members of a conversation: list, add, remove, roles, bans, muting
//	c.Invites()      InviteCalls      invitations, with a QR code if wanted: create, list, revoke, accept
//	c.JoinRequests() JoinRequestCalls who asks to join a group: list, approve, deny
//	c.History()      HistoryCalls     reading what the server has: events, threads, reactions, edits, pins, receipts, search
//	c.Convs()        ConvCalls        list, sync; mute, archive, pin, draft; settings of a direct one; hide and forward a post
//	c.Settings()     SettingCalls     private settings that follow the user to all devices
//	c.People()       PeopleCalls      contacts, message requests, blocking, reports
//	c.Profiles()     ProfileCalls     profiles, export and erasure of the own account
//	c.Devices()      DeviceCalls      the user's sessions: list, revoke, change
//	c.Push()         PushCalls        where notifications go, and when
//	c.Calling()      CallingCalls     ICE servers for calls, and which calls there are
//	c.Bots()         BotCalls         bots of one's own, their tokens and slash commands
//	c.Webhooks()     WebhookCalls     webhooks of a conversation
//	c.Admin()        AdminCalls       accounts, tokens, audit trail, reports: for administrators
//
// What these return are small values, to be used from any goroutine and thrown away. With Via they work over any other
// Caller: GroupCalls{Via: caller}.
//
// Lists come twice: as an iterator that asks for page after page while it is ranged over, and, with Page at the end of the
// name, as one page. An iterator yields an error once, as its last pair.
//
//	for g, err := range c.Groups().Search(ctx, "climb") {
//		if err != nil {
//			return err
//		}
//		fmt.Println(g.Conv, g.Title)
//	}
type Caller interface {
	Call(ctx context.Context, method string, req, reply any) error
}

var _ Caller = (*Client)(nil)

// Groups are the calls about groups as a whole.
func (c *Client) Groups() GroupCalls { return GroupCalls{c} }

// Roster are the calls about the members of a conversation, as the server has them.
func (c *Client) Roster() MemberCalls { return MemberCalls{c} }

// Invites are the calls about invitations.
func (c *Client) Invites() InviteCalls { return InviteCalls{c} }

// JoinRequests are the calls about those who ask to join a group.
func (c *Client) JoinRequests() JoinRequestCalls { return JoinRequestCalls{c} }

// History are the calls that read what the server has of conversations.
func (c *Client) History() HistoryCalls { return HistoryCalls{c} }

// Convs are the calls about conversations as the user keeps them.
func (c *Client) Convs() ConvCalls { return ConvCalls{c} }

// Settings are the calls about the user's private settings.
func (c *Client) Settings() SettingCalls { return SettingCalls{c} }

// People are the calls about other people: contacts, message requests, blocking, reports.
func (c *Client) People() PeopleCalls { return PeopleCalls{c} }

// Profiles are the calls about accounts: profiles, export, erasure.
func (c *Client) Profiles() ProfileCalls { return ProfileCalls{c} }

// Devices are the calls about the user's sessions.
func (c *Client) Devices() DeviceCalls { return DeviceCalls{c} }

// Push are the calls about notifications.
func (c *Client) Push() PushCalls { return PushCalls{c} }

// Calling are the requests about audio and video calls.
func (c *Client) Calling() CallingCalls { return CallingCalls{c} }

// Bots are the calls about bots.
func (c *Client) Bots() BotCalls { return BotCalls{c} }

// Webhooks are the calls about webhooks.
func (c *Client) Webhooks() WebhookCalls { return WebhookCalls{c} }

// Admin are the calls of administrators; everybody else is refused not-authorized.
func (c *Client) Admin() AdminCalls { return AdminCalls{c} }

// Millis is a time as the contract has it: milliseconds since 1970 UTC.
type Millis int64

// MillisOf is the time t on the wire; the zero Time is 0.
func MillisOf(t time.Time) Millis {
	if t.IsZero() {
		return 0
	}
	return Millis(t.UnixMilli())
}

// Time is the zero Time for 0 and for negative values, which have meanings of their own.
func (m Millis) Time() time.Time {
	if m <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(m))
}

// ForGood is a mute without an end.
const ForGood Millis = -1

// ListOptions say which page of a list is wanted. The zero value is the first, of the length that the method gives.
type ListOptions struct {
	After string // [PageOf.Next] of the page before; "": from the beginning
	Limit int    // most items; 0: as many as the method gives, too many: as many as it has at most
}

// PageOf is one page of a list.
type PageOf[T any] struct {
	Items []T
	More  bool   // there is another page
	Next  string // what it is asked for with; opaque; "" if there is none
	// Behind says, of searches only, that the server is still filling its index: it may not have found all.
	Behind bool
}

// wirePage is how most methods are asked for a page.
type wirePage struct {
	After string `json:"after,omitempty"`
	Limit int    `json:"limit,omitempty"`
}

// wireConv, wireUser and wireCode are the parameters of methods that take nothing else.
type (
	wireConv struct {
		Conv string `json:"conv"`
	}
	wireUser struct {
		User string `json:"user"`
	}
	wireConvPage struct {
		Conv string `json:"conv"`
		wirePage
	}
)

func (o ListOptions) wire() wirePage { return wirePage(o) }

// paged is a page whose reply says where the next one begins.
func paged[T any](items []T, more bool, next string) PageOf[T] {
	if !more {
		next = ""
	}
	return PageOf[T]{Items: items, More: more, Next: next}
}

// pagedBy is a page whose last item says where the next one begins.
func pagedBy[T any](items []T, more bool, name func(*T) string) PageOf[T] {
	if !more || len(items) == 0 {
		return PageOf[T]{Items: items, More: more}
	}
	return PageOf[T]{Items: items, More: true, Next: name(&items[len(items)-1])}
}

// errSamePage ends an iteration over a list that would never end.
var errSamePage = errors.New("client: the server's reply says that there is more, but not where it begins")

// each ranges over all pages of a list.
func each[T any](ctx context.Context, page func(ctx context.Context, o ListOptions) (PageOf[T], error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		for o := (ListOptions{}); ; {
			p, err := page(ctx, o)
			if err != nil {
				yield(none, err)
				return
			}
			for _, item := range p.Items {
				if !yield(item, nil) {
					return
				}
			}
			if !p.More {
				return
			}
			if p.Next == "" || p.Next == o.After {
				yield(none, errSamePage)
				return
			}
			o.After = p.Next
		}
	}
}

// seqName and seqAfter are how a list that goes by seq has its place in [PageOf.Next].
func seqName(seq uint64) string { return strconv.FormatUint(seq, 10) }

func seqAfter(o ListOptions) (uint64, error) {
	if o.After == "" {
		return 0, nil
	}
	seq, err := strconv.ParseUint(o.After, 10, 64)
	if err != nil {
		return 0, chat.Refuse(chat.BadRequest, "After is not the Next of a page of this list: leave it out to begin anew")
	}
	return seq, nil
}

// eventOf takes the event out of a row; a row without one is a stub without a seq.
func eventOf(r protocol.EventReply) chat.Event {
	if r.Event == nil {
		return chat.Event{Kind: chat.KindGone}
	}
	return *r.Event
}
