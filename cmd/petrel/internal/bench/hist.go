package bench

import "math/bits"

// Histogram of durations in nanoseconds with a relative error below 1/64: each power of two is split
// into 64 linear buckets, the idea of HdrHistogram. It belongs to one goroutine; merge when it is done.
type histogram struct {
	counts [(64 - subBits) << subBits]uint64
	n      uint64
	top    int64
}

const subBits = 6

// bucket maps 0…127 to themselves and larger values to their highest seven bits and exponent.
func bucket(v int64) int {
	if v < 1<<(subBits+1) {
		return int(max(v, 0))
	}
	shift := bits.Len64(uint64(v)) - subBits - 1
	return shift<<subBits + int(v>>shift)
}

// upper is the largest value of a bucket.
func upper(i int) int64 {
	if i < 1<<(subBits+1) {
		return int64(i)
	}
	shift := i>>subBits - 1
	return (int64(i&(1<<subBits-1)|1<<subBits)+1)<<shift - 1
}

func (h *histogram) add(v int64) {
	h.counts[bucket(v)]++
	h.n++
	h.top = max(h.top, v)
}

func (h *histogram) merge(o *histogram) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
	h.top = max(h.top, o.top)
}

// quantile returns the value in nanoseconds that a share q (0…1) of the values do not exceed; 0 when
// there are none.
func (h *histogram) quantile(q float64) int64 {
	if h.n == 0 {
		return 0
	}
	rank := max(uint64(q*float64(h.n)+0.5), 1)
	for i, c := range h.counts {
		if c >= rank {
			return min(upper(i), h.top)
		}
		rank -= c
	}
	return h.top
}
