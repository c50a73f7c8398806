package delivery

import (
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// missed notes what came between two commits, while no member at QoS 1 was online.
func (sh *share) missed(epoch, since, upTo uint64) error {
	if since >= upTo {
		return nil
	}
	r := sh.r
	return sh.each(func(conv string, m chat.Member) error {
		if m.Pending() || r.o.Hub.Unchanged(conv, since) {
			return nil
		}
		_, commit, err := r.o.Hub.Head(conv)
		if err != nil || commit <= since {
			return err
		}
		first, err := r.o.Store.After(conv, since)
		if err != nil {
			return err
		}
		last, err := r.headAt(conv, upTo)
		if err != nil {
			return err
		}
		if m.Left != 0 {
			last = min(last, m.Left)
		}
		sh.mu.Lock()
		defer sh.mu.Unlock()
		if first = firstOf(m, first); first <= last && sh.epoch == epoch {
			sh.owe(conv, span{first: first, last: last})
		}
		return nil
	})
}

// each calls fn with the conversations of the share that the user is or was in.
func (sh *share) each(fn func(conv string, m chat.Member) error) error {
	r, user := sh.r, sh.key.user
	if sh.f.All {
		return r.memberships(user, fn)
	}
	v, ok, err := r.o.Store.Get(storage.In(storage.SpaceMembership).Str(user).Str(sh.f.Conv))
	if err != nil || !ok {
		return err
	}
	m, err := storage.DecodeMember(v)
	if err != nil {
		return err
	}
	return fn(sh.f.Conv, m)
}

// headAt is the last seq of a log that was written by a commit.
func (r *Registry) headAt(log string, commit uint64) (uint64, error) {
	head, at, err := r.o.Hub.Head(log)
	if err != nil || at <= commit {
		return head, err
	}
	next, err := r.o.Store.After(log, commit)
	return next - 1, err
}

// seek moves the share to where a subscription asks it to start. What is on its way in those
// conversations counts as done.
func (sh *share) seek(epoch uint64, w *Subscribe, s *Session, upTo uint64) error {
	var convs []string
	var starts []uint64
	if sh.f.All {
		err := sh.r.visible(sh.key.user, func(conv string, lowest uint64) {
			if s.allows(conv) {
				convs, starts = append(convs, conv), append(starts, lowest)
			}
		})
		if err != nil {
			return err
		}
	} else {
		convs, starts = []string{sh.f.Conv}, []uint64{w.Start}
	}
	for i, conv := range convs {
		head, err := sh.r.headAt(conv, upTo)
		if err != nil {
			return err
		}
		sh.move(epoch, conv, w.first(head, starts[i]), head)
	}
	return nil
}

// move makes a share owe first..head of a conversation, and what was offered since.
func (sh *share) move(epoch uint64, conv string, first, head uint64) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.epoch != epoch {
		return
	}
	delete(sh.flows, conv)
	if l := sh.lag[conv]; l != nil {
		if l.advance(head); len(l.spans) == 0 {
			sh.settled(conv)
		}
	}
	if first <= head {
		sh.owe(conv, span{first: first, last: head})
	}
}

// resumed ends a look-up: what is owed is known, or could not be read.
func (sh *share) resumed(epoch, upTo uint64, err error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.epoch != epoch {
		return
	}
	if err != nil {
		sh.failed = true // it goes on resuming until somebody joins
		for _, m := range sh.members {
			m.s.Kick(Broken)
		}
		return
	}
	sh.resuming, sh.commit = false, upTo
	sh.touch()
}
