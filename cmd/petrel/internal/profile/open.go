package profile

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/client/store/memory"
	"github.com/petrelchat/petrel/client/store/sqlite"
)

// Store is a file of what this user knows of this server, and the device that goes with it. Each has a session
// of its own on the server: so programs that use different ones don't disturb each other.
type Store string

// The stores. Others may be called anything that is a valid name.
const (
	Chat     Store = "chat" // of the messenger
	Commands Store = "cli"  // of the commands that come and go
	// Nothing keeps nothing: the session ends with the connection.
	Nothing Store = ""
)

// Use says how a client is opened.
type Use struct {
	Store Store
	// Busy is called again and again while another program has the store; its error ends the wait. nil: a busy store is an
	// error at once, client.ErrBusy.
	Busy func(err error) error
	// Tune changes the options of the client before it is opened; nil: nothing to change.
	Tune func(*client.Options)
}

// ErrNoStore is in the error of Open when there is no place for the store: the file system is read-only, or not for this user.
var ErrNoStore = errors.New("what this device knows can't be kept")

// busyPoll is how often a store that is busy is tried again. The lock is the database's own, which can't be waited for.
const busyPoll = 50 * time.Millisecond

// lastWords is how long the server keeps a session that keeps nothing: a second, so that a connection which breaks
// is taken up again.
const lastWords = time.Second

// Client is an open client with its store.
type Client struct {
	*client.Client
	st store.Store
}

// Open opens a client, which works whether the server can be reached or not. ctx bounds the wait for a busy store. The
// errors are those of [client.Open] and of the store: client.ErrBusy, client.ErrNewer, client.ErrFull, client.ErrDamaged,
// and [ErrNoStore].
func (p *Profile) Open(ctx context.Context, u Use) (*Client, error) {
	o, err := p.Options()
	if err != nil {
		return nil, err
	}
	if o.Store, o.Device, err = p.openStore(ctx, u); err != nil {
		return nil, err
	}
	if u.Store == Nothing {
		o.SessionExpiry = lastWords
	}
	if u.Tune != nil {
		u.Tune(&o)
	}
	c, err := client.Open(ctx, o)
	if err != nil {
		return nil, errors.Join(err, o.Store.Close())
	}
	return &Client{Client: c, st: o.Store}, nil
}

// Close closes the client, which waits for what is being sent until ctx ends, and then its store.
func (c *Client) Close(ctx context.Context) error {
	return errors.Join(c.Client.Close(ctx), c.st.Close())
}

// Dir is the folder of the stores of this user at this server.
func (p *Profile) Dir() string { return filepath.Join(p.home, p.User+"@"+p.host()) }

// Path is the file of a store.
func (p *Profile) StorePath(s Store) string { return filepath.Join(p.Dir(), string(s)+".db") }

func (p *Profile) openStore(ctx context.Context, u Use) (st store.Store, device string, err error) {
	if u.Store == Nothing {
		return memory.New(), deviceName("tmp"), nil
	}
	path := p.StorePath(u.Store)
	for {
		s, err := sqlite.Open(path, sqlite.Options{MaxBytes: p.most})
		if err == nil {
			device, err = deviceOf(ctx, s, u.Store)
			if err != nil {
				return nil, "", errors.Join(err, s.Close())
			}
			return s, device, nil
		}
		if file := (*fs.PathError)(nil); errors.As(err, &file) && !errors.Is(err, syscall.ENOSPC) {
			err = faultf("%w: %w; set PETREL_HOME to a directory that can be written", ErrNoStore, err)
		}
		if !errors.Is(err, store.ErrBusy) || u.Busy == nil {
			return nil, "", err
		}
		if stop := u.Busy(err); stop != nil {
			return nil, "", stop
		}
		wait := time.NewTimer(busyPoll)
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil, "", err
		case <-wait.C:
		}
	}
}

// metaDevice is where a store keeps the name of its device: a copy of the store is the same device, a new one another.
const metaDevice = "profile/device"

func deviceOf(ctx context.Context, s store.Store, use Store) (string, error) {
	var name []byte
	err := s.View(ctx, func(r store.Reader) (err error) {
		name, err = r.Meta(metaDevice)
		return err
	})
	if err != nil || len(name) > 0 {
		return string(name), err
	}
	fresh := deviceName(string(use))
	if err := s.Update(ctx, func(tx store.Tx) error { return tx.PutMeta(metaDevice, []byte(fresh)) }); err != nil {
		return "", fmt.Errorf("the store can't be written: %w", err)
	}
	return fresh, nil
}

// deviceName makes a client id that tells its user what it is, and is short on the wire: cli-7hq2xm.
func deviceName(use string) string {
	var b [4]byte
	rand.Read(b[:]) //nolint:errcheck // it never fails
	if len(use) > 40 {
		use = use[:40]
	}
	return use + "-" + strings.ToLower(base32.StdEncoding.EncodeToString(b[:])[:6])
}

// Lowest is the seq down to which the newest part of a conversation's log is on this device without a gap; 0: nothing of
// it is here.
func (c *Client) Lowest(ctx context.Context, conv string) (seq uint64, err error) {
	err = c.st.View(ctx, func(r store.Reader) error {
		spans, err := r.Spans(conv)
		if err == nil && len(spans) > 0 {
			seq = spans[len(spans)-1].First
		}
		return err
	})
	return seq, err
}

// Piece is the part of a conversation's log that is on this device without a gap and begins right behind a seq; after 0: the
// oldest part that is here. 0 and 0: there is none (yet).
func (c *Client) Piece(ctx context.Context, conv string, after uint64) (first, last uint64, err error) {
	err = c.st.View(ctx, func(r store.Reader) error {
		spans, err := r.Spans(conv)
		if err != nil {
			return err
		}
		for _, s := range spans {
			if after == 0 || s.First <= after+1 && after < s.Last {
				first, last = max(s.First, after+1), s.Last
				return nil
			}
		}
		return nil
	})
	return first, last, err
}

// Forget drops the events of a log up to a seq from a store that keeps nothing anyway, so that it does not grow while the program runs. A
// store in a file keeps them.
func (c *Client) Forget(conv string, upTo uint64) {
	if m, ok := c.st.(*memory.Store); ok {
		m.Forget(conv, upTo)
	}
}

// Note keeps small values in the store, beside what the client keeps; nil removes one.
func (c *Client) Note(ctx context.Context, notes map[string][]byte) error {
	return c.st.Update(ctx, func(tx store.Tx) error {
		for key, value := range notes {
			if err := tx.PutMeta(notePrefix+key, value); err != nil {
				return err
			}
		}
		return nil
	})
}

// Notes returns the values whose names begin with prefix.
func (c *Client) Notes(ctx context.Context, prefix string) (map[string][]byte, error) {
	notes := make(map[string][]byte)
	err := c.st.View(ctx, func(r store.Reader) error {
		keys, err := r.MetaKeys(notePrefix + prefix)
		if err != nil {
			return err
		}
		for _, key := range keys {
			value, err := r.Meta(key)
			if err != nil {
				return err
			}
			notes[strings.TrimPrefix(key, notePrefix)] = value
		}
		return nil
	})
	return notes, err
}

// notePrefix keeps notes apart from what the client keeps.
const notePrefix = "note/"
