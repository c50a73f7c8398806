package verify

import (
	"encoding/binary"
	"slices"

	"github.com/petrelchat/petrel/broker/plain"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// The records of waiting messages are described at plain.Queue.

func messageKey(n uint64) storage.Key { return storage.In(storage.SpaceMessage).U64(n) }

// queueCheck adds up what waits for one session.
type queueCheck struct {
	sid             uint64
	key             storage.Key // of the record of usage; nil if there is none
	said, saidBytes uint64
	messages, bytes uint64
}

func (q *queueCheck) done(c *checker) {
	if q.key != nil && (q.said != q.messages || q.saidBytes != q.bytes) {
		c.wrong(q.key, "it says that %d messages of %d bytes wait, but %d of %d bytes do", q.said, q.saidBytes, q.messages, q.bytes)
	}
}

// refs checks what waits for the sessions.
func (c *checker) refs() {
	var q queueCheck
	c.scan(storage.SpaceRef, func(k, rest storage.Key, v []byte) {
		sid, rest, ok := storage.TakeU64(rest)
		if !ok {
			c.wrong(k, "the key of a waiting message can't be read")
			return
		}
		if sid != q.sid {
			q.done(c)
			q = queueCheck{sid: sid}
			c.belongs(k, sid)
		}
		if len(rest) == 0 {
			n, a := binary.Uvarint(v)
			size, b := binary.Uvarint(v[max(a, 0):])
			if a <= 0 || b <= 0 || a+b != len(v) {
				c.wrong(k, "how much waits for a session can't be read")
				return
			}
			q.key, q.said, q.saidBytes = slices.Clone(k), n, size
			return
		}
		c.sum.Refs++
		n, rest, ok := storage.TakeU64(rest)
		ref, err := plain.DecodeRef(v)
		if !ok || len(rest) > 0 || err != nil {
			c.wrong(k, "a waiting message can't be read")
			return
		}
		q.messages++
		q.bytes += uint64(ref.Size)
		if ref.Message == nil {
			c.shared(k, n, ref.Size)
		}
	})
	q.done(c)
}

// shared checks the message that a reference points to.
func (c *checker) shared(k storage.Key, n uint64, size uint32) {
	v, ok := c.get(messageKey(n))
	if !ok {
		if c.err == nil {
			c.wrong(k, "message %d waits, but is not there", n)
		}
		return
	}
	if _, used := binary.Uvarint(v); used > 0 && len(v)-used != int(size) {
		c.wrong(k, "message %d counts for %d bytes, but has %d", n, size, len(v)-used)
	}
}

// messagesAtOnce bounds how many messages are counted in one pass over the references, at 24 bytes each.
const messagesAtOnce = 1 << 19

type counted struct {
	n          uint64
	left, refs uint32
}

// messages checks that each message waits for as many sessions as it says.
func (c *checker) messages() {
	for after := storage.Key(nil); c.err == nil; {
		var part []counted
		part, after = c.someMessages(after)
		if len(part) == 0 {
			return
		}
		c.scan(storage.SpaceRef, func(_, rest storage.Key, v []byte) {
			_, rest, _ = storage.TakeU64(rest)
			n, _, ok := storage.TakeU64(rest)
			if !ok {
				return
			}
			i, ok := slices.BinarySearchFunc(part, n, func(m counted, n uint64) int {
				switch {
				case m.n < n:
					return -1
				case m.n > n:
					return 1
				}
				return 0
			})
			if !ok {
				return
			}
			if ref, err := plain.DecodeRef(v); err == nil && ref.Message == nil {
				part[i].refs++
			}
		})
		for _, m := range part {
			switch {
			case m.left < m.refs:
				c.wrong(messageKey(m.n), "it is kept for %d sessions, but waits for %d: some would lose it", m.left, m.refs)
			case m.left > m.refs:
				c.odd(messageKey(m.n), "it is kept for %d sessions, but waits for %d: it would stay for ever", m.left, m.refs)
			}
		}
	}
}

// someMessages decodes the next messages and their counts. The count stands right behind its message.
func (c *checker) someMessages(after storage.Key) (part []counted, last storage.Key) {
	last = after
	c.fail(c.r.Scan(storage.In(storage.SpaceMessage), after, func(k storage.Key, v []byte) bool {
		n, rest, ok := storage.TakeU64(k[1:])
		left, used := binary.Uvarint(v)
		count := ok && string(rest) == "c"
		if !count && len(part) == messagesAtOnce {
			return false
		}
		last = append(last[:0:0], k...)
		switch {
		case !ok || !count && len(rest) > 0 || used <= 0 || left == 0 || left > 1<<31:
			c.wrong(k, "the record of a message can't be read")
		case count && (len(part) == 0 || part[len(part)-1].n != n):
			c.odd(k, "it counts the sessions that wait for message %d, which is not there", n)
		case count:
			if m := &part[len(part)-1]; uint32(left) > m.left {
				c.wrong(k, "more sessions wait for message %d than got it", n)
			} else {
				m.left = uint32(left)
			}
		default:
			c.sum.Messages++
			if _, err := plain.DecodeMessage(v[used:]); err != nil {
				c.wrong(k, "message %d can't be read", n)
			}
			part = append(part, counted{n: n, left: uint32(left)})
		}
		return true
	}))
	return part, last
}

func (c *checker) retained() {
	c.scan(storage.SpaceRetained, func(k, rest storage.Key, v []byte) {
		c.sum.Retained++
		topic, rest, ok := storage.TakeStr(rest)
		if !ok || len(rest) > 0 || protocol.ValidTopic(topic) != nil {
			c.wrong(k, "the topic of a retained message can't be read")
			return
		}
		m, err := plain.DecodeMessage(v)
		switch {
		case err != nil:
			c.wrong(k, "the retained message can't be read")
		case len(m.Payload) == 0:
			c.odd(k, "the retained message is empty, which means that there is none")
		}
	})
	key := storage.In(storage.SpaceMeta).Str("retained")
	v, ok := c.get(key)
	var n uint64
	if ok {
		var used int
		if n, used = binary.Uvarint(v); used != len(v) || used <= 0 {
			c.wrong(key, "the number of retained messages can't be read")
			return
		}
	}
	if n != uint64(c.sum.Retained) && c.err == nil {
		c.wrong(key, "it says that there are %d retained messages, but there are %d", n, c.sum.Retained)
	}
}

func (c *checker) wills() {
	c.scan(storage.SpaceWill, func(k, rest storage.Key, v []byte) {
		c.sum.Wills++
		_, rest, ok := storage.TakeStr(rest)
		_, rest, ok2 := storage.TakeStr(rest)
		_, rest, ok3 := storage.TakeU64(rest)
		w, err := plain.DecodeWill(v)
		if !ok || !ok2 || !ok3 || len(rest) > 0 || err != nil || protocol.ValidTopic(w.Topic) != nil {
			c.wrong(k, "the will can't be read")
		}
	})
}
