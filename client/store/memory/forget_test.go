package memory

import (
	"testing"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/client/store/storetest"
)

// TestForget: what is forgotten takes no room, and what is behind it stays as it is.
func TestForget(t *testing.T) {
	s := New()
	fading := storetest.Post(3, "fading")
	fading.Expire = 60
	storetest.Put(t, s, storetest.Post(1, "one"), storetest.Act(2, chat.KindEdit, 1, "uno"), fading, storetest.Act(4, chat.KindReact, 1, ""), storetest.Post(6, "six"))
	storetest.Update(t, s, func(tx store.Tx) error { return tx.DropBodies("c", []uint64{1, 6}) })
	s.Forget("c", 3)
	s.Forget("nowhere", 3)
	l := s.data.logs["c"]
	if len(l.events) != 2 || len(l.seqs) != 2 || len(l.about) != 1 || len(l.dropped) != 1 || len(s.data.due) != 0 {
		t.Errorf("%v, %v, %v, %v, %v", l.events, l.seqs, l.about, l.dropped, s.data.due)
	}
	storetest.View(t, s, func(r store.Reader) error {
		spans, err := r.Spans("c")
		if len(spans) != 2 || spans[0] != (store.Span{First: 1, Last: 4}) {
			t.Errorf("%v", spans)
		}
		return err
	})
	s.Forget("c", store.MaxSeq)
	if len(l.events)+len(l.seqs)+len(l.about)+len(l.dropped) != 0 {
		t.Errorf("%v, %v, %v, %v", l.events, l.seqs, l.about, l.dropped)
	}
}
