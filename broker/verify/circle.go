package verify

import (
	"strings"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// contacts checks that both sides say the same of each other. A request that was declined may have been
// withdrawn since.
func (c *checker) contacts() {
	c.scan(storage.SpaceContact, func(k, rest storage.Key, v []byte) {
		user, other, ok := two(rest)
		var rec storage.Contact
		if !ok || storage.Unmarshal(v, &rec) != nil {
			c.wrong(k, "the contact can't be read")
			return
		}
		var theirs storage.Contact
		if w, ok := c.get(storage.ContactKey(other, user)); ok && storage.Unmarshal(w, &theirs) != nil {
			return // is reported at its own key
		}
		fits := false
		switch rec.State {
		case storage.ContactRequested:
			fits = theirs.State == storage.ContactIncoming || theirs.State == storage.ContactDeclined
		case storage.ContactIncoming:
			fits = theirs.State == storage.ContactRequested
		case storage.ContactAccepted:
			fits = theirs.State == storage.ContactAccepted
		case storage.ContactDeclined:
			fits = theirs.State == storage.ContactRequested || theirs.State == 0
		}
		if !fits {
			c.wrong(k, "the contact is %s, and the other side says %s", rec.State, theirs.State)
		}
	})
}

// blocks checks that both sides say the same, and so does their conversation.
func (c *checker) blocks() {
	c.scan(storage.SpaceBlock, func(k, rest storage.Key, v []byte) {
		user, other, ok := two(rest)
		var rec, theirs storage.Block
		if !ok || storage.Unmarshal(v, &rec) != nil || rec == theirs {
			c.wrong(k, "the block can't be read")
			return
		}
		if w, ok := c.get(storage.BlockKey(other, user)); !ok || storage.Unmarshal(w, &theirs) != nil || theirs.At != rec.By || theirs.By != rec.At {
			c.wrong(k, "the other side of the block is missing or says something else")
		}
		w, ok := c.get(storage.In(storage.SpaceMember).Str(chat.DirectID(user, other)).Str(user))
		if !ok {
			return
		}
		m, err := storage.DecodeMember(w)
		if err == nil && m.Left == 0 && (m.Flags&chat.FlagBlocks != 0) != (rec.At != 0) {
			c.wrong(k, "the direct conversation does not know of the block")
		}
	})
}

// private checks that what users keep for themselves can be read.
func (c *checker) private() {
	c.scan(storage.SpaceSetting, func(k, rest storage.Key, v []byte) {
		_, name, ok := two(rest)
		var rec any = new(storage.Setting)
		switch what, _, _ := strings.Cut(name, "/"); {
		case what == name:
		case what == "conv":
			rec = new(storage.ConvSetting)
		case what == "count":
			rec = new(storage.Tally)
		}
		if !ok || storage.Unmarshal(v, rec) != nil {
			c.wrong(k, "the private setting can't be read")
		}
	})
	c.scan(storage.SpaceUntold, func(k, rest storage.Key, _ []byte) {
		if _, _, ok := two(rest); !ok {
			c.wrong(k, "the mark of a draft can't be read")
		}
	})
	c.scan(storage.SpaceErasing, func(k, rest storage.Key, v []byte) {
		var rec storage.Erasing
		if _, more, ok := storage.TakeStr(rest); !ok || len(more) > 0 || storage.Unmarshal(v, &rec) != nil {
			c.wrong(k, "the erasure of an account can't be read")
		}
	})
	c.scan(storage.SpaceReport, func(k, rest storage.Key, v []byte) {
		var rec storage.Report
		if len(rest) != 16 || storage.Unmarshal(v, &rec) != nil || len(rec.Seqs) != len(rec.Events) {
			c.wrong(k, "the report can't be read")
			return
		}
		for _, b := range rec.Events {
			if _, err := protocol.DecodeStored(b); err != nil {
				c.wrong(k, "an event in the report can't be read")
			}
		}
	})
}
