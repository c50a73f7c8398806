package plain

import (
	"slices"
	"testing"

	"github.com/petrelchat/petrel/storage"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

type willTest struct {
	t testing.TB
	r *records
	w *Wills
	b storage.Batch
}

var phone = WillKey{"alice", "phone"}

func newWillTest(t testing.TB) *willTest {
	return &willTest{t: t, r: newRecords(), w: NewWills()}
}

func (w *willTest) arm(conn uint64, delay uint32, now int64) {
	w.w.Arm(&w.b, &Will{
		Message: Message{Topic: "alice/gone", Payload: []byte("w"), QoS: 1}, User: phone.User, ClientID: phone.ClientID,
		Conn: conn, SID: 3, DelayS: delay, ExpiryS: 9, HasExpiry: true,
	}, now)
}

func (w *willTest) broken(conn uint64, now, ends int64) int64 {
	due, ok := w.w.Broken(&w.b, phone, conn, now, ends)
	require.True(w.t, ok)
	return due
}

// restart loads the store; the session of an armed will ends at ends.
func (w *willTest) restart(now, ends int64) {
	w.r.commit(w.t, &w.b)
	var err error
	w.w, err = LoadWills(w.r, &w.b, now, func(k WillKey) int64 { require.Equal(w.t, phone, k); return ends })
	require.NoError(w.t, err)
	w.r.commit(w.t, &w.b)
}

// due publishes what is due and returns the connections that it came with.
func (w *willTest) due(now int64) (conns []uint64) {
	for _, x := range w.w.Due(now) {
		require.Equal(w.t, now, x.At)
		require.Equal(w.t, now+9000, x.Expire, "the expiry counts from the publication")
		require.Equal(w.t, phone, x.Key())
		w.w.Published(&w.b, &x)
		conns = append(conns, x.Conn)
	}
	w.r.commit(w.t, &w.b)
	return conns
}

func (w *willTest) empty() {
	w.t.Helper()
	w.r.commit(w.t, &w.b)
	require.Empty(w.t, w.r.m)
	require.Zero(w.t, w.w.Len())
	_, ok := w.w.Next()
	require.False(w.t, ok)
}

func TestWillDisarm(t *testing.T) {
	w := newWillTest(t)
	w.arm(1, 0, 0)
	require.False(t, w.w.Disarm(&w.b, phone, 2), "another connection's goodbye")
	require.True(t, w.w.Disarm(&w.b, phone, 1))
	_, ok := w.w.Broken(&w.b, phone, 1, 0, 0)
	require.False(t, ok)
	w.empty()
}

func TestWillDue(t *testing.T) {
	for name, c := range map[string]struct {
		delay     uint32
		ends, due int64
	}{
		"at once":                 {0, Never, 1000},
		"after the delay":         {5, Never, 6000},
		"at the session's end":    {5, 3000, 3000},
		"session ended with it":   {5, 1000, 1000},
		"session ended before":    {5, 10, 1000},
		"the longest delay":       {1<<32 - 1, Never, 1000 + (1<<32-1)*1000},
		"delay before the end":    {5, 7000, 6000},
		"no delay, short session": {0, 2000, 1000},
	} {
		for _, crash := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				w := newWillTest(t)
				w.arm(1, c.delay, 0)
				require.Empty(t, w.w.Due(Never), "armed ones are never due")
				require.Equal(t, c.due, w.broken(1, 1000, c.ends))
				if crash {
					w.restart(1000, c.ends)
				}
				next, ok := w.w.Next()
				require.True(t, ok)
				require.Equal(t, c.due, next)
				require.Empty(t, w.w.Due(c.due-1))
				require.Equal(t, []uint64{1}, w.due(c.due))
				w.empty()
			})
		}
	}
}

func TestWillReturned(t *testing.T) {
	w := newWillTest(t)
	w.arm(1, 5, 0)
	require.False(t, w.w.Returned(&w.b, phone, 0), "still connected")
	w.broken(1, 1000, Never)
	require.True(t, w.w.Returned(&w.b, phone, 5999))
	w.empty()

	w.arm(2, 5, 0)
	w.broken(2, 1000, Never)
	require.False(t, w.w.Returned(&w.b, phone, 6000), "due is due")
	w.arm(3, 0, 6000)
	w.restart(6000, Never) // both survive a crash; the connection 3 broke with it
	require.Equal(t, []uint64{2, 3}, w.due(6000))
	w.empty()
}

func TestWillSessionEnded(t *testing.T) {
	w := newWillTest(t)
	w.arm(1, 50, 0)
	w.w.SessionEnded(&w.b, phone, 500)
	require.Empty(t, w.w.Due(500), "armed: the connection's end is told by Broken")
	w.broken(1, 1000, Never)
	w.w.SessionEnded(&w.b, phone, 2000)
	w.w.Returned(&w.b, phone, 2000)
	w.restart(1500, Never) // the clock was set back; it stays owed
	require.Equal(t, []uint64{1}, w.due(2000))
	w.empty()
}

// TestWillTakeover: a connection is replaced by a new one of the same client (MQTT 5 §3.1.4).
func TestWillTakeover(t *testing.T) {
	for _, told := range []bool{false, true} {
		for delay, want := range map[uint32][]uint64{0: {1}, 5: nil} {
			w := newWillTest(t)
			w.arm(1, delay, 0)
			if told {
				w.broken(1, 100, Never)
				w.w.Returned(&w.b, phone, 100)
			}
			w.arm(2, 0, 100)
			_, late := w.w.Broken(&w.b, phone, 1, 200, Never)
			require.False(t, late, "the old connection's end does not fire the new will")
			require.False(t, w.w.Disarm(&w.b, phone, 1))
			require.Equal(t, want, w.due(200))
			require.True(t, w.w.Disarm(&w.b, phone, 2))
			w.empty()
		}
	}
}

