package signaling_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/petrelchat/petrel/signaling"
)

// mute is a session that hears everything and keeps nothing.
type mute struct{ d signaling.Device }

func (m *mute) Device() signaling.Device { return m.d }

func (m *mute) Tell(string, []byte) {}

// step is a publish that waits for its answer.
func step(b *testing.B, publish func(done func(signaling.Answer))) (signaling.Answer, time.Duration) {
	ch := make(chan signaling.Answer, 1)
	at := time.Now()
	publish(func(a signaling.Answer) { ch <- a })
	a := <-ch
	if a.Err != nil {
		b.Error(a.Err)
	}
	return a, time.Since(at)
}

// BenchmarkRinging: whole calls (start, ringing, accept, offer, answer, hangup) while 10,000 others ring, 64 at a time; the store is in
// memory, so that it shows what the service costs beside the disk. p99 is that of one publish up to its answer.
func BenchmarkRinging(b *testing.B) {
	y := newYard(b, func(y *yard) {
		y.lim = signaling.Limits{StartsPerPair: 1 << 30, StartsPerUser: 1 << 30, SignalsPerUser: 1 << 30}
	})
	member := func(name string) *mute {
		m := &mute{signaling.Device{User: name, Client: "d"}}
		y.w.here[name] = []signaling.Session{m}
		return m
	}
	ring := func(caller, callee *mute) {
		conv := caller.d.User + "~" + callee.d.User
		a, _ := step(b, func(done func(signaling.Answer)) {
			y.calls.Start(caller, conv, signaling.Packet{}, []byte(`{"media":["audio"],"id":"k"}`), done)
		})
		step(b, func(done func(signaling.Answer)) { y.calls.Do(callee, a.Call, "ringing", nil, done) })
	}
	var ready sync.WaitGroup
	var others [50][][2]*mute
	for g := range others {
		for i := range 200 {
			others[g] = append(others[g], [2]*mute{member(fmt.Sprintf("a%d-%d", g, i)), member(fmt.Sprintf("b%d-%d", g, i))})
		}
	}
	const lanes = 64
	var pairs [lanes][2]*mute
	for i := range pairs {
		pairs[i] = [2]*mute{member(fmt.Sprintf("x%d", i)), member(fmt.Sprintf("y%d", i))}
	}
	for _, mine := range others {
		ready.Go(func() {
			for _, p := range mine {
				ring(p[0], p[1])
			}
		})
	}
	ready.Wait()
	if n := y.calls.Stats().Live; n != 10_000 {
		b.Fatalf("%d calls ring", n)
	}
	var mu sync.Mutex
	var took []time.Duration
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for lane := range lanes {
		wg.Go(func() {
			for n := lane; n < b.N; n += lanes {
				all := wholeCall(b, y, pairs[lane][0], pairs[lane][1])
				mu.Lock()
				took = append(took, all...)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

func wholeCall(b *testing.B, y *yard, x, z *mute) []time.Duration {
	var took []time.Duration
	do := func(m *mute, call, verb, payload string) signaling.Answer {
		a, d := step(b, func(done func(signaling.Answer)) { y.calls.Do(m, call, signaling.Verb(verb), []byte(payload), done) })
		took = append(took, d)
		return a
	}
	a, d := step(b, func(done func(signaling.Answer)) {
		y.calls.Start(x, x.d.User+"~"+z.d.User, signaling.Packet{}, []byte(`{"media":["audio"]}`), done)
	})
	took = append(took, d)
	do(z, a.Call, "ringing", "")
	c := do(z, a.Call, "accept", "")
	do(z, a.Call, "signal", sig(a.Party, "offer"))
	do(x, a.Call, "signal", sig(c.Party, "answer"))
	do(x, a.Call, "hangup", "")
	return took
}
