package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/petrelchat/petrel/broker/verify"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
)

// Verify checks the store of a data directory or a backup: that its files are whole, and that what is in
// them is what a server would have written. It changes nothing. The store must not be in use
// (storage.ErrLocked): of a running server check a backup. Files that are damaged are one problem, and
// the rest is not looked at then; an error means that the store could not be checked.
func Verify(dir string, report func(verify.Problem)) (sum verify.Summary, err error) {
	store := StoreDir(dir)
	if _, err := os.Stat(store); errors.Is(err, fs.ErrNotExist) {
		return sum, fmt.Errorf("%s is no data directory and no backup: there is no store in it: %w", dir, fs.ErrNotExist)
	}
	o := pebblestore.Options{ReadOnly: true, OnFatal: func(error) {}} // damage met while reading is returned
	if err := pebblestore.CheckPhysical(store, o); err != nil {
		return damagedFiles(err, report)
	}
	st, err := pebblestore.Open(store, o)
	if err != nil {
		return damagedFiles(err, report)
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	return verify.Check(st, report)
}

func damagedFiles(err error, report func(verify.Problem)) (verify.Summary, error) {
	if !errors.Is(err, storage.ErrDamaged) {
		return verify.Summary{}, err
	}
	if report != nil {
		report(verify.Problem{Severity: verify.Error, Text: err.Error()})
	}
	return verify.Summary{Errors: 1}, nil
}
