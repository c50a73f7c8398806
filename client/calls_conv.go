package client

import (
	"context"
	"iter"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
)

// ConvCalls are the calls about conversations as the user keeps them: see [Caller]. What is no conversation of the
// caller's is not-found.
type ConvCalls struct{ Via Caller }

// ConvRow is a conversation in the server's list.
type ConvRow struct {
	Conv      string
	Kind      string // direct, group
	Title     string // of a group
	Role      string // the caller's
	Head      uint64 // seq of the newest event
	Read      uint64 // the caller's cursors: seqs
	Delivered uint64
	Unread    uint64 // events
	Mentions  int    // unread ones, among the newest 100 unread events
	Pending   bool   // a message request: accept or decline it
	Mute      Millis // when the muting ends; [ForGood]; 0: not muted
	Archived  bool
	Pinned    bool
	At        Millis     // of the newest event
	Last      chat.Event // the newest event; more than 4 KiB: a stub
}

type wireConvState struct {
	Conv      string `json:"conv"`
	Kind      string `json:"kind"`
	Head      uint64 `json:"head"`
	Read      uint64 `json:"read"`
	Delivered uint64 `json:"delivered"`
	Unread    uint64 `json:"unread"`
	Mentions  int    `json:"mentions"`
	Pending   bool   `json:"pending"`
	Mute      Millis `json:"mute"`
	Archived  bool   `json:"archived"`
	Pinned    bool   `json:"pinned"`
}

type wireConvRow struct {
	wireConvState
	Title string              `json:"title"`
	Role  string              `json:"role"`
	At    Millis              `json:"at"`
	Last  protocol.EventReply `json:"last"`
}

// List goes through the caller's conversations, the last active first, in the order of the moment when it began: what
// becomes active meanwhile is neither passed over nor told twice.
func (c ConvCalls) List(ctx context.Context) iter.Seq2[ConvRow, error] { return each(ctx, c.ListPage) }

// ListPage is one page of [ConvCalls.List]: 50 conversations, at most 200.
func (c ConvCalls) ListPage(ctx context.Context, o ListOptions) (PageOf[ConvRow], error) {
	type list struct {
		Convs []wireConvRow `json:"convs"`
		After string        `json:"after"`
		More  bool          `json:"more"`
	}
	reply, err := call[list](ctx, c.Via, "conv.list", o.wire())
	rows := make([]ConvRow, len(reply.Convs))
	for i, r := range reply.Convs {
		rows[i] = ConvRow{
			Conv: r.Conv, Kind: r.Kind, Title: r.Title, Role: r.Role, Head: r.Head, Read: r.Read, Delivered: r.Delivered,
			Unread: r.Unread, Mentions: r.Mentions, Pending: r.Pending, Mute: r.Mute, Archived: r.Archived, Pinned: r.Pinned,
			At: r.At, Last: eventOf(r.Last),
		}
	}
	return paged(rows, reply.More, reply.After), err
}

// PutAway is how the caller has put a conversation away, on all devices.
type PutAway struct {
	Mute     Millis `json:"mute"` // when the muting ends; [ForGood]; 0: not muted
	Archived bool   `json:"archived"`
	Pinned   bool   `json:"pinned"`
	At       Millis `json:"at"` // when it was changed last; 0: never
}

type wirePutAway struct {
	Conv string `json:"conv"`
	PutAway
}

func (c ConvCalls) change(ctx context.Context, method string, req any) (PutAway, error) {
	reply, err := call[wirePutAway](ctx, c.Via, method, req)
	return reply.PutAway, err
}

type wireMute struct {
	Conv  string  `json:"conv"`
	Until *Millis `json:"until,omitempty"`
}

// Mute keeps a conversation from notifying the caller until a time; [ForGood]: until it is unmuted; 0: it notifies again.
// Mentions still do, unless [PushSettings] say otherwise.
func (c ConvCalls) Mute(ctx context.Context, conv string, until Millis) (PutAway, error) {
	req := wireMute{Conv: conv}
	if until != ForGood {
		req.Until = &until
	}
	return c.change(ctx, "conv.mute", req)
}

type wireArchive struct {
	Conv     string `json:"conv"`
	Archived bool   `json:"archived"`
}

// Archive puts a conversation into the archive, or takes it out.
func (c ConvCalls) Archive(ctx context.Context, conv string, archived bool) (PutAway, error) {
	return c.change(ctx, "conv.archive", wireArchive{conv, archived})
}

type wirePin struct {
	Conv   string `json:"conv"`
	Pinned bool   `json:"pinned"`
}

// Pin keeps a conversation on top of the list, or not any more.
func (c ConvCalls) Pin(ctx context.Context, conv string, pinned bool) (PutAway, error) {
	return c.change(ctx, "conv.pin", wirePin{conv, pinned})
}

