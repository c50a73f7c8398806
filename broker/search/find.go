package search

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/internal/words"
)

// Request is a search through conversations.
type Request struct {
	Query  words.Query
	From   string   // only posts of this user; "": anybody's
	Convs  []string // where to look: nowhere else
	Before int64    // only posts before this time, ms since 1970; 0: any
	After  int64    // only posts after this time, ms since 1970; 0: any
	Below  int64    // only rows before this one, from Hit.Row: the next page; 0: from the newest
}

// Hit is a post that the index knows for what is looked for. It may be gone or changed meanwhile.
type Hit struct {
	Conv string
	Seq  uint64
	Src  uint64 // the event that has the text: the post itself or an edit of it
	Row  int64  // descending: the newest post comes first
}

// Bounds of a search.
const (
	patience   = 2 * time.Second // of one search
	fewConvs   = 32              // up to so many conversations are part of the query
	manyConvs  = 512             // up to so many may become a part of it
	scanBudget = 20_000          // rows of others that are passed over before that
	firstRows  = 64              // rows that are fetched at once; later more
	mostRows   = 4096
)

// Find calls fn with hits, the newest first, until it returns false. What fn returns as an error ends the search. The costs
// depend on what is found among the caller's conversations, hardly on how much others wrote.
// Of the index being unusable or overtaxed a *chat.Refusal tells.
func (x *Index) Find(ctx context.Context, r *Request, fn func(Hit) (bool, error)) error {
	began := time.Now()
	defer func() {
		x.stats.queries.Add(1)
		x.stats.nanos.Add(int64(time.Since(began)))
	}()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	x.file.RLock()
	defer x.file.RUnlock()
	if x.db == nil {
		return errUnavailable()
	}
	conn, err := x.db.r.Conn(ctx)
	if err != nil {
		return x.explain(err)
	}
	defer func() { _ = conn.Close() }() // goes back to the pool
	s := &scan{ctx: ctx, db: x.db, conn: conn, r: r, fn: fn}
	if ok, err := s.prepare(); err != nil || !ok {
		return x.explain(err)
	}
	return x.explain(s.run())
}

func errUnavailable() error {
	return chat.Refuse(chat.Unavailable, "the search index is being made again: try later")
}

// explain turns what went wrong with the file into what the caller can do about it.
func (x *Index) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case damaged(err):
		x.o.Log.Warn("a search found the index damaged", "error", err)
		x.broken.Store(true)
		x.poke()
		return errUnavailable()
	case interrupted(err):
		return chat.Refuse(chat.Unavailable, "the search took too long: name a conversation, rarer words or a shorter time")
	}
	return err
}

// scan is one search on its way.
type scan struct {
	ctx   context.Context
	db    *db
	conn  *sql.Conn
	r     *Request
	fn    func(Hit) (bool, error)
	convs map[int64]string // by number
	bits  []uint64         // of what rows tell of these conversations
	match string
	low   int64 // rows from here on
	high  int64 // and before this one
}

// prepare finds numbers for names. ok is false when nothing can be found.
func (s *scan) prepare() (ok bool, err error) {
	s.low, s.high = 0, maxID
	if s.r.After > 0 {
		s.low = timeID(s.r.After)
	}
	if s.r.Before > 0 {
		s.high = timeID(s.r.Before) + drift<<timeShift
	}
	if s.r.Below > 0 {
		s.high = min(s.high, s.r.Below)
	}
	if s.low >= s.high {
		return false, nil
	}
	s.match = s.r.Query.FTS()
	if s.r.From != "" {
		var user int64
		err := s.conn.QueryRowContext(s.ctx, `SELECT num FROM users WHERE name = ?`, s.r.From).Scan(&user)
		if errors.Is(err, sql.ErrNoRows) {
			return false, nil
		} else if err != nil {
			return false, err
		}
		s.and(`"` + string(appendNumber(nil, baseSender, user)) + `"`)
	}
	s.convs = make(map[int64]string, len(s.r.Convs))
	for part := range slices.Chunk(s.db.known(s.r.Convs, s.convs), 256) {
		if err := s.number(part); err != nil {
			return false, err
		}
	}
	return len(s.convs) > 0, nil
}

