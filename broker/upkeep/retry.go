package upkeep

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// retryStep is how many retry keys one step looks at.
const retryStep = 512

// retrySweep is where a round through the retry keys stands.
type retrySweep struct {
	after storage.Key
	conv  string
	below uint64 // keys of conv for events before it go
}

// RetryCutoffKey is the record of the time, in ms, before which events may have lost their retry keys:
// 8 bytes big-endian. It tells a key that is missing from one that grew old.
func RetryCutoffKey() storage.Key { return storage.In(storage.SpaceMeta).Str("retry-cutoff") }

// RetryCutoff returns the time, in ms, before which events may have lost their retry keys.
func RetryCutoff(r storage.Reader) (int64, error) {
	v, ok, err := r.Get(RetryCutoffKey())
	if err != nil || !ok {
		return math.MinInt64, err
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("%w: time of the oldest retry keys", storage.ErrRecord)
	}
	return int64(binary.BigEndian.Uint64(v)), nil
}

// forgetRetries deletes retry keys that are too old, and those of events that were cut off.
func (u *Upkeep) forgetRetries(s Settings, now time.Time) (more bool, err error) {
	w := &u.retry
	cutoff := int64(math.MinInt64)
	if s.RetryKeys > 0 {
		cutoff = now.Add(-s.RetryKeys).UnixMilli()
	}
	var b storage.Batch
	var errs []error
	last, more, err := u.scan(storage.In(storage.SpaceRetry), w.after, retryStep, func(k storage.Key, v []byte) {
		conv, _, ok := storage.TakeStr(k[1:])
		p, err := storage.DecodePrior(v)
		if !ok || err != nil {
			errs = append(errs, errors.Join(err, fmt.Errorf("%w: retry key of %q", storage.ErrRecord, conv)))
			return
		}
		if conv != w.conv {
			w.conv = conv
			if w.below, err = u.firstSince(conv, cutoff); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", conv, err))
			}
		}
		if p.Seq < w.below {
			b.Delete(k)
		}
	})
	if err != nil {
		return false, err
	}
	if err := u.noteCutoff(&b, cutoff); err != nil {
		return false, err
	}
	if err := u.commit(&b); err != nil {
		return false, err
	}
	if w.after = last; !more {
		*w = retrySweep{}
	}
	return more, errors.Join(errs...)
}

// noteCutoff adds the time to a batch that forgets what was before it.
func (u *Upkeep) noteCutoff(b *storage.Batch, cutoff int64) error {
	if b.Len() == 0 || cutoff < 0 {
		return nil
	}
	noted, err := RetryCutoff(u.o.Store)
	if err == nil && cutoff > noted {
		b.Set(RetryCutoffKey(), binary.BigEndian.AppendUint64(nil, uint64(cutoff)))
	}
	return err
}

// firstSince returns the seq of the first event that is there and not older than a time in ms, head+1 if
// there is none. Times never go back within a conversation, so it halves. With an error, or for a log
// without entries, it returns 0.
func (u *Upkeep) firstSince(log string, cutoff int64) (uint64, error) {
	head, _, err := u.o.Store.Head(log)
	if err != nil || head == 0 {
		return 0, err
	}
	low, at, err := u.firstFrom(log, 0, head)
	if err != nil || at >= cutoff {
		return low, err
	}
	high := head + 1
	for low+1 < high { // the event at low is older, the one at high is not
		mid := low + (high-low)/2
		seq, at, err := u.firstFrom(log, mid, head)
		switch {
		case err != nil:
			return 0, err
		case at < cutoff:
			low = seq
		default:
			high = mid
		}
	}
	return high, nil
}

// firstFrom returns the first entry from a seq on and its time.
func (u *Upkeep) firstFrom(log string, from, to uint64) (seq uint64, at int64, err error) {
	var bad error
	err = u.o.Store.Read(log, from, to, func(e storage.Entry) bool {
		ev, err := protocol.DecodeStored(e.Data)
		seq, at, bad = e.Seq, ev.At, err
		return false
	})
	if err = errors.Join(err, bad); err != nil {
		return 0, 0, err
	}
	if seq == 0 {
		return 0, 0, fmt.Errorf("%w: an entry from %d on is missing", storage.ErrDamaged, from)
	}
	return seq, at, nil
}
