package bench

import "time"

// clock gives monotonic nanoseconds since the start of the run.
type clock struct{ start time.Time }

func newClock() clock { return clock{time.Now()} }

func (c clock) now() int64 { return int64(time.Since(c.start)) }

// until is the time left before t, for timers.
func (c clock) until(t int64) time.Duration { return time.Duration(t - c.now()) }

// A stamp is the head of every payload: hexadecimal, since petrel's text view carries UTF-8 only.
//
//	0…15 send time (ns of the run's clock)   16…19 stream   20…29 counter   30 'm', or 'L' for the last
const stampSize = 31

type stamp struct {
	sent   int64
	stream int
	count  uint64
	last   bool
}

// newPayload returns a payload of that size (at least a stamp's) with filler.
func newPayload(size int) []byte {
	b := make([]byte, max(size, stampSize))
	for i := range b {
		b[i] = 'x'
	}
	return b
}

func (s stamp) put(b []byte) {
	putHex(b[:16], uint64(s.sent))
	putHex(b[16:20], uint64(s.stream))
	putHex(b[20:30], s.count)
	b[30] = 'm'
	if s.last {
		b[30] = 'L'
	}
}

func readStamp(b []byte) (s stamp, ok bool) {
	if len(b) < stampSize || b[30] != 'm' && b[30] != 'L' {
		return stamp{}, false
	}
	sent, ok1 := hex(b[:16])
	stream, ok2 := hex(b[16:20])
	count, ok3 := hex(b[20:30])
	return stamp{int64(sent), int(stream), count, b[30] == 'L'}, ok1 && ok2 && ok3
}

func putHex(b []byte, v uint64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = "0123456789abcdef"[v&15]
		v >>= 4
	}
}

func hex(b []byte) (v uint64, ok bool) {
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		default:
			return 0, false
		}
		v = v<<4 | uint64(c)
	}
	return v, true
}

// sequence checks that the counters of one stream come as 0, 1, 2 …
type sequence struct {
	next    uint64
	skipped uint64 // counters that were jumped over: lost, or late
	back    uint64 // counters that came again or late
}

func (s *sequence) see(n uint64) {
	if n < s.next {
		s.back++
		return
	}
	s.skipped += n - s.next
	s.next = n + 1
}