func (s *scan) and(expr string) {
	if s.match != "" {
		expr = s.match + " AND " + expr
	}
	s.match = expr
}

func (s *scan) number(names []string) error {
	args := make([]any, len(names))
	for i, name := range names {
		args[i] = name
	}
	rows, err := s.conn.QueryContext(s.ctx, `SELECT num, name FROM convs WHERE name IN (?`+strings.Repeat(`,?`, len(names)-1)+`)`, args...)
	if err != nil {
		return err
	}
	for rows.Next() {
		var num int64
		var name string
		if err := rows.Scan(&num, &name); err != nil {
			return errors.Join(err, rows.Close())
		}
		s.convs[num] = name
		s.db.remember(name, num)
	}
	return errors.Join(rows.Err(), rows.Close())
}

// run looks at rows newest first. A few conversations are part of the query; with many, rows of others are passed
// over, unless there turn out to be too many of those.
func (s *scan) run() error {
	within := len(s.convs) <= fewConvs || s.match == ""
	if within {
		s.restrict()
	} else {
		s.bits = make([]uint64, (convMask+1)/64)
		for num := range s.convs {
			s.bits[num&convMask/64] |= 1 << (num & convMask % 64)
		}
	}
	passed := 0
	for n := firstRows; ; n = min(4*n, mostRows) {
		ids, err := s.fetch(n)
		if err != nil {
			return err
		}
		others, more, err := s.show(ids)
		if err != nil || !more || len(ids) < n {
			return err
		}
		s.high = ids[len(ids)-1]
		if passed += others; !within && passed > scanBudget && len(s.convs) <= manyConvs {
			within = true
			s.restrict()
		}
	}
}

// restrict makes the conversations part of the query.
func (s *scan) restrict() {
	nums := make([]int64, 0, len(s.convs))
	for num := range s.convs {
		nums = append(nums, num)
	}
	slices.Sort(nums)
	any := make([]string, len(nums))
	for i, num := range nums {
		any[i] = `"` + string(appendNumber(nil, baseConv, num)) + `"`
	}
	s.and("(" + strings.Join(any, " OR ") + ")")
	s.bits = nil
}

// fetch returns the next rows, at most n.
func (s *scan) fetch(n int) ([]int64, error) {
	rows, err := s.conn.QueryContext(s.ctx, `SELECT rowid FROM words WHERE words MATCH ? AND rowid >= ? AND rowid < ? ORDER BY rowid DESC LIMIT ?`,
		s.match, s.low, s.high, n)
	if err != nil {
		return nil, err
	}
	ids := make([]int64, 0, n)
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		ids = append(ids, id)
	}
	return ids, errors.Join(rows.Err(), rows.Close())
}

// show calls fn with the hits among rows, and counts those of other conversations. more is what fn said last.
func (s *scan) show(ids []int64) (others int, more bool, err error) {
	for _, id := range ids {
		if c := convOf(id); s.bits != nil && s.bits[c/64]&(1<<(c%64)) == 0 {
			others++
			continue
		}
		var conv, seq, src int64
		err := s.conn.QueryRowContext(s.ctx, `SELECT conv, seq, src FROM docs WHERE id = ?`, id).Scan(&conv, &seq, &src)
		if errors.Is(err, sql.ErrNoRows) {
			continue // deleted meanwhile
		} else if err != nil {
			return others, false, err
		}
		name, mine := s.convs[conv]
		if !mine {
			others++
			continue
		}
		more, err := s.fn(Hit{Conv: name, Seq: uint64(seq), Src: uint64(src), Row: id})
		if err != nil || !more {
			return others, false, err
		}
	}
	return others, true, nil
}
