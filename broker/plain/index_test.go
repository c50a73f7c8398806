package plain

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/petrelchat/petrel/protocol"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestIndexFilters(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		match         bool
	}{
		{"a", "a", true}, {"a", "b", false}, {"a", "a/b", false}, {"a/b", "a", false},
		{"a/#", "a", true}, {"a/#", "a/b/c", true}, {"a/#", "ab", false}, {"a/#", "a/", true},
		{"+/#", "a", true}, {"+/#", "a/b", true}, {"+", "a", true}, {"+", "a/", false}, {"+", "/a", false},
		{"+/+", "/a", true}, {"/+", "/a", true}, {"/+", "a", false}, {"#", "a/b", true}, {"#", "/", true},
		{"a/+/c", "a/b/c", true}, {"a/+/c", "a//c", true}, {"a/+/c", "a/b/d", false}, {"a/+/#", "a", false},
		{"#", "$SYS/x", false}, {"+/x", "$SYS/x", false}, {"+/#", "$SYS", false}, // [MQTT-4.7.2-1]
		{"$SYS/#", "$SYS/x", true}, {"$SYS/+", "$SYS/x", true}, {"a/#", "a/$x", true}, {"a/+", "a/$x", true},
	} {
		x := NewIndex()
		require.False(t, x.Add(c.filter, Sub{SID: 7, QoS: 1}))
		require.False(t, x.Add(c.filter, Sub{SID: 8, QoS: 1, Share: "s"}))
		var d Matches
		x.Match(c.topic, 0, &d)
		require.Equal(t, c.match, len(d.Targets) == 1, "%s %s", c.filter, c.topic)
		require.Equal(t, c.match, len(d.Shared) == 1, "%s %s shared", c.filter, c.topic)
		require.Equal(t, c.match, protocol.MatchTopic(c.filter, c.topic), "%s %s: protocol disagrees", c.filter, c.topic)
	}
}

func TestIndexMerge(t *testing.T) {
	x := NewIndex()
	x.Add("a/b", Sub{SID: 1, QoS: 1, SubID: 10})
	x.Add("a/#", Sub{SID: 1, QoS: 2, SubID: 11, RetainAsPublished: true})
	x.Add("a/+", Sub{SID: 1, QoS: 0})
	x.Add("+/b", Sub{SID: 2, QoS: 2, NoLocal: true, SubID: 12})
	x.Add("#", Sub{SID: 2, QoS: 1, SubID: 13})

	var d Matches
	x.Match("a/b", 2, &d)
	got := map[uint64]Target{}
	for _, tg := range d.Targets {
		slices.Sort(tg.SubIDs)
		got[tg.SID] = tg
	}
	require.Equal(t, map[uint64]Target{
		1: {SID: 1, QoS: 2, RAP: true, SubIDs: []uint32{10, 11}},
		2: {SID: 2, QoS: 1, SubIDs: []uint32{13}}, // its own publish does not reach the No Local one
	}, got)

	require.True(t, x.Add("a/b", Sub{SID: 1, QoS: 0}), "replaces")
	require.True(t, x.Remove("a/#", 1, ""))
	require.False(t, x.Remove("a/#", 1, ""))
	x.Match("a/b", 0, &d)
	i := slices.IndexFunc(d.Targets, func(t Target) bool { return t.SID == 1 })
	require.Equal(t, Target{SID: 1}, d.Targets[i])
	require.Equal(t, 4, x.Len())
}

func TestIndexSharedGroups(t *testing.T) {
	x := NewIndex()
	x.Add("a/+", Sub{SID: 1, QoS: 1, Share: "s"})
	var before Matches
	x.Match("a/b", 0, &before)
	x.Add("a/+", Sub{SID: 2, QoS: 1, Share: "s"})
	x.Add("a/+", Sub{SID: 1, QoS: 1, Share: "other"})
	x.Add("a/b", Sub{SID: 1, QoS: 1, Share: "s"}) // another filter is another shared subscription
	require.True(t, x.Add("a/+", Sub{SID: 1, QoS: 2, Share: "s"}))
	require.Equal(t, 4, x.Len())

	var d Matches
	x.Match("a/b", 0, &d)
	require.Len(t, d.Shared, 3)
	require.Empty(t, d.Targets)
	require.Equal(t, uint8(1), before.Shared[0].Members[0].QoS, "an earlier result does not change")
	require.Len(t, before.Shared[0].Members, 1)

	x.RemoveAll(1, []Filter{{"s", "a/+"}, {"other", "a/+"}, {"s", "a/b"}, {"", "a/b"}})
	x.Match("a/b", 0, &d)
	require.Equal(t, []SharedMatch{{"s", "a/+", []Sub{{SID: 2, QoS: 1, Share: "s"}}}}, d.Shared)
	require.False(t, x.Remove("a/+", 2, "none"))
	require.True(t, x.Remove("a/+", 2, "s"))
	require.Zero(t, x.Len())
	require.Equal(t, node{}, *x.nodes.at(rootID), "all nodes are gone")
}

