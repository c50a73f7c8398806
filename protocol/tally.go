package protocol

import "strconv"

// Tally is a delivery on c/{conv}/receipts in a large group: how far a post of the reader's has come.
type Tally struct {
	Seq       uint64  `json:"seq"`
	Delivered uint64  `json:"delivered"`
	Read      *uint64 `json:"read,omitempty"` // nil: the reader hides what they read, so they don't see it of others
	Of        uint64  `json:"of"`
}

// Append appends the tally as JSON.
func (t Tally) Append(dst []byte) []byte {
	dst = strconv.AppendUint(append(dst, `{"seq":`...), t.Seq, 10)
	dst = strconv.AppendUint(append(dst, `,"delivered":`...), t.Delivered, 10)
	if t.Read != nil {
		dst = strconv.AppendUint(append(dst, `,"read":`...), *t.Read, 10)
	}
	dst = strconv.AppendUint(append(dst, `,"of":`...), t.Of, 10)
	return append(dst, '}')
}
