package pebblestore

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/cockroachdb/pebble/v2"
	"github.com/petrelchat/petrel/storage"
)

// Format is the version of the layout that this program writes. Raise it with a migration.
const Format = 1

// A migration brings a store from one version to the next. It syncs what it writes and can run again
// over its own half-done work: the version is only raised after it returned.
type migration func(db *pebble.DB) error

// layout is a format version with the way up to it: migrations[v] leads from v to v+1.
type layout struct {
	version    int
	migrations map[int]migration
}

// currentLayout has no migrations yet: 1 is the first version.
func currentLayout() layout { return layout{version: Format} }

func formatKey() []byte { return storage.In(storage.SpaceMeta).Str("format") }

// bring makes the store one of this layout: it marks a new one, migrates an older one and refuses a
// newer one.
func (l layout) bring(db *pebble.DB, dir string, readOnly bool) error {
	version, found, err := readFormat(db)
	if err != nil {
		return err
	}
	if !found {
		empty, err := isEmpty(db)
		if err != nil {
			return err
		}
		if !empty {
			return damaged(dir, errors.New("the store has data but no format version"))
		}
		if readOnly {
			return nil
		}
		return writeFormat(db, l.version)
	}
	if version > l.version {
		return fmt.Errorf("%w: %s has format %d, this program knows formats up to %d: run the newer version",
			storage.ErrNewer, dir, version, l.version)
	}
	if version < l.version && readOnly {
		return fmt.Errorf("storage: %s has the older format %d: start petrel on it once, which brings it to %d",
			dir, version, l.version)
	}
	for ; version < l.version; version++ {
		migrate := l.migrations[version]
		if migrate == nil {
			return fmt.Errorf("storage: %s has format %d, from which this program knows no way to %d", dir, version, l.version)
		}
		if err := migrate(db); err != nil {
			return fmt.Errorf("storage: migrating %s from format %d: %w", dir, version, err)
		}
		if err := writeFormat(db, version+1); err != nil {
			return err
		}
	}
	return nil
}

func readFormat(db *pebble.DB) (version int, found bool, err error) {
	v, closer, err := db.Get(formatKey())
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	version, err = strconv.Atoi(string(v))
	if err != nil {
		err = fmt.Errorf("%w: format version: %w", errEntry, err)
	}
	return version, true, errors.Join(err, closer.Close())
}

func writeFormat(db *pebble.DB, version int) error {
	return db.Set(formatKey(), []byte(strconv.Itoa(version)), pebble.Sync)
}

func isEmpty(db *pebble.DB) (bool, error) {
	it, err := db.NewIter(nil)
	if err != nil {
		return false, err
	}
	empty := !it.First()
	return empty, it.Close()
}
