package broker

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/petrelchat/petrel/broker/delivery"
	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/broker/notify"
	"github.com/petrelchat/petrel/broker/presence"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// eraser erases what deleted accounts left. Deleting an account writes a record in the same batch; the eraser
// goes through them, in steps that can be repeated, and notes how far it has come, so that a crash only makes it
// repeat a step. The record stays for good: the id is not given to anybody else, who would be taken for the one
// who had it, and could read their direct conversations.
type eraser struct {
	store    storage.Store
	hub      *hub.Hub
	registry *delivery.Registry
	presence *presence.Presence
	readers  *readers
	commit   func(*storage.Batch) error
	remove   func(ctx context.Context, user string) error // an account
	hangUp   func(ctx context.Context, user string) error // ends the user's part in calls
	now      func() time.Time
	log      *slog.Logger

	wake   chan struct{}
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

const (
	eraseChunk = 1000             // events that are looked at before it is noted how far it has come
	eraseRetry = 30 * time.Second // after a fault
)

func (s *Server) newEraser() *eraser {
	e := &eraser{
		store: s.store, hub: s.hub, registry: s.registry, presence: s.presence, readers: s.readers, commit: s.commitWait, remove: s.eraseUser,
		hangUp: s.hangUp, now: s.now, log: s.log,
		wake: make(chan struct{}, 1),
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	return e
}

// start starts the goroutine, which first takes up what the last run left; close stops it.
func (e *eraser) start() {
	e.wg.Add(1)
	go func() { defer e.wg.Done(); e.run() }()
}

func (e *eraser) close() {
	e.cancel()
	e.wg.Wait()
}

// poke says that there may be something to erase. It returns at once.
func (e *eraser) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *eraser) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var retry <-chan time.Time
		if err := e.round(); err != nil && e.ctx.Err() == nil {
			e.log.Error("erasing an account failed; it is tried again", "error", err)
			timer.Reset(eraseRetry)
			retry = timer.C
		}
		select {
		case <-e.ctx.Done():
			return
		case <-e.wake:
		case <-retry:
		}
	}
}

// round erases all accounts that wait for it. A fault with one does not keep the others.
func (e *eraser) round() error {
	var jobs []storage.Erasing
	var bad error
	err := e.store.Scan(storage.In(storage.SpaceErasing), nil, func(_ storage.Key, v []byte) bool {
		var j storage.Erasing
		if bad = storage.Unmarshal(v, &j); bad == nil && j.Done == 0 {
			jobs = append(jobs, j)
		}
		return bad == nil
	})
	if err = errors.Join(err, bad); err != nil {
		return err
	}
	var errs []error
	for i := range jobs {
		if e.ctx.Err() != nil {
			break
		}
		errs = append(errs, e.erase(&jobs[i]))
	}
	return errors.Join(errs...)
}

func (e *eraser) erase(j *storage.Erasing) error {
	if err := e.sessions(j.User); err != nil {
		return err
	}
	if err := e.hangUp(e.ctx, j.User); err != nil {
		return err
	}
	if err := e.bots(j.User); err != nil {
		return err
	}
	if err := e.conversations(j); err != nil {
		return err
	}
	if !j.Bot {
		if err := e.requests(j.User); err != nil {
			return err
		}
		if err := e.records(j.User); err != nil {
			return err
		}
	}
	j.Conv, j.Seq, j.Done = "", 0, e.now().UnixMilli()
	if err := e.note(j); err != nil {
		return err
	}
	e.log.Info("an account was erased", "user", j.User)
	return nil
}

func (e *eraser) note(j *storage.Erasing) error {
	b := storage.Batch{Vital: true}
	b.Set(storage.ErasingKey(j.User), storage.Marshal(*j))
	return e.commit(&b)
}

// sessions ends the user's devices for good, with what waits for them.
func (e *eraser) sessions(user string) error {
	devices, err := e.registry.Devices(user)
	if err != nil {
		return err
	}
	for _, d := range devices {
		if _, err := e.registry.Revoke(e.ctx, delivery.Key{User: user, Client: d.Client}); err != nil {
			return err
		}
	}
	return nil
}

