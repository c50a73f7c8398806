package plain

import (
	"fmt"
	"slices"
	"testing"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

type retainedTest struct {
	t testing.TB
	r *records
	k *Retained
	b storage.Batch
}

func newRetainedTest(t testing.TB, most int64) *retainedTest {
	r := newRecords()
	k, err := LoadRetained(r, most)
	require.NoError(t, err)
	return &retainedTest{t: t, r: r, k: k}
}

func (k *retainedTest) commit() {
	k.r.commit(k.t, &k.b)
	k.k.Committed()
}

func (k *retainedTest) set(topic, payload string, expire int64) error {
	return k.k.Set(&k.b, &Message{Topic: topic, Payload: []byte(payload), Retain: true, QoS: 1, Expire: expire})
}

func (k *retainedTest) fill(topics ...string) {
	for _, topic := range topics {
		require.NoError(k.t, k.set(topic, "p", 0))
	}
	k.commit()
}

// match reads everything that matches, limit at a time.
func (k *retainedTest) match(filter string, limit int, now int64) (topics []string) {
	after := ""
	for {
		shown := 0
		next, err := k.k.Match(filter, after, limit, now, func(topic string, m *Message) bool {
			require.Equal(k.t, topic, m.Topic)
			topics = append(topics, topic)
			shown++
			return true
		})
		require.NoError(k.t, err)
		require.LessOrEqual(k.t, shown, limit)
		if next == "" {
			return topics
		}
		require.Greater(k.t, next, after, "progress")
		after = next
	}
}

func TestRetainedSet(t *testing.T) {
	k := newRetainedTest(t, 2)
	require.NoError(t, k.set("a", "1", 0))
	require.NoError(t, k.set("a", "2", 50))
	require.NoError(t, k.set("b", "3", 0))
	err := k.set("c", "4", 0)
	require.ErrorIs(t, err, &chat.Refusal{Code: chat.Unavailable})
	require.NoError(t, k.set("b", "5", 0), "what is there can change at the limit")
	require.NoError(t, k.set("none", "", 0))
	k.commit()

	m, err := k.k.Get("a", 0)
	require.NoError(t, err)
	require.Equal(t, &Message{Topic: "a", Payload: []byte("2"), Retain: true, QoS: 1, Expire: 50}, m)
	m, err = k.k.Get("a", 50)
	require.NoError(t, err)
	require.Nil(t, m, "expired")

	k.k, err = LoadRetained(k.r, 2)
	require.NoError(t, err)
	require.Equal(t, int64(2), k.k.Len())
	require.Error(t, k.set("c", "4", 0))
	require.NoError(t, k.set("a", "", 0))
	require.NoError(t, k.set("a", "", 0), "removing twice counts once")
	require.NoError(t, k.set("c", "4", 0))
	require.Equal(t, int64(2), k.k.Len())
	k.b.Reset()
	k.k.Aborted()
	require.Equal(t, int64(2), k.k.Len())
	require.Equal(t, []string{"a", "b"}, k.match("#", 10, 0))
	require.Error(t, k.set("c", "4", 0), "a is still there")
}

func TestRetainedMatch(t *testing.T) {
	k := newRetainedTest(t, 0)
	k.fill("a", "a!", "a/b", "a/b!/c", "a/b/c", "a/b/c/d", "a/c", "b/b", "/b", "/", "$x/b", "a0", "ä/b")
	for filter, want := range map[string][]string{
		"a":     {"a"},
		"none":  nil,
		"#":     {"/", "/b", "a", "a!", "a/b", "a/b!/c", "a/b/c", "a/b/c/d", "a/c", "a0", "b/b", "ä/b"},
		"a/#":   {"a", "a/b", "a/b!/c", "a/b/c", "a/b/c/d", "a/c"},
		"a/+":   {"a/b", "a/c"},
		"+/b":   {"/b", "a/b", "b/b", "ä/b"},
		"+/b/#": {"/b", "a/b", "a/b/c", "a/b/c/d", "b/b", "ä/b"},
		"a/+/c": {"a/b!/c", "a/b/c"},
		"+":     {"a", "a!", "a0"},
		"$x/+":  {"$x/b"},
		"+/+/c": {"a/b!/c", "a/b/c"},
		"/#":    {"/", "/b"},
	} {
		for _, limit := range []int{1, 2, 100} {
			require.Equal(t, want, k.match(filter, limit, 0), "%s by %d", filter, limit)
		}
	}
	shown := 0
	next, err := k.k.Match("a/#", "", 100, 0, func(string, *Message) bool { shown++; return false })
	require.NoError(t, err)
	require.Equal(t, 1, shown)
	require.Equal(t, "a", next)
}

func TestRetainedMatchAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		k := newRetainedTest(t, 0)
		model := map[string]int64{}
		// Enough of them below one parent that scans lose patience and skip.
		for i := range rapid.SampledFrom([]int{0, 0, 40, 90}).Draw(rt, "crowd") {
			topic := fmt.Sprintf("%s%d/a", rapid.SampledFrom([]string{"a/", "a/b!", "a/b/", "b/", "$s/"}).Draw(rt, "parent"), i)
			model[topic] = 0
		}
		for range rapid.IntRange(0, 40).Draw(rt, "topics") {
			model[topics().Draw(rt, "topic")] = rapid.Int64Range(0, 4).Draw(rt, "expire")
		}
		for topic, expire := range model {
			require.NoError(rt, k.set(topic, "p", expire))
		}
		k.commit()
		filter, now := filters().Draw(rt, "filter"), rapid.Int64Range(0, 4).Draw(rt, "now")
		var want []string
		for topic, expire := range model {
			if protocol.MatchTopic(filter, topic) && (expire == 0 || expire > now) {
				want = append(want, topic)
			}
		}
		slices.Sort(want)
		got := k.match(filter, rapid.IntRange(1, 20).Draw(rt, "limit"), now)
		require.Equal(rt, want, got)
	})
}

