package plain

// recent is a bounded map that forgets what was not used lately: two generations, of which the older
// one is dropped when the younger is full. Nothing is forgotten but by age, which the owner calls when
// every entry may be read from the store again.
type recent[K comparable, V any] struct {
	young, old map[K]V
	max        int
}

func newRecent[K comparable, V any](most int) recent[K, V] {
	return recent[K, V]{young: make(map[K]V), max: max(2, most)}
}

func (r *recent[K, V]) get(k K) (V, bool) {
	if v, ok := r.young[k]; ok {
		return v, true
	}
	v, ok := r.old[k]
	if ok {
		r.young[k] = v
	}
	return v, ok
}

func (r *recent[K, V]) put(k K, v V) { r.young[k] = v }

func (r *recent[K, V]) drop(k K) {
	delete(r.young, k)
	delete(r.old, k)
}

// age reports whether it forgot anything.
func (r *recent[K, V]) age() bool {
	if len(r.young) < r.max/2 {
		return false
	}
	forgot := len(r.old) > 0
	r.old, r.young = r.young, make(map[K]V)
	return forgot
}
