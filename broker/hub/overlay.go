package hub

import (
	"maps"
	"slices"
	"strings"

	"github.com/petrelchat/petrel/storage"
)

// overlay shows a store as it will be when the owner's batch is committed, as far as view records go. What
// one command changes is gathered first and then kept or dropped as a whole. The zero value is not ready:
// use newOverlay.
type overlay struct {
	store storage.Reader
	batch *layer // changed by the commands of this batch
	draft *layer // changed by the command at hand
}

// layer is changes in the order in which they were made, and what they amount to.
type layer struct {
	ops      []storage.Op
	values   map[string][]byte // nil: deleted
	prefixes []string          // of which everything below this layer is deleted
}

func newLayer() *layer { return &layer{values: make(map[string][]byte)} }

func newOverlay(store storage.Reader) *overlay {
	return &overlay{store: store, batch: newLayer(), draft: newLayer()}
}

// reset forgets everything: the batch was committed, or will never be.
func (o *overlay) reset() {
	o.batch.clear()
	o.drop()
}

// drop forgets what the command at hand changed.
func (o *overlay) drop() { o.draft.clear() }

// keep adds what the command at hand changed to the batch.
func (o *overlay) keep(b *storage.Batch) {
	d := o.draft
	if len(d.ops) == 0 {
		return
	}
	b.Ops = append(b.Ops, d.ops...)
	for _, p := range d.prefixes {
		o.batch.cover(p)
	}
	maps.Copy(o.batch.values, d.values)
	d.clear()
}

func (l *layer) clear() {
	if len(l.ops)+len(l.values)+len(l.prefixes) == 0 {
		return
	}
	l.ops, l.prefixes = nil, nil // the batch may have the ops
	clear(l.values)
}

// cover deletes everything below a prefix.
func (l *layer) cover(prefix string) {
	maps.DeleteFunc(l.values, func(k string, _ []byte) bool { return strings.HasPrefix(k, prefix) })
	l.prefixes = append(l.prefixes, prefix)
}

// find returns what a layer says of a key, if it says anything.
func (l *layer) find(k storage.Key) (v []byte, known bool) {
	if v, ok := l.values[string(k)]; ok {
		return v, true
	}
	for _, p := range l.prefixes {
		if strings.HasPrefix(string(k), p) {
			return nil, true
		}
	}
	return nil, false
}

func (o *overlay) get(k storage.Key) (v []byte, ok bool, err error) {
	for _, l := range [...]*layer{o.draft, o.batch} {
		if v, known := l.find(k); known {
			return v, v != nil, nil
		}
	}
	return o.store.Get(k)
}

func (o *overlay) set(k storage.Key, v []byte) {
	o.draft.values[string(k)] = v
	o.draft.ops = append(o.draft.ops, storage.Op{Kind: storage.OpSet, Key: k, Value: v})
}

// del leaves out what is not there.
func (o *overlay) del(k storage.Key) {
	if _, ok, err := o.get(k); err == nil && !ok {
		return
	}
	o.draft.values[string(k)] = nil
	o.draft.ops = append(o.draft.ops, storage.Op{Kind: storage.OpDelete, Key: k})
}

// delPrefix leaves out what has nothing to delete: that is nearly always so.
func (o *overlay) delPrefix(k storage.Key) {
	some := false
	if err := o.scan(k, func(storage.Key, []byte) bool { some = true; return false }); err == nil && !some {
		return
	}
	o.draft.cover(string(k))
	o.draft.ops = append(o.draft.ops, storage.Op{Kind: storage.OpDeletePrefix, Key: k})
}

// scan merges what the layers changed into what the store has.
func (o *overlay) scan(prefix storage.Key, fn func(k storage.Key, v []byte) bool) error {
	var fresh []string // keys that a layer sets, in order
	for _, l := range [...]*layer{o.draft, o.batch} {
		for k, v := range l.values {
			if v != nil && strings.HasPrefix(k, string(prefix)) {
				fresh = append(fresh, k)
			}
		}
	}
	slices.Sort(fresh)
	fresh = slices.Compact(fresh)
	give := func(upTo storage.Key) bool { // the fresh ones up to a key of the store; nil: all
		for len(fresh) > 0 && (upTo == nil || fresh[0] <= string(upTo)) {
			k := storage.Key(fresh[0])
			fresh = fresh[1:]
			if v, ok, _ := o.get(k); ok && !fn(k, v) { // a layer has it: the store is not asked
				return false
			}
		}
		return true
	}
	more := true
	err := o.store.Scan(prefix, nil, func(k storage.Key, v []byte) bool {
		if more = give(k); more && !o.changed(k) {
			more = fn(k, v)
		}
		return more
	})
	if err == nil && more {
		give(nil)
	}
	return err
}

// changed reports whether a layer says what a key has.
func (o *overlay) changed(k storage.Key) bool {
	_, one := o.draft.find(k)
	_, two := o.batch.find(k)
	return one || two
}
