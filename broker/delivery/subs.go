package delivery

import (
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
)

// subscription is one filter of a session.
type subscription struct {
	filter  string // as the client wrote it
	f       protocol.Filter
	options byte // §3.8.3.1
	qos     byte // granted
	id      uint32
	meta    byte
}

func (s *subscription) noLocal() bool { return s.options&0x04 != 0 }

func (s *subscription) ids() []uint32 {
	if s.id == 0 {
		return nil
	}
	return []uint32{s.id}
}

// subIndex finds a session's subscriptions for an event without a search.
type subIndex struct {
	all   [viewCount]*subscription // c/+/…
	convs map[string]*[viewCount]*subscription
	own   *subscription
	live  []*subscription // every other kind
	plain int             // plain filters
}

// match is what a session gets an event with: overlapping filters merged (PROTOCOL: delivery 3).
type match struct {
	qos     byte
	noLocal bool
	meta    byte
	ids     []uint32
}

func (m *match) props(s *Session, view byte, ev *chat.Event) []byte {
	if m.meta == 0 || view != byte(protocol.ViewText) || !s.c.V5 {
		return nil
	}
	return metaProps(m.meta, ev)
}

func (x *subIndex) match(conv string, v protocol.View) (m match, ok bool) {
	if s := x.all[v]; s != nil {
		m, ok = match{qos: s.qos, noLocal: s.noLocal(), meta: s.meta, ids: s.ids()}, true
	}
	if one := x.convs[conv]; one != nil && one[v] != nil {
		s := one[v]
		if !ok {
			return match{qos: s.qos, noLocal: s.noLocal(), meta: s.meta, ids: s.ids()}, true
		}
		m.qos = max(m.qos, s.qos)
		m.noLocal = m.noLocal && s.noLocal()
		m.meta |= s.meta
		if s.id != 0 {
			m.ids = append(m.ids[:len(m.ids):len(m.ids)], s.id)
		}
	}
	return m, ok
}

// liveMatch finds the subscriptions for a live view. name is the conversation or user; "" for kinds
// without.
func (x *subIndex) liveMatch(kind protocol.FilterKind, name, topic string) (ids []uint32, ok bool) {
	for _, s := range x.live {
		if s.f.Kind != kind {
			continue
		}
		switch kind {
		case protocol.FilterPresence:
			if !s.f.All && s.f.User != name {
				continue
			}
		case protocol.FilterRPC, protocol.FilterCalls:
			if !protocol.MatchTopic(s.f.Filter, topic) {
				continue
			}
		default:
			if !s.f.All && s.f.Conv != name {
				continue
			}
		}
		ok = true
		if s.id != 0 {
			ids = append(ids, s.id)
		}
	}
	return ids, ok
}

// add puts a subscription into the index, replacing the one with the same filter.
func (x *subIndex) add(s *subscription) {
	switch {
	case s.shared(): // the registry finds them
	case s.f.Kind == protocol.FilterEvents && s.f.All:
		x.all[s.f.View] = s
	case s.f.Kind == protocol.FilterEvents:
		if x.convs == nil {
			x.convs = make(map[string]*[viewCount]*subscription)
		}
		one := x.convs[s.f.Conv]
		if one == nil {
			one = new([viewCount]*subscription)
			x.convs[s.f.Conv] = one
		}
		one[s.f.View] = s
	case s.f.Kind == protocol.FilterOwnEvents:
		x.own = s
	case s.f.Kind == protocol.FilterPlain:
		x.plain++
	default:
		for i, old := range x.live {
			if old.filter == s.filter {
				x.live[i] = s
				return
			}
		}
		x.live = append(x.live, s)
	}
}

// remove takes a subscription out of the index.
func (x *subIndex) remove(s *subscription) {
	switch {
	case s.shared():
	case s.f.Kind == protocol.FilterEvents && s.f.All:
		x.all[s.f.View] = nil
	case s.f.Kind == protocol.FilterEvents:
		if one := x.convs[s.f.Conv]; one != nil {
			one[s.f.View] = nil
			if *one == [viewCount]*subscription{} {
				delete(x.convs, s.f.Conv)
			}
		}
	case s.f.Kind == protocol.FilterOwnEvents:
		x.own = nil
	case s.f.Kind == protocol.FilterPlain:
		x.plain--
	default:
		for i, old := range x.live {
			if old.filter == s.filter {
				x.live = append(x.live[:i:i], x.live[i+1:]...)
				return
			}
		}
	}
}

// views returns the views of events at QoS 1 that the session has of a conversation.
func (x *subIndex) views(conv string) (vs []byte) {
	for v := protocol.ViewText; v <= protocol.ViewCBOR; v++ {
		if m, ok := x.match(conv, v); ok && m.qos > 0 {
			vs = append(vs, byte(v))
		}
	}
	return vs
}

// any reports whether the session attaches to any log at QoS 1.
func (x *subIndex) any() bool {
	for _, s := range x.all {
		if s != nil {
			return true
		}
	}
	return len(x.convs) > 0 || x.own != nil
}
