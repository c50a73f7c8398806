//go:build !unix

package main

import "os"

// foreground reports whether this process may read from its terminal.
func foreground(*os.File) bool { return true }
