package plain

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/storage"
)

// records is the record half of a storage.Reader in memory. The engine itself is tested elsewhere;
// TestOnPebble runs this package on it.
type records struct {
	storage.Reader // the log half is not used
	m              map[string][]byte
	sorted         []string
	scans, steps   int
}

func newRecords() *records { return &records{m: make(map[string][]byte)} }

func (r *records) commit(t testing.TB, b *storage.Batch) {
	t.Helper()
	for _, op := range b.Ops {
		switch op.Kind {
		case storage.OpSet:
			r.m[string(op.Key)] = slices.Clone(op.Value)
		case storage.OpDelete:
			delete(r.m, string(op.Key))
		default:
			t.Fatalf("unexpected operation %d", op.Kind)
		}
	}
	r.sorted = slices.Sorted(maps.Keys(r.m))
	b.Reset()
}

func (r *records) Get(k storage.Key) ([]byte, bool, error) {
	v, ok := r.m[string(k)]
	return slices.Clone(v), ok, nil
}

func (r *records) Scan(prefix, after storage.Key, fn func(storage.Key, []byte) bool) error {
	r.scans++
	from := string(prefix)
	if after != nil && bytes.Compare(after, prefix) >= 0 {
		from = string(after) + "\x00"
	}
	i, _ := slices.BinarySearch(r.sorted, from)
	for ; i < len(r.sorted) && strings.HasPrefix(r.sorted[i], string(prefix)); i++ {
		r.steps++
		v := slices.Clone(r.m[r.sorted[i]])
		if !fn(storage.Key(r.sorted[i]), v) {
			break
		}
		for j := range v { // valid only during the call
			v[j] = 0xEE
		}
	}
	return nil
}

// in counts the records of a space.
func (r *records) in(s storage.Space) int {
	n := 0
	for k := range r.m {
		if k[0] == byte(s) {
			n++
		}
	}
	return n
}
