//go:build !linux

package pebblestore

// preallocates says that vfs.File.Preallocate reserves blocks; outside Linux it does nothing.
const preallocates = false
