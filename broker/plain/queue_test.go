package plain

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/storage"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// queueTest is a queue and its store, driven as an owner does.
type queueTest struct {
	t testing.TB
	r *records
	q *Queue
	b storage.Batch
}

func newQueueTest(t testing.TB, l Limits) *queueTest {
	r := newRecords()
	return &queueTest{t: t, r: r, q: NewQueue(r, l, 16)}
}

func (q *queueTest) commit() {
	q.q.Seal(&q.b)
	q.r.commit(q.t, &q.b)
	q.q.Committed()
}

func (q *queueTest) put(n uint64, m *Message, sids ...uint64) int {
	targets := make([]Target, len(sids))
	for i, sid := range sids {
		targets[i] = Target{SID: sid, QoS: 1}
	}
	stored, dropped, err := q.q.Put(&q.b, n, m, targets)
	require.NoError(q.t, err)
	require.Equal(q.t, len(sids), len(stored)+dropped)
	return dropped
}

func (q *queueTest) release(sid, n uint64) bool {
	ok, err := q.q.Release(&q.b, sid, n)
	require.NoError(q.t, err)
	return ok
}

func (q *queueTest) read(sid, after, upTo uint64) (ns []uint64) {
	err := ReadQueue(q.r, sid, after, upTo, func(n uint64, _ Ref, m *Message) bool {
		require.Equal(q.t, fmt.Sprint("m", n), m.Topic)
		ns = append(ns, n)
		return true
	})
	require.NoError(q.t, err)
	return ns
}

func msg(n uint64) *Message {
	return &Message{Topic: fmt.Sprint("m", n), QoS: 1, Payload: []byte("body")}
}

func TestQueueOneTargetIsEmbedded(t *testing.T) {
	q := newQueueTest(t, Limits{})
	m := msg(1)
	m.QoS, m.Retain = 2, true
	stored, _, err := q.q.Put(&q.b, 1, m, []Target{{SID: 5, QoS: 1, RAP: true, SubIDs: []uint32{8}}, {SID: 6, QoS: 0}})
	require.NoError(t, err)
	require.Len(t, stored, 1, "QoS 0 is not kept")
	q.commit()
	require.Zero(t, q.r.in(storage.SpaceMessage))
	require.Equal(t, 1, q.r.in(storage.SpaceRef))
	err = ReadQueue(q.r, 5, 0, math.MaxUint64, func(n uint64, r Ref, got *Message) bool {
		require.Equal(t, Ref{QoS: 1, Retain: true, SubIDs: []uint32{8}, Size: uint32(len(AppendMessage(nil, m)))}, r)
		require.Equal(t, m, got)
		return true
	})
	require.NoError(t, err)

	require.False(t, q.release(6, 1))
	require.True(t, q.release(5, 1))
	require.False(t, q.release(5, 1), "twice in one batch")
	q.commit()
	require.False(t, q.release(5, 1), "twice")
	require.Empty(t, q.r.m)
}

func TestQueueSharedMessageIsFreedByTheLast(t *testing.T) {
	for _, restart := range []bool{false, true} {
		q := newQueueTest(t, Limits{})
		again := func() {
			if restart {
				q.q = NewQueue(q.r, Limits{}, 16)
			}
		}
		q.put(1, msg(1), 1, 2, 3, 4)
		q.commit()
		require.Equal(t, 1, q.r.in(storage.SpaceMessage))
		again()
		require.True(t, q.release(1, 1))
		require.False(t, q.release(1, 1), "a second acknowledgement must not count for another session")
		require.True(t, q.release(2, 1))
		q.commit()
		again()
		require.Equal(t, 2, q.r.in(storage.SpaceRef))
		require.Equal(t, []uint64{1}, q.read(3, 0, 9))
		require.True(t, q.release(3, 1))
		q.commit()
		again()
		require.True(t, q.release(4, 1))
		q.commit()
		require.Empty(t, q.r.m)
	}
}

func TestQueueAborted(t *testing.T) {
	q := newQueueTest(t, Limits{})
	q.put(1, msg(1), 1, 2)
	q.commit()
	q.release(1, 1)
	q.put(2, msg(2), 1)
	q.q.Seal(&q.b)
	q.b.Reset()
	q.q.Aborted()
	n, _, err := q.q.Usage(1)
	require.NoError(t, err)
	require.Equal(t, int64(1), n)
	require.False(t, q.release(1, 2))
	require.True(t, q.release(1, 1))
	require.True(t, q.release(2, 1))
	q.commit()
	require.Empty(t, q.r.m)
}

