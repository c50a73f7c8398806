package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	dto "github.com/prometheus/client_model/go"
)

// CheckPhysical opens the store in dir read-only, reads everything in it and verifies all checksums and
// the order of the keys. The error wraps storage.ErrDamaged if something is hurt. The store must not be
// in use; a checkpoint of it may be.
func CheckPhysical(dir string, o Options) error {
	return checkPhysical(vfs.Default, dir, o)
}

func checkPhysical(base vfs.FS, dir string, o Options) (err error) {
	o.Create, o.ReadOnly = false, true
	if o.OnFatal == nil {
		o.OnFatal = func(error) {} // damage is what this looks for: it is returned
	}
	s, err := openFS(base, dir, o, currentLayout())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.checkTables(base, dir, o); err != nil {
		return err
	}
	if err := s.db.CheckLevels(nil); err != nil {
		return damaged(dir, err)
	}
	return s.readAll()
}

// checkTables verifies the checksum of every block of every table, those of filters and indexes too. A table
// that the MANIFEST does not name is none of the store's: a crash left it half-written, and the next start
// removes it.
func (s *Store) checkTables(base vfs.FS, dir string, o Options) error {
	levels, err := s.db.SSTables()
	if err != nil {
		return damaged(dir, err)
	}
	p := tune(o.withDefaults(), base, nil, newWatcher(o.withDefaults()))
	p.EnsureDefaults()
	seen := make(map[string]bool)
	for _, table := range slices.Concat(levels...) {
		name := base.PathJoin(dir, table.BackingSSTNum.String()+".sst")
		if seen[name] { // virtual tables share a file
			continue
		}
		seen[name] = true
		if err := checkTable(base, name, p.MakeReaderOptions()); err != nil {
			return damaged(name, err)
		}
	}
	return nil
}

func checkTable(base vfs.FS, name string, o sstable.ReaderOptions) (err error) {
	f, err := base.Open(name)
	if err != nil {
		return err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r, err := sstable.NewReader(context.Background(), readable, o)
	if err != nil {
		return errors.Join(err, readable.Close())
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return r.ValidateBlockChecksums()
}

// readAll reads every key and value, so that every block's checksum is verified, and the shape of the
// entries.
func (s *Store) readAll() error {
	return s.withIter(&pebble.IterOptions{}, func(it *pebble.Iterator) error {
		for ok := it.First(); ok; ok = it.Next() {
			v, err := it.ValueAndErr()
			if err != nil {
				return err
			}
			if it.Key()[0] != spaceLog {
				continue
			}
			if _, err := keySeq(it.Key()); err != nil {
				return err
			}
			commit, _, err := splitValue(v)
			if err != nil {
				return err
			}
			if commit > s.last.Load() {
				return fmt.Errorf("%w: an entry of commit %d, but the last commit is %d", errEntry, commit, s.last.Load())
			}
		}
		return nil
	})
}

// Stats implements storage.Store. The names are those of metrics, without prefix.
func (s *Store) Stats() map[string]float64 {
	if s.enter() != nil {
		return nil
	}
	defer s.leave()
	m := s.db.Metrics()
	stats := map[string]float64{
		"commits":                 float64(s.last.Load()),
		"disk_bytes":              float64(m.DiskSpaceUsage()),
		"wal_bytes":               float64(m.WAL.Size),
		"wal_written_bytes_total": float64(m.WAL.BytesWritten),
		"memtable_bytes":          float64(m.MemTable.Size),
		"memtables":               float64(m.MemTable.Count),
		"flushes_total":           float64(m.Flush.Count),
		"compactions_total":       float64(m.Compact.Count),
		"compaction_debt_bytes":   float64(m.Compact.EstimatedDebt),
		"read_amplification":      float64(m.ReadAmp()),
		"l0_sublevels":            float64(m.Levels[0].Sublevels),
		"cache_bytes":             float64(m.BlockCache.Size),
		"cache_hits_total":        float64(m.BlockCache.Hits),
		"cache_misses_total":      float64(m.BlockCache.Misses),
		"filter_hits_total":       float64(m.Filter.Hits),
		"filter_misses_total":     float64(m.Filter.Misses),
		"table_iterators":         float64(m.TableIters),
		"disk_full":               0,
		"failed":                  0,
	}
	if s.Full() {
		stats["disk_full"] = 1
	}
	if s.watch.failure() != nil {
		stats["failed"] = 1
	}
	if s.space != nil {
		if free, err := s.space.free(); err == nil {
			stats["disk_free_bytes"] = float64(free)
		}
	}
	var h dto.Metric
	if f := m.LogWriter.FsyncLatency; f != nil && f.Write(&h) == nil {
		stats["fsyncs_total"] = float64(h.GetHistogram().GetSampleCount())
		// Pebble observes nanoseconds.
		stats["fsync_seconds_total"] = h.GetHistogram().GetSampleSum() / 1e9
	}
	return stats
}
