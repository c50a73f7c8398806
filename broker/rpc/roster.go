package rpc

import (
	"errors"
	"slices"
	"sync"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// roster is the memberships of a user as they were at a commit, former ones and requests that wait included,
// in the order of the conversations' ids. It is immutable.
type roster struct {
	commit  uint64
	convs   []string
	members []chat.Member // of the same place in convs
}

// rosters keeps the memberships of the users who asked lately: most of those who synchronise were in the
// same conversations the last time.
type rosters struct {
	mu   sync.Mutex
	m    map[string]*roster
	size int // conversations in all of them
}

// rostersMax bounds the conversations that are kept: about 120 bytes each.
const rostersMax = 200_000

func (r *rosters) get(user string) *roster {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.m[user]
}

func (r *rosters) put(user string, list *roster) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.m[user]; old != nil {
		r.size -= len(old.convs)
	}
	if r.size += len(list.convs); r.m == nil || r.size > rostersMax {
		r.m, r.size = make(map[string]*roster), len(list.convs)
	}
	r.m[user] = list
}

// roster returns the caller's memberships.
func (c *call) roster() (*roster, error) {
	if list := c.rosters.get(c.User); list != nil && !c.o.Hub.MembershipsChanged(c.User, list.commit) {
		return list, nil
	}
	list := &roster{commit: c.o.Hub.Settled()} // before the records: what changes meanwhile is newer
	prefix := storage.In(storage.SpaceMembership).Str(c.User)
	var bad error
	err := c.o.Store.Scan(prefix, nil, func(k storage.Key, v []byte) bool {
		conv, _, ok := storage.TakeStr(k[len(prefix):])
		m, err := storage.DecodeMember(v)
		if !ok || err != nil {
			bad = errors.Join(err, storage.ErrRecord)
			return false
		}
		list.convs, list.members = append(list.convs, conv), append(list.members, m)
		return true
	})
	if err = errors.Join(err, bad); err != nil {
		return nil, err
	}
	c.rosters.put(c.User, list)
	return list, nil
}

// of returns the user's part in a conversation.
func (r *roster) of(conv string) (m chat.Member, ok bool) {
	i, ok := slices.BinarySearch(r.convs, conv)
	if ok {
		m = r.members[i]
	}
	return m, ok
}

// standing is a conversation as it stands for the caller.
type standing struct {
	conv   string
	m      chat.Member
	head   uint64 // durable
	commit uint64 // that wrote the head, or changed the caller's part in it later
}

// stands fills in the head of a conversation.
func (c *call) stands(conv string, m chat.Member) (st standing, err error) {
	st.conv, st.m = conv, m
	st.head, st.commit, err = c.o.Hub.Head(conv)
	return st, err
}

// shown reports whether somebody with this record sees the conversation in lists: a member, or who has to
// say yes to it.
func shown(m chat.Member) bool { return m.Role != chat.RoleNone || m.Asked() }