// bots deletes the user's bots that the last run did not get to.
func (e *eraser) bots(user string) error {
	var left []string
	err := e.others(storage.SpaceBot, user, func(bot string) error { left = append(left, bot); return nil })
	for _, bot := range left {
		if err == nil {
			err = e.remove(e.ctx, bot)
		}
		if errors.Is(err, &chat.Refusal{Code: chat.NotFound}) { // who deletes the account just did
			err = nil
		}
	}
	return err
}

// conversations withdraws what the user wrote, if they are no bot, and leaves groups: ownership passes on.
func (e *eraser) conversations(j *storage.Erasing) error {
	type part struct {
		conv string
		m    chat.Member
	}
	var parts []part
	prefix := storage.In(storage.SpaceMembership).Str(j.User)
	var bad error
	err := e.store.Scan(prefix, nil, func(k storage.Key, v []byte) bool {
		conv, _, ok := storage.TakeStr(k[len(prefix):])
		m, err := storage.DecodeMember(v)
		if bad = err; bad == nil && !ok {
			bad = storage.ErrRecord
		}
		if conv > j.Conv {
			parts = append(parts, part{conv, m})
		}
		return bad == nil
	})
	if err = errors.Join(err, bad); err != nil {
		return err
	}
	for _, p := range parts {
		if !j.Bot {
			if err := e.posts(j, p.conv, p.m.Role != chat.RoleNone); err != nil {
				return err
			}
		}
		if !chat.IsDirect(p.conv) {
			if err := e.do(p.conv, chat.Command{Op: chat.OpLeave, Actor: j.User}); err != nil {
				return err
			}
		}
		j.Conv, j.Seq = p.conv, 0
		if err := e.note(j); err != nil {
			return err
		}
	}
	return nil
}

// requests takes back what the user asked groups for that they never were in.
func (e *eraser) requests(user string) error {
	var convs []string
	prefix := storage.In(storage.SpaceRequest)
	err := e.store.Scan(prefix, nil, func(k storage.Key, _ []byte) bool {
		conv, rest, _ := storage.TakeStr(k[len(prefix):])
		if of, _, ok := storage.TakeStr(rest); ok && of == user {
			convs = append(convs, conv)
		}
		return true
	})
	for _, conv := range convs {
		if err == nil {
			err = e.do(conv, chat.Command{Op: chat.OpLeave, Actor: user})
		}
	}
	return err
}

// posts makes tombstones of the user's posts in a conversation, and takes their reactions back: by an event, which
// devices follow, where the user may write one, and everywhere by taking the event away that put them there.
func (e *eraser) posts(j *storage.Erasing, conv string, member bool) error {
	for {
		var seqs []uint64
		var reacts []chat.Event // what takes them back
		n, last := 0, j.Seq
		var bad error
		err := e.store.Read(conv, j.Seq+1, math.MaxInt64, func(x storage.Entry) bool {
			var ev chat.Event
			if ev, bad = (codec{}).DecodeStored(x.Data); bad != nil {
				return false
			}
			last = x.Seq
			if ev.From == j.User {
				switch ev.Kind {
				case chat.KindPost, chat.KindEdit:
					seqs = append(seqs, x.Seq)
				case chat.KindReact:
					seqs = append(seqs, x.Seq)
					reacts = append(reacts, chat.Event{Kind: chat.KindUnreact, Re: ev.Re, Emoji: ev.Emoji})
				}
			}
			n++
			return n < eraseChunk
		})
		if err = errors.Join(err, bad, e.ctx.Err()); err != nil {
			return err
		}
		for i := range reacts {
			if !member {
				break
			}
			if err := e.do(conv, chat.Command{Op: chat.OpAppend, Actor: j.User, Event: reacts[i]}); err != nil {
				return err
			}
		}
		if len(seqs) > 0 {
			if err := e.hub.Erase(conv, seqs)(); err != nil {
				return err
			}
		}
		if n < eraseChunk {
			return nil
		}
		j.Seq = last
		if err := e.note(j); err != nil {
			return err
		}
	}
}

