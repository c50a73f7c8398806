package verify

import (
	"bytes"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// stored is the form of events in the store.
type stored struct{}

func (stored) EncodeStored(dst []byte, e *chat.Event) []byte { return protocol.EncodeStored(dst, e) }
func (stored) DecodeStored(b []byte) (chat.Event, error)     { return protocol.DecodeStored(b) }

// views compares threads, reactions, edits and pins with what the log of the conversation leads to.
func (c *checker) views(conv string) {
	if !c.viewed || c.err != nil {
		return
	}
	want, err := hub.Rebuild(c.r, stored{}, conv, func(k storage.Key) (p storage.ThreadPost, ok bool) {
		v, ok := c.get(k)
		if ok {
			p, err := storage.DecodeThreadPost(v)
			return p, err == nil
		}
		return p, false
	})
	if err != nil {
		return // an entry can't be read, which is reported
	}
	for _, space := range hub.ViewSpaces() {
		c.scanPrefix(storage.In(space).Str(conv), func(k, _ storage.Key, v []byte) {
			c.sum.Views++
			w, ok := want[string(k)]
			delete(want, string(k))
			if !ok {
				c.wrong(k, "by the log there is no such record")
			} else if !bytes.Equal(w, v) {
				c.wrong(k, "it is not what the log leads to")
			}
		})
	}
	for k := range want {
		c.wrong(storage.Key(k), "by the log there is such a record, and it is missing")
	}
}

// strayViews looks for such records of conversations that have no log.
func (c *checker) strayViews() {
	for _, space := range hub.ViewSpaces() {
		c.scan(space, func(k, rest storage.Key, _ []byte) {
			if conv, _, ok := storage.TakeStr(rest); !ok || c.spanOf(conv).head == 0 {
				c.wrong(k, "there is no such conversation")
			}
		})
	}
}

// hidden checks what users deleted for themselves.
func (c *checker) hidden() {
	c.scan(storage.SpaceHidden, func(k, rest storage.Key, _ []byte) {
		_, rest, ok1 := storage.TakeStr(rest)
		conv, rest, ok2 := storage.TakeStr(rest)
		seq, rest, ok3 := storage.TakeU64(rest)
		if !ok1 || !ok2 || !ok3 || len(rest) > 0 {
			c.wrong(k, "what a user deleted for themselves can't be read")
		} else if s := c.spanOf(conv); seq == 0 || seq > s.head {
			c.wrong(k, "entry %d of %s is hidden, but is not there", seq, conv)
		}
	})
}
