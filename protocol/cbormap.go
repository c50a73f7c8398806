package protocol

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/petrelchat/petrel/chat"
)

func errDepth() error {
	return chat.Refuse(chat.BadRequest, "nested too deep: at most %d levels", maxDepth)
}

func errItems() error {
	return chat.Refuse(chat.BadRequest, "an array or a map may have at most %d elements", maxItems)
}

func errDuplicate(key string) error {
	return chat.Refuse(chat.BadRequest, "the key %s occurs twice", quoteKey(key))
}

// quoteKey shortens a client's key for a reason.
func quoteKey(key string) string {
	if len(key) > 64 {
		key = key[:64]
	}
	return strconv.Quote(key)
}

// pair is where a key and its value stand in a buffer: key at [start:mid], value at [mid:end].
type pair struct{ start, mid, end int }

// sealMap makes a deterministic map of the pairs that stand at dst[start:]: keys in bytewise order
// (RFC 8949 §4.2.1), none twice. An integer and its decimal text are the same key, because they are
// in JSON.
func sealMap(dst []byte, start int, pairs []pair) ([]byte, error) {
	key := func(p pair) []byte { return dst[p.start:p.mid] }
	byKey := func(a, b pair) int { return bytes.Compare(key(a), key(b)) }
	if !slices.IsSortedFunc(pairs, byKey) {
		slices.SortFunc(pairs, byKey)
		sorted := make([]byte, 0, len(dst)-start)
		for i, p := range pairs {
			at := start + len(sorted)
			sorted = append(sorted, dst[p.start:p.end]...)
			pairs[i] = pair{at, at + p.mid - p.start, at + p.end - p.start}
		}
		copy(dst[start:], sorted)
	}
	for i := 1; i < len(pairs); i++ {
		if bytes.Equal(key(pairs[i-1]), key(pairs[i])) {
			return nil, errDuplicate(keyName(key(pairs[i])))
		}
	}
	if err := checkMixed(dst, pairs); err != nil {
		return nil, err
	}
	return insertHead(dst, start, majMap, uint64(len(pairs))), nil
}

// checkMixed refuses a sorted map that has both an integer and its decimal text as keys.
func checkMixed(dst []byte, pairs []pair) error {
	if len(pairs) == 0 || dst[pairs[0].start]>>5 == majText {
		return nil // integers sort first: there is none
	}
	var room [9]byte
	for _, p := range slices.Backward(pairs) {
		k := dst[p.start:p.mid]
		if k[0]>>5 != majText {
			return nil
		}
		_, text := splitItem(k)
		number, ok := appendJSONInt(room[:0], text)
		if !ok || !canonicalInt(text) {
			continue
		}
		_, found := slices.BinarySearchFunc(pairs, number, func(p pair, want []byte) int {
			return bytes.Compare(dst[p.start:p.mid], want)
		})
		if found {
			return errDuplicate(string(text))
		}
	}
	return nil
}

// canonicalInt: an integer as strconv writes it.
func canonicalInt(s []byte) bool {
	digits := bytes.TrimPrefix(s, []byte("-"))
	if len(digits) == 0 || len(digits) > 20 || digits[0] == '0' && len(s) > 1 {
		return false
	}
	for _, c := range digits {
		if !isDigit(c) {
			return false
		}
	}
	return true
}

// splitItem splits the head off an item that this package encoded; body is the content of a string.
func splitItem(b []byte) (it item, body []byte) {
	r := cborReader{in: b}
	it, err := r.head()
	if err != nil {
		return item{major: majSimple}, nil
	}
	return it, b[r.pos:]
}

// keyName is a map key as JSON has it.
func keyName(k []byte) string {
	switch it, body := splitItem(k); it.major {
	case majUint, majNeg:
		return string(appendCBORInt(nil, it))
	default:
		return string(body)
	}
}

// appendCBORInt appends an integer in decimal.
func appendCBORInt(dst []byte, it item) []byte {
	switch {
	case it.major == majUint:
		return strconv.AppendUint(dst, it.arg, 10)
	case it.arg == 1<<64-1:
		return append(dst, "-18446744073709551616"...)
	}
	return strconv.AppendUint(append(dst, '-'), it.arg+1, 10)
}

// eachPair calls fn with the pairs of a map that this package encoded.
func eachPair(b []byte, fn func(key, val []byte) error) error {
	r := cborReader{in: b}
	it, err := r.head()
	if err != nil {
		return err
	}
	if it.major != majMap {
		return r.bad("a map was expected")
	}
	for range it.arg {
		start := r.pos
		if err := r.skip(0); err != nil {
			return err
		}
		mid := r.pos
		if err := r.skip(0); err != nil {
			return err
		}
		if err := fn(b[start:mid], b[mid:r.pos]); err != nil {
			return err
		}
	}
	return nil
}

// eachElem calls fn with the elements of an array that this package encoded.
func eachElem(b []byte, fn func(val []byte) error) error {
	r := cborReader{in: b}
	it, err := r.head()
	if err != nil {
		return err
	}
	if it.major != majArray {
		return r.bad("an array was expected")
	}
	for range it.arg {
		start := r.pos
		if err := r.skip(0); err != nil {
			return err
		}
		if err := fn(b[start:r.pos]); err != nil {
			return err
		}
	}
	return nil
}

// skip passes one item of definite length.
func (r *cborReader) skip(depth int) error {
	it, err := r.head()
	if err != nil {
		return err
	}
	if it.indef || depth > maxDepth {
		return r.bad("not the deterministic encoding")
	}
	n := it.arg
	switch it.major {
	case majBytes, majText:
		if n > uint64(len(r.in)-r.pos) {
			return r.bad("it ends too early")
		}
		r.pos += int(n)
		return nil
	case majMap:
		if n > 1<<62 {
			return r.bad("it ends too early")
		}
		n *= 2
	case majArray:
	case majTag:
		n = 1
	default:
		return nil
	}
	for range n {
		if err := r.skip(depth + 1); err != nil {
			return err
		}
	}
	return nil
}
