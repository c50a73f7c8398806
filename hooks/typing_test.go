package hooks

import (
	"fmt"
	"testing"
	"time"
)

// In a large conversation few starts go out within two seconds, and the stops of those only.
func TestTypingInACrowd(t *testing.T) {
	var pace typingPace
	now := time.Unix(1767225600, 0)
	sign := func(conv string, i int, on bool) bool {
		user := fmt.Sprint("user", i)
		return pace.ready(conv, user, on, now) && !pace.full(conv, user, on) && pace.seat(conv, user, on)
	}
	for round := range 3 {
		shown := 0
		for i := range 100 {
			if sign("town", round*100+i, true) {
				shown++
			}
			if on := sign("town", round*100+i, false); on != (i < typingCrowd) {
				t.Errorf("round %d: the stop of member %d goes out: %v", round, i, on)
			}
		}
		if shown != typingCrowd {
			t.Errorf("round %d: %d starts", round, shown)
		}
		if !sign("village", round, true) {
			t.Errorf("round %d: one crowd silences another", round)
		}
		now = now.Add(typingEvery)
	}
}
