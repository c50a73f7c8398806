package auth

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

type actorKey struct{}

// WithActor says who makes the changes that are asked for with this context: a user id, or a word like
// "control socket". Without it they are the server's own.
func WithActor(ctx context.Context, who string) context.Context {
	return context.WithValue(ctx, actorKey{}, who)
}

func actor(ctx context.Context) string {
	if who, ok := ctx.Value(actorKey{}).(string); ok {
		return who
	}
	return "server"
}

// AuditEntry says that somebody changed something. ID orders entries and continues a list.
type AuditEntry struct {
	ID     string
	At     time.Time
	Who    string
	What   string // user.add, user.passwd, user.del, user.disable, token.add, token.revoke …
	Target string // user id, or user id and token id
}

type auditRecord struct {
	Version int    `json:"v"`
	Who     string `json:"who"`
	What    string `json:"what"`
	Target  string `json:"target"`
}

// trail numbers audit entries. Their times never go back within a process, and the number makes two of
// one millisecond different, those of an earlier process included: it starts at random.
type trail struct {
	mu sync.Mutex
	ms int64
	n  uint64
}

func (t *trail) start() {
	var b [8]byte
	rand.Read(b[2:])
	t.n = binary.BigEndian.Uint64(b[:])
}

func (t *trail) next(now time.Time) (ms, n uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ms = max(t.ms, now.UnixMilli())
	t.n++
	return uint64(t.ms), t.n
}

// audit adds the record of a change to the batch that carries it out.
func (s *Service) audit(ctx context.Context, b *storage.Batch, what, target string) {
	ms, n := s.trail.next(s.o.Now())
	b.Set(storage.In(storage.SpaceAudit).U64(ms).U64(n),
		encode(auditRecord{Version: recordVersion, Who: actor(ctx), What: what, Target: target}))
}

// ListAudit returns at most limit entries (0: 100, at most 1,000) after the one with that ID, oldest
// first, and whether there are more. An empty ID starts at the oldest.
func (s *Service) ListAudit(after string, limit int) (list []AuditEntry, more bool, err error) {
	limit = pageSize(limit)
	var from storage.Key
	if after != "" {
		ms, n, ok := parseAuditID(after)
		if !ok {
			return nil, false, chat.Refuse(chat.BadRequest, "after must be the id of an audit entry.")
		}
		from = storage.In(storage.SpaceAudit).U64(ms).U64(n)
	}
	scanErr := s.o.Store.Scan(storage.In(storage.SpaceAudit), from, func(k storage.Key, v []byte) bool {
		if more = len(list) == limit; more {
			return false
		}
		var r auditRecord
		ms, rest, ok1 := storage.TakeU64(k[1:])
		n, _, ok2 := storage.TakeU64(rest)
		if json.Unmarshal(v, &r) != nil || r.Version != recordVersion || !ok1 || !ok2 {
			err = fmt.Errorf("auth: an audit record can't be read: %w", storage.ErrDamaged)
			return false
		}
		list = append(list, AuditEntry{
			ID: fmt.Sprintf("%d-%d", ms, n), At: time.UnixMilli(int64(ms)), Who: r.Who, What: r.What, Target: r.Target,
		})
		return true
	})
	if err = errors.Join(err, scanErr); err != nil {
		return nil, false, err
	}
	return list, more, nil
}

func parseAuditID(s string) (ms, n uint64, ok bool) {
	a, b, ok := strings.Cut(s, "-")
	ms, err1 := strconv.ParseUint(a, 10, 64)
	n, err2 := strconv.ParseUint(b, 10, 64)
	return ms, n, ok && err1 == nil && err2 == nil
}