func TestPick(t *testing.T) {
	m := SharedMatch{Members: []Sub{{SID: 1}, {SID: 2}, {SID: 3}, {SID: 4}}}
	turn := func(online ...uint64) (got []uint64) {
		for n := range uint64(6) {
			s, ok := Pick(m, func(sid uint64) bool { return slices.Contains(online, sid) }, n)
			require.True(t, ok)
			got = append(got, s.SID)
		}
		return got
	}
	require.Equal(t, []uint64{1, 2, 3, 4, 1, 2}, turn(1, 2, 3, 4))
	require.Equal(t, []uint64{1, 2, 3, 4, 1, 2}, turn(), "none online: it waits for somebody")
	require.Equal(t, []uint64{2, 4, 2, 4, 2, 4}, turn(2, 4))
	_, ok := Pick(SharedMatch{}, func(uint64) bool { return true }, 0)
	require.False(t, ok)
}

func TestPickSharedSecondCopy(t *testing.T) {
	d := Matches{
		Targets: []Target{{SID: 1, QoS: 1}},
		Shared: []SharedMatch{
			{Share: "s", Members: []Sub{{SID: 2, QoS: 2, SubID: 5}}},
			{Share: "t", Members: []Sub{{SID: 1, QoS: 1, SubID: 6}}},
			{Share: "u", Members: []Sub{{SID: 2, QoS: 1}}},
		},
	}
	again := d.PickShared(func(uint64) bool { return true }, 0)
	require.Equal(t, []Target{{SID: 1, QoS: 1}, {SID: 2, QoS: 2, SubIDs: []uint32{5}}}, d.Targets)
	require.Equal(t, []Target{{SID: 1, QoS: 1, SubIDs: []uint32{6}}, {SID: 2, QoS: 1}}, again)
}

type subKey struct {
	filter string
	sid    uint64
	share  string
}

// naive is what the index should find, by looking at every subscription.
func naive(subs map[subKey]Sub, topic string, from uint64) (map[uint64]Target, map[Filter][]uint64) {
	targets, shared := map[uint64]Target{}, map[Filter][]uint64{}
	for k, s := range subs {
		if !protocol.MatchTopic(k.filter, topic) {
			continue
		}
		if k.share != "" {
			f := Filter{k.share, k.filter}
			shared[f] = append(shared[f], k.sid)
			slices.Sort(shared[f])
			continue
		}
		if s.NoLocal && k.sid == from {
			continue
		}
		t := targets[k.sid]
		t.SID, t.QoS, t.RAP = k.sid, max(t.QoS, s.QoS), t.RAP || s.RetainAsPublished
		if s.SubID != 0 {
			t.SubIDs = append(t.SubIDs, s.SubID)
			slices.Sort(t.SubIDs)
		}
		targets[k.sid] = t
	}
	return targets, shared
}

func found(d *Matches) (map[uint64]Target, map[Filter][]uint64) {
	targets, shared := map[uint64]Target{}, map[Filter][]uint64{}
	for _, t := range d.Targets {
		slices.Sort(t.SubIDs)
		targets[t.SID] = t
	}
	for _, m := range d.Shared {
		for _, s := range m.Members {
			f := Filter{m.Share, m.Filter}
			shared[f] = append(shared[f], s.SID)
			slices.Sort(shared[f])
		}
	}
	return targets, shared
}

func filters() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		levels := rapid.SliceOfN(rapid.SampledFrom([]string{"+", "a", "b", "", "$s", "longer level"}), 1, 5).Draw(t, "levels")
		if rapid.IntRange(0, 2).Draw(t, "hash") == 0 {
			levels[len(levels)-1] = "#"
		}
		f := strings.Join(levels, "/")
		if f == "" {
			return "a"
		}
		return f
	})
}

