package auth

// recent is a map that forgets what was not used lately and never holds more than max entries. Two
// generations do it without a list: what is found in the old one moves to the young one, and when the
// young one is full it becomes the old one. Not safe for concurrent use.
type recent[K comparable, V any] struct {
	young, old map[K]V
	max        int
}

func newRecent[K comparable, V any](max int) *recent[K, V] {
	return &recent[K, V]{young: map[K]V{}, max: max}
}

func (r *recent[K, V]) get(k K) (V, bool) {
	if v, ok := r.young[k]; ok {
		return v, true
	}
	v, ok := r.old[k]
	if ok {
		r.put(k, v)
	}
	return v, ok
}

func (r *recent[K, V]) put(k K, v V) {
	if _, ok := r.young[k]; !ok && len(r.young) >= (r.max+1)/2 {
		r.young, r.old = map[K]V{}, r.young
	}
	r.young[k] = v
	delete(r.old, k)
}

func (r *recent[K, V]) delete(k K) {
	delete(r.young, k)
	delete(r.old, k)
}

func (r *recent[K, V]) len() int { return len(r.young) + len(r.old) }
