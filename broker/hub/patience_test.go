package hub

import (
	"testing"
	"time"
)

func TestOnlyManyOnASlowDiskWait(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	for _, c := range []struct {
		name  string
		sync  time.Duration
		batch int
		want  bool
	}{
		{"many on a slow disk", 4 * time.Millisecond, 100, true},
		{"few on a slow disk", 4 * time.Millisecond, 3, false},
		{"many on a fast disk", 200 * time.Microsecond, 100, false},
	} {
		var p patience
		for range 100 {
			p.took(c.sync)
			now = now.Add(c.sync + c.sync/4)
			p.got(c.batch, now)
		}
		d := p.wait()
		if (d > 0) != c.want || d > c.sync/2 {
			t.Errorf("%s: waits %v", c.name, d)
		}
		now = now.Add(time.Second) // silence
		p.got(1, now)
		if d := p.wait(); d > 0 {
			t.Errorf("%s: a message that comes alone waits %v", c.name, d)
		}
	}
}