// do carries out a command in the name of the user. That it is refused means that it was carried out before, or
// that there is nothing to do; only a server that cannot carry it out now is a fault.
func (e *eraser) do(conv string, cmd chat.Command) error {
	err := e.hub.Do(&hub.Request{Conv: conv, Direct: chat.IsDirect(conv), Cmd: cmd}).Err
	var refusal *chat.Refusal
	if errors.As(err, &refusal) && refusal.Code != chat.Unavailable {
		return nil
	}
	return err
}

// records removes what stands about the user beside conversations, at others too.
func (e *eraser) records(user string) error {
	done := make(chan error, 1)
	e.presence.UpdateProfile(user, func(r *storage.Profile) { *r = storage.Profile{} }, func(err error) { done <- err })
	select {
	case err := <-done:
		if err != nil {
			return err
		}
		e.readers.set(user, false)
	case <-e.ctx.Done():
		return e.ctx.Err()
	}
	var b storage.Batch
	var own []hub.Own
	b.Delete(storage.In(storage.SpaceProfile).Str(user))
	err := e.others(storage.SpaceContact, user, func(other string) error {
		b.Delete(storage.ContactKey(other, user))
		var rec storage.Contact
		v, ok, err := e.store.Get(storage.ContactKey(other, user))
		if err == nil && ok {
			err = storage.Unmarshal(v, &rec)
		}
		if ok && rec.State != storage.ContactDeclined {
			own = append(own, hub.Own{User: other, Event: chat.Event{
				From: user, Kind: chat.KindContact, Text: storage.ContactState(0).String(), Member: &chat.MemberChange{User: user},
			}})
		}
		return err
	})
	if err == nil {
		err = e.others(storage.SpaceBlock, user, func(other string) error {
			b.Delete(storage.BlockKey(other, user))
			return nil
		})
	}
	if err != nil {
		return err
	}
	for _, space := range []storage.Space{
		storage.SpaceContact, storage.SpaceBlock, storage.SpaceSetting, storage.SpaceUntold, storage.SpaceHidden, storage.SpacePush,
	} {
		b.DeletePrefix(storage.In(space).Str(user))
	}
	if err := errors.Join(notify.Forget(e.store, user, &b), e.ownLog(user, &b)); err != nil {
		return err
	}
	return e.hub.Tell(&hub.Note{Log: storage.OwnLog(user), With: b, Own: own})
}

// others calls fn with those whom a user's records of a space name.
func (e *eraser) others(space storage.Space, user string, fn func(other string) error) error {
	prefix := storage.In(space).Str(user)
	var bad error
	err := e.store.Scan(prefix, nil, func(k storage.Key, _ []byte) bool {
		other, _, _ := storage.TakeStr(k[len(prefix):])
		bad = fn(other)
		return bad == nil
	})
	return errors.Join(err, bad)
}

// ownLog empties the user's own log: its last entry stays, as a tombstone.
func (e *eraser) ownLog(user string, b *storage.Batch) error {
	log := storage.OwnLog(user)
	head, _, err := e.store.Head(log)
	if err != nil || head == 0 {
		return err
	}
	b.Truncate(log, head)
	stone := chat.Event{Kind: chat.KindGone}
	b.Erase(log, head, codec{}.EncodeStored(nil, &stone))
	return nil
}

// startPeople goes on with what the last run did not come to.
func (s *Server) startPeople() error {
	s.later(s.rpc.Close)
	if err := s.rpc.Resume(); err != nil {
		return err
	}
	s.eraser.start()
	s.later(s.eraser.close)
	return nil
}

// revoked ends the sessions of a user or of a device token after a change of the account. If it was deleted,
// what the user left is erased.
func (s *Server) revoked(user, token string) {
	s.adapter.Cut(user, token)
	if token == "" {
		s.eraser.poke()
	}
}

// eraseUser removes an account; the eraser does the rest.
func (s *Server) eraseUser(ctx context.Context, user string) error {
	return s.auth.DeleteUser(ctx, user)
}
