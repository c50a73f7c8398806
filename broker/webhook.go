package broker

import (
	"net/http"
	"net/netip"

	"github.com/petrelchat/petrel/broker/auth"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/broker/webhook"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// hookAccounts shows webhooks the accounts.
type hookAccounts struct{ *auth.Service }

func (a hookAccounts) Account(user string) (created int64, ok bool) {
	acc, ok := a.GetUser(user)
	return acc.Created.UnixMilli(), ok && acc.User == user && !acc.Disabled
}

var _ webhook.Accounts = hookAccounts{}

func hookSettings(c *config.Config) webhook.Settings {
	s := webhook.Settings{
		BaseURL: c.PublicURL, AllowPrivate: c.Webhooks.AllowPrivate, AllowLoopback: c.Dev,
		Timeout: c.Webhooks.Timeout, PerSecond: c.Webhooks.PerSecond,
	}
	if c.Dev { // no rates there
		s.PerSecond = 0
	}
	return s
}

// newHooks reads the webhooks; Start begins to send.
func (s *Server) newHooks(c *config.Config) (*webhook.Hooks, error) {
	return webhook.New(webhook.Options{
		Store: s.store, Hub: s.hub, Accounts: hookAccounts{s.auth}, Commit: s.commitWait, Now: s.now, Settings: hookSettings(c),
		Audit: func(a webhook.Audit) storage.Op {
			return auth.AuditOp(auth.AuditEntry{Who: a.Who, What: a.What, Target: a.Target, Conv: a.Conv, Note: a.Note})
		},
		Admit:   func(addr netip.Addr) (func(), bool) { return s.adapter.Admit(addr) },
		Address: func(r *http.Request) netip.Addr { return s.http[0].ClientAddr(r) },
		Use:     s.use, Log: s.log,
	})
}

// openTrail chains the audit entries of all commits from here on.
func (s *Server) openTrail() error {
	var err error
	if s.trail, err = auth.OpenTrail(s.store, s.now); err != nil {
		return err
	}
	s.pipeline.Seal(s.trail.Seal)
	return nil
}

// recordLater stores a note without waiting for the disk.
func (s *Server) recordLater(b *storage.Batch) error {
	return s.pipeline.Commit(b, nil)
}

// auditEvents says what the audit trail keeps of conversations: who did what to whom, never what was said.
func auditEvents(b *storage.Batch, conv string, events []chat.Event, target *chat.Event) {
	for i := range events {
		ev := &events[i]
		e := auth.AuditEntry{Who: ev.From, Conv: conv, Seq: ev.Seq}
		if ev.Member != nil {
			e.Target = ev.Member.User
		}
		switch ev.Kind {
		case chat.KindDelete:
			if target == nil || target.From == ev.From {
				continue
			}
			e.What, e.Target = "event.delete", target.From
		case chat.KindRole:
			e.What, e.Note = "member.role", protocol.RoleName(ev.Member.Role)
		case chat.KindRemove:
			e.What = "member.remove"
		case chat.KindBan:
			e.What = "member.ban"
		case chat.KindUnban:
			e.What = "member.unban"
		case chat.KindMute:
			e.What = "member.mute"
			if ev.Member.Until == 0 {
				e.What = "member.unmute"
			}
		case chat.KindEnd:
			e.What = "group.delete"
		case chat.KindInfo:
			if ev.Info == nil || ev.Info.Perms == nil {
				continue
			}
			e.What = "group.perms"
		default:
			continue
		}
		b.Ops = append(b.Ops, auth.AuditOp(e))
	}
}
