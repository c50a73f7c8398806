package client

import (
	"context"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
)

// SyncPage is what changed since a token. A [Client] synchronises by itself; this is for programs that keep their own store.
type SyncPage struct {
	Convs []SyncConv
	// Reads has the read cursors of all conversations with something unread that are not in Convs; one that is in
	// neither has been read to its head. nil: the other cursors have not changed.
	Reads        map[string]uint64
	Relist       bool     // Reads would have been too long: take the cursors from [ConvCalls.List]
	Own          *SyncOwn // nil: the user's own log has nothing new
	Receipts     []ReceiptNews
	ReceiptsMore bool   // there are more receipts: [HistoryCalls.ReceiptsSince]
	Since        string // for the next time; opaque
	More         bool   // ask again at once, with Since
}

// SyncConv is a conversation that changed.
type SyncConv struct {
	Conv      string
	Left      bool               // the caller is no member any more, and nothing else of this is there
	Kind      string             // direct, group
	Info      *protocol.InfoView // if it is new or changed, without Head
	Head      uint64             // seq of the newest event
	Read      uint64             // the caller's cursors: seqs
	Delivered uint64
	Unread    uint64 // events
	Mentions  int    // unread ones, among the newest 100 unread events
	Pending   bool   // a message request
	Mute      Millis // when the muting ends; [ForGood]; 0: not muted
	Archived  bool
	Pinned    bool
	Events    []chat.Event // the newest since the token, at most 20, ascending
	Gap       bool         // there are older ones since the token: [HistoryCalls.Page]
}

// SyncOwn is what is new in the user's own log.
type SyncOwn struct {
	Head   uint64       // seq of its newest event
	Events []chat.Event // the newest since the token, at most 50, ascending
	Gap    bool         // there are older ones: read settings, contacts and the like anew
}

type wireSyncConv struct {
	wireConvState
	Left   bool               `json:"left"`
	Info   *protocol.InfoView `json:"info"`
	Events protocol.Events    `json:"events"`
	Gap    bool               `json:"gap"`
}

type wireSync struct {
	Convs []wireSyncConv    `json:"convs"`
	Reads map[string]uint64 `json:"reads"`
	Own   *struct {
		Head   uint64          `json:"head"`
		Events protocol.Events `json:"events"`
		Gap    bool            `json:"gap"`
	} `json:"own"`
	Relist       bool          `json:"relist"`
	Receipts     []ReceiptNews `json:"receipts"`
	ReceiptsMore bool          `json:"receipts_more"`
	Since        string        `json:"since"`
	More         bool          `json:"more"`
}

// Sync tells what changed since the token of the last reply; "": begin. limit is conversations: 100 (0), at most 500. A token
// that is refused conflict is of a server that was restored: begin anew.
func (c ConvCalls) Sync(ctx context.Context, since string, limit int) (SyncPage, error) {
	reply, err := call[wireSync](ctx, c.Via, "sync", wireSince{since, limit})
	page := SyncPage{
		Convs: make([]SyncConv, len(reply.Convs)), Reads: reply.Reads, Relist: reply.Relist,
		Receipts: reply.Receipts, ReceiptsMore: reply.ReceiptsMore, Since: reply.Since, More: reply.More,
	}
	if own := reply.Own; own != nil {
		page.Own = &SyncOwn{own.Head, own.Events.List, own.Gap}
	}
	for i, r := range reply.Convs {
		page.Convs[i] = SyncConv{
			Conv: r.Conv, Left: r.Left, Kind: r.Kind, Info: r.Info, Head: r.Head, Read: r.Read, Delivered: r.Delivered,
			Unread: r.Unread, Mentions: r.Mentions, Pending: r.Pending, Mute: r.Mute, Archived: r.Archived, Pinned: r.Pinned,
			Events: r.Events.List, Gap: r.Gap,
		}
	}
	return page, err
}
