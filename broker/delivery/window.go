package delivery

// source names where a packet came from, so that an unacknowledged one can be read again: a log in
// one view, or the session's queue of plain messages (view viewPlain, log "").
type source struct {
	log  string
	view byte
}

// views beside protocol's: the queue of plain messages, and the user's own log.
const (
	viewPlain byte = 100
	viewOwn   byte = 101
)

// sent is one packet that waits for its acknowledgement.
type sent struct {
	alloc uint64 // how many packet ids were given out before; the id follows from it
	src   source
	seq   uint64
	size  int32
	qos   byte
	acked bool // out of order: kept until all before it are acknowledged
	rec   bool // QoS 2: PUBREC came, PUBREL went out
}

func pidOf(alloc uint64) uint16 { return uint16(alloc%65535) + 1 }

// window is what a session has sent and the client has not acknowledged, oldest first. Ids are given
// out in turn, so an id is free unless the oldest unacknowledged packet is a whole turn behind: then
// the window counts as full, which a client that acknowledges in order [MQTT-4.6.0-2] never sees.
type window struct {
	ring  []sent // ring[head:]
	head  int
	n     int // not acknowledged
	bytes int
	alloc uint64
	max   int
}

// windowBytes bounds what is on its way to a client (PROTOCOL: delivery 5).
const windowBytes = 256 << 10

// room is how many packets may be sent now.
func (w *window) room() int {
	if w.bytes >= windowBytes {
		return 0
	}
	if q := w.ring[w.head:]; len(q) > 0 && w.alloc-q[0].alloc >= 65535-uint64(w.max) {
		return 0
	}
	return w.max - w.n
}

// add records a packet and returns its id.
func (w *window) add(src source, seq uint64, size int, qos byte) uint16 {
	if w.head > 64 && w.head*2 > len(w.ring) {
		n := copy(w.ring, w.ring[w.head:])
		clear(w.ring[n:])
		w.ring, w.head = w.ring[:n], 0
	}
	a := w.alloc
	w.alloc++
	w.ring = append(w.ring, sent{alloc: a, src: src, seq: seq, size: int32(size), qos: qos})
	w.n++
	w.bytes += size
	return pidOf(a)
}

// restore puts a packet of an earlier connection back, in the order of the calls.
func (w *window) restore(s sent) {
	w.alloc = max(w.alloc, s.alloc+1)
	w.ring = append(w.ring, s)
	w.n++
	w.bytes += int(s.size)
}

// find returns the packet with that id.
func (w *window) find(pid uint16) *sent {
	q := w.ring[w.head:]
	for i := range q {
		if !q[i].acked && pidOf(q[i].alloc) == pid {
			return &q[i]
		}
	}
	return nil
}

// ack settles a packet found by find. The packet's data stay valid until the next add.
func (w *window) ack(s *sent) {
	s.acked = true
	w.n--
	w.bytes -= int(s.size)
	for w.head < len(w.ring) && w.ring[w.head].acked {
		w.ring[w.head].src.log = ""
		w.head++
	}
	if w.head == len(w.ring) {
		w.ring, w.head = w.ring[:0], 0
		if cap(w.ring) > 64 {
			w.ring = nil
		}
	}
}

// unacked calls fn with what waits, oldest first.
func (w *window) unacked(fn func(s *sent)) {
	q := w.ring[w.head:]
	for i := range q {
		if !q[i].acked {
			fn(&q[i])
		}
	}
}
