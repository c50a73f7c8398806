package protocol

import (
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/petrelchat/petrel/chat"
)

// jsonReader turns JSON (RFC 8259) into deterministic CBOR without building values in between: integers stay
// integers, other numbers become floats, and keys stay text. It is stricter than encoding/json:
// a key that occurs twice, invalid UTF-8 and half a surrogate pair are refused.
type jsonReader struct {
	in  []byte
	pos int
}

// newJSONReader checks the encoding of the whole payload once.
func newJSONReader(b []byte) (*jsonReader, error) {
	if !utf8.Valid(b) {
		return nil, chat.Refuse(chat.BadRequest, "JSON must be valid UTF-8")
	}
	return &jsonReader{in: b}, nil
}

func (r *jsonReader) bad(what string) error {
	return chat.Refuse(chat.BadRequest, "not valid JSON at byte %d: %s", r.pos, what)
}

// next skips white space and returns the next byte, 0 at the end.
func (r *jsonReader) next() byte {
	for ; r.pos < len(r.in); r.pos++ {
		switch c := r.in[r.pos]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// end refuses what stands after the value.
func (r *jsonReader) end() error {
	if r.next(); r.pos < len(r.in) {
		return r.bad("something follows the value")
	}
	return nil
}

// value reads one value and appends it to dst as CBOR. depth counts the containers around it.
func (r *jsonReader) value(dst []byte, depth int) ([]byte, error) {
	switch c := r.next(); {
	case c == '"':
		s, err := r.str()
		if err != nil {
			return nil, err
		}
		return append(appendHead(dst, majText, uint64(len(s))), s...), nil
	case c == '{' || c == '[':
		if depth >= maxDepth {
			return nil, errDepth()
		}
		if c == '{' {
			return r.object(dst, depth)
		}
		return r.array(dst, depth)
	case c == '-' || isDigit(c):
		return r.number(dst)
	case c == 't':
		return append(dst, cborTrue), r.word("true")
	case c == 'f':
		return append(dst, cborFalse), r.word("false")
	case c == 'n':
		return append(dst, cborNull), r.word("null")
	}
	return nil, r.bad("a value was expected")
}

func (r *jsonReader) word(w string) error {
	if len(r.in)-r.pos < len(w) || string(r.in[r.pos:r.pos+len(w)]) != w {
		return r.bad("a value was expected")
	}
	r.pos += len(w)
	return nil
}

// str reads a string; r.pos is at its quote. The result may point into the input.
func (r *jsonReader) str() ([]byte, error) {
	r.pos++
	for i := r.pos; i < len(r.in); i++ {
		switch c := r.in[i]; {
		case c == '"':
			s := r.in[r.pos:i]
			r.pos = i + 1
			return s, nil
		case c == '\\':
			return r.escaped(i)
		case c < 0x20:
			r.pos = i
			return nil, r.bad("a control character in a string: escape it")
		}
	}
	r.pos = len(r.in)
	return nil, r.bad("a string does not end")
}

// escaped goes on with a string whose first backslash is at i.
func (r *jsonReader) escaped(i int) ([]byte, error) {
	s := append(make([]byte, 0, i-r.pos+64), r.in[r.pos:i]...)
	for r.pos = i; r.pos < len(r.in); {
		c := r.in[r.pos]
		switch {
		case c == '"':
			r.pos++
			return s, nil
		case c < 0x20:
			return nil, r.bad("a control character in a string: escape it")
		case c != '\\':
			s = append(s, c)
			r.pos++
			continue
		}
		var err error
		if s, err = r.escape(s); err != nil {
			return nil, err
		}
	}
	return nil, r.bad("a string does not end")
}

// escape reads one escape; r.pos is at its backslash.
func (r *jsonReader) escape(s []byte) ([]byte, error) {
	if r.pos+1 >= len(r.in) {
		return nil, r.bad("a string does not end")
	}
	c := r.in[r.pos+1]
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		u, ok := r.hex4(r.pos)
		n := 6
		if ok && utf16.IsSurrogate(u) {
			var low rune
			if low, ok = r.hex4(r.pos + 6); ok {
				u = utf16.DecodeRune(u, low)
				ok = u != utf8.RuneError
			}
			n = 12
		}
		if !ok {
			return nil, r.bad(`a \u escape needs four hexadecimal digits, and a surrogate its other half`)
		}
		r.pos += n
		return utf8.AppendRune(s, u), nil
	default:
		return nil, r.bad("an unknown escape")
	}
	r.pos += 2
	return append(s, c), nil
}

// hex4 reads \uXXXX at i.
func (r *jsonReader) hex4(i int) (rune, bool) {
	if i+6 > len(r.in) || r.in[i] != '\\' || r.in[i+1] != 'u' {
		return 0, false
	}
	var u rune
	for _, c := range r.in[i+2 : i+6] {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		u = u<<4 | rune(c)
	}
	return u, true
}

func (r *jsonReader) digits() bool {
	start := r.pos
	for r.pos < len(r.in) && isDigit(r.in[r.pos]) {
		r.pos++
	}
	return r.pos > start
}

// number reads a number, RFC 8259 §6. Without fraction and exponent it is an integer if 64 bits and a
// sign hold it; else a float.
func (r *jsonReader) number(dst []byte) ([]byte, error) {
	start := r.pos
	if r.in[r.pos] == '-' {
		r.pos++
	}
	first := r.pos
	if !r.digits() || r.in[first] == '0' && r.pos > first+1 {
		return nil, r.bad("a number with a leading zero or without digits")
	}
	whole := true
	if r.pos < len(r.in) && r.in[r.pos] == '.' {
		r.pos++
		whole = false
		if !r.digits() {
			return nil, r.bad("a number without digits after its point")
		}
	}
	if r.pos < len(r.in) && r.in[r.pos]|0x20 == 'e' {
		r.pos++
		whole = false
		if r.pos < len(r.in) && (r.in[r.pos] == '+' || r.in[r.pos] == '-') {
			r.pos++
		}
		if !r.digits() {
			return nil, r.bad("a number without digits in its exponent")
		}
	}
	lit := r.in[start:r.pos]
	if whole {
		if out, ok := appendJSONInt(dst, lit); ok {
			return out, nil
		}
	}
	f, err := strconv.ParseFloat(string(lit), 64)
	if err != nil {
		return nil, r.bad("a number that is too large")
	}
	return appendFloat(dst, f), nil
}

// appendJSONInt appends a decimal integer as CBOR; ok is false when it is none or when CBOR's two integer types don't hold
// it.
func appendJSONInt(dst, lit []byte) (out []byte, ok bool) {
	neg := len(lit) > 0 && lit[0] == '-'
	digits := lit
	if neg {
		digits = lit[1:]
	}
	if len(digits) == 0 || len(digits) > 20 {
		return dst, false
	}
	var n uint64
	for i, c := range digits {
		if !isDigit(c) {
			return dst, false
		}
		d := uint64(c - '0')
		if n > math.MaxUint64/10 || n*10 > math.MaxUint64-d {
			if neg && i == 19 && string(digits) == "18446744073709551616" {
				return appendHead(dst, majNeg, math.MaxUint64), true
			}
			return dst, false
		}
		n = n*10 + d
	}
	if neg && n > 0 {
		return appendHead(dst, majNeg, n-1), true
	}
	return appendHead(dst, majUint, n), true
}

func (r *jsonReader) array(dst []byte, depth int) ([]byte, error) {
	r.pos++
	start, n := len(dst), 0
	if r.next() == ']' {
		r.pos++
		return appendHead(dst, majArray, 0), nil
	}
	for {
		if n == maxItems {
			return nil, errItems()
		}
		var err error
		if dst, err = r.value(dst, depth+1); err != nil {
			return nil, err
		}
		n++
		switch r.next() {
		case ',':
			r.pos++
		case ']':
			r.pos++
			return insertHead(dst, start, majArray, uint64(n)), nil
		default:
			return nil, r.bad("a comma or ] was expected")
		}
	}
}

func (r *jsonReader) object(dst []byte, depth int) ([]byte, error) {
	start := len(dst)
	var few [8]pair
	pairs := few[:0]
	err := r.fields(func(key []byte) error {
		if len(pairs) == maxItems {
			return errItems()
		}
		p := pair{start: len(dst)}
		dst = append(appendHead(dst, majText, uint64(len(key))), key...)
		p.mid = len(dst)
		var err error
		if dst, err = r.value(dst, depth+1); err != nil {
			return err
		}
		p.end = len(dst)
		pairs = append(pairs, p)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return sealMap(dst, start, pairs)
}

// fields reads an object; r.pos is at its brace. fn is called with each key and must read the value.
func (r *jsonReader) fields(fn func(key []byte) error) error {
	r.pos++
	if r.next() == '}' {
		r.pos++
		return nil
	}
	for {
		if r.next() != '"' {
			return r.bad("a key in quotes was expected")
		}
		key, err := r.str()
		if err != nil {
			return err
		}
		if r.next() != ':' {
			return r.bad("a colon was expected")
		}
		r.pos++
		if err := fn(key); err != nil {
			return err
		}
		switch r.next() {
		case ',':
			r.pos++
		case '}':
			r.pos++
			return nil
		default:
			return r.bad("a comma or } was expected")
		}
	}
}
