package profile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/petrelchat/petrel/client/store/sqlite"
)

// RemoveAll deletes the file of the profile, and the folder of the stores of this user at this server with what still
// waits to be sent. While a program has one of the stores open nothing is deleted: the error is client.ErrBusy.
func (p *Profile) RemoveAll() (err error) {
	entries, err := os.ReadDir(p.Dir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var locks []string
	var release []func() error
	end := func() error {
		var all error
		for _, r := range release {
			all = errors.Join(all, r())
		}
		release = nil
		return all
	}
	defer func() { err = errors.Join(err, end()) }()
	for _, e := range entries {
		path := filepath.Join(p.Dir(), e.Name())
		if filepath.Ext(path) != ".db" {
			continue
		}
		r, err := sqlite.Hold(path)
		if err != nil {
			return err
		}
		release, locks = append(release, r), append(locks, sqlite.LockFile(path))
	}
	if err := p.Remove(); err != nil {
		return err
	}
	if err := removeBut(p.Dir(), locks); err != nil {
		return err
	}
	// Removed while they are held, so that nobody gets hold of one that is about to go; not every system allows it.
	for _, path := range locks {
		_ = os.Remove(path)
	}
	if err := end(); err != nil {
		return err
	}
	for _, path := range locks {
		_ = os.Remove(path)
	}
	if err := os.Remove(p.Dir()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the stores are removed, their folder is in use again: %w", err)
	}
	return nil
}

// removeBut removes what is in a folder, but for some files in it and what SQLite keeps beside these.
func removeBut(dir string, keep []string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		path, kept := filepath.Join(dir, e.Name()), false
		for _, k := range keep {
			kept = kept || path == k || strings.HasPrefix(path, k+"-")
		}
		if kept {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}
