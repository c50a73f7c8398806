package plain

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"unsafe"
)

// Sub is one session's subscription to a filter.
type Sub struct {
	SID               uint64 // the session; never zero
	QoS               uint8  // granted
	NoLocal           bool   // not what the session published itself [MQTT-3.8.3-3]
	RetainAsPublished bool
	RetainHandling    uint8  // 0, 1, 2; kept for the owner, no part of matching
	SubID             uint32 // subscription identifier; 0: none
	Share             string // name of the share [MQTT-4.8.2-1]; "" when not shared
}

// Filter names a subscription of a session: the topic filter without $share/{name}/ and the share.
type Filter struct {
	Share  string
	Filter string
}

// Index knows which sessions subscribed to what. Any goroutine may use it: matching takes a read
// lock, changes take the write lock, and both hold it for microseconds (matching, for as long as it
// takes to list the matches).
//
// It is a trie of topic levels with all nodes and all subscriptions in arenas and two hash tables
// beside them: which child a node has under a name, and which subscription a session has on a node.
// A session with a filter of its own costs about 150 bytes, and adding or removing one costs the same
// whether one session or 100,000 have that filter. "#" is no node of its own but a second list at its
// parent, which makes "a/#" match "a".
//
// Filters must be valid by protocol.ValidFilter. The number of levels is the caller's to limit.
type Index struct {
	mu    sync.RWMutex
	seed  maphash.Seed
	nodes arena[node]
	subs  arena[subscription]
	kids  table // (parent, level) → node
	own   table // (list, session) → subscription
	// groups holds the shared subscriptions, which are few, by the list that they would be in.
	groups map[listID][]*group
	len    int
}

const rootID = 1

// node is one level of one or more filters.
type node struct {
	name   string
	parent uint32
	plus   uint32    // the child for "+"
	kids   uint32    // number of children, plus included
	lists  [2]uint32 // first subscription of the filter that ends here, and of this one followed by "/#"
	shared [2]bool   // whether groups has an entry for these
}

// listID is a node and which of its two lists: node<<1 | 1 for "/#".
type listID uint32

// subscription is a member of a doubly linked list of a node.
type subscription struct {
	sid        uint64
	list       listID
	next, prev uint32
	subID      uint32
	opts       uint8
}

// Bits of subscription.opts; the lowest two are the QoS.
const (
	optNoLocal = 1 << (iota + 2)
	optRAP
)

// group is the members of one shared subscription. The slice is copied on every change but an append,
// so that Match can hand it out.
type group struct {
	share, filter string
	members       []Sub
}

// NewIndex returns an empty index.
func NewIndex() *Index {
	x := &Index{seed: maphash.MakeSeed(), groups: make(map[listID][]*group)}
	x.nodes.alloc() // rootID
	return x
}

// Add puts a subscription, replacing the one that the session has with the same filter and share
// [MQTT-3.8.4-3]; existed says whether there was one.
func (x *Index) Add(filter string, s Sub) (existed bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	list := x.makePath(filter)
	if s.Share != "" {
		existed = x.addShared(list, filter, s)
	} else {
		existed = x.addOwn(list, s)
	}
	if !existed {
		x.len++
	}
	return existed
}

func (x *Index) addOwn(list listID, s Sub) bool {
	opts := s.QoS & 3
	if s.NoLocal {
		opts |= optNoLocal
	}
	if s.RetainAsPublished {
		opts |= optRAP
	}
	h := x.hashOwn(list, s.SID)
	id := x.findOwn(h, list, s.SID)
	existed := id != 0
	if !existed {
		id = x.subs.alloc()
		head := &x.nodes.at(list.node()).lists[list&1]
		*x.subs.at(id) = subscription{sid: s.SID, list: list, next: *head}
		if *head != 0 {
			x.subs.at(*head).prev = id
		}
		*head = id
		x.own.insert(h, id)
	}
	e := x.subs.at(id)
	e.opts, e.subID = opts, s.SubID
	return existed
}

func (x *Index) addShared(list listID, filter string, s Sub) bool {
	for _, g := range x.groups[list] {
		if g.share != s.Share {
			continue
		}
		if i := slices.IndexFunc(g.members, func(m Sub) bool { return m.SID == s.SID }); i >= 0 {
			g.members = slices.Clone(g.members)
			g.members[i] = s
			return true
		}
		g.members = append(g.members, s) // beyond what any reader's slice shows
		return false
	}
	g := &group{share: strings.Clone(s.Share), filter: strings.Clone(filter), members: []Sub{s}}
	x.groups[list] = append(x.groups[list], g)
	x.nodes.at(list.node()).shared[list&1] = true
	return false
}

// Remove takes a subscription out; false when there is none.
func (x *Index) Remove(filter string, sid uint64, share string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.remove(filter, sid, share)
}

// RemoveAll takes these subscriptions of a session out: at its end.
func (x *Index) RemoveAll(sid uint64, filters []Filter) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, f := range filters {
		x.remove(f.Filter, sid, f.Share)
	}
}

func (x *Index) remove(filter string, sid uint64, share string) bool {
	list, ok := x.findPath(filter)
	if !ok {
		return false
	}
	if share != "" {
		ok = x.removeShared(list, sid, share)
	} else {
		ok = x.removeOwn(list, sid)
	}
	if ok {
		x.len--
		x.prune(list.node())
	}
	return ok
}

func (x *Index) removeOwn(list listID, sid uint64) bool {
	h := x.hashOwn(list, sid)
	id := x.findOwn(h, list, sid)
	if id == 0 {
		return false
	}
	e := x.subs.at(id)
	if e.prev != 0 {
		x.subs.at(e.prev).next = e.next
	} else {
		x.nodes.at(list.node()).lists[list&1] = e.next
	}
	if e.next != 0 {
		x.subs.at(e.next).prev = e.prev
	}
	x.own.remove(h, id)
	x.subs.release(id)
	return true
}

