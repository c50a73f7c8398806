package signaling

import "sync"

// timers is a heap of calls by their deadlines.
type timers struct {
	mu   sync.Mutex // a leaf
	heap []*live    // heap[0] is unused, so that a live's pos 0 means that it is not there
}

// set makes a call due at that ms, or never (0). poke is called if it is the next one.
func (t *timers) set(l *live, due int64, poke func()) {
	t.mu.Lock()
	if len(t.heap) == 0 {
		t.heap = append(t.heap, nil)
	}
	switch {
	case due == 0 && l.pos == 0:
	case due == 0:
		t.remove(l)
	case l.pos == 0:
		l.due, l.pos = due, len(t.heap)
		t.heap = append(t.heap, l)
		t.up(l.pos)
	default:
		l.due = due
		t.down(l.pos)
		t.up(l.pos)
	}
	first := l.pos == 1
	t.mu.Unlock()
	if first {
		poke()
	}
}

func (t *timers) remove(l *live) {
	i, last := l.pos, len(t.heap)-1
	t.swap(i, last)
	t.heap[last] = nil
	t.heap = t.heap[:last]
	l.pos, l.due = 0, 0
	if i < last {
		t.down(i)
		t.up(i)
	}
}

func (t *timers) swap(i, j int) {
	t.heap[i], t.heap[j] = t.heap[j], t.heap[i]
	t.heap[i].pos, t.heap[j].pos = i, j
}

func (t *timers) up(i int) {
	for ; i > 1 && t.heap[i].due < t.heap[i/2].due; i /= 2 {
		t.swap(i, i/2)
	}
}

func (t *timers) down(i int) {
	for {
		k := 2 * i
		if k+1 < len(t.heap) && t.heap[k+1].due < t.heap[k].due {
			k++
		}
		if k >= len(t.heap) || t.heap[i].due <= t.heap[k].due {
			return
		}
		t.swap(i, k)
		i = k
	}
}

// pop takes out a call that is due, nil if none is.
func (t *timers) pop(now int64) *live {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.heap) < 2 || t.heap[1].due > now {
		return nil
	}
	l := t.heap[1]
	t.remove(l)
	return l
}

// next is the ms at which the next call is due, 0 if none is.
func (t *timers) next() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.heap) < 2 {
		return 0
	}
	return t.heap[1].due
}
