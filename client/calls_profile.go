package client

import (
	"context"
	"iter"

	"github.com/petrelchat/petrel/protocol"
)

// ProfileCalls are the calls about accounts: see [Caller].
type ProfileCalls struct{ Via Caller }

// Profile is a user as the caller may see them.
type Profile struct {
	User     string             `json:"user"`
	Name     string             `json:"name,omitempty"`
	Avatar   string             `json:"avatar,omitempty"` // a reference of the clients' choice
	Bot      bool               `json:"bot,omitempty"`
	Presence *protocol.Presence `json:"presence,omitempty"` // nil: not for the caller

	// These are there in the caller's own profile only.
	Receipts *bool  `json:"receipts,omitempty"` // tells what they have read, and is told it of others
	LastSeen *bool  `json:"lastseen,omitempty"` // tells when they were last there, and is told it of others
	Messages string `json:"messages,omitempty"` // first messages of strangers: anyone, requests, shared; "": as the server has it
	Calls    string `json:"calls,omitempty"`    // who may call them directly: anyone, accepted, nobody; "": as the server has it
	Relay    string `json:"relay,omitempty"`    // when media of their calls are relayed: always, until-accepted, never; "": never
}

// Get returns a user's profile; user "": the caller's own. Who does not exist is not-found.
func (p ProfileCalls) Get(ctx context.Context, user string) (Profile, error) {
	return call[Profile](ctx, p.Via, "user.get", wireUser{user})
}

// ProfileChange changes the caller's profile. nil leaves a field as it is.
type ProfileChange struct {
	Name     *string `json:"name,omitempty"`     // 1 to 64 characters
	Avatar   *string `json:"avatar,omitempty"`   // at most 256 bytes; "": none
	Receipts *bool   `json:"receipts,omitempty"` // false: others don't see what the caller has read, nor the caller what they have
	LastSeen *bool   `json:"lastseen,omitempty"` // false: the same for when they were last there
	Messages *string `json:"messages,omitempty"` // anyone, requests or shared; "": as the server has it
	Calls    *string `json:"calls,omitempty"`    // who may call directly: anyone, accepted or nobody; "": as the server has it
	Relay    *string `json:"relay,omitempty"`    // when media of calls are relayed: always, until-accepted or never; "": never
}

// Update changes the caller's profile and returns it.
func (p ProfileCalls) Update(ctx context.Context, change ProfileChange) (Profile, error) {
	return call[Profile](ctx, p.Via, "user.update", &change)
}

// ExportItem is one thing that a user is, has or said: the field that Type names (account, profile, device, contact,
// block, setting, membership, event). It marshals to JSON as the contract has it.
type ExportItem struct {
	Type       string            `json:"type"`
	Account    *ExportAccount    `json:"account,omitempty"`
	Profile    *ExportProfile    `json:"profile,omitempty"`
	Device     *ExportDevice     `json:"device,omitempty"`
	Contact    *Contact          `json:"contact,omitempty"`
	Block      *BlockedUser      `json:"block,omitempty"`
	Setting    *Setting          `json:"setting,omitempty"`
	Membership *ExportMembership `json:"membership,omitempty"`
	Conv       string            `json:"conv,omitempty"` // of the event
	// Event is one that the user wrote.
	Event *protocol.EventReply `json:"event,omitempty"`
}

// ExportAccount is the account.
type ExportAccount struct {
	User    string `json:"user"`
	Created Millis `json:"created"`
	Admin   bool   `json:"admin"`
}

// ExportProfile is what a user tells about themselves.
type ExportProfile struct {
	Name     string `json:"name,omitempty"`
	Avatar   string `json:"avatar,omitempty"`
	State    string `json:"state,omitempty"` // of the status
	Text     string `json:"text,omitempty"`  // of the status
	Seen     Millis `json:"seen,omitempty"`
	Receipts bool   `json:"receipts"`
	LastSeen bool   `json:"lastseen"`
	Messages string `json:"messages,omitempty"`
	Calls    string `json:"calls,omitempty"`
	Relay    string `json:"relay,omitempty"`
	Modified Millis `json:"modified,omitempty"`
}

// ExportDevice is a session.
type ExportDevice struct {
	Device  string `json:"device"`
	Name    string `json:"name,omitempty"`
	Created Millis `json:"created"`
	Ended   Millis `json:"ended,omitempty"` // of its connection; 0: it is there
	Addr    string `json:"addr,omitempty"`
}

// ExportMembership is a conversation that the user is or was in. All but Role are seqs.
type ExportMembership struct {
	Conv   string `json:"conv"`
	Role   string `json:"role,omitempty"` // "": no member any more
	Since  uint64 `json:"since"`          // from where on they may read
	Joined uint64 `json:"joined"`
	Left   uint64 `json:"left,omitempty"`
	Read   uint64 `json:"read"`
}

type wireExport struct {
	Items []ExportItem `json:"items"`
	After string       `json:"after"`
	More  bool         `json:"more"`
}

func export(ctx context.Context, via Caller, method string, req any) (PageOf[ExportItem], error) {
	reply, err := call[wireExport](ctx, via, method, req)
	for _, item := range reply.Items {
		if item.Event != nil && item.Event.Event != nil {
			item.Event.Me = item.Event.Event.From // so that its id is not lost when it is written down
		}
	}
	return paged(reply.Items, reply.More, reply.After), err
}

type wireAfter struct {
	After string `json:"after,omitempty"`
}

// Export goes through all that the caller is, has and said. What others wrote is not part of it.
func (p ProfileCalls) Export(ctx context.Context) iter.Seq2[ExportItem, error] {
	return each(ctx, p.ExportPage)
}

// ExportPage is one page of [ProfileCalls.Export]. Its length is the server's choice; a page may be empty that has another
// behind it.
func (p ProfileCalls) ExportPage(ctx context.Context, o ListOptions) (PageOf[ExportItem], error) {
	return export(ctx, p.Via, "user.export", wireAfter{o.After})
}

type wireErase struct {
	Confirm string `json:"confirm"`
}

// Erase ends the caller's account for good: sessions and tokens end at once, and what they wrote is withdrawn in the
// background. me is the caller's own id, so that nobody does it by accident (bad-request otherwise). This connection ends with
// the others, maybe before the reply: an error that is no refusal leaves open whether it was done, and the refusal to
// log in again says that it was.
func (p ProfileCalls) Erase(ctx context.Context, me string) error {
	return p.Via.Call(ctx, "user.erase", wireErase{me}, nil)
}
