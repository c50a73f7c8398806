package broker

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/petrelchat/petrel/broker/verify"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
)

// A backup is a data directory without what belongs to a process: the store, and those of the small
// files beside it that are there.

// besideStore names the small files of a data directory that a backup has too: the mark of a development
// server, and the secrets of TLS session tickets.
func besideStore() []string { return []string{"dev", "tickets"} }

// BackupStore writes a consistent copy of everything durable in a store that is in use, and of the small
// files of its data directory, to dst, which must not exist: it is there once all of it is on the disk,
// or not at all. On the same file system most of it is linked, not copied.
func BackupStore(store storage.Store, dataDir, dst string) (err error) {
	dst = filepath.Clean(dst)
	if _, err := os.Lstat(dst); err == nil {
		return fmt.Errorf("backup: %s is there already: name a directory that is not", dst)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("backup: %w", err)
	}
	parent := filepath.Dir(dst)
	tmp, err := os.MkdirTemp(parent, "."+filepath.Base(dst)+".unfinished-*") // mode 0700
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("backup: %w", err), os.RemoveAll(tmp))
		}
	}()
	if err := store.Checkpoint(StoreDir(tmp)); err != nil {
		return err
	}
	for _, name := range besideStore() {
		err := copyFile(filepath.Join(dataDir, name), filepath.Join(tmp, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := syncTree(tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, dst); err != nil {
		return err
	}
	return syncFile(parent)
}

// BackupStopped is BackupStore for a server that is not running: it opens the store for as long as it
// takes. storage.ErrLocked: it is running after all.
func BackupStopped(dataDir, dst string) (err error) {
	// For reading only would not do: what is in the write-ahead log alone must get into tables.
	st, err := pebblestore.Open(StoreDir(dataDir), pebblestore.Options{ReserveBytes: -1, MinFreeBytes: -1, OnFatal: func(error) {}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	return BackupStore(st, dataDir, dst)
}

// Restore makes dir a data directory again from a backup. dir must be empty or not there. The backup is
// verified first, and one with errors is refused; it is not changed and shares nothing with the copy.
// The store appears in dir once all of it is on the disk.
func Restore(src, dir string) (err error) {
	if err := checkTarget(dir); err != nil {
		return err
	}
	if err := checkBackup(src); err != nil {
		return err
	}
	_, statErr := os.Lstat(dir)
	made := errors.Is(statErr, fs.ErrNotExist)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	// Within dir, which may be a mount point that can't be renamed.
	tmp, err := os.MkdirTemp(dir, ".restore-*")
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	defer func() {
		if rerr := os.RemoveAll(tmp); err == nil && rerr != nil {
			err = rerr
		}
		if err != nil {
			if made {
				_ = os.Remove(dir) // only if nothing of the backup is in it
			}
			err = fmt.Errorf("restore: %w", err)
		}
	}()
	return putBack(src, tmp, dir)
}

// putBack copies the backup to tmp and moves it from there to dir, the store last.
func putBack(src, tmp, dir string) error {
	if err := copyTree(StoreDir(src), StoreDir(tmp)); err != nil {
		return err
	}
	names := []string{}
	for _, name := range besideStore() {
		switch err := copyFile(filepath.Join(src, name), filepath.Join(tmp, name)); {
		case err == nil:
			names = append(names, name)
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	if err := syncTree(tmp); err != nil {
		return err
	}
	for _, name := range append(names, filepath.Base(StoreDir(tmp))) {
		// The mark of a development server must be there before the store is, come what may.
		if err := os.Rename(filepath.Join(tmp, name), filepath.Join(dir, name)); err != nil {
			return err
		}
		if err := syncFile(dir); err != nil {
			return err
		}
	}
	return syncFile(filepath.Dir(filepath.Clean(dir)))
}

// checkTarget refuses a directory that has something in it.
func checkTarget(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("restore: %w", err)
	}
	for _, e := range entries {
		if e.Name() != "lost+found" { // a file system of its own
			return fmt.Errorf("restore: %s is not empty (there is %s): move it away or name another directory", dir, e.Name())
		}
	}
	return nil
}

// checkBackup refuses a backup that is no good.
func checkBackup(src string) error {
	var first verify.Problem
	sum, err := Verify(src, func(p verify.Problem) {
		if p.Severity == verify.Error && first.Text == "" {
			first = p
		}
	})
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if !sum.OK() {
		return fmt.Errorf("restore: %w: the backup %s has %d errors, the first is: %s; \"petrel verify\" shows all, use another backup",
			storage.ErrDamaged, src, sum.Errors, strings.TrimPrefix(first.String(), "error: "))
	}
	return nil
}

// copyTree copies a directory of files and directories; anything else is refused.
func copyTree(src, dst string) error {
	return filepath.WalkDir(src, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		to := filepath.Join(dst, rel)
		switch {
		case e.IsDir():
			info, err := e.Info()
			if err != nil {
				return err
			}
			return os.Mkdir(to, info.Mode().Perm()|0o700)
		case e.Type().IsRegular():
			return copyFile(path, to)
		}
		return fmt.Errorf("%s is neither a file nor a directory", path)
	})
}

// copyFile copies a file and its permissions to one that does not exist.
func copyFile(src, dst string) (err error) {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", src)
	}
	// No wider than the original at any time: a mode of 0600 keeps secrets.
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm()&0o700|0o200)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Chmod(info.Mode().Perm())
	}
	return errors.Join(err, out.Close())
}

// syncTree brings all files and directories below dir, and dir, to the disk.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return syncFile(path)
	})
}

// syncFile brings a file, or the names in a directory, to the disk.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
