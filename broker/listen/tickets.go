package listen

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	ticketAge  = 24 * time.Hour // a key makes new tickets for so long
	ticketKeys = 3              // and so many are known, the newest first
)

// Tickets are the secrets of TLS session tickets, kept in a file so that clients resume their sessions
// after a restart of the server: ten thousand that come back at once then cost no ten thousand
// signatures. A new secret begins every day, and the last three are known. All methods may be called
// from any goroutine.
type Tickets struct {
	path string

	mu   sync.Mutex
	keys []ticketKey // newest first
}

type ticketKey struct {
	born   time.Time
	secret [32]byte
}

// OpenTickets reads the secrets in the file at path, or begins it. A file that others can read, or that is
// damaged, is begun anew: clients then shake hands in full, once.
func OpenTickets(path string, now time.Time) (*Tickets, error) {
	t := &Tickets{path: path}
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("session tickets: %w", err)
	case st.Mode().Perm()&0o077 == 0:
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("session tickets: %w", err)
		}
		t.keys = parseTickets(string(text))
	}
	if _, err := t.Secrets(now); err != nil {
		return nil, err
	}
	return t, nil
}

// Secrets returns the known secrets, newest first, after beginning a new one if it is time. With an
// error the secrets are good all the same; the new one could not be written.
func (t *Tickets) Secrets(now time.Time) ([][32]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	keys := slices.DeleteFunc(slices.Clone(t.keys), func(k ticketKey) bool {
		age := now.Sub(k.born)
		return age >= ticketKeys*ticketAge || age < -time.Hour // the clock was wrong then, or is now
	})
	var err error
	if len(keys) == 0 || now.Sub(keys[0].born) >= ticketAge {
		fresh := ticketKey{born: now}
		if _, err := rand.Read(fresh.secret[:]); err != nil {
			return nil, fmt.Errorf("session tickets: %w", err)
		}
		keys = slices.Insert(keys, 0, fresh)
		keys = keys[:min(len(keys), ticketKeys)]
		if err = t.write(keys); err != nil && len(t.keys) > 0 {
			keys = t.keys // tried again next time
		}
	}
	t.keys = keys
	out := make([][32]byte, len(keys))
	for i, k := range keys {
		out[i] = k.secret
	}
	return out, err
}

// write replaces the file, readable by its owner only from the first byte.
func (t *Tickets) write(keys []ticketKey) error {
	var b strings.Builder
	for _, k := range keys {
		fmt.Fprintf(&b, "%d %x\n", k.born.Unix(), k.secret)
	}
	f, err := os.CreateTemp(filepath.Dir(t.path), ".tickets-*") // mode 0600
	if err != nil {
		return fmt.Errorf("session tickets: %w", err)
	}
	_, err = f.WriteString(b.String())
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), t.path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("session tickets: %w", err)
	}
	return nil
}

// parseTickets reads the lines "unix-seconds hex-secret"; nil if any is wrong.
func parseTickets(text string) []ticketKey {
	var keys []ticketKey
	for line := range strings.Lines(text) {
		born, secret, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		sec, err := strconv.ParseInt(born, 10, 64)
		raw, err2 := hex.DecodeString(secret)
		if !ok || err != nil || err2 != nil || len(raw) != 32 {
			return nil
		}
		keys = append(keys, ticketKey{time.Unix(sec, 0), [32]byte(raw)})
	}
	return keys
}
