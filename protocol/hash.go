package protocol

import "github.com/petrelchat/petrel/chat"

// ContentHash hashes what the sender set in an event, the id aside: a retry with the same id has the
// same hash, whichever encoding it came in and whenever the server was restarted. It is stored, so
// its values are part of the store's format. It is no defence against a sender who wants
// collisions: those would only cost them messages of their own.
func ContentHash(e *chat.Event) uint64 {
	kind := e.Kind
	if kind == 0 {
		kind = chat.KindPost
	}
	h := hash(0x9e3779b97f4a7c15).word(uint64(kind))
	h = hashBytes(h, e.Text)
	h = h.word(e.Re).word(e.Expire)
	h = hashBytes(h, e.Emoji)
	h = h.word(uint64(len(e.Mentions)))
	for _, user := range e.Mentions {
		h = hashBytes(h, user)
	}
	h = hashBytes(h, e.Media)
	h = hashBytes(h, e.Enc)
	h = hashBytes(h, e.Ext)
	h = hashBytes(h, e.Extra)
	return h.sum()
}

// hash takes words. Each step is a bijection of the state for a given word, so that no input can
// wipe out what came before.
type hash uint64

func (h hash) word(w uint64) hash {
	h = (h ^ hash(w)) * 0xff51afd7ed558ccd
	return h ^ h>>32
}

func (h hash) sum() uint64 {
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return uint64(h ^ h>>33)
}

// hashBytes takes a length and the bytes, little-endian, eight at a time.
func hashBytes[S string | []byte](h hash, s S) hash {
	h = h.word(uint64(len(s)))
	for ; len(s) >= 8; s = s[8:] {
		h = h.word(uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56)
	}
	if len(s) == 0 {
		return h
	}
	var last uint64
	for i := range len(s) {
		last |= uint64(s[i]) << (8 * i)
	}
	return h.word(last)
}
