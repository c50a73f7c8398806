package delivery

import "sync"

// retainMarks number the latest settings of retained messages, so that a new subscription is not sent
// as retained what reached it as it was published. A setting is numbered before it is matched against
// the subscriptions, a subscription takes its mark after it can be matched: what has a higher number
// than the mark was delivered. Of settings that are forgotten again the subscriber may get both.
type retainMarks struct {
	mu    sync.Mutex
	count uint64
	last  map[string]uint64 // by topic
}

// retainMarksMax bounds how many settings are remembered: far more than come while one SUBSCRIBE is
// carried out.
const retainMarksMax = 4096

// set numbers a setting of a topic's retained message.
func (m *retainMarks) set(topic string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.last) >= retainMarksMax || m.last == nil {
		m.last = make(map[string]uint64)
	}
	m.count++
	m.last[topic] = m.count
}

func (m *retainMarks) mark() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.count
}

// since reports whether a topic's retained message was set after a mark.
func (m *retainMarks) since(topic string, mark uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last[topic] > mark
}
