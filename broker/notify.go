package broker

import (
	"fmt"
	"net/netip"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/broker/notify"
	"github.com/petrelchat/petrel/broker/notify/push"
	"github.com/petrelchat/petrel/storage"
)

// buildNotify makes the service that tells those who are away, and its senders. It is closed before the pipeline.
func (s *Server) buildNotify(c *config.Config) error {
	keys, err := notify.LoadKeys(s.store, s.commitWait)
	if err != nil {
		return err
	}
	guard, err := pushGuard(c)
	if err != nil {
		return err
	}
	n, a := &c.Notify, &c.Notify.APNs
	senders, err := push.New(push.Options{
		Guard: guard, Keys: keys, Contact: n.Contact, Now: s.now,
		FCM:  push.FCMConfig{Credentials: n.FCM.Credentials, Endpoint: n.FCM.Endpoint},
		APNs: push.APNsConfig{Key: a.Key, KeyID: a.KeyID, TeamID: a.TeamID, Topic: a.Topic, Host: a.Host},
	})
	if err != nil {
		return fmt.Errorf("notifications: %w", err)
	}
	s.later(senders.Close)
	s.notify, err = notify.New(notify.Options{
		Store: s.store, CommitWait: s.commitWait,
		Commit: func(b *storage.Batch, done func()) error {
			return s.pipeline.Commit(b, func(uint64) { done() })
		},
		Decode: codec{}.DecodeStored, Head: s.hub.Head, Durable: s.pipeline.Durable,
		Online: s.presence.Here, Senders: senders.ByKind, Check: guard.Check,
		Name: func(user string) (string, error) {
			p, err := s.presence.Profile(user)
			return p.Name, err
		},
		Settings: notifySettings(c), Now: s.now, Log: s.log,
	})
	if err != nil {
		return err
	}
	s.views.notify = s.notify
	if err := s.notify.Start(); err != nil {
		return err
	}
	s.later(s.notify.Close)
	return nil
}

// pushGuard says where endpoints may be: in dev mode on this machine too.
func pushGuard(c *config.Config) (g push.Guard, err error) {
	if g.Allow, err = config.ParsePrefixes(c.Notify.Allow); err != nil {
		return g, err
	}
	if c.Dev {
		g.Plain = true
		g.Allow = append(g.Allow, netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
	}
	return g, nil
}

func notifySettings(c *config.Config) notify.Settings {
	n := &c.Notify
	return notify.Settings{Window: n.Window, PerHour: n.PerHour, TTL: n.TTL, Workers: n.Workers, Private: n.Private}
}

// reloadNotify is what a running server takes over.
func reloadNotify(old, c config.Notify) config.Notify {
	old.Window, old.PerHour, old.TTL, old.Workers, old.Private = c.Window, c.PerHour, c.TTL, c.Workers, c.Private
	return old
}

// notice reports an event of a conversation to the notifications.
func (v *views) notice(d *hub.Delivery) {
	if v.notify == nil || d.Log[0] == '@' {
		return
	}
	ev := d.Event
	v.notify.Took(&notify.News{
		Conv: d.Log, Seq: ev.Seq, Commit: d.Commit, Kind: ev.Kind, From: ev.From, Members: d.Members, Mentions: ev.Mentions,
	})
}

// End ends a commit for all that follow the events.
func (v *views) End(commit uint64) {
	v.Registry.End(commit)
	if v.notify != nil {
		v.notify.End(commit)
	}
}

// notifyMetrics shows what the notifications count.
func (s *Server) notifyMetrics(m meters) {
	st := &s.notify.Stats
	for i, kind := range notify.Kinds() {
		m.counter("petrel_notify_sent_total", "Notifications that push services took.", number(st.Sent[i].Load), "kind", kind)
		m.counter("petrel_notify_failed_total", "Notifications that push services refused, or did not take in time.", number(st.Failed[i].Load), "kind", kind)
		m.counter("petrel_notify_retried_total", "Attempts that failed and are repeated.", number(st.Retried[i].Load), "kind", kind)
	}
	for i, reason := range notify.Reasons() {
		m.counter("petrel_notify_dropped_total", "Conversations of a user that did not have to be told of any more.", number(st.Dropped[i].Load), "reason", reason)
	}
	m.counter("petrel_notify_removed_total", "Registrations that their push service no longer knew.", number(st.Removed.Load))
	m.gauge("petrel_notify_waiting", "Conversations of users who are to be told of something.", number(st.Waiting.Load))
	m.gauge("petrel_notify_busy", "Users who are being told.", number(st.Busy.Load))
}
