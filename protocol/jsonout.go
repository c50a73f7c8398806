package protocol

import (
	"encoding/base64"
	"math"
	"strconv"
	"unicode/utf8"
)

// appendJSONString appends s as a JSON string. Only what must be escaped is (RFC 8259 §7); a byte that
// is not UTF-8 becomes U+FFFD, so that the output is always valid.
func appendJSONString[S string | []byte](dst []byte, s S) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			end := min(i+utf8.UTFMax, len(s))
			u, n := utf8.DecodeRuneInString(string(s[i:end]))
			if u == utf8.RuneError && n == 1 {
				dst = append(append(dst, s[done:i]...), "\uFFFD"...)
				done = i + 1
			}
			i += n
			continue
		}
		dst = append(dst, s[done:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
		}
		i++
		done = i
	}
	dst = append(dst, s[done:]...)
	return append(dst, '"')
}

// appendJSONBytes appends base64url without padding, RFC 8949 §6.1.
func appendJSONBytes(dst, b []byte) []byte {
	dst = append(dst, '"')
	dst = base64.RawURLEncoding.AppendEncode(dst, b)
	return append(dst, '"')
}

// appendJSONFloat appends a float such that it is read as a float again: with a point or an exponent.
// JSON has no infinities and no NaN: they become null, RFC 8949 §6.1.
func appendJSONFloat(dst []byte, f float64) []byte {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return append(dst, "null"...)
	}
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		return strconv.AppendFloat(dst, f, 'e', -1, 64)
	}
	dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
	if f == math.Trunc(f) {
		dst = append(dst, '.', '0')
	}
	return dst
}

// appendJSONOf appends an item that this package encoded as JSON, RFC 8949 §6.1. Tags are dropped,
// bytes become base64url, integer keys their decimal text. An item that is damaged becomes null.
func appendJSONOf(dst, cbor []byte) []byte {
	start := len(dst)
	r := cborReader{in: cbor}
	dst, err := r.json(dst, 0)
	if err != nil {
		return append(dst[:start], "null"...)
	}
	return dst
}

// json reads one item and appends it to dst as JSON. On an error dst is returned too.
func (r *cborReader) json(dst []byte, depth int) ([]byte, error) {
	it, err := r.head()
	if err != nil {
		return dst, err
	}
	if it.indef || depth > maxDepth {
		return dst, r.bad("not the deterministic encoding")
	}
	switch it.major {
	case majUint, majNeg:
		return appendCBORInt(dst, it), nil
	case majBytes, majText:
		s, err := r.chunk(it)
		switch {
		case err != nil:
			return dst, err
		case it.major == majBytes:
			return appendJSONBytes(dst, s), nil
		}
		return appendJSONString(dst, s), nil
	case majArray:
		return r.jsonArray(dst, it.arg, depth)
	case majMap:
		return r.jsonObject(dst, it.arg, depth)
	case majTag:
		return r.json(dst, depth+1)
	}
	return appendJSONSimple(dst, it), nil
}

func appendJSONSimple(dst []byte, it item) []byte {
	switch it.info {
	case 20:
		return append(dst, "false"...)
	case 21:
		return append(dst, "true"...)
	case 25:
		return appendJSONFloat(dst, halfToFloat(uint16(it.arg)))
	case 26:
		return appendJSONFloat(dst, float64(math.Float32frombits(uint32(it.arg))))
	case 27:
		return appendJSONFloat(dst, math.Float64frombits(it.arg))
	}
	return append(dst, "null"...)
}

func (r *cborReader) jsonArray(dst []byte, n uint64, depth int) ([]byte, error) {
	dst = append(dst, '[')
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = r.json(dst, depth+1); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

func (r *cborReader) jsonObject(dst []byte, n uint64, depth int) ([]byte, error) {
	dst = append(dst, '{')
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = r.jsonKey(dst); err != nil {
			return dst, err
		}
		if dst, err = r.json(append(dst, ':'), depth+1); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

func (r *cborReader) jsonKey(dst []byte) ([]byte, error) {
	switch b, _ := r.peek(); b >> 5 {
	case majUint, majNeg:
		dst, err := r.json(append(dst, '"'), 0)
		return append(dst, '"'), err
	case majText:
		return r.json(dst, 0)
	}
	return dst, r.bad("a map key that is neither text nor an integer")
}