func (x *Index) removeShared(list listID, sid uint64, share string) bool {
	groups := x.groups[list]
	gi := slices.IndexFunc(groups, func(g *group) bool { return g.share == share })
	if gi < 0 {
		return false
	}
	g := groups[gi]
	i := slices.IndexFunc(g.members, func(m Sub) bool { return m.SID == sid })
	if i < 0 {
		return false
	}
	g.members = slices.Delete(slices.Clone(g.members), i, i+1)
	if len(g.members) > 0 {
		return true
	}
	groups = slices.Delete(groups, gi, gi+1)
	if len(groups) > 0 {
		x.groups[list] = groups
		return true
	}
	delete(x.groups, list)
	x.nodes.at(list.node()).shared[list&1] = false
	return true
}

// Len returns the number of subscriptions.
func (x *Index) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.len
}

// Bytes estimates the memory of the index, level names at their average allocation included.
func (x *Index) Bytes() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	n := chunkLen * (len(x.nodes.chunks)*int(unsafe.Sizeof(node{})) + len(x.subs.chunks)*int(unsafe.Sizeof(subscription{})))
	n += 4 * (cap(x.nodes.free) + cap(x.subs.free))
	n += 16 * (int(x.nodes.next) - len(x.nodes.free))
	n += x.kids.bytes() + x.own.bytes()
	for _, gs := range x.groups {
		for _, g := range gs {
			n += 96 + len(g.filter) + len(g.share) + cap(g.members)*int(unsafe.Sizeof(Sub{}))
		}
	}
	return n
}

func (l listID) node() uint32 { return uint32(l >> 1) }

// cutLevel splits the first level off; last says that it was the only one.
func cutLevel(s string) (level, rest string, last bool) {
	if i := strings.IndexByte(s, '/'); i >= 0 {
		return s[:i], s[i+1:], false
	}
	return s, "", true
}

// makePath returns the list of a filter and makes the nodes that are missing.
func (x *Index) makePath(filter string) listID {
	at := uint32(rootID)
	for {
		level, rest, last := cutLevel(filter)
		if last && level == "#" {
			return listID(at<<1 | 1)
		}
		next := x.childFor(at, level)
		if next == 0 {
			next = x.makeChild(at, level)
		}
		at, filter = next, rest
		if last {
			return listID(at << 1)
		}
	}
}

func (x *Index) findPath(filter string) (listID, bool) {
	at := uint32(rootID)
	for {
		level, rest, last := cutLevel(filter)
		if last && level == "#" {
			return listID(at<<1 | 1), true
		}
		at, filter = x.childFor(at, level), rest
		if at == 0 {
			return 0, false
		}
		if last {
			return listID(at << 1), true
		}
	}
}

// childFor returns the child for a level of a filter, or 0.
func (x *Index) childFor(parent uint32, level string) uint32 {
	if level == "+" {
		return x.nodes.at(parent).plus
	}
	return x.child(parent, level)
}

// child returns the child for a level of a topic, or 0.
func (x *Index) child(parent uint32, level string) uint32 {
	h := x.hashKid(parent, level)
	p := x.kids.part(h)
	mask := len(p.slots) - 1
	if mask < 0 {
		return 0
	}
	for i := int(h) & mask; p.slots[i] != 0; i = (i + 1) & mask {
		s := p.slots[i]
		if uint32(s>>32) != h {
			continue
		}
		if n := x.nodes.at(slotID(s)); n.parent == parent && n.name == level {
			return slotID(s)
		}
	}
	return 0
}

func (x *Index) makeChild(parent uint32, level string) uint32 {
	id := x.nodes.alloc()
	*x.nodes.at(id) = node{parent: parent, name: strings.Clone(level)}
	p := x.nodes.at(parent)
	p.kids++
	if level == "+" {
		p.plus = id
	} else {
		x.kids.insert(x.hashKid(parent, level), id)
	}
	return id
}

// prune removes a node that serves no filter any more, and then its parents likewise.
func (x *Index) prune(id uint32) {
	for id != rootID {
		n := x.nodes.at(id)
		if n.kids != 0 || n.lists != [2]uint32{} || n.shared != [2]bool{} {
			return
		}
		parent := n.parent
		p := x.nodes.at(parent)
		p.kids--
		if n.name == "+" {
			p.plus = 0
		} else {
			x.kids.remove(x.hashKid(parent, n.name), id)
		}
		x.nodes.release(id)
		id = parent
	}
}

func (x *Index) findOwn(h uint32, list listID, sid uint64) uint32 {
	p := x.own.part(h)
	mask := len(p.slots) - 1
	if mask < 0 {
		return 0
	}
	for i := int(h) & mask; p.slots[i] != 0; i = (i + 1) & mask {
		s := p.slots[i]
		if uint32(s>>32) != h {
			continue
		}
		if e := x.subs.at(slotID(s)); e.list == list && e.sid == sid {
			return slotID(s)
		}
	}
	return 0
}

// hashKid is seeded, so that nobody can choose level names that collide.
func (x *Index) hashKid(parent uint32, level string) uint32 {
	return mix(maphash.String(x.seed, level) + uint64(parent)*0x9E3779B97F4A7C15)
}

func (x *Index) hashOwn(list listID, sid uint64) uint32 {
	return mix(sid*0x9E3779B97F4A7C15 + uint64(list)*0xD6E8FEB86659FD93)
}

func mix(h uint64) uint32 {
	h ^= h >> 32
	h *= 0xD6E8FEB86659FD93
	return uint32(h >> 32)
}
