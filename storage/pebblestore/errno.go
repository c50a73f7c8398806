package pebblestore

import (
	"errors"
	"syscall"
)

// fromSystem reports whether an error comes from the operating system.
func fromSystem(err error) bool {
	var no syscall.Errno
	return errors.As(err, &no)
}