func TestQueueReleaseAndEndWithinTheBatchOfThePut(t *testing.T) {
	q := newQueueTest(t, Limits{})
	q.put(1, msg(1), 1, 2)
	q.put(2, msg(2), 1)
	q.put(3, msg(3), 1, 2)
	require.True(t, q.release(2, 1))
	require.False(t, q.release(3, 1))
	done, err := q.q.End(&q.b, 1, 10)
	require.NoError(t, err)
	require.True(t, done)
	q.commit()
	require.Equal(t, []uint64{3}, q.read(2, 0, 9))
	require.True(t, q.release(2, 3))
	q.commit()
	require.Empty(t, q.r.m)
}

func TestQueueEndInParts(t *testing.T) {
	q := newQueueTest(t, Limits{})
	for n := range uint64(25) {
		q.put(n+1, msg(n+1), []uint64{1, 2}[:1+n%2]...)
	}
	q.commit()
	batches := 0
	for done := false; !done; batches++ {
		var err error
		done, err = q.q.End(&q.b, 1, 10)
		require.NoError(t, err)
		q.commit()
	}
	require.Equal(t, 3, batches)
	require.Empty(t, q.read(1, 0, 99))
	require.Len(t, q.read(2, 0, 99), 12)
}

func TestQueueLimits(t *testing.T) {
	size := int64(len(AppendMessage(nil, msg(1))))
	for name, l := range map[string]Limits{"messages": {Messages: 2}, "bytes": {Bytes: 2*size + 1}} {
		t.Run(name, func(t *testing.T) {
			q := newQueueTest(t, l)
			require.Zero(t, q.put(1, msg(1), 1))
			require.Zero(t, q.put(2, msg(2), 1))
			require.Equal(t, 1, q.put(3, msg(3), 1, 2), "the newest is dropped, for the full session only")
			q.commit()
			require.Equal(t, []uint64{1, 2}, q.read(1, 0, 9))
			require.Equal(t, []uint64{3}, q.read(2, 0, 9))
			q.q = NewQueue(q.r, l, 16)
			require.Equal(t, 1, q.put(4, msg(4), 1), "after a restart too")
			q.release(1, 1)
			require.Zero(t, q.put(5, msg(5), 1))
			q.commit()
			require.Equal(t, []uint64{2, 5}, q.read(1, 0, 9))
		})
	}
}

// TestQueueLongUsageIsRecorded holds that a long queue is not counted by a scan.
func TestQueueLongUsageIsRecorded(t *testing.T) {
	q := newQueueTest(t, Limits{})
	for n := range uint64(longMessages + 5) {
		q.put(n+1, msg(n+1), 1)
	}
	q.commit()
	reload := func(want int64, maxSteps int) {
		q.q = NewQueue(q.r, Limits{}, 16)
		q.r.steps = 0
		n, bytes, err := q.q.Usage(1)
		require.NoError(t, err)
		require.Equal(t, want, n)
		require.Positive(t, bytes)
		require.LessOrEqual(t, q.r.steps, maxSteps)
	}
	reload(longMessages+5, 1)
	require.Len(t, q.read(1, 0, math.MaxUint64), longMessages+5, "the record is no message")
	for n := range uint64(5) {
		q.release(1, n+1)
	}
	q.commit()
	reload(longMessages, 1)
	q.release(1, 6)
	q.commit()
	reload(longMessages-1, longMessages-1)
	for n := range uint64(longMessages + 5) {
		q.release(1, n+1)
	}
	q.commit()
	require.Empty(t, q.r.m)
}

func TestReadQueueStopsAtTheDurable(t *testing.T) {
	q := newQueueTest(t, Limits{})
	for n := range uint64(300) {
		q.put(n+1, msg(n+1), []uint64{1, 2}[:1+n%2]...)
	}
	q.commit()
	got := q.read(1, 10, 290)
	require.Len(t, got, 280)
	require.True(t, slices.IsSorted(got))
	require.Equal(t, uint64(11), got[0])
	require.Empty(t, q.read(3, 0, 300))

	shown := 0
	require.NoError(t, ReadQueue(q.r, 1, 0, 300, func(uint64, Ref, *Message) bool { shown++; return shown < 20 }))
	require.Equal(t, 20, shown)

	delete(q.r.m, string(messageKey(2)))
	err := ReadQueue(q.r, 1, 0, 300, func(uint64, Ref, *Message) bool { return true })
	require.ErrorIs(t, err, storage.ErrRecord, "a reference without its message is damage, not a gap")
}

