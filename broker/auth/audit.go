package auth

import (
	"context"
	"math"
	"strconv"
	"strings"

	"github.com/petrelchat/petrel/storage"
)

type actorKey struct{}

// WithActor says who makes the changes that are asked for with this context: a user id, or a word like
// "control socket". Without it they are the server's own.
func WithActor(ctx context.Context, who string) context.Context {
	return context.WithValue(ctx, actorKey{}, who)
}

// Actor is who WithActor named; without it "server".
func Actor(ctx context.Context) string {
	if who, ok := ctx.Value(actorKey{}).(string); ok {
		return who
	}
	return "server"
}

// audit adds the entry of a change to the batch that carries it out.
func (s *Service) audit(ctx context.Context, b *storage.Batch, what, target string) {
	b.Ops = append(b.Ops, AuditOp(AuditEntry{Who: Actor(ctx), What: what, Target: target}))
}

// parseAuditID reads an entry's id or a time. A scan that starts at the key finds what is behind the
// entry; or what is of that time or later, if behind is set.
func parseAuditID(field, s string, behind bool) (storage.Key, error) {
	a, b, isID := strings.Cut(s, "-")
	ms, err := strconv.ParseUint(a, 10, 64)
	if err != nil {
		return nil, refuseAuditID(field)
	}
	if !isID {
		if behind && ms > 0 { // entries of that very ms are wanted
			return storage.AuditKey(ms-1, math.MaxUint64), nil
		}
		return storage.AuditKey(ms, 0), nil
	}
	n, err := strconv.ParseUint(b, 10, 64)
	if err != nil {
		return nil, refuseAuditID(field)
	}
	return storage.AuditKey(ms, n), nil
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return word
}