// PutAway returns how a conversation is put away.
func (c ConvCalls) PutAway(ctx context.Context, conv string) (PutAway, error) {
	s, err := SettingCalls(c).get(ctx, "conv", conv)
	if err != nil || s.Value.Null() {
		return PutAway{}, err
	}
	away := PutAway{}
	err = s.Value.Decode(&away)
	away.At = s.At
	return away, err
}

// Draft returns the text that is being written in a conversation, and when it was changed; "" and 0: there is none.
func (c ConvCalls) Draft(ctx context.Context, conv string) (text string, at Millis, err error) {
	s, err := SettingCalls(c).get(ctx, "draft", conv)
	if err == nil && !s.Value.Null() {
		err = s.Value.Decode(&text)
	}
	return text, s.At, err
}

type wireDraft struct {
	Conv string  `json:"conv"`
	Text string  `json:"text"`
	If   *Millis `json:"if,omitempty"`
}

type wireAt struct {
	Conv string `json:"conv"`
	At   Millis `json:"at"`
}

// SetDraft keeps the text that is being written, at most 64 KiB; "" clears it. The later of two devices wins. The
// conversation need not have begun if it is a direct one.
func (c ConvCalls) SetDraft(ctx context.Context, conv, text string) (at Millis, err error) {
	reply, err := call[wireAt](ctx, c.Via, "draft.set", wireDraft{Conv: conv, Text: text})
	return reply.At, err
}

// SetDraftIf is SetDraft, refused conflict if the draft that is there is not the one of seen; 0: if there is one.
func (c ConvCalls) SetDraftIf(ctx context.Context, conv, text string, seen Millis) (at Millis, err error) {
	reply, err := call[wireAt](ctx, c.Via, "draft.set", wireDraft{conv, text, &seen})
	return reply.At, err
}

// ConvSettings are the settings that a direct conversation has too. nil leaves one as it is.
type ConvSettings struct {
	Expire  *uint32 `json:"expire,omitempty"`  // seconds until posts disappear that say nothing else; 0: never
	Forward *string `json:"forward,omitempty"` // origin or hidden: whether forwarded posts tell where they are from
}

type wireConvUpdate struct {
	Conv string `json:"conv"`
	ConvSettings
}

// Update changes the settings of a conversation; for groups [GroupCalls.Update] has all of them. It holds for posts to
// come.
func (c ConvCalls) Update(ctx context.Context, conv string, change ConvSettings) (Group, error) {
	return call[Group](ctx, c.Via, "conv.update", wireConvUpdate{conv, change})
}

type wireHide struct {
	Conv string `json:"conv"`
	Seq  uint64 `json:"seq"`
}

// Hide deletes a post for the caller alone, on all devices, its edits too. It returns the seq of the post, if seq was that
// of an edit.
func (c ConvCalls) Hide(ctx context.Context, conv string, seq uint64) (post uint64, err error) {
	reply, err := call[wireHide](ctx, c.Via, "hide", wireHide{conv, seq})
	return reply.Seq, err
}

// Hidden goes through what the caller deleted for themselves, by conversation and seq.
func (c ConvCalls) Hidden(ctx context.Context) iter.Seq2[HiddenPost, error] {
	return each(ctx, c.HiddenPage)
}

// HiddenPost is a post that the caller deleted for themselves.
type HiddenPost struct {
	Conv string `json:"conv"`
	Seq  uint64 `json:"seq"`
}

// HiddenPage is one page of [ConvCalls.Hidden]: 500, at most 2,000.
func (c ConvCalls) HiddenPage(ctx context.Context, o ListOptions) (PageOf[HiddenPost], error) {
	type list struct {
		Hidden []HiddenPost `json:"hidden"`
		After  string       `json:"after"`
		More   bool         `json:"more"`
	}
	reply, err := call[list](ctx, c.Via, "hidden", o.wire())
	return paged(reply.Hidden, reply.More, reply.After), err
}

// Forwarding says what is forwarded and where to.
type Forwarding struct {
	From string `json:"from"`         // the conversation that has the post
	Seq  uint64 `json:"seq"`          // the post
	To   string `json:"conv"`         // the conversation that gets a copy
	ID   string `json:"id,omitempty"` // so that a repetition makes no second post: at most 64 bytes; "": none
}

// Forward copies a post into another conversation, as the caller's own, and returns its seq there. How much the copy tells of
// where it is from depends on the conversation that it is taken from.
func (c ConvCalls) Forward(ctx context.Context, f Forwarding) (seq uint64, err error) {
	reply, err := call[wireHide](ctx, c.Via, "forward", &f)
	return reply.Seq, err
}
