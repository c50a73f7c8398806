package rpc

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/petrelchat/petrel/broker/search"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/internal/words"
	"github.com/petrelchat/petrel/storage"
)

// Searcher is the index. What it says is a hint: every hit is looked up in the log.
type Searcher interface {
	Find(ctx context.Context, r *search.Request, fn func(search.Hit) (bool, error)) error
	FindGroups(ctx context.Context, q words.Query) ([]search.Group, error)
	PublicGroup(conv string) (g search.Group, ok bool)
	PublicGroups(fn func(search.Group) bool)
	// Behind reports whether the index lacks what has been there for a while.
	Behind() bool
}

var _ Searcher = (*search.Index)(nil)

// searchMethods are those that the index serves, if there is one.
func searchMethods(o *Options) map[string]method {
	if o.Search == nil {
		return nil
	}
	return map[string]method{
		"search":          inTurn(with(searchPosts)),
		"group.search":    inTurn(with(groupSearch)),
		"group.recommend": inTurn(with(groupRecommend)),
	}
}

type searchParams struct {
	Q      string `json:"q"`
	Conv   string `json:"conv"`
	From   string `json:"from"`
	Before *int64 `json:"before"` // ms since 1970
	After  *int64 `json:"after"`  // ms since 1970
	Limit  *int64 `json:"limit"`
	Order  string `json:"order"`
	Next   string `json:"next"` // of the page before
}

type searchReply struct {
	Hits   *list  `json:"hits"`
	Next   string `json:"next,omitempty"` // for the next page
	More   bool   `json:"more"`
	Behind bool   `json:"behind,omitempty"` // the index is being filled: there may be more
}

// hitView is a post that was found.
type hitView struct {
	Conv    string   `json:"conv"`
	Seq     uint64   `json:"seq"`
	From    string   `json:"from"`
	At      int64    `json:"at"`
	Thread  uint64   `json:"thread,omitempty"`
	Snippet []string `json:"snippet"` // text and what was found in it, in turn, beginning with text
}

// found is a hit that the log confirms.
type found struct {
	search.Hit
	ev    chat.Event
	text  string
	spans []words.Span
	score float64
}

func (f *found) view() *hitView {
	return &hitView{f.Conv, f.Seq, f.ev.From, f.ev.At, f.ev.Thread, search.Snippet(f.text, f.spans)}
}

// rankWindow is how many hits are compared with each other when they are to be ranked: the newest, then the next
// newest, and so on.
const rankWindow = 300

// searchPosts finds posts in what the caller may read.
//
// The newest come first, and the token of a page is the place of its last hit, so that what comes meanwhile moves nothing.
// With order rank the newest rankWindow hits are ranked, then the next; the token pins the window.
func searchPosts(c *call, p *searchParams) (any, error) {
	limit, err := pageOf(p.Limit, 20, 100)
	if err != nil {
		return nil, err
	}
	r, err := c.searchRequest(p)
	if err != nil {
		return nil, err
	}
	s := &searching{call: c, p: p, r: r}
	if s.at, err = parsePage(p.Next); err != nil {
		return nil, err
	}
	r.Below = s.at.below
	reply := searchReply{Hits: c.list(maxToken + 48), Behind: c.o.Search.Behind()}
	if s.members, err = c.searchable(p.Conv); err != nil {
		return nil, err
	}
	for conv := range s.members {
		r.Convs = append(r.Convs, conv)
	}
	switch p.Order {
	case "", "newest":
		err = s.newest(&reply, limit)
	case "rank":
		err = s.ranked(&reply, limit)
	default:
		return nil, chat.Refuse(chat.BadRequest, "order is newest or rank")
	}
	if err != nil {
		return nil, err
	}
	if !reply.More {
		reply.Next = ""
	}
	return reply, c.o.Barrier()
}

// searchRequest reads the parameters.
func (c *call) searchRequest(p *searchParams) (*search.Request, error) {
	r := &search.Request{From: p.From}
	var err error
	if r.Query, err = search.Parse(p.Q); err != nil {
		return nil, err
	}
	if p.From != "" && !chat.ValidUser(p.From) {
		return nil, chat.Refuse(chat.BadRequest, "from is a user id")
	}
	if r.Query.Empty() && p.From == "" {
		return nil, chat.Refuse(chat.BadRequest, "q has nothing to look for: give words, or from for all that somebody wrote")
	}
	for _, t := range []struct {
		name string
		ms   *int64
		into *int64
	}{{"before", p.Before, &r.Before}, {"after", p.After, &r.After}} {
		if t.ms == nil {
			continue
		}
		if *t.ms <= 0 {
			return nil, chat.Refuse(chat.BadRequest, "%s is a time in ms since 1970", t.name)
		}
		*t.into = *t.ms
	}
	return r, nil
}

// searchable returns the conversations that the caller is a member of, or the one that was named. What waits as
// a request is not searched.
func (c *call) searchable(conv string) (map[string]chat.Member, error) {
	all := make(map[string]chat.Member)
	if conv != "" {
		var head uint64
		if _, err := c.readable(conv, &head); err != nil {
			return nil, err
		}
		m, err := c.member(conv)
		if m.Role != chat.RoleNone {
			all[conv] = m
		}
		return all, err
	}
	r, err := c.roster()
	if err != nil {
		return nil, err
	}
	for i, conv := range r.convs {
		if r.members[i].Role != chat.RoleNone {
			all[conv] = r.members[i]
		}
	}
	return all, nil
}

