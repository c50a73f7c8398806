package upkeep

import (
	"errors"
	"fmt"
	"time"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/storage"
)

// dueStep is how many events disappear in one step.
const dueStep = 256

// disappear has events end whose time is over. One that can't be read stays, and is passed over until the
// next round.
func (u *Upkeep) disappear(_ Settings, now time.Time) (more bool, err error) {
	ms := uint64(max(0, now.UnixMilli()))
	due := make(map[string][]hub.Due)
	var errs []error
	last, more, err := u.scanDue(ms, func(k storage.Key) {
		conv, d, ok := hub.TakeExpireKey(k)
		if !ok {
			errs = append(errs, fmt.Errorf("%w: time of an event to disappear: %w", storage.ErrRecord, errKey))
			return
		}
		due[conv] = append(due[conv], d)
	})
	if err != nil {
		return false, err
	}
	waits := make([]func() error, 0, len(due))
	for conv, list := range due {
		waits = append(waits, u.o.Owners.Disappear(conv, list))
	}
	for _, wait := range waits {
		errs = append(errs, wait())
	}
	if u.due = nil; more {
		u.due = last
	}
	return more, errors.Join(errs...)
}

// scanDue calls fn with up to dueStep keys up to a time.
func (u *Upkeep) scanDue(ms uint64, fn func(k storage.Key)) (last storage.Key, more bool, err error) {
	n := 0
	err = u.o.Store.Scan(storage.In(storage.SpaceExpire), u.due, func(k storage.Key, _ []byte) bool {
		if at, _, ok := storage.TakeU64(k[1:]); ok && at > ms {
			return false
		}
		last = append(storage.Key(nil), k...)
		fn(last)
		n++
		return n < dueStep
	})
	return last, n == dueStep, err
}
