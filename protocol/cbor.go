package protocol

import (
	"encoding/binary"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/petrelchat/petrel/chat"
)

// CBOR major types, RFC 8949 §3.1, and the values of major type 7 that occur here.
const (
	majUint   = 0
	majNeg    = 1
	majBytes  = 2
	majText   = 3
	majArray  = 4
	majMap    = 5
	majTag    = 6
	majSimple = 7

	cborFalse = 0xf4
	cborTrue  = 0xf5
	cborNull  = 0xf6
	cborBreak = 0xff
)

// Bounds on what a payload may contain, whatever its encoding.
const (
	maxDepth = 16     // nested arrays, maps and tags, the outermost included
	maxItems = 10_000 // elements of one array, pairs of one map
)

// appendHead appends the shortest head of a data item, RFC 8949 §4.2.1.
func appendHead(dst []byte, major byte, n uint64) []byte {
	m := major << 5
	switch {
	case n < 24:
		return append(dst, m|byte(n))
	case n <= math.MaxUint8:
		return append(dst, m|24, byte(n))
	case n <= math.MaxUint16:
		return append(dst, m|25, byte(n>>8), byte(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(dst, m|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, m|27), n)
}

// insertHead puts a head before what stands at dst[start:].
func insertHead(dst []byte, start int, major byte, n uint64) []byte {
	var room [9]byte
	head := appendHead(room[:0], major, n)
	end := len(dst)
	dst = append(dst, head...)
	copy(dst[start+len(head):], dst[start:end])
	copy(dst[start:], head)
	return dst
}

// appendText appends a text string. The server's own strings might not be UTF-8 (a client id of a
// broken client); CBOR text must be, RFC 8949 §3.1.
func appendText(dst []byte, s string) []byte {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return append(appendHead(dst, majText, uint64(len(s))), s...)
}

// appendFloat appends the shortest float that keeps the value, and one NaN, RFC 8949 §4.2.2.
func appendFloat(dst []byte, f float64) []byte {
	if f != f {
		return append(dst, 0xf9, 0x7e, 0x00)
	}
	single := float32(f)
	if float64(single) != f {
		return binary.BigEndian.AppendUint64(append(dst, 0xfb), math.Float64bits(f))
	}
	bits := math.Float32bits(single)
	if h, ok := halfBits(bits); ok {
		return append(dst, 0xf9, byte(h>>8), byte(h))
	}
	return binary.BigEndian.AppendUint32(append(dst, 0xfa), bits)
}

// halfBits converts an IEEE 754 single that is no NaN to a half, if that loses nothing.
func halfBits(bits uint32) (uint16, bool) {
	sign := uint16(bits >> 16 & 0x8000)
	exp := int(bits>>23&0xff) - 127
	man := bits & 0x7fffff
	switch {
	case exp == 128: // infinity
		return sign | 0x7c00, true
	case exp == -127: // zero; a single's subnormals are too small for a half
		return sign, man == 0
	case exp > 15:
		return 0, false
	case exp >= -14:
		return sign | uint16(exp+15)<<10 | uint16(man>>13), man&0x1fff == 0
	case exp >= -24: // a half's subnormals
		full, shift := man|0x800000, uint(-1-exp)
		return sign | uint16(full>>shift), full&(1<<shift-1) == 0
	}
	return 0, false
}

func halfToFloat(h uint16) float64 {
	exp, man := int(h>>10&0x1f), float64(h&0x3ff)
	var f float64
	switch exp {
	case 0:
		f = math.Ldexp(man, -24)
	case 31:
		if man != 0 {
			return math.NaN()
		}
		f = math.Inf(1)
	default:
		f = math.Ldexp(man+1024, exp-25)
	}
	if h&0x8000 != 0 {
		f = math.Copysign(f, -1)
	}
	return f
}

// cborReader walks CBOR. It accepts every well-formed item (RFC 8949 §5.3.1) whose map keys are text
// or integers, and rewrites it in the deterministic encoding.
type cborReader struct {
	in  []byte
	pos int
}

// item is the head of a data item.
type item struct {
	major byte
	info  byte // the low five bits of the initial byte
	arg   uint64
	indef bool
}

func (r *cborReader) bad(what string) error {
	return chat.Refuse(chat.BadRequest, "not valid CBOR at byte %d: %s", r.pos, what)
}

func (r *cborReader) peek() (byte, bool) {
	if r.pos >= len(r.in) {
		return 0, false
	}
	return r.in[r.pos], true
}

func (r *cborReader) head() (item, error) {
	b, ok := r.peek()
	if !ok {
		return item{}, r.bad("it ends too early")
	}
	r.pos++
	it := item{major: b >> 5, info: b & 0x1f}
	switch {
	case it.info < 24:
		it.arg = uint64(it.info)
	case it.info < 28:
		n := 1 << (it.info - 24)
		if len(r.in)-r.pos < n {
			return item{}, r.bad("it ends too early")
		}
		for _, c := range r.in[r.pos : r.pos+n] {
			it.arg = it.arg<<8 | uint64(c)
		}
		r.pos += n
	case it.info == 31 && it.major >= majBytes && it.major <= majMap:
		it.indef = true
	default:
		return item{}, r.bad("a reserved initial byte")
	}
	return it, nil
}

// value reads one item and appends it to dst in deterministic encoding. depth counts the containers
// around it.
func (r *cborReader) value(dst []byte, depth int) ([]byte, error) {
	it, err := r.head()
	if err != nil {
		return nil, err
	}
	if it.major >= majArray && it.major <= majTag && depth >= maxDepth {
		return nil, errDepth()
	}
	switch it.major {
	case majUint, majNeg:
		return appendHead(dst, it.major, it.arg), nil
	case majBytes, majText:
		return r.str(dst, it)
	case majArray:
		return r.array(dst, it, depth)
	case majMap:
		return r.mapping(dst, it, depth)
	case majTag:
		return r.value(appendHead(dst, majTag, it.arg), depth+1)
	}
	switch it.info {
	case 20, 21, 22, 23: // false, true, null, undefined
		return append(dst, majSimple<<5|it.info), nil
	case 25:
		return appendFloat(dst, halfToFloat(uint16(it.arg))), nil
	case 26:
		return appendFloat(dst, float64(math.Float32frombits(uint32(it.arg)))), nil
	case 27:
		return appendFloat(dst, math.Float64frombits(it.arg)), nil
	}
	return nil, r.bad("a simple value other than false, true, null and undefined")
}

// chunk takes the content of a string of definite length.
func (r *cborReader) chunk(it item) ([]byte, error) {
	if it.arg > uint64(len(r.in)-r.pos) {
		return nil, r.bad("a string that is longer than the payload")
	}
	s := r.in[r.pos : r.pos+int(it.arg)]
	if it.major == majText && !utf8.Valid(s) {
		return nil, r.bad("text that is not UTF-8")
	}
	r.pos += int(it.arg)
	return s, nil
}

func (r *cborReader) str(dst []byte, it item) ([]byte, error) {
	if !it.indef {
		s, err := r.chunk(it)
		if err != nil {
			return nil, err
		}
		return append(appendHead(dst, it.major, uint64(len(s))), s...), nil
	}
	start := len(dst)
	for !r.ended() {
		c, err := r.head()
		if err != nil {
			return nil, err
		}
		if c.major != it.major || c.indef {
			return nil, r.bad("a string with a chunk of another type") // RFC 8949 §3.2.3
		}
		s, err := r.chunk(c)
		if err != nil {
			return nil, err
		}
		dst = append(dst, s...)
	}
	return insertHead(dst, start, it.major, uint64(len(dst)-start)), nil
}

// ended consumes the break that ends an item of indefinite length.
func (r *cborReader) ended() bool {
	if b, ok := r.peek(); ok && b == cborBreak {
		r.pos++
		return true
	}
	return false
}

// more reports whether item n of a container follows.
func (r *cborReader) more(it item, n int) (bool, error) {
	if it.indef && r.ended() || !it.indef && uint64(n) == it.arg {
		return false, nil
	}
	if n == maxItems {
		return false, errItems()
	}
	return true, nil
}

func (r *cborReader) array(dst []byte, it item, depth int) ([]byte, error) {
	start, n := len(dst), 0
	for {
		more, err := r.more(it, n)
		if err != nil {
			return nil, err
		}
		if !more {
			return insertHead(dst, start, majArray, uint64(n)), nil
		}
		if dst, err = r.value(dst, depth+1); err != nil {
			return nil, err
		}
		n++
	}
}

func (r *cborReader) mapping(dst []byte, it item, depth int) ([]byte, error) {
	start := len(dst)
	var few [8]pair
	pairs := few[:0]
	for {
		more, err := r.more(it, len(pairs))
		if err != nil {
			return nil, err
		}
		if !more {
			return sealMap(dst, start, pairs)
		}
		p := pair{start: len(dst)}
		if dst, err = r.key(dst); err != nil {
			return nil, err
		}
		p.mid = len(dst)
		if dst, err = r.value(dst, depth+1); err != nil {
			return nil, err
		}
		p.end = len(dst)
		pairs = append(pairs, p)
	}
}

// key reads the key of a map: text or an integer, for nothing else has a counterpart in JSON.
func (r *cborReader) key(dst []byte) ([]byte, error) {
	b, ok := r.peek()
	if m := b >> 5; ok && m != majUint && m != majNeg && m != majText {
		return nil, r.bad("a map key that is neither text nor an integer")
	}
	return r.value(dst, maxDepth)
}
