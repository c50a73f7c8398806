package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/control"
	"github.com/petrelchat/petrel/broker/verify"
	"github.com/petrelchat/petrel/storage"
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

// backupStopped copies the store of a server that does not run.
func backupStopped(data, dir string, dialErr error) error {
	err := broker.BackupStopped(data, dir)
	switch {
	case errors.Is(err, storage.ErrLocked): // it runs, and does not answer
		return dialErr
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no store in %s: name the server's data directory with --data", storeIn(data))
	}
	return err
}

type restoreCmd struct {
	Src  string `arg:"" help:"What petrel backup made."`
	Data string `required:"" help:"Data directory to make." placeholder:"DIR"`
}

func (c restoreCmd) Run(io console) error {
	if _, err := os.Lstat(storeIn(c.Data)); err == nil {
		return usagef("there is a store in %s already: restore into an empty directory", c.Data)
	}
	if err := broker.Restore(c.Src, c.Data); err != nil {
		return err
	}
	_, err := fmt.Fprintf(io.out, "restored %s; start it with: petrel serve --data %s\n", c.Src, c.Data)
	return err
}

type verifyCmd struct{ dataFlag }

func (c verifyCmd) Run(io console) error {
	data, err := c.dir(io.env)
	if err != nil {
		return err
	}
	sum, err := broker.Verify(data, func(p verify.Problem) { fmt.Fprintln(io.out, p) })
	if errors.Is(err, storage.ErrLocked) {
		return fmt.Errorf("a server runs on %s: stop it, or verify a backup of it: %w", data, err)
	}
	if err != nil {
		return err
	}
	if !sum.OK() {
		return fmt.Errorf("the store in %s has %d errors and %d warnings: restore a backup (petrel restore) or report this", data, sum.Errors, sum.Warnings)
	}
	_, err = fmt.Fprintf(io.out, "ok: %d logs, %d events, %d sessions, %d warnings\n", sum.Logs, sum.Events, sum.Sessions, sum.Warnings)
	return err
}
