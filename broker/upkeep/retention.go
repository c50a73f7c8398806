package upkeep

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

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
	var b storage.Batch // of users' own logs
	var errs []error
	var waits []func() error
	room := cutStep
	for looks := 0; looks < lookStep && room > 0 && len(w.todo) > 0; looks++ {
		log := w.todo[0]
		below, n, all, err := u.cut(log, s, now, room)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", log, err))
		case n > 0 && strings.HasPrefix(log, "@"):
			b.Truncate(log, below)
		case n > 0:
			waits = append(waits, u.o.Owners.Cut(log, below))
		}
		room -= n
		if all || err != nil {
			w.todo = w.todo[1:]
		}
	}
	failed := u.commit(&b)
	for _, wait := range waits {
		failed = errors.Join(failed, wait())
	}
	if failed != nil {
		*w = logSweep{}
		return false, failed
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

// cut finds the end of up to most old events of a log: all before the seq below are to go, n of them. all
// says that no more are.
func (u *Upkeep) cut(log string, s Settings, now time.Time, most int) (below uint64, n int, all bool, err error) {
	head, _, err := u.o.Store.Head(log)
	if err != nil || head <= 1 {
		return 0, 0, true, err
	}
	keep := uint64(1) // from here on length lets stay
	if s.LogLength > 0 && head > uint64(s.LogLength) {
		keep = head - uint64(s.LogLength) + 1
	}
	oldest := int64(math.MinInt64) // from then on age lets stay
	if s.LogAge > 0 {
		oldest = now.Add(-s.LogAge).UnixMilli()
	}
	var bad error
	all = true
	err = u.o.Store.Read(log, 0, head-1, func(e storage.Entry) bool {
		ev, err := protocol.DecodeStored(e.Data)
		if e.Seq >= keep && (err != nil || ev.At >= oldest) {
			bad = err
			return false
		}
		if n == most {
			all = false
			return false
		}
		below = e.Seq + 1 // also of one that can't be read
		n++
		return true
	})
	if err = errors.Join(err, bad); err != nil {
		return 0, 0, true, err
	}
	return below, n, all, nil
}
