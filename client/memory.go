package client

import (
	"context"
	"sync"

	"github.com/petrelchat/petrel/client/internal/link"
	"github.com/petrelchat/petrel/client/store"
)

// memory keeps what the connection remembers (TLS tickets, its keep-alive) in the store. Writing is the janitor's:
// the connection does not wait for it.
type memory struct {
	bell chan struct{}

	mu     sync.Mutex
	values map[string][]byte
	dirty  map[string]bool
}

var _ link.Memory = (*memory)(nil)

// loadMemory reads what was kept.
func loadMemory(ctx context.Context, c *core) (*memory, error) {
	m := &memory{bell: c.wake.janitor, values: make(map[string][]byte), dirty: make(map[string]bool)}
	err := c.read(ctx, func(r store.Reader) error {
		keys, err := r.MetaKeys(metaLink)
		if err != nil {
			return err
		}
		for _, k := range keys {
			v, err := r.Meta(k)
			if err != nil {
				return err
			}
			m.values[k[len(metaLink):]] = v
		}
		return nil
	})
	return m, err
}

// Get implements [link.Memory].
func (m *memory) Get(name string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.values[name]
}

// Put implements [link.Memory].
func (m *memory) Put(name string, value []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if value == nil {
		delete(m.values, name)
	} else {
		m.values[name] = value
	}
	m.dirty[name] = true
	ring(m.bell)
}

// flush writes what changed.
func (m *memory) flush(ctx context.Context, c *core) error {
	m.mu.Lock()
	changed := make(map[string][]byte, len(m.dirty))
	for name := range m.dirty {
		changed[name] = m.values[name]
	}
	clear(m.dirty)
	m.mu.Unlock()
	if len(changed) == 0 {
		return nil
	}
	err := c.update(ctx, func(ch *change) error {
		for name, v := range changed {
			if err := ch.tx.PutMeta(metaLink+name, v); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		for name := range changed {
			m.dirty[name] = true
		}
	}
	return err
}