// searching is one search on its way.
type searching struct {
	*call
	p       *searchParams
	r       *search.Request
	at      searchPage
	members map[string]chat.Member
}

func (s *searching) newest(reply *searchReply, limit int) error {
	return s.o.Search.Find(s.ctx, s.r, func(h search.Hit) (bool, error) {
		f, ok, err := s.confirm(h)
		if err != nil || !ok {
			return true, err
		}
		if reply.More = len(reply.Hits.items) == limit; reply.More {
			return false, nil
		}
		ok, err = reply.Hits.add(f.view())
		if reply.More = !ok; ok {
			reply.Next = searchPage{below: h.Row}.encode()
		}
		return ok, err
	})
}

func (s *searching) ranked(reply *searchReply, limit int) error {
	var window []found
	older := false // hits behind the window
	err := s.o.Search.Find(s.ctx, s.r, func(h search.Hit) (bool, error) {
		f, ok, err := s.confirm(h)
		if err != nil || !ok {
			return true, err
		}
		if older = len(window) == rankWindow; older {
			return false, nil
		}
		f.score = search.Score(s.r.Query, f.text, f.spans)
		window = append(window, f)
		return true, nil
	})
	if err != nil || len(window) == 0 {
		return err
	}
	top, bottom := window[0].Row+1, window[len(window)-1].Row
	slices.SortFunc(window, func(a, b found) int { return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(b.Row, a.Row)) })
	for i := range window {
		f := &window[i]
		if s.at.ranked && (f.score > s.at.score || f.score == s.at.score && f.Row >= s.at.row) {
			continue // on a page before
		}
		if reply.More = len(reply.Hits.items) == limit; reply.More {
			return nil
		}
		ok, err := reply.Hits.add(f.view())
		if reply.More = !ok; err != nil || !ok {
			return err
		}
		reply.Next = searchPage{below: top, ranked: true, score: f.score, row: f.Row}.encode()
	}
	if reply.More = older; older {
		reply.Next = searchPage{below: bottom}.encode()
	}
	return nil
}

// confirm reads a hit in the log, in its newest text.
func (s *searching) confirm(h search.Hit) (f found, ok bool, err error) {
	m, member := s.members[h.Conv]
	if !member || h.Seq < m.Since {
		return f, false, nil
	}
	if _, hidden, err := s.o.Store.Get(storage.In(storage.SpaceHidden).Str(s.User).Str(h.Conv).U64(h.Seq)); err != nil || hidden {
		return f, false, err
	}
	f.Hit = h
	f.ev, ok, err = s.inLog(h.Conv, h.Seq)
	if err != nil || !ok || f.ev.Kind != chat.KindPost || s.p.From != "" && f.ev.From != s.p.From ||
		s.r.Before > 0 && f.ev.At >= s.r.Before || s.r.After > 0 && f.ev.At <= s.r.After {
		return f, false, err
	}
	src, err := s.newestEdit(h.Conv, h.Seq, h.Src)
	if err != nil {
		return f, false, err
	}
	f.text = f.ev.Text
	if src != h.Seq {
		edit, ok, err := s.inLog(h.Conv, src)
		if err != nil || !ok || edit.Kind != chat.KindEdit {
			return f, false, err
		}
		f.text = edit.Text
	}
	if f.text == "" {
		return f, false, nil
	}
	f.spans, ok = s.r.Query.Match(f.text)
	return f, ok, nil
}

// inLog reads an event that has not disappeared.
func (c *call) inLog(conv string, seq uint64) (ev chat.Event, ok bool, err error) {
	err = c.events(c.o.Store.Read, conv, seq, seq, func(e *chat.Event, _ uint64) (bool, error) {
		ev, ok = *e, e.Seq == seq && e.Kind != chat.KindGone
		return false, nil
	})
	return ev, ok, err
}

// newestEdit returns the event that has a post's text now. The index may not have read it yet.
func (c *call) newestEdit(conv string, seq, known uint64) (uint64, error) {
	newest := known
	prefix := storage.ActsOf(conv, seq)
	err := c.o.Store.Scan(prefix, nil, func(k storage.Key, v []byte) bool {
		if act, _, ok := storage.TakeU64(k[len(prefix):]); ok && len(v) == 1 && chat.Kind(v[0]) == chat.KindEdit {
			newest = max(newest, act)
		}
		return true
	})
	return newest, err
}

// searchPage is where a page of a search begins.
type searchPage struct {
	below  int64 // rows before this one; 0: from the newest
	ranked bool  // the next one among ranked hits, behind:
	score  float64
	row    int64
}

func (p searchPage) encode() string {
	if !p.ranked {
		return encodePage(tokenSearch, uint64(p.below))
	}
	return encodePage(tokenRank, uint64(p.below), math.Float64bits(p.score), uint64(p.row))
}

func parsePage(s string) (p searchPage, err error) {
	if s == "" {
		return p, nil
	}
	if n, ok := decodePage(s, tokenSearch, 1); ok && n[0] > 0 && n[0] <= math.MaxInt64 {
		return searchPage{below: int64(n[0])}, nil
	}
	n, ok := decodePage(s, tokenRank, 3)
	if !ok || n[0] == 0 || n[0] > math.MaxInt64 || n[2] > math.MaxInt64 {
		return p, errPage("next")
	}
	p = searchPage{below: int64(n[0]), ranked: true, score: math.Float64frombits(n[1]), row: int64(n[2])}
	if math.IsNaN(p.score) {
		return p, errPage("next")
	}
	return p, nil
}
