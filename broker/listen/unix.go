package listen

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"syscall"
)

// unixListener removes its socket when it is closed.
type unixListener struct {
	*net.UnixListener
	path string
	self fs.FileInfo
}

// listenUnix listens at path with exactly these permissions from the first moment: the socket is made
// under another name and moved into place, over one that a dead server left behind. A live server's
// socket and a file that is no socket are refused.
func listenUnix(path string, mode fs.FileMode) (net.Listener, error) {
	if st, err := os.Lstat(path); err == nil {
		if st.Mode()&fs.ModeSocket == 0 {
			return nil, fmt.Errorf("%s is there and is no socket: remove it or choose another path", path)
		}
		c, err := net.Dial("unix", path)
		if err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("another server listens at %s: stop it or choose another path", path)
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("cannot tell whether another server listens at %s: %w", path, err)
		}
	}
	making := path + "." + strconv.Itoa(os.Getpid())
	_ = os.Remove(making) // of a dead process with our number
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: making, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false)
	err = os.Chmod(making, mode)
	if err == nil {
		err = os.Rename(making, path)
	}
	var self fs.FileInfo
	if err == nil {
		self, err = os.Lstat(path)
	}
	if err != nil {
		_ = os.Remove(making)
		return nil, errors.Join(err, ln.Close())
	}
	return &unixListener{ln, path, self}, nil
}

func (l *unixListener) Close() error {
	if st, err := os.Lstat(l.path); err == nil && os.SameFile(st, l.self) {
		_ = os.Remove(l.path)
	}
	return l.UnixListener.Close()
}
