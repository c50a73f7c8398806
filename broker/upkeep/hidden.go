package upkeep

import (
	"errors"
	"fmt"
	"time"

	"github.com/petrelchat/petrel/storage"
)

// hiddenStep is how many records one step looks at.
const hiddenStep = 512

// hiddenSweep is where a round through what users deleted for themselves stands.
type hiddenSweep struct {
	after storage.Key
	conv  string
	first uint64 // seq of the first event of conv that is there
}

// forgetHidden deletes the notes about events that were cut off.
func (u *Upkeep) forgetHidden(Settings, time.Time) (more bool, err error) {
	w := &u.hidden
	var b storage.Batch
	var errs []error
	last, more, err := u.scan(storage.In(storage.SpaceHidden), w.after, hiddenStep, func(k storage.Key, _ []byte) {
		_, rest, ok1 := storage.TakeStr(k[1:])
		conv, rest, ok2 := storage.TakeStr(rest)
		seq, _, ok3 := storage.TakeU64(rest)
		if !ok1 || !ok2 || !ok3 {
			errs = append(errs, fmt.Errorf("%w: event that a user deleted for themselves: %w", storage.ErrRecord, errKey))
			return
		}
		if conv != w.conv {
			first, err := u.firstSeq(conv)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", conv, err))
			}
			w.conv, w.first = conv, first
		}
		if seq < w.first {
			b.Delete(k)
		}
	})
	if err != nil {
		return false, err
	}
	if err := u.commit(&b); err != nil {
		return false, err
	}
	if w.after = last; !more {
		*w = hiddenSweep{}
	}
	return more, errors.Join(errs...)
}

// firstSeq returns the seq of the first event of a log that is there, 0 for a log without any.
func (u *Upkeep) firstSeq(log string) (first uint64, err error) {
	head, _, err := u.o.Store.Head(log)
	if err == nil && head > 0 {
		err = u.o.Store.Read(log, 0, head, func(e storage.Entry) bool { first = e.Seq; return false })
	}
	return first, err
}
