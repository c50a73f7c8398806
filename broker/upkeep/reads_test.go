package upkeep_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/upkeep"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// TestReads: the read audit goes by age in each conversation, whatever stands in the others; without an age
// nothing of it stays.
func TestReads(t *testing.T) {
	const day = 24 * time.Hour
	month := upkeep.Settings{Reads: 30 * day}
	entries := func(b *bench, conv string, n int) {
		b.put(func(batch *storage.Batch) {
			for i := range n {
				at := b.now().UnixMilli()
				batch.Set(storage.ReadKey(conv, at, fmt.Sprintf("user%04d", i)),
					storage.AppendRead(nil, storage.Read{Cursor: chat.Cursor{Delivered: 1, Read: 1}, At: at}))
			}
		})
	}
	run(t, upkeep.Options{Settings: month}, func(b *bench) {
		entries(b, "a~b", 3)
		entries(b, "birds", 1500)
		entries(b, "cats", 512)
	}, func(b *bench) {
		b.later(20*day, month)
		entries(b, "birds", 700)
		entries(b, "dogs", 1)
		entries(b, "zebras", 600)
		b.later(day, month)
		b.want("entries", b.count(storage.SpaceRead), 3+1500+512+700+1+600)
		b.later(10*day, month)
		b.want("entries", b.count(storage.SpaceRead), 700+1+600)
		if _, largest := b.done(); largest > 512 {
			b.Errorf("one commit had %d changes", largest)
		}
		b.later(0, upkeep.Settings{})
		b.want("entries when none are kept", b.count(storage.SpaceRead), 0)
	})
}
