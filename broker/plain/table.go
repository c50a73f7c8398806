package plain

// table maps 32-bit hashes to ids. It is split into parts that grow on their own, so that an insert
// never moves more than a 64th of the entries. The caller compares the keys: ids with the same hash
// are told apart by what they name.
type table struct {
	parts [64]part
}

// part is an open-addressing hash table with linear probing. A slot is hash<<32 | id; zero is empty,
// since no id is zero.
type part struct {
	slots []uint64
	used  int
}

func (t *table) part(h uint32) *part { return &t.parts[h>>26] }

func slotOf(h, id uint32) uint64 { return uint64(h)<<32 | uint64(id) }

func slotID(s uint64) uint32 { return uint32(s) }

// insert adds an id that is not there yet.
func (t *table) insert(h, id uint32) {
	p := t.part(h)
	if (p.used+1)*4 > len(p.slots)*3 {
		p.resize(max(8, len(p.slots)*2))
	}
	p.put(slotOf(h, id))
	p.used++
}

func (p *part) put(s uint64) {
	mask := len(p.slots) - 1
	i := int(s>>32) & mask
	for p.slots[i] != 0 {
		i = (i + 1) & mask
	}
	p.slots[i] = s
}

func (p *part) resize(size int) {
	old := p.slots
	p.slots = make([]uint64, size)
	for _, s := range old {
		if s != 0 {
			p.put(s)
		}
	}
}

// remove takes an id out that is there, and closes the gap, so that there are no tombstones. A part
// that became nearly empty gives memory back.
func (t *table) remove(h, id uint32) {
	p := t.part(h)
	mask := len(p.slots) - 1
	i := int(h) & mask
	for p.slots[i] != slotOf(h, id) {
		i = (i + 1) & mask
	}
	for j := (i + 1) & mask; p.slots[j] != 0; j = (j + 1) & mask {
		// The entry at j may fill the gap unless its home lies between the gap and j.
		home := int(p.slots[j]>>32) & mask
		if (j-home)&mask >= (j-i)&mask {
			p.slots[i] = p.slots[j]
			i = j
		}
	}
	p.slots[i] = 0
	p.used--
	if len(p.slots) > 8 && p.used*8 < len(p.slots) {
		p.resize(len(p.slots) / 2)
	}
}

func (t *table) bytes() int {
	n := 0
	for i := range t.parts {
		n += 8 * cap(t.parts[i].slots)
	}
	return n
}

// arena holds values in chunks under ids from 1 on. Growing never moves a value, and freed ids are
// used again.
type arena[T any] struct {
	chunks [][]T
	free   []uint32
	next   uint32
}

const chunkLen = 512

func (a *arena[T]) at(id uint32) *T { return &a.chunks[id/chunkLen][id%chunkLen] }

func (a *arena[T]) alloc() uint32 {
	if n := len(a.free); n > 0 {
		id := a.free[n-1]
		a.free = a.free[:n-1]
		return id
	}
	a.next++
	if int(a.next/chunkLen) >= len(a.chunks) {
		a.chunks = append(a.chunks, make([]T, chunkLen))
	}
	return a.next
}

func (a *arena[T]) release(id uint32) {
	var zero T
	*a.at(id) = zero
	a.free = append(a.free, id)
}
