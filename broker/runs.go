package broker

import (
	"fmt"
	"math/rand/v2"

	"github.com/petrelchat/petrel/storage"
)

// openRuns notes that the server was started, and returns all that the store knows of earlier times. Nothing may
// have been told of commits yet. If it can't be stored, what this run tells of them is not known to the next.
func (s *Server) openRuns() (runs storage.Runs, err error) {
	v, ok, err := s.store.Get(storage.RunsKey())
	if err == nil && ok {
		err = storage.Unmarshal(v, &runs)
	}
	if err != nil {
		return nil, fmt.Errorf("reading when the server was started: %w", err)
	}
	if more := len(runs) + 1 - storage.MaxRuns; more > 0 {
		runs = runs[more:]
	}
	runs = append(runs, storage.Run{ID: max(rand.Uint64()>>16, 1), From: s.store.LastCommit()}) // 7 bytes of a token
	b := storage.Batch{Vital: true}
	b.Set(storage.RunsKey(), storage.Marshal(runs))
	if err := s.commitWait(&b); err != nil {
		s.log.Warn("that the server was started was not stored; clients will synchronise from the beginning after the next start", "error", err)
	}
	return runs, nil
}
