package delivery

import "slices"

// crowds remembers which members of large conversations are online, so that an event costs as many looks as
// there are people to get it, however many are away. Registry.mu guards it.
type crowds struct {
	m    map[string]*crowd
	turn uint64
}

// crowd is the online members of a conversation.
type crowd struct {
	members []string // all of them, as the hub gave them out: the same slice until the membership changes
	online  []string // in byte order
	used    uint64
}

const (
	crowdMembers = 64 // conversations with fewer are looked through
	crowdsMax    = 128
)

// audience returns those members who may be online: all who are, and of a small conversation all members. It
// is valid until somebody comes or goes.
func (r *Registry) audience(log string, members []string) []string {
	if len(members) < crowdMembers {
		return members
	}
	cs := &r.crowds
	cs.turn++
	c := cs.m[log]
	if c == nil {
		c = new(crowd)
		if cs.m == nil {
			cs.m = make(map[string]*crowd)
		}
		if len(cs.m) >= crowdsMax {
			cs.drop()
		}
		cs.m[log] = c
	}
	c.used = cs.turn
	if len(c.members) != len(members) || &c.members[0] != &members[0] {
		c.members, c.online = members, c.online[:0]
		for _, u := range members {
			if len(r.users[u]) > 0 {
				c.online = append(c.online, u)
			}
		}
	}
	return c.online
}

// drop forgets the crowd that was wanted the longest ago.
func (cs *crowds) drop() {
	oldest, at := "", cs.turn
	for log, c := range cs.m {
		if c.used <= at {
			oldest, at = log, c.used
		}
	}
	delete(cs.m, oldest)
}

// came and went keep the crowds in step with users who have a first session, or none any more.
func (cs *crowds) came(user string) {
	for _, c := range cs.m {
		if _, in := slices.BinarySearch(c.members, user); !in {
			continue
		}
		if i, there := slices.BinarySearch(c.online, user); !there {
			c.online = slices.Insert(c.online, i, user)
		}
	}
}

func (cs *crowds) went(user string) {
	for _, c := range cs.m {
		if i, there := slices.BinarySearch(c.online, user); there {
			c.online = slices.Delete(c.online, i, i+1)
		}
	}
}