func TestWillRestart(t *testing.T) {
	w := newWillTest(t)
	w.arm(1, 5, 0)
	w.restart(10_000, Never)
	next, _ := w.w.Next()
	require.Equal(t, int64(15_000), next, "armed when the server stopped: broken at the start")
	w.restart(12_000, Never)
	next, _ = w.w.Next()
	require.Equal(t, int64(15_000), next, "the next restart does not delay it again")
	w.restart(1_000, Never)
	next, _ = w.w.Next()
	require.Equal(t, int64(6_000), next, "nor does a clock that was set back")
	require.True(t, w.w.Returned(&w.b, phone, 2_000))
	w.empty()
	w.restart(0, 0)
	w.arm(7, 0, 0)
	w.restart(0, 0)
	require.Equal(t, []uint64{7}, w.due(0))
	w.empty()
}

func TestWillAgain(t *testing.T) {
	w := newWillTest(t)
	w.arm(1, 0, 0)
	w.broken(1, 0, Never)
	due := w.w.Due(0)
	require.Len(t, due, 1)
	w.w.Again(due[0], 500)
	require.False(t, w.w.Returned(&w.b, phone, 100))
	require.Empty(t, w.w.Due(499))
	require.Equal(t, []uint64{1}, w.due(500))
	w.empty()
}

func TestWillDamage(t *testing.T) {
	w := newWillTest(t)
	w.arm(1, 0, 0)
	w.r.commit(t, &w.b)
	for k := range w.r.m {
		w.r.m[k] = []byte{1}
	}
	_, err := LoadWills(w.r, &w.b, 0, func(WillKey) int64 { return 0 })
	require.ErrorIs(t, err, storage.ErrRecord)
}

// TestWillsOnceEach plays random lives of one session with crashes: every will is published at most
// once, never after a goodbye, and always if its connection broke and its session was not resumed in time.
func TestWillsOnceEach(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWillTest(t)
		now, conn, connected := int64(0), uint64(0), false
		brokenAt, delay := int64(0), int64(0)
		fate := map[uint64]bool{} // connection → its will must (true) or must not (false) come
		var got []uint64
		wake := func() { got = append(got, w.due(now)...) }
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			now += rapid.Int64Range(0, 3000).Draw(rt, "pass")
			if rapid.Bool().Draw(rt, "wake") {
				wake()
			}
			switch op := rapid.IntRange(0, 4).Draw(rt, "op"); {
			case op == 0 && !connected:
				if conn > 0 {
					if _, decided := fate[conn]; !decided {
						fate[conn] = now >= brokenAt+delay
						if rapid.Bool().Draw(rt, "clean start") {
							fate[conn] = true
							w.w.SessionEnded(&w.b, phone, now)
						} else {
							w.w.Returned(&w.b, phone, now)
						}
					}
				}
				conn++
				d := rapid.Uint32Range(0, 4).Draw(rt, "delay")
				delay, connected = int64(d)*1000, true
				w.arm(conn, d, now)
			case op == 1 && connected:
				require.True(rt, w.w.Disarm(&w.b, phone, conn))
				fate[conn], connected = false, false
			case op == 2 && connected:
				w.broken(conn, now, Never)
				brokenAt, connected = now, false
			case op == 3:
				w.restart(now, Never)
				if connected {
					brokenAt, connected = now, false
				}
			}
			w.r.commit(t, &w.b)
		}
		if connected {
			w.w.Disarm(&w.b, phone, conn)
			fate[conn] = false
		} else if _, decided := fate[conn]; !decided && conn > 0 {
			fate[conn] = true
		}
		now += 100_000
		wake()
		slices.Sort(got)
		var want []uint64
		for c := uint64(1); c <= conn; c++ {
			if fate[c] {
				want = append(want, c)
			}
		}
		require.Equal(rt, want, got)
		w.empty()
	})
}

func TestWillRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &Will{
			Message: *messages().Draw(t, "message"), DelayS: rapid.Uint32().Draw(t, "delay"), SID: rapid.Uint64().Draw(t, "sid"),
			Conn: rapid.Uint64().Draw(t, "conn"), armed: rapid.Bool().Draw(t, "armed"), owing: rapid.Bool().Draw(t, "owing"),
			due: rapid.Int64Min(0).Draw(t, "due"), HasExpiry: rapid.Bool().Draw(t, "has"),
		}
		if w.HasExpiry {
			w.ExpiryS = rapid.Uint32().Draw(t, "expiry")
		}
		got, err := DecodeWill(AppendWill(nil, w))
		require.NoError(t, err)
		require.Equal(t, w, got)
	})
}

func BenchmarkWillArmBrokenDue(b *testing.B) {
	w := NewWills()
	var batch storage.Batch
	for b.Loop() {
		x := &Will{Message: Message{Topic: "t", Payload: []byte("p")}, User: "u", ClientID: "c", Conn: 1}
		w.Arm(&batch, x, 0)
		w.Broken(&batch, x.Key(), 1, 0, Never)
		for _, d := range w.Due(0) {
			w.Published(&batch, &d)
		}
		batch.Reset()
	}
}
