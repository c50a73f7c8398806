package upkeep

import (
	"fmt"
	"math"
	"time"

	"github.com/petrelchat/petrel/storage"
)

// readStep is how many entries of the read audit one step removes, and how many conversations it looks at.
const readStep = 512

// readSweep is where a round through the read audit stands.
type readSweep struct{ after storage.Key }

// forgetReads deletes entries of the read audit that are too old. In each conversation they stand in the
// order of their time, so a step reads no more than what it deletes and one more.
func (u *Upkeep) forgetReads(s Settings, now time.Time) (more bool, err error) {
	cutoff := int64(math.MaxInt64) // nothing is kept
	if s.Reads > 0 {
		cutoff = now.Add(-s.Reads).UnixMilli()
	}
	w := &u.reads
	var b storage.Batch
	var bad error
	prefix := storage.In(storage.SpaceRead)
	for looked := 0; looked < readStep && b.Len() < readStep; looked++ {
		ended := true
		err := u.o.Store.Scan(prefix, w.after, func(k storage.Key, _ []byte) bool {
			c, ms, _, ok := storage.TakeRead(k)
			if !ok {
				bad = fmt.Errorf("%w: key of the read audit", storage.ErrRecord)
				return false
			}
			if ms >= cutoff {
				ended = false
				w.after = storage.ReadsOf(c).U64(math.MaxUint64) // on to the next conversation
				return false
			}
			k = append(storage.Key(nil), k...)
			b.Delete(k)
			w.after = k
			return b.Len() < readStep
		})
		if err != nil {
			return false, err
		}
		if bad != nil {
			*w = readSweep{}
			return false, bad
		}
		if ended && b.Len() < readStep { // the last of all was too old, or there was none
			err := u.commit(&b)
			*w = readSweep{}
			return false, err
		}
	}
	return true, u.commit(&b)
}
