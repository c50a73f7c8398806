package calls

import (
	"encoding/json"

	"github.com/petrelchat/petrel/client"
)

// handler hears of the client's connection and of calls.
type handler struct{ m *Manager }

var _ client.CallHandler = handler{}

// Connected implements client.CallHandler.
func (h handler) Connected() {
	m := h.m
	m.mu.Lock()
	m.online = true
	m.gen++
	gen := m.gen
	m.mu.Unlock()
	m.each(func(c *Call) { c.connected(gen) })
}

// Disconnected implements client.CallHandler.
func (h handler) Disconnected() {
	h.m.mu.Lock()
	was := h.m.online
	h.m.online = false
	h.m.mu.Unlock()
	if was {
		h.m.each(func(c *Call) { c.disconnected() })
	}
}

// Told implements client.CallHandler.
func (h handler) Told(party string, payload []byte) {
	m := h.m
	var t told
	if len(payload) > bodyMost || json.Unmarshal(payload, &t) != nil || t.Call == "" {
		m.log.Warn("something about calls can't be read: is the program too old?")
		return
	}
	if party != "" {
		if t.Kind == "signal" && t.Party == party {
			if c := m.known(t.Call); c != nil {
				c.post(func() { c.signalled(&t) })
			}
		}
		return
	}
	c, forsaken := m.concerned(&t)
	if forsaken {
		_ = m.c.CallVerb(t.Call, "hangup", []byte("{}"), func(client.CallAck, error) {})
	}
	if c == nil {
		return
	}
	c.post(func() { c.heard(&t) })
}

func (m *Manager) known(id string) *Call {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[id]
}

// concerned is the call that a message is about; nil: it is of no interest here, or of none any more (forsaken).
func (m *Manager) concerned(t *told) (c *Call, forsaken bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.calls[t.Call]; c != nil {
		return c, false
	}
	if seq, over := m.elder[t.Call]; t.Kind == "state" && t.Party != "" && !m.closed && (!over || t.Seq > seq) { // a group's call may be joined again
		for _, c := range m.starting { // ahead of the answer to its start, which may be joining what somebody else began
			if c.conv == t.Conv && c.id == "" {
				m.adopt(c, t.Call)
				return c, false
			}
		}
	}
	if m.forsook(t) {
		return nil, true
	}
	if seq, over := m.elder[t.Call]; t.Kind != "ring" || m.closed || over && t.Seq <= seq {
		return nil, false
	}
	c = newCall(m, t.Conv, Local{})
	c.incoming = true
	c.board.now.From, c.board.now.Incoming, c.board.now.State = t.From, true, StateRinging
	c.board.now.Media, c.board.now.Waiting = t.Media, t.Waiting
	m.adopt(c, t.Call)
	select {
	case m.incoming <- c:
	default:
		m.log.Warn("calls ring and nobody listens to Incoming")
	}
	return c, false
}
