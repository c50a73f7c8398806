package rpc

import (
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

const (
	maxDraft   = 64 << 10 // bytes
	maxDrafts  = 1000     // of one user
	draftEvery = 2 * time.Second
	draftsTold = 10_000 // conversations whose last telling is remembered
)

type draftSetParams struct {
	Conv string  `json:"conv"`
	Text *string `json:"text"`
	If   *int64  `json:"if"` // at of the draft that this one replaces; 0: there is none
}

type draftReply struct {
	Conv string `json:"conv"`
	At   int64  `json:"at"`
}

type draftKey struct{ user, conv string }

// drafts knows when the devices of users were told of a draft: it changes with every word, and what is
// superseded is worth no entry in a log. What was not told yet is told when draftEvery has passed; a record
// says so, so that it is not forgotten in a crash.
type drafts struct {
	mu     sync.Mutex
	told   map[draftKey]int64 // ms
	timers map[draftKey]*time.Timer
	closed bool
	wg     sync.WaitGroup
}

// untoldKey is where it stands that a draft is to be told.
func untoldKey(k draftKey) storage.Key {
	return storage.In(storage.SpaceUntold).Str(k.user).Str(k.conv)
}

// draftSet keeps the text that is being written; an empty one clears it. The record always has the last text.
func draftSet(c *call, p *draftSetParams) (any, error) {
	switch {
	case p.Text == nil:
		return nil, chat.Refuse(chat.BadRequest, "text is missing: give the draft, or an empty one to clear it")
	case len(*p.Text) > maxDraft:
		return nil, chat.Refuse(chat.TooLarge, "a draft is at most %d bytes", maxDraft)
	case !utf8.ValidString(*p.Text):
		return nil, chat.Refuse(chat.BadRequest, "text is UTF-8")
	}
	if err := c.mayKeep(p.Conv); err != nil {
		return nil, err
	}
	defer c.people.lock(c.User)()
	k := draftKey{c.User, p.Conv}
	old, found, err := c.setting(storage.DraftKey(c.User, p.Conv))
	if err != nil {
		return nil, err
	}
	if err := unseen(p.If, old.At); err != nil {
		return nil, err
	}
	if !found {
		if *p.Text == "" {
			return draftReply{p.Conv, 0}, nil
		}
		if err := c.roomForSetting(maxDrafts, func(n string) bool { return strings.HasPrefix(n, nameDraft+"/") }); err != nil {
			return nil, err
		}
	}
	rec := storage.Setting{At: later(c.now, old.At)}
	if rec.Value, err = c.cbor.Marshal(*p.Text); err != nil {
		return nil, err
	}
	var b storage.Batch
	var own []hub.Own
	wait := c.people.drafts.wait(k, c.now)
	if wait > 0 {
		b.Set(untoldKey(k), nil)
	} else {
		own = append(own, c.draftTold(k, rec))
		b.Delete(untoldKey(k))
	}
	if *p.Text == "" {
		b.Delete(storage.DraftKey(c.User, p.Conv))
	} else {
		b.Set(storage.DraftKey(c.User, p.Conv), storage.Marshal(rec))
	}
	if err := c.tell(storage.OwnLog(c.User), b, own...); err != nil {
		return nil, err
	}
	if wait > 0 {
		c.tellDraftIn(k, wait)
	} else {
		c.people.drafts.note(k, c.now)
	}
	return draftReply{p.Conv, rec.At}, nil
}

func (s *Service) draftTold(k draftKey, rec storage.Setting) hub.Own {
	return s.settingTold(k.user, settingView{Name: nameDraft, Conv: k.conv, Value: rec.Value, At: rec.At})
}

// wait is how long the devices are to be spared a draft.
func (d *drafts) wait(k draftKey, now int64) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	told, ok := d.told[k]
	if since := time.Duration(now-told) * time.Millisecond; ok && since >= 0 && since < draftEvery {
		return draftEvery - since
	}
	return 0
}

// note remembers that the devices were told.
func (d *drafts) note(k draftKey, now int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.told) >= draftsTold {
		for old, at := range d.told {
			if now-at >= draftEvery.Milliseconds() || now < at {
				delete(d.told, old)
			}
		}
	}
	if len(d.told) < draftsTold { // else some devices are told a little too often
		d.told[k] = now
	}
}

// tellDraftIn tells the devices of a draft later, once for all that comes until then.
func (s *Service) tellDraftIn(k draftKey, in time.Duration) {
	d := &s.people.drafts
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timers[k] != nil || d.closed { // closed: the record stays, and the next start tells
		return
	}
	if d.timers == nil {
		d.timers = make(map[draftKey]*time.Timer)
	}
	d.wg.Add(1)
	d.timers[k] = time.AfterFunc(in, func() {
		defer d.wg.Done()
		d.mu.Lock()
		delete(d.timers, k)
		closed := d.closed
		d.mu.Unlock()
		if closed {
			return
		}
		if err := s.tellDraft(k); err != nil {
			s.o.Log.Error("telling a user's devices of a draft failed", "user", k.user, "conv", k.conv, "error", err)
		}
	})
}

// tellDraft tells the devices of a draft as it is now, unless they know.
func (s *Service) tellDraft(k draftKey) error {
	defer s.people.lock(k.user)()
	if _, ok, err := s.o.Store.Get(untoldKey(k)); err != nil || !ok {
		return err
	}
	var rec storage.Setting
	v, ok, err := s.o.Store.Get(storage.DraftKey(k.user, k.conv))
	if err == nil && ok {
		err = storage.Unmarshal(v, &rec)
	}
	if err != nil {
		return err
	}
	now := s.o.Now()
	if !ok { // cleared meanwhile
		if rec.Value, err = s.cbor.Marshal(""); err != nil {
			return err
		}
		rec.At = now
	}
	var b storage.Batch
	b.Delete(untoldKey(k))
	s.people.drafts.note(k, now)
	return s.o.Hub.Tell(&hub.Note{Log: storage.OwnLog(k.user), With: b, Own: []hub.Own{s.draftTold(k, rec)}})
}

// Resume tells what a run that ended did not come to tell. It returns when that is stored.
func (s *Service) Resume() error {
	var found []draftKey
	prefix := storage.In(storage.SpaceUntold)
	err := s.o.Store.Scan(prefix, nil, func(k storage.Key, _ []byte) bool {
		user, rest, ok := storage.TakeStr(k[len(prefix):])
		if conv, _, ok2 := storage.TakeStr(rest); ok && ok2 {
			found = append(found, draftKey{user, conv})
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, k := range found {
		if err := s.tellDraft(k); err != nil {
			return err
		}
	}
	return nil
}

// Close waits for what is being told of drafts; what waits is told by the next start.
func (s *Service) Close() {
	d := &s.people.drafts
	d.mu.Lock()
	d.closed = true
	for _, t := range d.timers {
		if t.Stop() {
			d.wg.Done()
		}
	}
	d.mu.Unlock()
	d.wg.Wait()
}