func topics() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		levels := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "", "$s", "longer level", "c", "a!"}), 1, 5).Draw(t, "levels")
		if s := strings.Join(levels, "/"); s != "" {
			return s
		}
		return "b"
	})
}

func TestIndexAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, model := NewIndex(), map[subKey]Sub{}
		// Few sessions: filters of one session overlap. Many: the map of targets is used.
		sessions := rapid.SampledFrom([]uint64{3, 60}).Draw(t, "sessions")
		var d Matches
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			k := subKey{
				filter: filters().Draw(t, "filter"), sid: rapid.Uint64Range(1, sessions).Draw(t, "sid"),
				share: rapid.SampledFrom([]string{"", "", "", "s", "t"}).Draw(t, "share"),
			}
			_, was := model[k]
			switch rapid.IntRange(0, 3).Draw(t, "op") {
			case 0:
				require.Equal(t, was, x.Remove(k.filter, k.sid, k.share))
				delete(model, k)
			default:
				s := Sub{
					SID: k.sid, Share: k.share, QoS: rapid.Uint8Range(0, 2).Draw(t, "qos"),
					SubID: rapid.Uint32Range(0, 3).Draw(t, "id"), NoLocal: rapid.Bool().Draw(t, "nl"),
					RetainAsPublished: rapid.Bool().Draw(t, "rap"),
				}
				require.Equal(t, was, x.Add(k.filter, s))
				model[k] = s
			}
			topic, from := topics().Draw(t, "topic"), rapid.Uint64Range(0, sessions).Draw(t, "from")
			x.Match(topic, from, &d)
			targets, shared := found(&d)
			wantTargets, wantShared := naive(model, topic, from)
			require.Equal(t, wantTargets, targets)
			require.Len(t, d.Targets, len(targets), "a session twice")
			require.Equal(t, wantShared, shared)
			require.Equal(t, len(model), x.Len())
		}
		for k := range model {
			require.True(t, x.Remove(k.filter, k.sid, k.share))
		}
		require.Equal(t, node{}, *x.nodes.at(rootID))
		require.Equal(t, int(x.nodes.next)-1, len(x.nodes.free), "nodes leak")
		require.Equal(t, int(x.subs.next), len(x.subs.free), "subscriptions leak")
	})
}

func FuzzIndex(f *testing.F) {
	f.Add("a/+/#", "a/b")
	f.Add("+/#", "$SYS")
	f.Add("/", "//")
	f.Fuzz(func(t *testing.T, filter, topic string) {
		if protocol.ValidFilter(filter) != nil || protocol.ValidTopic(topic) != nil || strings.HasPrefix(filter, "$share/") {
			return
		}
		x := NewIndex()
		x.Add(filter, Sub{SID: 1})
		var d Matches
		x.Match(topic, 0, &d)
		if got, want := len(d.Targets) == 1, protocol.MatchTopic(filter, topic); got != want {
			t.Fatalf("%q %q: %v, want %v", filter, topic, got, want)
		}
		if !x.Remove(filter, 1, "") || x.Len() != 0 {
			t.Fatal("not removed")
		}
	})
}

// TestIndexManySessions runs the tables through growth and shrinking.
func TestIndexManySessions(t *testing.T) {
	const n = 20_000
	x := NewIndex()
	for i := range uint64(n) {
		x.Add(fmt.Sprintf("user%d/#", i), Sub{SID: i + 1, QoS: 1})
		x.Add("public/#", Sub{SID: i + 1, QoS: 1})
	}
	var d Matches
	for i := range uint64(n) {
		x.Match(fmt.Sprintf("user%d/x", i), 0, &d)
		require.Len(t, d.Targets, 1)
		require.Equal(t, i+1, d.Targets[0].SID)
	}
	x.Match("public/x", 0, &d)
	require.Len(t, d.Targets, n)
	nodes, subs := x.nodes.next, x.subs.next
	for i := range uint64(n) {
		x.RemoveAll(i+1, []Filter{{"", fmt.Sprintf("user%d/#", i)}, {"", "public/#"}})
	}
	require.Zero(t, x.Len())
	require.Less(t, x.kids.bytes()+x.own.bytes(), 16<<10, "the tables shrank")
	for i := range uint64(n) {
		x.Add(fmt.Sprintf("user%d/#", i), Sub{SID: i + 1, QoS: 1})
	}
	require.Equal(t, nodes, x.nodes.next, "freed nodes are used again")
	require.Equal(t, subs, x.subs.next, "freed subscriptions are used again")
}

