package notify_test

import (
	"strings"
	"testing"

	"github.com/petrelchat/petrel/broker/notify"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/storagetest"
)

// Of a user whose account is gone nothing is kept; what others wait for stays.
func TestForget(t *testing.T) {
	store := storagetest.NewModel()
	set := func(b *storage.Batch, user string) {
		b.Set(storage.In(storage.SpaceNotice).U64(7).Str(user).Str("crew"), []byte{0xa0})
		b.Set(storage.In(storage.SpaceDerived).Str("notified").Str(user).Str("crew"), []byte{0xa0})
	}
	commit := func(b *storage.Batch) {
		t.Helper()
		if _, err := store.Commit(b); err != nil {
			t.Fatal(err)
		}
	}
	b := new(storage.Batch)
	set(b, "ana")
	set(b, "anabel")
	commit(b)
	b = new(storage.Batch)
	if err := notify.Forget(store, "ana", b); err != nil {
		t.Fatal(err)
	}
	commit(b)
	var left []string
	for _, space := range []storage.Space{storage.SpaceNotice, storage.SpaceDerived} {
		err := store.Scan(storage.In(space), nil, func(k storage.Key, _ []byte) bool {
			left = append(left, string(k))
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(left) != 2 || !strings.Contains(left[0], "anabel") || !strings.Contains(left[1], "anabel") {
		t.Errorf("left: %q", left)
	}
}
