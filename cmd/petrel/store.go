package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/petrelchat/petrel/broker/control"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
)

type backupCmd struct {
	dataFlag
	Dir string `arg:"" help:"Directory to make; it must not exist yet."`
}

// backupRequest is the request of the method backup over the control socket. Dir is absolute.
type backupRequest struct {
	Dir string `json:"dir"`
}

func (c backupCmd) Run(ctx context.Context, io console) error {
	data, err := c.dir(io.env)
	if err != nil {
		return err
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(dir); err == nil {
		return usagef("%s is there already: name a directory that a backup can make", c.Dir)
	}
	client, dialErr := control.Dial(socketIn(data))
	if dialErr == nil {
		defer client.Close()
		err = client.Call(ctx, "backup", backupRequest{dir}, nil)
	} else {
		err = backupStopped(data, dir, dialErr)
	}
	if err != nil {
		return err
	}
	// Never call a backup done that is not there.
	if _, err := os.Stat(storeIn(dir)); err != nil {
		return fmt.Errorf("the server reports a backup, but there is no store in %s: %w", c.Dir, err)
	}
	_, err = fmt.Fprintf(io.out, "backed up %s to %s; restore it with: petrel restore %s --data DIR\n", data, c.Dir, c.Dir)
	return err
}

// devMark is the file that keeps development data from being served to others; it must survive a restore.
const devMark = "dev"

// backupStopped copies the store of a server that does not run. A backup looks like a data directory:
// the store, and the mark of development data.
func backupStopped(data, dir string, dialErr error) (err error) {
	store := storeIn(data)
	s, err := pebblestore.Open(store, pebblestore.Options{})
	switch {
	case errors.Is(err, storage.ErrLocked): // it runs, and does not answer
		return dialErr
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no store in %s: name the server's data directory with --data", store)
	case err != nil:
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := copyMark(data, dir); err != nil {
		return err
	}
	return s.Checkpoint(storeIn(dir))
}

// copyMark copies the mark of development data, if there is one.
func copyMark(from, to string) error {
	err := copyFile(filepath.Join(from, devMark), filepath.Join(to, devMark))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

type restoreCmd struct {
	Src  string `arg:"" help:"What petrel backup made."`
	Data string `required:"" help:"Data directory to make." placeholder:"DIR"`
}

func (c restoreCmd) Run(io console) error {
	store := storeIn(c.Data)
	if _, err := os.Lstat(store); err == nil {
		return usagef("there is a store in %s already: restore into an empty directory", c.Data)
	}
	if err := pebblestore.CheckPhysical(storeIn(c.Src), pebblestore.Options{}); err != nil {
		return fmt.Errorf("%s is no sound backup: %w", c.Src, err)
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return err
	}
	if err := copyMark(c.Src, c.Data); err != nil {
		return err
	}
	// The store gets its name when it is whole: a restore that was cut short leaves none.
	part := store + ".restoring"
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	if err := copyTree(storeIn(c.Src), part); err != nil {
		return err
	}
	if err := os.Rename(part, store); err != nil {
		return err
	}
	if err := syncDir(c.Data); err != nil {
		return err
	}
	_, err := fmt.Fprintf(io.out, "restored %s; start it with: petrel serve --data %s\n", c.Src, c.Data)
	return err
}

// copyTree copies directories and files and syncs them.
func copyTree(src, dst string) error {
	return filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		to := filepath.Join(dst, rel)
		switch {
		case d.IsDir():
			return os.Mkdir(to, 0o700)
		case d.Type().IsRegular():
			if err := copyFile(path, to); err != nil {
				return err
			}
			return syncDir(filepath.Dir(to))
		}
		return fmt.Errorf("%s is neither a file nor a directory: this is no backup", path)
	})
}

func copyFile(src, dst string) (err error) {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // only read
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Sync()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

type verifyCmd struct{ dataFlag }

func (c verifyCmd) Run(io console) error {
	data, err := c.dir(io.env)
	if err != nil {
		return err
	}
	store := storeIn(data)
	err = pebblestore.CheckPhysical(store, pebblestore.Options{})
	if errors.Is(err, storage.ErrLocked) {
		return fmt.Errorf("a server runs on %s: stop it, or verify a backup of it: %w", data, err)
	}
	if err != nil {
		return err
	}
	if err := verifyLogical(store); err != nil {
		return err
	}
	_, err = fmt.Fprintln(io.out, "ok")
	return err
}
