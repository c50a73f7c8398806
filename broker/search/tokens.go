package search

import "unicode/utf8"

// Tokens that no text holds: characters for private use. base keeps conversations and senders apart.
const (
	baseSender = 0xf0000
	baseConv   = 0x100000
	baseSize   = 0xff00
)

// appendNumber appends a number as such a token. Two characters at most: the index of prefixes, which begins at
// three, has none of them.
func appendNumber(dst []byte, base rune, n int64) []byte {
	if n >= baseSize {
		dst = utf8.AppendRune(dst, base+rune(n/baseSize%baseSize))
	}
	return utf8.AppendRune(dst, base+rune(n%baseSize))
}