func TestIndexConcurrent(t *testing.T) {
	x := NewIndex()
	var wg sync.WaitGroup
	for w := range uint64(4) {
		wg.Go(func() {
			var d Matches
			for i := range uint64(500) {
				sid := w*1000 + i%50 + 1
				x.Add("a/+", Sub{SID: sid, QoS: 1, SubID: 1})
				x.Add("a/b", Sub{SID: sid, Share: "s"})
				x.Match("a/b", 0, &d)
				for _, m := range d.Shared {
					_, _ = Pick(m, func(sid uint64) bool { return sid%2 == 0 }, i)
				}
				if !slices.ContainsFunc(d.Targets, func(t Target) bool { return t.SID == sid }) {
					t.Errorf("session %d does not see its own subscription", sid)
				}
				if i%3 == 0 {
					x.RemoveAll(sid, []Filter{{"", "a/+"}, {"s", "a/b"}})
				}
			}
		})
	}
	wg.Wait()
}

func heapBytes() int64 {
	runtime.GC()
	runtime.GC()
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	return int64(ms.HeapAlloc)
}

// TestIndexMemory bounds what an offline session with a filter of its own costs.
func TestIndexMemory(t *testing.T) {
	const n = 100_000
	before := heapBytes()
	x := NewIndex()
	for i := range uint64(n) {
		x.Add(fmt.Sprintf("user%d/#", i), Sub{SID: i + 1, QoS: 1})
	}
	per := (heapBytes() - before) / n
	t.Logf("%d bytes for each session, %d by Bytes", per, x.Bytes()/n)
	require.Less(t, per, int64(250))
	require.InDelta(t, float64(per), float64(x.Bytes()/n), 40)
}

func TestMatchAllocatesNothing(t *testing.T) {
	x := NewIndex()
	for i := range uint64(100) {
		x.Add("a/+", Sub{SID: i + 1, QoS: 1, SubID: 3})
		x.Add("a/b", Sub{SID: i + 50, QoS: 1})
	}
	var d Matches
	x.Match("a/b", 0, &d)
	require.Zero(t, testing.AllocsPerRun(100, func() { x.Match("a/b", 0, &d) }))
}

func BenchmarkMatchOneOf100k(b *testing.B) {
	x := NewIndex()
	for i := range uint64(100_000) {
		x.Add(fmt.Sprintf("user%d/#", i), Sub{SID: i + 1, QoS: 1})
	}
	var d Matches
	b.ReportAllocs()
	for b.Loop() {
		x.Match("user54321/phone/inbox", 0, &d)
	}
	if len(d.Targets) != 1 {
		b.Fatal("no match")
	}
}

func BenchmarkMatch100kOfOne(b *testing.B) {
	x := NewIndex()
	for i := range uint64(100_000) {
		x.Add("public/#", Sub{SID: i + 1, QoS: 1})
	}
	var d Matches
	for b.Loop() {
		x.Match("public/news", 0, &d)
	}
}

// BenchmarkMatchAdversarial has all 2^10 filters of "a" and "+" at ten levels, below which one matches.
func BenchmarkMatchAdversarial(b *testing.B) {
	x := NewIndex()
	for i := range uint64(1024) {
		levels := make([]string, 11)
		for l := range 10 {
			levels[l] = []string{"a", "+"}[i>>l&1]
		}
		levels[10] = fmt.Sprint("end", i)
		x.Add(strings.Join(levels, "/"), Sub{SID: i + 1})
	}
	var d Matches
	for b.Loop() {
		x.Match("a/a/a/a/a/a/a/a/a/a/end5", 0, &d)
	}
}

func BenchmarkAddRemove(b *testing.B) {
	x := NewIndex()
	for i := range uint64(100_000) {
		x.Add("public/#", Sub{SID: i + 1, QoS: 1})
	}
	b.ReportAllocs()
	for b.Loop() {
		x.Remove("public/#", 50_000, "")
		x.Add("public/#", Sub{SID: 50_000, QoS: 1})
	}
}
