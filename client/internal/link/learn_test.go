package link

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestKeepAliveStaysWithinBounds: whatever happens, and it settles below a silence that was too long.
func TestKeepAliveStaysWithinBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := time.Duration(rapid.IntRange(35, 600).Draw(t, "router forgets after")) * time.Second
		k := newKeepAlive(KeepAlive{}.withDefaults(), []byte(rapid.SampledFrom([]string{"", "90", "-5", "99999", "x"}).Draw(t, "learned")))
		late := 0 // losses after it had its time to learn
		for i := range 200 {
			if k.current < k.Least || k.current > k.Most || k.promise() > k.Most || k.promise() < k.current {
				t.Fatalf("%v, promise %v", k.current, k.promise())
			}
			if k.current < limit {
				k.survived(k.current)
			} else {
				k.lost(k.current)
				if i > 100 {
					late++
				}
			}
		}
		if late > 0 {
			t.Fatalf("%d connections were still lost to a router that forgets after %v", late, limit)
		}
		if again := newKeepAlive(k.KeepAlive, k.learned()); again.current != k.current {
			t.Fatalf("%v was remembered as %v", k.current, again.current)
		}
	})
}

// TestBackoffStaysWithinBounds even after very many failures.
func TestBackoffStaysWithinBounds(t *testing.T) {
	b := backoff{first: 500 * time.Millisecond, most: 2 * time.Minute, rand: func() float64 { return 0.999 }}
	for i := range 200 {
		want := min(500*time.Millisecond<<min(i, 20), 2*time.Minute)
		if got := b.next(); got > want || got < want*99/100 {
			t.Fatalf("wait %d is %v", i, got)
		}
	}
	b.reset()
	if got := b.atLeast(30 * time.Second); got < 15*time.Second || got > 30*time.Second {
		t.Fatal(got)
	}
	if got := b.atLeast(time.Hour); got > 2*time.Minute {
		t.Fatal(got)
	}
}

// TestFrame: however the bytes are cut, each message is counted once.
func TestFrame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stream []byte
		var want []int
		for range rapid.IntRange(0, 20).Draw(t, "packets") {
			n := rapid.SampledFrom([]int{0, 2, 127, 128, 5000, 20_000}).Draw(t, "size")
			head := rapid.SampledFrom([]byte{0x30, 0x32, 0x40, 0xD0}).Draw(t, "type")
			stream = append(stream, head)
			for rest := n; ; {
				b := byte(rest & 0x7F)
				if rest >>= 7; rest > 0 {
					stream = append(stream, b|0x80)
				} else {
					stream = append(stream, b)
					break
				}
			}
			stream = append(stream, make([]byte, n)...)
			if head>>4 == 3 {
				want = append(want, n)
			}
		}
		f := frame{most: 1 << 20}
		var got []int
		for len(stream) > 0 {
			n := rapid.IntRange(1, min(len(stream), 3000)).Draw(t, "read")
			if err := f.feed(stream[:n], func(size int) { got = append(got, size) }); err != nil {
				t.Fatal(err)
			}
			stream = stream[n:]
		}
		if len(got) != len(want) || f.left != 0 || f.begun {
			t.Fatalf("%v, want %v", got, want)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("%v, want %v", got, want)
			}
		}
	})
}

func TestExpiryOf(t *testing.T) {
	for _, c := range []struct {
		secret string
		ms     int64
	}{
		{"", 0}, {"a.b.c", 0}, {"hunter2", 0}, {"e30.e30.x", 0},
		{"e30.eyJleHAiOjE3MDAwMDAwMDB9.x", 1_700_000_000_000}, // {"exp":1700000000}
		{"e30.eyJleHAiOi0xfQ.x", 0},                           // {"exp":-1}
		{"e30.WzFd.x", 0},                                     // [1]
	} {
		if ms, ok := expiryOf(c.secret); ms != c.ms || ok != (c.ms != 0) {
			t.Errorf("%q: %d, %v", c.secret, ms, ok)
		}
	}
}
