package crash_test

import "slices"

// outcome is what somebody knows of what they asked for.
type outcome uint8

const (
	carried  outcome = iota // it was acknowledged
	turned                  // it was refused
	doubtful                // the answer died with the server
)

// belief is what something may be like: more than one state where an answer died with the server. An empty
// one means that no run of the rules explains what was seen: a promise was broken.
type belief[S comparable] []S

// certain is the belief of whoever knows.
func certain[S comparable](s S) belief[S] { return belief[S]{s} }

// after is what to believe after something was asked for. next says what carrying it out in a state may lead
// to (nothing: it cannot be carried out), and whether it may be refused in that state.
func (b belief[S]) after(o outcome, next func(S) (to []S, refused bool)) (now belief[S]) {
	for _, s := range b {
		to, refused := next(s)
		if o != turned {
			now = now.or(to...)
		}
		if o == doubtful || o == turned && refused {
			now = now.or(s)
		}
	}
	return now
}

// seen is what to believe after a look that only some states agree with.
func (b belief[S]) seen(agrees func(S) bool) (now belief[S]) {
	for _, s := range b {
		if agrees(s) {
			now = append(now, s)
		}
	}
	return now
}

func (b belief[S]) or(states ...S) belief[S] {
	for _, s := range states {
		if !slices.Contains(b, s) {
			b = append(b, s)
		}
	}
	return b
}

// may and must report whether something may hold, and whether it surely does.
func (b belief[S]) may(s S) bool  { return slices.Contains(b, s) }
func (b belief[S]) must(s S) bool { return len(b) == 1 && b[0] == s }
