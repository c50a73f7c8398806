package search

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/internal/words"
	"github.com/petrelchat/petrel/storage"
)

// Group is a public group as the index knows it.
type Group struct {
	Conv    string
	Members int
	Last    int64   // ms since 1970: its last event
	Score   float64 // of FindGroups: higher is better
}

// publicGroups are all public groups, and no others.
type publicGroups struct {
	mu sync.RWMutex
	m  map[string]Group
}

type publicChange struct {
	Group
	gone bool
}

func (p *publicGroups) load(d *db) error {
	rows, err := d.r.Query(`SELECT c.name, g.members, g.last FROM groups g JOIN convs c ON c.num = g.num`)
	if err != nil {
		return err
	}
	m := make(map[string]Group)
	for rows.Next() {
		var g Group
		if err := rows.Scan(&g.Conv, &g.Members, &g.Last); err != nil {
			return errors.Join(err, rows.Close())
		}
		m[g.Conv] = g
	}
	p.mu.Lock()
	p.m = m
	p.mu.Unlock()
	return errors.Join(rows.Err(), rows.Close())
}

func (p *publicGroups) apply(changes []publicChange) {
	if len(changes) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range changes {
		if c.gone {
			delete(p.m, c.Conv)
		} else {
			p.m[c.Conv] = c.Group
		}
	}
}

func (p *publicGroups) get(conv string) (Group, bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	g, ok := p.m[conv]
	return g, ok
}

// PublicGroup returns a public group; ok is false for every other conversation.
func (x *Index) PublicGroup(conv string) (g Group, ok bool) { return x.public.get(conv) }

// PublicGroups calls fn with all public groups, in no order, until it returns false. fn must be quick, and not ask the index.
func (x *Index) PublicGroups(fn func(Group) bool) {
	x.public.mu.RLock()
	defer x.public.mu.RUnlock()
	for _, g := range x.public.m {
		if !fn(g) {
			return
		}
	}
}

// storeGroups follows what the batch tells of groups.
func (w *writer) storeGroups(b *batch) error {
	for log, at := range b.last {
		_, changed := b.groups[log]
		old, known := w.x.public.get(log)
		if !changed && (!known || at <= old.Last) {
			continue
		}
		if changed {
			if err := w.storeGroup(log, at, known); err != nil {
				return err
			}
			continue
		}
		conv, err := w.conv(log)
		if err != nil {
			return err
		}
		if _, err := w.exec(`UPDATE groups SET last = ? WHERE num = ?`, at, conv); err != nil {
			return err
		}
		old.Last = at
		w.public = append(w.public, publicChange{Group: old})
	}
	return nil
}

// storeGroup makes the rows of a group what its record says.
func (w *writer) storeGroup(log string, at int64, known bool) error {
	rec, members, public, err := w.x.publicRecord(log)
	if err != nil || !public && !known {
		return err
	}
	conv, err := w.conv(log)
	if err != nil {
		return err
	}
	if known {
		if _, err := w.exec(`DELETE FROM topics WHERE rowid = ?`, conv); err != nil {
			return err
		}
	}
	if !public {
		w.public = append(w.public, publicChange{Group{Conv: log}, true})
		_, err := w.exec(`DELETE FROM groups WHERE num = ?`, conv)
		return err
	}
	_, err = w.exec(`INSERT INTO groups VALUES (?, ?, ?, ?, ?) ON CONFLICT (num) DO UPDATE SET title = excluded.title, about = excluded.about, members = excluded.members, last = excluded.last`,
		conv, rec.Title, rec.About, members, at)
	if err != nil {
		return err
	}
	w.public = append(w.public, publicChange{Group: Group{Conv: log, Members: members, Last: at}})
	_, err = w.exec(`INSERT INTO topics(rowid, title, about) VALUES (?, ?, ?)`, conv,
		string(words.AppendTokens(nil, rec.Title)), string(words.AppendTokens(nil, rec.About)))
	return err
}

// publicRecord reads a group's settings, and counts its members if it is public.
func (x *Index) publicRecord(conv string) (info chat.Info, members int, public bool, err error) {
	v, ok, err := x.o.Store.Get(storage.In(storage.SpaceConv).Str(conv))
	if err != nil || !ok {
		return info, 0, false, err
	}
	var rec storage.Conv
	if err := storage.Unmarshal(v, &rec); err != nil {
		return info, 0, false, err
	}
	if rec.Ended || rec.Info.Visibility != chat.Public {
		return rec.Info, 0, false, nil
	}
	var bad error
	err = x.o.Store.Scan(storage.In(storage.SpaceMember).Str(conv), nil, func(_ storage.Key, v []byte) bool {
		var m chat.Member
		if m, bad = storage.DecodeMember(v); bad == nil && m.Role != chat.RoleNone {
			members++
		}
		return bad == nil
	})
	return rec.Info, members, true, errors.Join(err, bad)
}

// groupsMost bounds the groups that a search looks at.
const groupsMost = 1000

// FindGroups returns public groups whose title or about has all that is looked for, the best first; an empty query finds all
// of them. A word of the query counts as the beginning of one. At most groupsMost are compared.
func (x *Index) FindGroups(ctx context.Context, q words.Query) ([]Group, error) {
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
		return nil, errUnavailable()
	}
	var rows *sql.Rows
	var err error
	if q.Empty() {
		rows, err = x.db.r.QueryContext(ctx, `SELECT c.name, g.title, g.about, g.members, g.last FROM groups g JOIN convs c ON c.num = g.num ORDER BY g.last DESC LIMIT ?`, groupsMost)
	} else {
		rows, err = x.db.r.QueryContext(ctx, `SELECT c.name, g.title, g.about, g.members, g.last FROM topics JOIN groups g ON g.num = topics.rowid JOIN convs c ON c.num = g.num
			WHERE topics MATCH ? ORDER BY bm25(topics, 10, 1) LIMIT ?`, q.FTS(), groupsMost)
	}
	if err != nil {
		return nil, x.explain(err)
	}
	var found []Group
	for rows.Next() {
		var g Group
		var title, about string
		if err := rows.Scan(&g.Conv, &title, &about, &g.Members, &g.Last); err != nil {
			return nil, x.explain(errors.Join(err, rows.Close()))
		}
		ok := false
		if g.Score, ok = scoreGroup(q, title, about); ok {
			found = append(found, g)
		}
	}
	return found, x.explain(errors.Join(rows.Err(), rows.Close()))
}

// scoreGroup weighs what is in the title ten times as much as what is in the about.
func scoreGroup(q words.Query, title, about string) (float64, bool) {
	if q.Empty() {
		return 0, true
	}
	if _, ok := q.Match(title + "\n" + about); !ok {
		return 0, false
	}
	score := 0.0
	for _, one := range q.Terms() {
		if spans, ok := one.Match(title); ok {
			score += 10 * Score(one, title, spans)
		}
		if spans, ok := one.Match(about); ok {
			score += Score(one, about, spans)
		}
	}
	return score, true
}
