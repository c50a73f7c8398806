package broker

import (
	"context"
	"time"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/broker/presence"
	"github.com/petrelchat/petrel/broker/rpc"
	"github.com/petrelchat/petrel/broker/upkeep"
	"github.com/petrelchat/petrel/hooks"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

func (s *Server) newPresence(c *config.Config) *presence.Presence {
	return presence.New(presence.Options{
		Store: s.store,
		Commit: func(b *storage.Batch, done func()) error {
			return s.pipeline.Commit(b, func(uint64) { done() })
		},
		Tell: func(users []string, subject string, payload []byte) {
			s.registry.Tell(users, protocol.FilterPresence, subject, []byte(protocol.PresenceTopic(subject)), payload, false)
		},
		Wanted:   func() bool { return s.registry.Wanted(protocol.FilterPresence) },
		Now:      s.now,
		Coalesce: c.Presence.Coalesce,
		Log:      s.log,
	})
}

// requests lets connections make requests, and measures them.
type requests struct {
	*rpc.Service
	times *rpcTimes
}

func (r requests) Call(ctx context.Context, c hooks.Caller, method string, payload []byte, maxReply int) []byte {
	defer r.times.since(method, time.Now())
	return r.Service.Call(ctx, rpc.Caller{User: c.User, Admin: c.Admin, Client: c.Client}, method, payload, maxReply)
}

var _ hooks.Requests = requests{}

func upkeepSettings(c *config.Config) upkeep.Settings {
	return upkeep.Settings{
		LogLength: c.Retention.LogLength, LogAge: c.Retention.LogAge, RetryKeys: c.Retention.RetryKeys, Reads: c.Retention.Reads,
		AuditAge: upkeep.DefaultAuditAge, AuditMax: upkeep.DefaultAuditMax,
	}
}
