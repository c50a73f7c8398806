package search

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

var texts = flag.Int("texts", 0, "how many messages BenchmarkSearch indexes; 0: it is skipped")

// BenchmarkSearch fills an index with messages of 2,000 conversations and measures first pages of 20 hits, confirmed in the log. Words
// are distributed as in a language (Zipf). Run it once:
//
//	go test ./broker/search -run XXX -bench Search -benchtime 1x -texts 1000000
func BenchmarkSearch(b *testing.B) {
	if *texts == 0 {
		b.Skip("-texts says how many")
	}
	const conversations = 2000
	r := newRig(b)
	words := vocabulary()
	began := time.Now()
	r.fillStore(words, conversations)
	fmt.Printf("the logs: %v", time.Since(began))
	fmt.Println()
	began = time.Now()
	r.x.mu.Lock()
	r.x.all = true
	r.x.mu.Unlock()
	r.caughtUpIn(30 * time.Minute)
	d := time.Since(began)
	st := r.x.Stats()
	fmt.Printf("indexing: %v for %d texts, %v each, %.0f/s", d, st.Docs, d/time.Duration(st.Docs), float64(st.Docs)/d.Seconds())
	fmt.Println()
	fmt.Printf("size: %.1f MB, %d bytes for each text", float64(st.Bytes)/1e6, st.Bytes/st.Docs)
	fmt.Println()
	convs := func(n int) (names []string) {
		for i := range n {
			names = append(names, fmt.Sprintf("g%d", i*conversations/n))
		}
		return names
	}
	queries := []struct{ name, q, from string }{
		{"most common word", words[0], ""}, {"common word", words[20], ""}, {"rare word", words[5000], ""}, {"rarest word", words[40000], ""},
		{"two common words", words[0] + " " + words[1], ""}, {"common and rare word", words[0] + " " + words[5000], ""},
		{"phrase of common words", `"` + words[0] + " " + words[1] + `"`, ""}, {"phrase of rare words", `"` + words[900] + " " + words[2000] + `"`, ""},
		{"prefix of 3", words[3][:3] + "*", ""}, {"prefix of 4", words[30][:4] + "*", ""},
		{"of one sender", words[0], "u7"},
	}
	for _, n := range []int{1, 3, 200, conversations} {
		mine := convs(n)
		for _, q := range queries {
			var all []time.Duration
			var hits int
			for range 7 {
				began := time.Now()
				hits = r.page(q.q, q.from, mine)
				all = append(all, time.Since(began))
			}
			slices.Sort(all)
			fmt.Printf("%4d conversations, %-24s %2d hits: median %8v, most %8v", n, q.name, hits, all[len(all)/2].Round(time.Microsecond), all[len(all)-1].Round(time.Microsecond))
			fmt.Println()
		}
	}
	for range b.N {
		r.page(words[0], "", convs(3))
	}
	runtime.KeepAlive(r)
}

func vocabulary() []string {
	rng := rand.New(rand.NewPCG(7, 7))
	seen := make(map[string]bool)
	var words []string
	for len(words) < 50_000 {
		var w strings.Builder
		for range 1 + rng.IntN(4) {
			w.WriteByte("bcdfghklmnprstvw"[rng.IntN(16)])
			w.WriteByte("aeiouy"[rng.IntN(6)])
		}
		if rng.IntN(2) == 0 {
			w.WriteByte("lmnrst"[rng.IntN(6)])
		}
		if s := w.String(); !seen[s] && (len(s) >= 4 || len(words) < 50) {
			seen[s] = true
			words = append(words, s)
		}
	}
	return words
}

// fillStore writes the logs in the order of time, in large commits.
func (r *rig) fillStore(words []string, conversations int) {
	rng := rand.New(rand.NewPCG(1, 1))
	zipf := rand.NewZipf(rng, 1.07, 4, uint64(len(words)-1))
	heads := make([]uint64, conversations)
	for n := 0; n < *texts; {
		var b storage.Batch
		for range 2000 {
			c := int(float64(conversations) * rng.Float64() * rng.Float64()) // some are livelier
			heads[c]++
			conv := fmt.Sprintf("g%d", c)
			var text strings.Builder
			for range 3 + rng.IntN(15) {
				text.WriteString(words[zipf.Uint64()])
				text.WriteByte(' ')
			}
			r.now += int64(rng.IntN(2000))
			ev := chat.Event{Seq: heads[c], From: fmt.Sprintf("u%d", rng.IntN(3000)), At: r.now, Kind: chat.KindPost, Text: text.String()}
			if heads[c] == 1 {
				b.Set(storage.In(storage.SpaceConv).Str(conv), storage.Marshal(storage.Conv{}))
			}
			b.Append(conv, ev.Seq, r.encode(&ev))
			n++
		}
		must(r.t, r.commit(&b))
	}
}

// page finds the first 20 hits as rpc does.
func (r *rig) page(q, from string, convs []string) (hits int) {
	query, err := Parse(q)
	must(r.t, err)
	must(r.t, r.x.Find(context.Background(), &Request{Query: query, From: from, Convs: convs}, func(h Hit) (bool, error) {
		ev, ok, err := r.x.event(h.Conv, h.Seq)
		if err != nil || !ok {
			return true, err
		}
		spans, ok := query.Match(ev.Text)
		if ok {
			Snippet(ev.Text, spans)
			hits++
		}
		return hits < 21, nil
	}))
	return hits
}

func (r *rig) caughtUpIn(d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	must(r.t, r.x.CatchUp(ctx))
}
