package client

import (
	"context"
	"iter"
)

// SearchQuery says what to look for, by Words or From at least.
type SearchQuery struct {
	// Words must all be there: words, "phrases in quotes", beginnings of words of at least three letters (clim*). At
	// most 256 bytes, 16 words or phrases. Case, accents and punctuation don't count.
	Words  string `json:"q,omitempty"`
	Conv   string `json:"conv,omitempty"`   // only there
	From   string `json:"from,omitempty"`   // only what this user wrote
	Before Millis `json:"before,omitempty"` // only posts before that time; 0: all
	After  Millis `json:"after,omitempty"`  // only posts after that time; 0: all
	Order  string `json:"order,omitempty"`  // "newest" (default) or "rank": best first among the 300 newest hits, then the next 300
}

// Hit is a post that was found.
type Hit struct {
	Conv   string `json:"conv"`
	Seq    uint64 `json:"seq"`
	From   string `json:"from"`
	At     Millis `json:"at"`
	Thread uint64 `json:"thread,omitempty"` // seq of the first post of its thread; 0: it is in none
	// Snippet is text and what was found in it, in turn, beginning with text, which may be empty: every second element is to
	// be highlighted.
	Snippet []string `json:"snippet"`
}

type wireSearch struct {
	SearchQuery
	Limit int    `json:"limit,omitempty"`
	Next  string `json:"next,omitempty"`
}

type wireHits struct {
	Hits   []Hit  `json:"hits"`
	Next   string `json:"next"`
	More   bool   `json:"more"`
	Behind bool   `json:"behind"`
}

// Search goes through the posts that are found in everything that the caller may read.
//
// Refusals: unavailable (it takes too long: name a conversation, rarer words or a shorter time), bad-request (nothing
// to look for), not-found (a server without an index knows no such method).
func (h HistoryCalls) Search(ctx context.Context, q SearchQuery) iter.Seq2[Hit, error] {
	return each(ctx, func(ctx context.Context, o ListOptions) (PageOf[Hit], error) { return h.SearchPage(ctx, q, o) })
}

// SearchPage is one page of [HistoryCalls.Search]: 20 hits, at most 100. A page may be shorter, also an empty one may have
// another behind it.
func (h HistoryCalls) SearchPage(ctx context.Context, q SearchQuery, o ListOptions) (PageOf[Hit], error) {
	reply, err := call[wireHits](ctx, h.Via, "search", wireSearch{q, o.Limit, o.After})
	p := paged(reply.Hits, reply.More, reply.Next)
	p.Behind = reply.Behind
	return p, err
}
