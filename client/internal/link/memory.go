package link

import "sync"

// forgetful is a Memory for the life of one Link.
type forgetful struct {
	mu     sync.Mutex
	values map[string][]byte
}

var _ Memory = (*forgetful)(nil)

func newForgetful() *forgetful { return &forgetful{values: make(map[string][]byte)} }

func (f *forgetful) Get(name string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.values[name]
}

func (f *forgetful) Put(name string, value []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if value == nil {
		delete(f.values, name)
		return
	}
	f.values[name] = value
}
