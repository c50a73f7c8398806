package upkeep

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// Bounds of one step through the logs: records that name one, logs looked at, events cut off.
const (
	nameStep = 512
	lookStep = 128
	cutStep  = 512
)

// logSweep is where a round through the logs stands. The engine lists logs from the first one only, so
// the records beside them are what a round goes by: every conversation has one, and whoever has a log
// of their own is or was a member of something, or was online.
type logSweep struct {
	space int // of logSpaces
	after storage.Key
	last  string // name found last
	todo  []string
}

var logSpaces = [...]storage.Space{storage.SpaceConv, storage.SpaceMembership, storage.SpaceProfile}

// shorten cuts off the old end of logs, with the records of the events that go.
func (u *Upkeep) shorten(s Settings, now time.Time) (more bool, err error) {
	w := &u.logs
	if s.LogLength <= 0 && s.LogAge <= 0 {
		*w = logSweep{}
		return false, nil
	}
	if len(w.todo) == 0 {
		if err := u.nextLogs(w); err != nil {
			return false, err
		}
	}
	var b storage.Batch
	var errs []error
	room := cutStep
	for looks := 0; looks < lookStep && room > 0 && len(w.todo) > 0; looks++ {
		n, all, err := u.cut(&b, w.todo[0], s, now, room)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", w.todo[0], err))
		}
		room -= n
		if all || err != nil {
			w.todo = w.todo[1:]
		}
	}
	if err := u.commit(&b); err != nil {
		*w = logSweep{}
		return false, err
	}
	if more = len(w.todo) > 0 || w.space < len(logSpaces); !more {
		*w = logSweep{}
	}
	return more, errors.Join(errs...)
}

// nextLogs finds more logs to look at.
func (u *Upkeep) nextLogs(w *logSweep) error {
	if w.space >= len(logSpaces) {
		return nil
	}
	space := logSpaces[w.space]
	w.todo = nil
	last, more, err := u.scan(storage.In(space), w.after, nameStep, func(k storage.Key, _ []byte) {
		name, _, ok := storage.TakeStr(k[1:])
		if !ok || name == "" {
			return
		}
		if space != storage.SpaceConv {
			name = storage.OwnLog(name)
		}
		if name != w.last {
			w.last = name
			w.todo = append(w.todo, name)
		}
	})
	if err != nil {
		return err
	}
	if w.after = last; !more {
		w.space++
		w.after = nil
	}
	return nil
}

// cut adds the end of up to most old events of a log to the batch. all says that no more are to go.
func (u *Upkeep) cut(b *storage.Batch, log string, s Settings, now time.Time, most int) (n int, all bool, err error) {
	head, _, err := u.o.Store.Head(log)
	if err != nil || head <= 1 {
		return 0, true, err
	}
	keep := uint64(1) // from here on length lets stay
	if s.LogLength > 0 && head > uint64(s.LogLength) {
		keep = head - uint64(s.LogLength) + 1
	}
	oldest := int64(math.MinInt64) // from then on age lets stay
	if s.LogAge > 0 {
		oldest = now.Add(-s.LogAge).UnixMilli()
	}
	var gone []chat.Event
	var bad error
	all = true
	err = u.o.Store.Read(log, 0, head-1, func(e storage.Entry) bool {
		ev, err := protocol.DecodeStored(e.Data)
		if e.Seq >= keep && (err != nil || ev.At >= oldest) {
			bad = err
			return false
		}
		if len(gone) == most {
			all = false
			return false
		}
		ev.Seq = e.Seq // also of one that can't be read
		gone = append(gone, ev)
		return true
	})
	if err = errors.Join(err, bad); err != nil || len(gone) == 0 {
		return 0, true, err
	}
	for i := range gone {
		if err := u.cutRecords(b, log, &gone[i]); err != nil {
			return 0, true, err
		}
	}
	b.Truncate(log, gone[len(gone)-1].Seq+1)
	return len(gone), all, nil
}

// cutRecords adds the end of what stands beside an event to the batch. The retry key goes too, whatever
// its age: what it answers with would name an event that nobody can get. The id may have been used again
// after its key had grown old: then the key is another event's.
func (u *Upkeep) cutRecords(b *storage.Batch, conv string, ev *chat.Event) error {
	if ev.Expire > 0 {
		b.Delete(ExpireKey(conv, ev))
	}
	if ev.ID == "" || ev.From == "" {
		return nil
	}
	key := hub.RetryKey(conv, ev.From, ev.ID)
	v, ok, err := u.o.Store.Get(key)
	if err != nil || !ok {
		return err
	}
	p, err := storage.DecodePrior(v)
	if err == nil && p.Seq == ev.Seq {
		b.Delete(key)
	}
	return err
}
