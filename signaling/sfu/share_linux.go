package sfu

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// canShare says whether several sockets may share a port, with the senders spread over them.
const canShare = true

// sharePort sets SO_REUSEPORT on a UDP socket: a sender always meets the same socket, so its packets stay in order.
func sharePort(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); cerr != nil {
		return cerr
	}
	return err
}
