package webhook

import (
	"context"
	"errors"
	"slices"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// Create makes a webhook in the name of a user. An incoming one gets a bot of its own, which becomes a
// member, unless the spec names one that is.
func (h *Hooks) Create(ctx context.Context, by string, s Spec) (Made, error) {
	set := h.settings.Load()
	if err := s.validate(set.AllowPrivate || set.AllowLoopback); err != nil {
		return Made{}, err
	}
	h.making.Lock()
	defer h.making.Unlock()
	g, err := h.entitled(s.Conv, by)
	if err != nil {
		return Made{}, err
	}
	if err := h.room(s.Conv, by); err != nil {
		return Made{}, err
	}
	since, ok := h.o.Accounts.Account(by)
	if !ok {
		return Made{}, chat.Refuse(chat.NotAuthorized, "your account cannot make webhooks")
	}
	r := &record{ID: newID(), Kind: s.Kind, Conv: s.Conv, By: by, Since: since, Created: h.o.Now().UnixMilli(), Name: s.Name}
	secret := newSecret()
	if s.Kind == Out {
		r.URL, r.Events, r.Secret = s.URL, slices.Clone(s.Events), secret
		if err := h.put(r, &position{Next: g.head + 1}, h.note(by, "webhook.add", r)); err != nil {
			return Made{}, err
		}
		return Made{ID: r.ID, Secret: secret}, nil
	}
	r.Hash, r.Bot = hashOf(secret), s.Bot
	if s.Bot == "" {
		err = h.withOwnBot(ctx, r)
	} else if err = h.checkBot(by, r); err == nil {
		err = h.put(r, nil, h.note(by, "webhook.add", r))
	}
	if err != nil {
		return Made{}, err
	}
	return Made{ID: r.ID, URL: h.link(r.ID, secret), Bot: r.Bot}, nil
}

// link is where to post to. Nothing but this reply has the secret.
func (h *Hooks) link(id, secret string) string {
	return h.settings.Load().BaseURL + "/hook/" + id + "/" + secret
}

func (h *Hooks) note(who, what string, r *record) storage.Op {
	return h.o.Audit(Audit{Who: who, What: what, Target: r.ID, Conv: r.Conv, Note: r.Kind})
}

// room refuses one more than a conversation, a user or the server may have.
func (h *Hooks) room(conv, by string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	n, mine := 0, 0
	for _, k := range h.hooks {
		if k.Conv == conv {
			n++
		}
		if k.By == by {
			mine++
		}
	}
	switch {
	case n >= perConv:
		return chat.Refuse(chat.Conflict, "a conversation has at most %d webhooks: delete one that is not needed", perConv)
	case mine >= perUser:
		return chat.Refuse(chat.Conflict, "you have %d webhooks already: delete one that is not needed", perUser)
	case len(h.hooks) >= hooksMax:
		return chat.Refuse(chat.Unavailable, "the server has as many webhooks as it takes: ask its administrator")
	}
	return nil
}

// checkBot refuses bots of others, and those that may not post where the webhook is.
func (h *Hooks) checkBot(by string, r *record) error {
	if owner, ok := h.o.Accounts.IsBot(r.Bot); !ok || owner != by {
		return chat.Refuse(chat.NotFound, "you have no bot of that name: see bot.list")
	}
	var refused error
	_, _, direct := chat.Parties(r.Conv)
	err := h.o.Hub.Query(r.Conv, direct, func(v hub.View) {
		if v.State.MayRead(r.Bot) != nil {
			refused = chat.Refuse(chat.Conflict, "the bot is no member here: add it first")
		}
	})
	return errors.Join(err, refused)
}

// withOwnBot makes the bot of an incoming webhook and adds it to the group. The record is there first, so
// that a crash leaves nothing that nobody knows of.
func (h *Hooks) withOwnBot(ctx context.Context, r *record) error {
	if _, _, direct := chat.Parties(r.Conv); direct {
		return chat.Refuse(chat.BadRequest, "bot is missing: in a direct conversation a bot of yours posts")
	}
	r.Bot, r.OwnBot, r.Making = "hook-"+r.ID, true, true
	if err := h.put(r, nil, storage.Op{}); err != nil {
		return err
	}
	err := h.o.Accounts.AddBot(ctx, r.By, r.Bot, r.ID)
	if err == nil {
		err = h.o.Hub.Do(&hub.Request{Conv: r.Conv, Cmd: chat.Command{Op: chat.OpAdd, Actor: r.By, User: r.Bot, Role: chat.RoleMember}}).Err
	}
	if err == nil {
		done := *r
		done.Making = false
		err = h.put(&done, nil, h.note(r.By, "webhook.add", r))
	}
	if err != nil {
		if undo := h.remove(ctx, r, r.By, storage.Op{}); undo != nil {
			h.o.Log.Error("a webhook that could not be made was not removed; it is at the next start", "id", r.ID, "error", undo)
		}
	}
	return err
}

// remove takes a webhook away, and the bot that was made for it.
func (h *Hooks) remove(ctx context.Context, r *record, by string, op storage.Op) error {
	if r.OwnBot {
		leave := chat.Command{Op: chat.OpLeave, Actor: r.Bot}
		if res := h.o.Hub.Do(&hub.Request{Conv: r.Conv, Cmd: leave}); res.Err != nil && !isRefusal(res.Err) {
			return res.Err // refused: it is no member, or the group has ended
		}
		if err := h.o.Accounts.DeleteUser(ctx, r.Bot); err != nil && !errors.Is(err, &chat.Refusal{Code: chat.NotFound}) {
			return err
		}
	}
	b := &storage.Batch{Vital: true}
	b.Delete(hookKey(r.ID))
	b.Delete(nextKey(r.ID, r.Conv))
	if op.Kind != 0 {
		b.Ops = append(b.Ops, op)
	}
	if err := h.commit(b); err != nil {
		return err
	}
	h.mu.Lock()
	delete(h.hooks, r.ID)
	h.watch()
	h.mu.Unlock()
	return nil
}

func isRefusal(err error) bool {
	var r *chat.Refusal
	return errors.As(err, &r) && r.Code != chat.Unavailable
}

// owned returns a webhook that the user may change: their own, or one of a conversation whose settings they
// may change.
func (h *Hooks) owned(user, id string) (hook, error) {
	k, ok := h.get(id)
	if !ok {
		return hook{}, noHook()
	}
	if _, err := h.entitled(k.Conv, user); err != nil {
		if since, ok := h.o.Accounts.Account(user); !ok || user != k.By || since != k.Since {
			if errors.Is(err, &chat.Refusal{Code: chat.Unavailable}) {
				return hook{}, err
			}
			return hook{}, noHook()
		}
	}
	return k, nil
}

// Delete removes a webhook.
func (h *Hooks) Delete(ctx context.Context, by, id string) error {
	h.making.Lock()
	defer h.making.Unlock()
	k, err := h.owned(by, id)
	if err != nil {
		return err
	}
	return h.remove(ctx, k.record, by, h.note(by, "webhook.del", k.record))
}

// Rotate gives a webhook a new secret. The old one is void at once.
func (h *Hooks) Rotate(by, id string) (Made, error) {
	h.making.Lock()
	defer h.making.Unlock()
	k, err := h.owned(by, id)
	if err != nil {
		return Made{}, err
	}
	r, secret := *k.record, newSecret()
	made := Made{ID: id, Bot: r.Bot}
	if r.Kind == In {
		r.Hash = hashOf(secret)
		made.URL = h.link(id, secret)
	} else {
		r.Secret, made.Secret = secret, secret
	}
	return made, h.put(&r, nil, h.note(by, "webhook.rotate", &r))
}

// Enable switches a webhook that is off on again, in the name of the user. An outgoing one goes on where it
// stopped; what the user may not read is left out.
func (h *Hooks) Enable(by, id string) error {
	h.making.Lock()
	defer h.making.Unlock()
	k, err := h.owned(by, id)
	if err != nil {
		return err
	}
	if _, err := h.entitled(k.Conv, by); err != nil {
		return err
	}
	since, ok := h.o.Accounts.Account(by)
	if !ok {
		return noHook()
	}
	r := *k.record
	r.By, r.Since, r.Off, r.Why = by, since, 0, ""
	if err := h.put(&r, nil, h.note(by, "webhook.on", &r)); err != nil {
		return err
	}
	if k.out != nil {
		h.mu.Lock()
		k.out.pos.Failed, k.out.pos.Since, k.out.due = 0, 0, 0
		h.mu.Unlock()
		h.mark(k.out)
	}
	return nil
}

// turnOff switches a webhook off and tells its creator, in their own log.
func (h *Hooks) turnOff(id, why string) {
	h.making.Lock()
	defer h.making.Unlock()
	k, ok := h.get(id)
	if !ok || k.Off != 0 {
		return
	}
	r := *k.record
	r.Off, r.Why = h.o.Now().UnixMilli(), why
	n := &hub.Note{Log: storage.OwnLog(r.By)}
	n.With.Set(hookKey(id), storage.Marshal(&r))
	n.With.Ops = append(n.With.Ops, h.note("server", "webhook.off", &r))
	if since, ok := h.o.Accounts.Account(r.By); ok && since == r.Since {
		name := id
		if r.Name != "" {
			name = r.Name + " (" + id + ")"
		}
		n.Own = []hub.Own{{User: r.By, Event: chat.Event{
			Kind: chat.KindHook, Conv: r.Conv, At: r.Off, Text: "The webhook " + name + " is off: " + why + ".",
		}}}
	}
	h.take(&r, nil)
	if err := h.o.Hub.Tell(n); err != nil { // it is found out again after the next start
		h.o.Log.Warn("that a webhook is off was not stored", "id", id, "error", err)
	}
}

// clean removes what a crash left half made, or half removed.
func (h *Hooks) clean(ctx context.Context) {
	h.making.Lock()
	defer h.making.Unlock()
	for _, r := range h.left {
		if err := h.remove(ctx, r, r.By, storage.Op{}); err != nil {
			h.o.Log.Error("a webhook that was never finished could not be removed", "id", r.ID, "error", err)
		}
	}
}
