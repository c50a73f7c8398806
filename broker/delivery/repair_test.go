package delivery

import (
	"testing"

	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/storagetest"
)

func TestOrphansAreRefsOfSessionsThatEndedWithTheRun(t *testing.T) {
	m := storagetest.NewModel()
	var b storage.Batch
	for _, sid := range []uint64{1, 7 << 20, ephemeral | 3, ephemeral | 9} {
		for n := uint64(1); n < 4; n++ {
			b.Set(storage.In(storage.SpaceRef).U64(sid).U64(n), []byte{1})
		}
	}
	if _, err := m.Commit(&b); err != nil {
		t.Fatal(err)
	}
	got, err := orphans(m)
	if err != nil || len(got) != 2 || got[0] != ephemeral|3 || got[1] != ephemeral|9 {
		t.Errorf("%x, %v", got, err)
	}
}
