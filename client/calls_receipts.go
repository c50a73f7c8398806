package client

import (
	"context"
	"iter"
)

// ReceiptPage says how far an event has come, with a page of who. Its sender does not count.
type ReceiptPage struct {
	PageOf[Receipt]
	Delivered int  // members whose devices have it
	Read      *int // members who have read it and tell; nil: the caller does not tell, so they are not told
	Of        int  // members who may see it
}

// Receipt is how far an event has come with one member.
type Receipt struct {
	User      string `json:"user"`
	Delivered bool   `json:"delivered"`
	Read      *bool  `json:"read,omitempty"` // nil: the caller does not tell, so they are not told
}

type wireReceiptsAsk struct {
	Conv string `json:"conv"`
	Seq  uint64 `json:"seq"`
	wirePage
}

type wireReceipts struct {
	Delivered int       `json:"delivered"`
	Read      *int      `json:"read"`
	Of        int       `json:"of"`
	Who       []Receipt `json:"who"`
	More      bool      `json:"more"`
}

// Receipts goes through the members who may see an event, in the byte order of their ids.
func (h HistoryCalls) Receipts(ctx context.Context, conv string, seq uint64) iter.Seq2[Receipt, error] {
	return each(ctx, func(ctx context.Context, o ListOptions) (PageOf[Receipt], error) {
		p, err := h.ReceiptsPage(ctx, conv, seq, o)
		return p.PageOf, err
	})
}

// ReceiptsPage is one page of [HistoryCalls.Receipts], 100 members, at most 1,000, with the counts of all.
func (h HistoryCalls) ReceiptsPage(ctx context.Context, conv string, seq uint64, o ListOptions) (ReceiptPage, error) {
	reply, err := call[wireReceipts](ctx, h.Via, "receipts", wireReceiptsAsk{conv, seq, o.wire()})
	return ReceiptPage{
		PageOf:    pagedBy(reply.Who, reply.More, func(r *Receipt) string { return r.User }),
		Delivered: reply.Delivered, Read: reply.Read, Of: reply.Of,
	}, err
}

// ReceiptNews is what was delivered and read in a conversation meanwhile: Users in one of at most 32 members, else the
// counts of the caller's event Seq.
type ReceiptNews struct {
	Conv  string    `json:"conv"`
	Users []Reached `json:"users,omitempty"`

	Seq       uint64  `json:"seq,omitempty"`
	Delivered uint64  `json:"delivered,omitempty"`
	Read      *uint64 `json:"read,omitempty"` // nil: the caller does not tell, so they are not told
	Of        uint64  `json:"of,omitempty"`
}

// Reached is how far a member has come: seqs.
type Reached struct {
	User      string  `json:"user"`
	Delivered uint64  `json:"delivered"`
	Read      *uint64 `json:"read,omitempty"` // nil: they or the caller do not tell
}

// ReceiptsSince is a page of what was delivered and read of the caller's since a token.
type ReceiptsSince struct {
	Convs []ReceiptNews `json:"convs"`
	Since string        `json:"since"` // for the next time; opaque
	More  bool          `json:"more"`  // ask again at once, with Since
}

type wireSince struct {
	Since string `json:"since,omitempty"`
	Limit int    `json:"limit,omitempty"`
}

// ReceiptsSince tells what was delivered and read of the caller's since the token of the last reply; "": as far back as
// the server keeps it. limit is conversations: 50 (0), at most 200. A move may be told twice: cursors only grow.
func (h HistoryCalls) ReceiptsSince(ctx context.Context, since string, limit int) (ReceiptsSince, error) {
	return call[ReceiptsSince](ctx, h.Via, "receipts.since", wireSince{since, limit})
}
