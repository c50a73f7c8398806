package broker

import (
	"context"
	"time"

	"github.com/petrelchat/petrel/broker/auth"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/broker/control"
	"github.com/petrelchat/petrel/chat"
)

func actorContext(ctx context.Context) context.Context { return auth.WithActor(ctx, "control socket") }

// registerControl adds what the command line asks of a running server: accounts and tokens, as
// rpc/admin.* has them, and backup and status.
func (s *Server) registerControl(srv *control.Server) {
	for _, m := range s.admin.Methods() {
		srv.Register(m, func(ctx context.Context, decode func(any) error) (any, error) { return s.admin.Call(ctx, m, decode) })
	}
	srv.Register("admin.user.export", s.exportUser)
	srv.Register("backup", func(_ context.Context, decode func(any) error) (any, error) {
		var req struct {
			Dir string `json:"dir"`
		}
		if err := decode(&req); err != nil {
			return nil, err
		}
		if req.Dir == "" {
			return nil, chat.Refuse(chat.BadRequest, "dir is missing: the directory to write the backup to, which must not exist")
		}
		if err := s.pipeline.Barrier(); err != nil {
			return nil, err
		}
		return struct{}{}, BackupStore(s.store, s.cfg.Load().Data, req.Dir)
	})
	srv.Register("status", func(context.Context, func(any) error) (any, error) {
		return s.status(), nil
	})
}

// Status is what `petrel` says of a running server.
type Status struct {
	Ready       bool   `json:"ready"`
	Connections int    `json:"connections"`
	Commit      uint64 `json:"commit"`
	UptimeS     int64  `json:"uptime_s"`
}

func (s *Server) status() Status {
	return Status{Ready: s.Ready(), Connections: s.adapter.Count(), Commit: s.pipeline.Durable(), UptimeS: int64(s.now().Sub(s.started) / time.Second)}
}

// Reload takes over what a running server can change: limits, rules, keys, certificates. It returns
// the settings that changed and those that need a restart.
func (s *Server) Reload(c config.Config) (changed, needRestart []string, err error) {
	old := s.cfg.Load()
	if err := c.Validate(); err != nil {
		return nil, nil, err
	}
	changed, needRestart = config.Diff(*old, c)
	if err := s.auth.Reload(jwtOptions(&c)); err != nil {
		return nil, nil, err
	}
	if err := s.auth.ReloadACL(acl(&c)); err != nil {
		return nil, nil, err
	}
	for _, cert := range s.certs {
		if err := cert.Reload(); err != nil {
			return nil, nil, err
		}
	}
	if err := s.reloadRelay(&c); err != nil {
		return nil, nil, err
	}
	for _, l := range s.http {
		l.SetOrigins(c.HTTP.Origins)
	}
	s.presence.SetCoalesce(c.Presence.Coalesce)
	s.adapter.Set(settings(&c))
	s.registry.SetLimits(deliveryLimits(&c))
	s.hub.SetLimits(chatLimits(&c))
	s.hub.SetAudit(c.Retention.Reads > 0)
	s.upkeep.Set(upkeepSettings(&c))
	next := *old // what needs a restart stays as it is until then
	next.Limits, next.Retention, next.Presence, next.KeepAlive = c.Limits, c.Retention, c.Presence, c.KeepAlive
	next.Auth, next.ACL, next.DenyFilters, next.Admins, next.HTTP.Origins = c.Auth, c.ACL, c.DenyFilters, c.Admins, c.HTTP.Origins
	next.PublicURL, next.Webhooks, next.People = c.PublicURL, c.Webhooks, c.People
	next.Notify, next.Calls = reloadNotify(old.Notify, c.Notify), reloadCalls(old.Calls, c.Calls)
	next.TURN.Limits = c.TURN.Limits
	next.Log.Level = c.Log.Level // the logger is the caller's
	s.cfg.Store(&next)
	s.webhooks.Set(hookSettings(&next))
	s.notify.Set(notifySettings(&next))
	s.calls.set(&next)
	return changed, needRestart, nil
}
