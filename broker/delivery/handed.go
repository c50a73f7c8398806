package delivery

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync"
)

// Handed remembers beyond a crash of the process which acknowledgements of journalled publishes may have
// been handed to connections. The store can't tell: the journal's records are removed only with a later
// commit.
// A retry of what was certainly not acknowledged is recognised after the crash; of the rest nobody knows
// whether it is a retry or a new message that says the same under a packet id that was free again, and
// that one must not be dropped (PROTOCOL: delivery 4).
//
// It is a small file that is written without a sync, before acknowledgements leave. That survives the end
// of the process but not of the machine: what was written in another boot counts as unknown.
type Handed struct {
	path  string
	boot  string
	log   *slog.Logger
	found map[uint64]struct{} // what the last run has handed over; nil: unknown
	base  uint64              // marks of the last run have this number or a higher one

	mu   sync.Mutex
	file *os.File // nil: writing failed, and the file is gone
	next int64
	buf  []byte
}

const (
	handedMagic  = "petrel-handed-1\n"
	handedHeader = 64      // magic, boot id, first number
	handedRing   = 1 << 16 // marks that are remembered; they leave the store within a few commits
)

// OpenHanded reads the file; New begins a new one. Of a missing or foreign file nothing is known, which
// is safe.
func OpenHanded(path string, log *slog.Logger) (*Handed, error) {
	h := &Handed{path: path, boot: bootID(), log: log}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if h.boot == "" || len(b) < handedHeader || !bytes.Equal(b[:handedHeader-8], h.header(0)[:handedHeader-8]) {
		return h, nil
	}
	h.base = binary.BigEndian.Uint64(b[handedHeader-8:])
	h.found = make(map[uint64]struct{})
	for b = b[handedHeader:]; len(b) >= 8; b = b[8:] {
		h.found[binary.BigEndian.Uint64(b)] = struct{}{}
	}
	return h, nil
}

// bootID names this boot of the machine; "" where the system does not tell.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(b))
}

func (h *Handed) header(base uint64) []byte {
	b := make([]byte, handedHeader)
	copy(b[copy(b, handedMagic):handedHeader-8], h.boot)
	binary.BigEndian.PutUint64(b[handedHeader-8:], base)
	return b
}

// kept reports whether the acknowledgement of a mark of the last run certainly never left.
func (h *Handed) kept(mark uint64) bool {
	if h == nil || h.found == nil || mark < h.base {
		return false
	}
	_, ok := h.found[mark]
	return !ok
}

// reset begins a new run, whose marks have numbers from base on. Those of the last run must be gone from
// the store.
func (h *Handed) reset(base uint64) error {
	if h == nil {
		return nil
	}
	f, err := os.OpenFile(h.path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(h.header(base)); err != nil {
		return errors.Join(err, f.Close())
	}
	h.mu.Lock()
	h.file, h.next, h.found = f, 0, nil
	h.mu.Unlock()
	return nil
}

// note says that the acknowledgements of marks are about to leave. Any goroutine may call it.
func (h *Handed) note(marks []uint64) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(marks) > 0 && h.file != nil {
		at := h.next % handedRing
		n := min(int64(len(marks)), handedRing-at)
		h.buf = h.buf[:0]
		for _, m := range marks[:n] {
			h.buf = binary.BigEndian.AppendUint64(h.buf, m)
		}
		if _, err := h.file.WriteAt(h.buf, handedHeader+8*at); err != nil {
			// Without the file nothing is known after a crash; with this one, something wrong.
			h.log.Warn("noting acknowledgements failed; a crash would store retries without id twice",
				"error", errors.Join(err, os.Remove(h.path), h.file.Close()))
			h.file = nil
		}
		h.next += n
		marks = marks[n:]
	}
}

// Close closes the file.
func (h *Handed) Close() error {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file == nil {
		return nil
	}
	err := h.file.Close()
	h.file = nil
	return err
}