// TestRetainedMatchSkips holds that subtrees that can't match are not read through.
func TestRetainedMatchSkips(t *testing.T) {
	k := newRetainedTest(t, 0)
	for a := range 10 {
		for b := range 1000 {
			require.NoError(t, k.set(fmt.Sprintf("dev%d/m/%03d/value", a, b), "p", 0))
		}
		require.NoError(t, k.set(fmt.Sprintf("dev%d/x", a), "p", 0))
	}
	k.commit()
	for filter, most := range map[string]int{"+/x": 10 * (2*patience + 10), "dev3/+/500/+": 3 * patience, "dev3/x": 0, "+/+": 10 * (2*patience + 10)} {
		k.r.steps = 0
		require.NotEmpty(t, k.match(filter, 1000, 0))
		require.LessOrEqual(t, k.r.steps, most, filter)
	}
}

// TestRetainedMatchSkipsNotTooFar: "a/b!…" stands between "a/b" and "a/b/…", both of which match.
func TestRetainedMatchSkipsNotTooFar(t *testing.T) {
	k := newRetainedTest(t, 0)
	for i := range 3 * patience {
		require.NoError(t, k.set(fmt.Sprintf("a/a%d", i), "p", 0))
		require.NoError(t, k.set(fmt.Sprintf("a/b!%d", i), "p", 0))
	}
	k.fill("a/b", "a/b/c", "b/b")
	require.Equal(t, []string{"a/b", "a/b/c", "b/b"}, k.match("+/b/#", 10, 0))
	require.Equal(t, []string{"a/b/c"}, k.match("+/b/c", 10, 0))
}

// TestRetainedMatchIsBounded holds that one call ends even when nothing matches.
func TestRetainedMatchIsBounded(t *testing.T) {
	k := newRetainedTest(t, 0)
	for i := range 3 * lookBase {
		require.NoError(t, k.set(fmt.Sprintf("%05d/no", i), "p", 0))
	}
	require.NoError(t, k.set("z/yes", "p", 0))
	k.commit()
	k.r.steps = 0
	next, err := k.k.Match("+/yes", "", 1, 0, func(string, *Message) bool { return true })
	require.NoError(t, err)
	require.NotEmpty(t, next)
	require.Less(t, k.r.steps, 2*lookBase)
	require.Equal(t, []string{"z/yes"}, k.match("+/yes", 1, 0))
}

func TestRetainedSweep(t *testing.T) {
	k := newRetainedTest(t, 0)
	for i := range 30 {
		require.NoError(t, k.set(fmt.Sprintf("t%02d", i), "p", int64(i%3)*100))
	}
	k.commit()
	require.NoError(t, k.set("t01", "new", 0)) // in the batch of the sweep: newer than what the store shows
	after, removed := "", 0
	for {
		next, n, err := k.k.Sweep(&k.b, after, 7, 150)
		require.NoError(t, err)
		removed += n
		if next == "" {
			break
		}
		after = next
	}
	k.commit()
	require.Equal(t, 9, removed)
	require.Equal(t, int64(21), k.k.Len())
	require.Len(t, k.match("#", 100, 0), 21)
	m, err := k.k.Get("t01", 150)
	require.NoError(t, err)
	require.Equal(t, "new", string(m.Payload))
}

func TestRetainedDamage(t *testing.T) {
	k := newRetainedTest(t, 0)
	k.fill("a/b")
	k.r.m[string(retainedKey("a/b"))] = []byte{9}
	_, err := k.k.Match("#", "", 10, 0, func(string, *Message) bool { return true })
	require.ErrorIs(t, err, storage.ErrRecord)
	_, _, err = k.k.Sweep(&k.b, "", 10, 0)
	require.ErrorIs(t, err, storage.ErrRecord)
	k.r.m[string(retainedCountKey())] = []byte{0x80}
	_, err = LoadRetained(k.r, 0)
	require.ErrorIs(t, err, storage.ErrRecord)
}

func BenchmarkRetainedMatch(b *testing.B) {
	k := newRetainedTest(b, 0)
	for i := range 10_000 {
		require.NoError(b, k.set(fmt.Sprintf("dev%d/m/%d", i%100, i), "p", 0))
	}
	k.commit()
	for b.Loop() {
		if _, err := k.k.Match("dev7/#", "", 1000, 0, func(string, *Message) bool { return true }); err != nil {
			b.Fatal(err)
		}
	}
}