func TestQueueMisuse(t *testing.T) {
	q := newQueueTest(t, Limits{})
	q.put(1, msg(1), 1)
	require.Panics(t, q.q.Committed, "without Seal")
	q.q.Seal(&q.b)
	require.Panics(t, func() { _, _ = q.q.Release(&q.b, 1, 1) }, "after Seal")
}

// TestQueueAgainstModel runs random batches, some of which fail, with restarts in between.
func TestQueueAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limits := Limits{Messages: rapid.Int64Range(0, 6).Draw(rt, "limit")}
		q := newQueueTest(t, limits)
		model := map[uint64][]uint64{} // session → waiting
		next := uint64(1)
		for range rapid.IntRange(1, 30).Draw(rt, "batches") {
			tried := map[uint64][]uint64{}
			for sid, ns := range model {
				tried[sid] = slices.Clone(ns)
			}
			for range rapid.IntRange(0, 8).Draw(rt, "ops") {
				if rapid.Bool().Draw(rt, "put") {
					sids := rapid.SliceOfNDistinct(rapid.Uint64Range(1, 5), 1, 5, rapid.ID[uint64]).Draw(rt, "to")
					q.put(next, msg(next), sids...)
					for _, sid := range sids {
						if limits.Messages == 0 || int64(len(tried[sid])) < limits.Messages {
							tried[sid] = append(tried[sid], next)
						}
					}
					next++
					continue
				}
				sid := rapid.Uint64Range(1, 5).Draw(rt, "sid")
				if rapid.IntRange(0, 9).Draw(rt, "end") == 0 && slices.Equal(tried[sid], model[sid]) {
					_, err := q.q.End(&q.b, sid, 1000)
					require.NoError(rt, err)
					tried[sid] = nil
					continue
				}
				n := rapid.Uint64Range(1, next).Draw(rt, "n")
				i := slices.Index(tried[sid], n)
				require.Equal(rt, i >= 0, q.release(sid, n))
				if i >= 0 {
					tried[sid] = slices.Delete(tried[sid], i, i+1)
				}
			}
			switch rapid.IntRange(0, 5).Draw(rt, "outcome") {
			case 0:
				q.q.Seal(&q.b)
				q.b.Reset()
				q.q.Aborted()
			case 1:
				q.commit()
				model = tried
				q.q = NewQueue(q.r, limits, 16)
			default:
				q.commit()
				model = tried
			}
			check(rt, q, model)
		}
		for sid, ns := range model {
			for _, n := range ns {
				require.True(rt, q.release(sid, n))
			}
		}
		q.commit()
		require.Empty(rt, q.r.m, "nothing is left behind")
	})
}

func check(t *rapid.T, q *queueTest, model map[uint64][]uint64) {
	waiting := map[uint64]bool{}
	for sid := range uint64(6) {
		require.Equal(t, len(model[sid]), len(q.read(sid, 0, math.MaxUint64)))
		if len(model[sid]) > 0 {
			require.Equal(t, model[sid], q.read(sid, 0, math.MaxUint64))
		}
		n, _, err := q.q.Usage(sid)
		require.NoError(t, err)
		require.Equal(t, int64(len(model[sid])), n)
		for _, n := range model[sid] {
			waiting[n] = true
		}
	}
	for k := range q.r.m {
		if k[0] == byte(storage.SpaceMessage) {
			n, _, _ := storage.TakeU64(storage.Key(k[1:]))
			require.True(t, waiting[n], "message %d waits for nobody", n)
		}
	}
}

// nothing is a store that takes everything and has nothing.
type nothing struct{ storage.Reader }

func (nothing) Get(storage.Key) ([]byte, bool, error) { return nil, false, nil }
func (nothing) Scan(_, _ storage.Key, _ func(storage.Key, []byte) bool) error {
	return nil
}

func BenchmarkQueuePutRelease(b *testing.B) {
	for _, sessions := range []int{1, 100} {
		b.Run(fmt.Sprint(sessions), func(b *testing.B) {
			q := NewQueue(nothing{}, Limits{Messages: 1 << 30}, 1<<12)
			targets := make([]Target, sessions)
			for i := range targets {
				targets[i] = Target{SID: uint64(i + 1), QoS: 1}
			}
			m := &Message{Topic: "a/b", QoS: 1, Payload: []byte(strings.Repeat("x", 64))}
			var batch storage.Batch
			n := uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				n++
				_, _, _ = q.Put(&batch, n, m, targets)
				for _, t := range targets {
					_, _ = q.Release(&batch, t.SID, n)
				}
				if n%64 == 0 {
					q.Seal(&batch)
					q.Committed()
					batch.Reset()
				}
			}
		})
	}
}
