package crash_test

import "time"

// callsLog is the calls of a conversation that ended: each is to be in its log, once, and no other.
type callsLog struct {
	w      *world
	conv   string
	over   map[string]bool // since the log was read last; whether the event was seen
	read   uint64          // seq up to which the log was read
	finals int
}

func newCallsLog(w *world, conv string) callsLog {
	return callsLog{w: w, conv: conv, over: make(map[string]bool)}
}

// end notes that a call is over.
func (l *callsLog) end(call string) {
	if _, ok := l.over[call]; !ok {
		l.over[call] = false
	}
	l.finals++
}

// check reads the log, until all are there.
func (l *callsLog) check(r *reader) {
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		l.more(r)
		missing := 0
		for _, seen := range l.over {
			if !seen {
				missing++
			}
		}
		if missing == 0 {
			break
		}
		if time.Now().After(end) {
			l.w.t.Errorf("%v: %d calls of %s that ended are not in the log: %v", l.w, missing, l.conv, l.over)
			break
		}
	}
	clear(l.over) // they are over for good
}

func (l *callsLog) more(r *reader) {
	var page struct {
		Events []struct {
			Seq  uint64
			Kind string
			Ext  struct{ Call string }
		}
	}
	r.call("history", params{"conv": l.conv, "after": l.read, "limit": 500}, &page)
	for _, ev := range page.Events {
		l.read = ev.Seq
		if ev.Kind != "call" {
			continue
		}
		seen, known := l.over[ev.Ext.Call]
		if !known || seen {
			l.w.t.Errorf("%v: the call %s of %s is in the log at %d: ended %v, seen before %v", l.w, ev.Ext.Call, l.conv, ev.Seq, known, seen)
		}
		l.over[ev.Ext.Call] = true
	}
}
