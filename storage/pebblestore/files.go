package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// checkFiles looks for damage that Pebble would take for a younger or a missing store. It ends the list
// of tables (MANIFEST) at the first record that is broken, as after a torn write, and then removes the
// tables that it does not know: damage in the middle would cost data for good. And without its marker
// files it would begin a new store among the old tables.
func checkFiles(base vfs.FS, dir string, create bool) error {
	desc, err := pebble.Peek(dir, base)
	if err != nil {
		return openError(dir, err)
	}
	if desc.Exists {
		return checkManifest(base, dir, desc.ManifestFilename)
	}
	names, err := base.List(dir)
	if err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".log") {
			return damaged(dir, fmt.Errorf("there is %s, but no marker of a MANIFEST", name))
		}
	}
	if !create {
		return openError(dir, pebble.ErrDBDoesNotExist)
	}
	return nil
}

func checkManifest(base vfs.FS, dir, name string) (err error) {
	f, err := base.Open(name)
	if err != nil {
		return openError(dir, err)
	}
	data, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	good := 0
	for good < len(data) {
		next, ok := chunkAt(data, good)
		if !ok {
			break
		}
		good = next
	}
	if good == 0 {
		return damaged(dir, fmt.Errorf("%s does not begin with a whole record", base.PathBase(name)))
	}
	for at := good; at < len(data); at++ {
		if _, ok := realChunkAt(data, at); ok {
			return damaged(dir, fmt.Errorf("%s is broken at byte %d, with whole records behind", base.PathBase(name), good))
		}
	}
	return nil
}

// The framing of Pebble's MANIFEST is LevelDB's log format: blocks of 32 KiB with chunks of a checksum,
// a length, a type and the data; fewer than a header's bytes at the end of a block are padding.
const (
	blockSize   = 32 << 10
	chunkHeader = 7
)

// chunkAt returns the offset behind the chunk at an offset, over padding if need be.
func chunkAt(data []byte, at int) (next int, ok bool) {
	if room := blockSize - at%blockSize; room < chunkHeader {
		if at += room; at >= len(data) {
			return at, true
		}
	}
	return realChunkAt(data, at)
}

func realChunkAt(data []byte, at int) (next int, ok bool) {
	if len(data)-at < chunkHeader || blockSize-at%blockSize < chunkHeader {
		return 0, false
	}
	h := data[at:]
	n, kind := int(binary.LittleEndian.Uint16(h[4:])), h[6]
	end := at + chunkHeader + n
	if kind < 1 || kind > 4 || end > len(data) || end > (at/blockSize+1)*blockSize {
		return 0, false
	}
	sum := crc32.Checksum(h[6:chunkHeader+n], crc32.MakeTable(crc32.Castagnoli))
	// The format stores checksums rotated and shifted, so that data that holds checksums does not match.
	return end, binary.LittleEndian.Uint32(h) == (sum>>15|sum<<17)+0xa282ead8
}
