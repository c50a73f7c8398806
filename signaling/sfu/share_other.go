//go:build !linux

package sfu

import "syscall"

// canShare: other systems give all packets to one of the sockets, or spread them without regard to the sender.
const canShare = false

func sharePort(_, _ string, _ syscall.RawConn) error { return nil }
