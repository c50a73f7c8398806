package pebblestore

// preallocates says that vfs.File.Preallocate reserves blocks (fallocate); elsewhere it does nothing.
const preallocates = true
