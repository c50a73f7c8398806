package delivery

import (
	"net"
	"sync"
	"time"
)

// outbox is what is on its way to one connection. Appending never blocks and never reorders; a
// writer goroutine runs only while there is something to write, so an idle connection has neither
// goroutine nor buffer. All that gathered while a write was under way goes out in the next one.
type outbox struct {
	conn    net.Conn
	timeout time.Duration
	fail    func(error) // called once, on the writer's goroutine
	handed  *Handed

	mu      sync.Mutex
	buf     []byte
	spare   []byte
	marks   []uint64 // journalled publishes whose acknowledgements are in buf
	writing bool
	broken  bool
	closing bool       // close the connection when everything is written
	half    bool       // and then our side of it only
	moved   *sync.Cond // somebody waits until less is in buf, or nothing is under way; nil: nobody did
	sent    int64      // bytes that the connection has taken
	flying  int64      // bytes of the write that is under way
}

// keep is the largest buffer that a connection keeps between bursts.
const keep = 4 << 10

func newOutbox(c net.Conn, timeout time.Duration, fail func(error)) *outbox {
	return &outbox{conn: c, timeout: timeout, fail: fail}
}

// append lets fn append to the buffer. The bytes wait for flush.
func (o *outbox) append(fn func(b []byte) []byte) {
	o.mu.Lock()
	if !o.broken && !o.closing {
		o.buf = fn(o.buf)
	}
	o.mu.Unlock()
}

// taken is how many bytes the connection has taken.
func (o *outbox) taken() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.sent + o.flying // a write under way may have reached the client
}

// pending is how many bytes wait.
func (o *outbox) pending() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.buf)
}

// flush starts a writer if there is something to write and none runs.
func (o *outbox) flush() {
	o.mu.Lock()
	start := len(o.buf) > 0 && !o.writing && !o.broken
	if start {
		o.writing = true
	}
	o.mu.Unlock()
	if start {
		go o.write()
	}
}

// write writes until nothing waits. Only one runs at a time.
func (o *outbox) write() {
	for {
		o.mu.Lock()
		b := o.buf
		if len(b) == 0 || o.broken {
			o.writing = false
			closing, half := o.closing, o.half
			o.tell()
			o.mu.Unlock()
			if closing {
				o.close(half)
			}
			return
		}
		o.buf, o.spare, o.flying = o.spare, nil, int64(len(b))
		marks := o.marks
		o.marks = nil
		o.tell()
		o.mu.Unlock()
		if len(marks) > 0 {
			o.handed.note(marks)
		}

		err := o.conn.SetWriteDeadline(time.Now().Add(o.timeout))
		n := 0
		if err == nil {
			n, err = o.conn.Write(b)
		}
		o.mu.Lock()
		o.sent += int64(n)
		o.flying = 0
		if cap(b) <= keep {
			o.spare = b[:0]
		}
		if err != nil {
			o.broken, o.buf = true, nil
			o.tell()
		}
		o.mu.Unlock()
		if err != nil {
			o.fail(err)
		}
	}
}

// close ends the connection, or our side of it. The reader learns of it and reports.
func (o *outbox) close(half bool) {
	if side, ok := o.conn.(interface{ CloseWrite() error }); ok && half {
		_ = side.CloseWrite()
		return
	}
	_ = o.conn.Close()
}

// finish writes what waits and then closes the connection; nothing can be appended any more.
func (o *outbox) finish(half bool) {
	o.mu.Lock()
	o.closing, o.half = true, half
	start := !o.writing
	o.writing = true
	o.tell()
	o.mu.Unlock()
	if start {
		go o.write()
	}
}

// drain returns when everything has been handed to the connection, or it broke. It must not be
// called while others go on appending.
func (o *outbox) drain() {
	o.flush()
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.writing {
		o.wait()
	}
}

// waitRoom returns when less than most bytes wait for the connection; false: it takes nothing any more.
func (o *outbox) waitRoom(most int) bool {
	o.flush()
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.buf) >= most && !o.broken && !o.closing {
		o.wait()
	}
	return !o.broken && !o.closing
}

// wait waits for tell. mu is held.
func (o *outbox) wait() {
	if o.moved == nil {
		o.moved = sync.NewCond(&o.mu)
	}
	o.moved.Wait()
}

// tell has those who wait look again. mu is held.
func (o *outbox) tell() {
	if o.moved != nil {
		o.moved.Broadcast()
	}
}
