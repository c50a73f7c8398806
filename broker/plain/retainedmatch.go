package plain

import (
	"fmt"
	"strings"

	"github.com/petrelchat/petrel/storage"
)

const (
	// After this many records in a row that don't match, a scan is begun anew behind those that can't
	// match either. A new scan costs about as much as this many steps.
	patience = 32
	// One call of Match looks at this many records, and at this many more for each match it may show.
	lookBase = 4096
	lookEach = 16
)

// beyond sorts after every UTF-8 string with the same beginning.
const beyond = "\xff"

// Match calls fn with the retained messages that match a filter, in the byte order of their topics,
// until fn returns false, or limit of them were shown, or enough were looked at for one call. next is
// where to go on: give it as after to the next call. It is "" at the end; begin with "". Expired
// messages are left out [MQTT-3.3.2-5]. m belongs to fn. The filter must be valid; now is in ms.
//
// Only the topics under the filter's literal beginning are read, and subtrees that can't match are
// skipped: "+/x" costs a few steps for each first level, however many topics are below it.
func (t *Retained) Match(filter, after string, limit int, now int64, fn func(topic string, m *Message) bool) (next string, err error) {
	s := retainedScan{
		r: t.r, filter: strings.Split(filter, "/"), after: after, now: now, fn: fn,
		limit: limit, look: lookBase + lookEach*limit,
	}
	first := strings.IndexAny(filter, "+#")
	if first < 0 {
		return "", s.exact(filter)
	}
	s.prefix = filter[:first]
	if parent, ok := strings.CutSuffix(filter, "/#"); ok && first == len(filter)-1 {
		// "a/#" matches "a" too [MQTT-4.7.1-2], which does not stand beside "a/…" in key order.
		if err := s.exact(parent); err != nil {
			return "", err
		}
		if s.stopped {
			return parent, nil
		}
	}
	s.at = max(after, s.prefix)
	for !s.done {
		if err := s.run(); err != nil {
			return "", err
		}
	}
	return s.next, nil
}

// retainedScan is one Match at work.
type retainedScan struct {
	r      storage.Reader
	filter []string
	prefix string
	now    int64
	fn     func(topic string, m *Message) bool

	after       string // the last call ended with this topic
	at          string // the scan begins here
	limit, look int    // what is left
	stopped     bool   // fn said so, or the limit was reached
	done        bool
	next        string
}

// exact shows the message of one topic unless an earlier call did.
func (s *retainedScan) exact(topic string) error {
	if topic <= s.after {
		return nil
	}
	v, ok, err := s.r.Get(retainedKey(topic))
	if err != nil || !ok {
		return err
	}
	return s.show(topic, v)
}

func (s *retainedScan) show(topic string, v []byte) error {
	m, err := decodeRetained(topic, v, s.now)
	if err != nil || m == nil {
		return err
	}
	s.limit--
	more := s.fn(topic, m)
	s.stopped = s.stopped || !more || s.limit <= 0
	return nil
}

// run scans from s.at until it is done or has a reason to begin anew elsewhere.
func (s *retainedScan) run() error {
	prefix := storage.In(storage.SpaceRetained).Raw(s.prefix)
	// Without a terminator the scan begins with the very topic s.at if there is one: right for a skip,
	// while the topic that the last call ended with is passed over below.
	from := storage.In(storage.SpaceRetained).Raw(s.at)
	misses, end := 0, true
	var bad error
	err := s.r.Scan(prefix, from, func(k storage.Key, v []byte) bool {
		topic, rest, ok := storage.TakeStr(k[1:])
		if !ok || len(rest) != 0 {
			bad = fmt.Errorf("%w: key of a retained message", storage.ErrRecord)
			return false
		}
		if topic == s.after {
			return true
		}
		s.at = topic
		if s.look--; s.look <= 0 {
			s.next, s.stopped = topic, true
		}
		skip, match := s.step(topic)
		if match {
			misses = 0
			if bad = s.show(topic, append([]byte(nil), v...)); bad != nil {
				return false
			}
			if s.stopped {
				s.next = topic
			}
			return !s.stopped
		}
		if misses++; misses > patience && skip != "" && !s.stopped {
			s.at, end = skip, false
			return false
		}
		return !s.stopped
	})
	if err == nil {
		err = bad
	}
	s.done = end || s.stopped
	return err
}

// step says whether a topic matches, and if not, behind which string the next one that can match
// stands: greater than the topic, or "" when it may be the very next one.
func (s *retainedScan) step(topic string) (skip string, match bool) {
	if topic != "" && topic[0] == '$' && (s.filter[0] == "+" || s.filter[0] == "#") {
		return "$" + beyond, false // [MQTT-4.7.2-1]
	}
	begin := 0 // where the level begins in topic
	for i, want := range s.filter {
		if want == "#" {
			return "", true
		}
		level, _, last := cutLevel(topic[begin:])
		end := begin + len(level)
		lastWanted := i == len(s.filter)-1
		if want != "+" && want != level {
			return s.seek(topic, topic[:begin], want, lastWanted), false
		}
		switch {
		case last && lastWanted:
			return "", true
		case last: // too short, but "a" matches "a/#"
			return "", i == len(s.filter)-2 && s.filter[i+1] == "#"
		case lastWanted: // too long, and so is everything below
			return topic[:end] + "/" + beyond, false
		}
		begin = end + 1
	}
	return "", false
}

// seek returns where level want under parent can begin to match, or behind the parent when the topic
// is past that.
func (s *retainedScan) seek(topic, parent, want string, lastWanted bool) string {
	target := parent + want
	if target > topic {
		return target
	}
	// "b!" stands between "b" and "b/…".
	if target += "/"; !lastWanted && target > topic {
		return target
	}
	return parent + beyond
}
