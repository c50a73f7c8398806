package plain_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/broker/plain"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
	"github.com/stretchr/testify/require"
)

// TestOnPebble takes the whole package through a loss of power on the real engine: what was synced is
// all there, and the counts agree with it.
func TestOnPebble(t *testing.T) {
	disk := pebblestore.NewMemDisk()
	s, err := disk.Open(pebblestore.Options{})
	require.NoError(t, err)
	q := plain.NewQueue(s, plain.Limits{}, 100)
	kept, err := plain.LoadRetained(s, 0)
	require.NoError(t, err)
	wills := plain.NewWills()
	commit := func() {
		t.Helper()
		commitBatch(t, s, q, kept, func(b *storage.Batch) {})
	}

	targets := []plain.Target{{SID: 1, QoS: 1}, {SID: 2, QoS: 2, SubIDs: []uint32{7}}, {SID: 3, QoS: 1}}
	for n := uint64(1); n <= 200; n++ {
		commitBatch(t, s, q, kept, func(b *storage.Batch) {
			m := &plain.Message{Topic: fmt.Sprintf("t/%d", n), QoS: 2, Retain: true, Payload: []byte("body")}
			_, _, err := q.Put(b, n, m, targets[:1+n%3])
			require.NoError(t, err)
			require.NoError(t, kept.Set(b, m))
			if n == 1 {
				wills.Arm(b, &plain.Will{Message: *m, User: "u", ClientID: "c", Conn: 9}, 0)
			}
			if n%2 == 0 {
				ok, err := q.Release(b, 1, n-1)
				require.NoError(t, err)
				require.True(t, ok)
			}
		})
	}
	commit()
	after := disk.PowerLoss(50, 1)
	require.NoError(t, s.Close())

	s, err = after.Open(pebblestore.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	q = plain.NewQueue(s, plain.Limits{}, 100)
	kept, err = plain.LoadRetained(s, 0)
	require.NoError(t, err)
	require.Equal(t, int64(200), kept.Len())
	var topics []string
	for next := ""; ; {
		next, err = kept.Match("t/+", next, 30, 0, func(topic string, _ *plain.Message) bool {
			topics = append(topics, topic)
			return true
		})
		require.NoError(t, err)
		if next == "" {
			break
		}
	}
	require.Len(t, topics, 200)

	waiting := map[uint64][]uint64{}
	for sid := uint64(1); sid <= 3; sid++ {
		err := plain.ReadQueue(s, sid, 0, math.MaxUint64, func(n uint64, r plain.Ref, m *plain.Message) bool {
			require.Equal(t, fmt.Sprintf("t/%d", n), m.Topic)
			require.Equal(t, targets[sid-1].SubIDs, r.SubIDs)
			waiting[sid] = append(waiting[sid], n)
			return true
		})
		require.NoError(t, err)
	}
	require.Len(t, waiting[1], 100)
	require.Len(t, waiting[2], 134)
	require.Len(t, waiting[3], 67)

	commitBatch(t, s, q, kept, func(b *storage.Batch) {
		wills, err = plain.LoadWills(s, b, 5, func(plain.WillKey) int64 { return plain.Never })
		require.NoError(t, err)
		due := wills.Due(5)
		require.Len(t, due, 1)
		wills.Published(b, &due[0])
		for sid, ns := range waiting {
			for _, n := range ns {
				ok, err := q.Release(b, sid, n)
				require.NoError(t, err)
				require.True(t, ok)
			}
		}
	})
	for _, space := range []storage.Space{storage.SpaceRef, storage.SpaceMessage, storage.SpaceWill} {
		require.NoError(t, s.Scan(storage.In(space), nil, func(k storage.Key, _ []byte) bool {
			t.Errorf("%q is left behind", k)
			return true
		}))
	}
}

func commitBatch(t testing.TB, s storage.Store, q *plain.Queue, kept *plain.Retained, fill func(*storage.Batch)) {
	t.Helper()
	b := new(storage.Batch)
	fill(b)
	q.Seal(b)
	p, err := s.Commit(b)
	require.NoError(t, err)
	q.Committed()
	kept.Committed()
	require.NoError(t, p.Wait())
}

// BenchmarkPebble fills the queues of 100 sessions and drains them, on a disk in memory; each
// operation is one message of one session.
func BenchmarkPebble(b *testing.B) {
	open := func(b *testing.B) *pebblestore.Store {
		s, err := pebblestore.NewMemDisk().Open(pebblestore.Options{})
		require.NoError(b, err)
		b.Cleanup(func() { _ = s.Close() })
		return s
	}
	const sessions, perBatch = 100, 64
	for _, fan := range []int{1, sessions} {
		b.Run(fmt.Sprintf("fill-drain/fan%d", fan), func(b *testing.B) {
			s := open(b)
			kept, err := plain.LoadRetained(s, 0)
			require.NoError(b, err)
			q := plain.NewQueue(s, plain.Limits{Messages: 1_000_000}, 1000)
			m := &plain.Message{Topic: "a/b", QoS: 1, Payload: []byte(strings.Repeat("x", 64))}
			n, left := uint64(0), b.N
			b.ResetTimer()
			for left > 0 {
				commitBatch(b, s, q, kept, func(batch *storage.Batch) {
					for range perBatch {
						n++
						targets := make([]plain.Target, fan)
						for i := range targets {
							targets[i] = plain.Target{SID: (n+uint64(i))%sessions + 1, QoS: 1}
						}
						_, _, err := q.Put(batch, n, m, targets)
						require.NoError(b, err)
						left -= fan
					}
				})
			}
			for sid := uint64(1); sid <= sessions; sid++ {
				commitBatch(b, s, q, kept, func(batch *storage.Batch) {
					err := plain.ReadQueue(s, sid, 0, n, func(n uint64, _ plain.Ref, _ *plain.Message) bool {
						_, err := q.Release(batch, sid, n)
						return err == nil
					})
					require.NoError(b, err)
				})
			}
		})
	}
}
