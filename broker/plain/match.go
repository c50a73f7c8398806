package plain

// Target is one session that gets a message because of its own subscriptions, which are merged into
// one delivery: the highest QoS [MQTT-3.3.4-2] and the identifiers of all that match [MQTT-3.3.4-3].
// RAP is set when any of them asked for Retain As Published.
type Target struct {
	SID    uint64
	QoS    uint8 // the highest granted one; the message's may be lower
	RAP    bool
	SubIDs []uint32 // nil when no subscription has one; in no particular order [MQTT-3.3.4-4]
}

// SharedMatch is one shared subscription that matches: one of its members gets the message
// [MQTT-4.8.2-4]. Members is read-only and never empty.
type SharedMatch struct {
	Share, Filter string
	Members       []Sub
}

// Matches is the result of Index.Match. Reuse it: a Match into a used one allocates nothing as long as
// the result fits. It belongs to one goroutine. Targets, with one entry for each session, and Shared
// are valid until the next Match or Reset.
type Matches struct {
	Targets []Target
	Shared  []SharedMatch

	ids   []uint32         // what the SubIDs of targets with one identifier point into
	where map[uint64]int32 // session → index in Targets, once there are many
	lists int              // how many lists of the index contributed
}

// Up to this many targets are searched linearly for a session that matches again.
const fewTargets = 16

// Above this, the map of sessions is not kept for the next time.
const manyTargets = 1 << 16

// Reset empties the result and keeps its memory.
func (d *Matches) Reset() {
	clear(d.Targets)
	clear(d.Shared)
	d.Targets, d.Shared, d.ids = d.Targets[:0], d.Shared[:0], d.ids[:0]
	d.lists = 0
	if len(d.where) > manyTargets {
		d.where = nil
	} else if len(d.where) > 0 {
		clear(d.where)
	}
}

// Match puts into dst who gets a message on a topic that session from published (0: no session). The
// cost grows with the levels of the topic and the number of matches. With filters that mix "+" and
// names at every level it can visit 2^levels nodes, but never more than such filters made.
func (x *Index) Match(topic string, from uint64, dst *Matches) {
	dst.Reset()
	x.mu.RLock()
	defer x.mu.RUnlock()
	root := x.nodes.at(rootID)
	wild := topic == "" || topic[0] != '$' // [MQTT-4.7.2-1]
	if wild {
		x.collect(rootID<<1|1, root, from, dst)
	}
	level, rest, last := cutLevel(topic)
	if id := x.child(rootID, level); id != 0 {
		x.walk(id, rest, last, from, dst)
	}
	if wild && root.plus != 0 {
		x.walk(root.plus, rest, last, from, dst)
	}
}

// walk collects from a node whose level has matched. The depth of the recursion is that of the
// filters.
func (x *Index) walk(id uint32, rest string, last bool, from uint64, dst *Matches) {
	n := x.nodes.at(id)
	x.collect(listID(id<<1|1), n, from, dst)
	if last {
		x.collect(listID(id<<1), n, from, dst)
		return
	}
	if n.kids == 0 {
		return
	}
	level, rest, last := cutLevel(rest)
	if n.plus == 0 || n.kids > 1 {
		if kid := x.child(id, level); kid != 0 {
			x.walk(kid, rest, last, from, dst)
		}
	}
	if n.plus != 0 {
		x.walk(n.plus, rest, last, from, dst)
	}
}

// collect adds one list of a node to the result.
func (x *Index) collect(list listID, n *node, from uint64, dst *Matches) {
	if n.shared[list&1] {
		for _, g := range x.groups[list] {
			dst.Shared = append(dst.Shared, SharedMatch{Share: g.share, Filter: g.filter, Members: g.members})
		}
	}
	id := n.lists[list&1]
	if id == 0 {
		return
	}
	merge := dst.lists > 0 // a session is in a list only once
	dst.lists++
	for id != 0 {
		e := x.subs.at(id)
		id = e.next
		if e.opts&optNoLocal != 0 && e.sid == from {
			continue // [MQTT-3.8.3-3]
		}
		at := -1
		if merge {
			at = dst.find(e.sid)
		}
		dst.add(at, e.sid, e.opts&3, e.opts&optRAP != 0, e.subID)
	}
}

// find returns the index of a session among the targets, or -1.
func (d *Matches) find(sid uint64) int {
	if len(d.Targets) <= fewTargets {
		for i := range d.Targets {
			if d.Targets[i].SID == sid {
				return i
			}
		}
		return -1
	}
	if d.where == nil {
		d.where = make(map[uint64]int32, 2*len(d.Targets))
	}
	for i := len(d.where); i < len(d.Targets); i++ {
		d.where[d.Targets[i].SID] = int32(i)
	}
	if i, ok := d.where[sid]; ok {
		return int(i)
	}
	return -1
}

// add merges a subscription into target at, or makes a new one when at is negative.
func (d *Matches) add(at int, sid uint64, qos uint8, rap bool, subID uint32) {
	if at < 0 {
		at = len(d.Targets)
		d.Targets = append(d.Targets, Target{SID: sid})
	}
	t := &d.Targets[at]
	t.QoS = max(t.QoS, qos)
	t.RAP = t.RAP || rap
	switch {
	case subID == 0:
	case t.SubIDs == nil:
		n := len(d.ids)
		d.ids = append(d.ids, subID)
		t.SubIDs = d.ids[n : n+1 : n+1] // an append to it must not reach its neighbour
	default:
		t.SubIDs = append(t.SubIDs, subID)
	}
}

// Pick chooses the member of a shared subscription that gets a message: the n-th in turn of those that
// are online, or of all when none is, so that the message waits for it. Count n up for each message.
// ok is false when there are no members.
func Pick(m SharedMatch, online func(sid uint64) bool, n uint64) (s Sub, ok bool) {
	if len(m.Members) == 0 {
		return Sub{}, false
	}
	count := uint64(len(m.Members))
	// Turning over the online ones alone keeps the shares equal: whoever stands after an offline
	// member must not get that one's messages too.
	up := uint64(0)
	for i := range m.Members {
		if online(m.Members[i].SID) {
			up++
		}
	}
	if up == 0 || up == count {
		return m.Members[n%count], true
	}
	turn := n % up
	for i := range m.Members {
		if !online(m.Members[i].SID) {
			continue
		}
		if turn == 0 {
			return m.Members[i], true
		}
		turn--
	}
	return m.Members[n%count], true // someone went offline between the two looks
}

// PickShared picks a member for each shared subscription and adds it to Targets. A session that is a
// target already is returned in again instead: it gets a second copy (MQTT 5 §4.8.2), which must be put
// under a message number of its own. Each entry of again is one copy.
func (d *Matches) PickShared(online func(sid uint64) bool, n uint64) (again []Target) {
	for _, m := range d.Shared {
		s, ok := Pick(m, online, n)
		if !ok {
			continue
		}
		if d.find(s.SID) < 0 {
			d.add(-1, s.SID, s.QoS, s.RetainAsPublished, s.SubID)
			continue
		}
		t := Target{SID: s.SID, QoS: s.QoS, RAP: s.RetainAsPublished}
		if s.SubID != 0 {
			t.SubIDs = []uint32{s.SubID}
		}
		again = append(again, t)
	}
	return again
}
