package presence

import (
	"errors"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// Peers returns who may see a user's presence: the user, who has a direct conversation with them, and
// the members of every group of at most maxGroup that the user is in. Each is named once, the user
// first; former members are none. It reads one record for each conversation and for each member of
// its groups, of larger ones maxGroup+1.
func Peers(r storage.Reader, user string, maxGroup int) ([]string, error) {
	c := circle{r: r, max: maxGroup}
	return c.peers(user)
}

// MaySee reports whether viewer may see subject's presence: whether Peers of the subject has the
// viewer.
func (p *Presence) MaySee(viewer, subject string) (bool, error) {
	if viewer == "" || subject == "" {
		return false, nil
	}
	if viewer == subject {
		return true, nil
	}
	direct, err := isMember(p.o.Store, viewer, chat.DirectID(viewer, subject))
	if direct || err != nil {
		return direct, err
	}
	c := circle{r: p.o.Store, max: MaxGroup}
	convs, err := c.convs(viewer)
	if err != nil {
		return false, err
	}
	for _, conv := range convs {
		if _, _, direct := chat.Parties(conv); direct {
			continue
		}
		both, err := isMember(p.o.Store, subject, conv)
		if err != nil {
			return false, err
		}
		if !both {
			continue
		}
		if members, err := c.members(conv); err != nil || members != nil {
			return err == nil, err
		}
	}
	return false, nil
}

func isMember(r storage.Reader, user, conv string) (bool, error) {
	v, ok, err := r.Get(storage.In(storage.SpaceMembership).Str(user).Str(conv))
	if err != nil || !ok {
		return false, err
	}
	m, err := storage.DecodeMember(v)
	return err == nil && m.Role != chat.RoleNone, err
}

// circle answers who shares conversations with whom. It remembers the groups that it looked at if
// groups is not nil: not for long, or it would show people what they may no longer see.
type circle struct {
	r      storage.Reader
	max    int
	groups map[string][]string // nil: too large
}

func (c *circle) peers(user string) ([]string, error) {
	convs, err := c.convs(user)
	if err != nil {
		return nil, err
	}
	peers := []string{user}
	known := map[string]struct{}{user: {}}
	add := func(u string) {
		if _, ok := known[u]; !ok {
			known[u] = struct{}{}
			peers = append(peers, u)
		}
	}
	for _, conv := range convs {
		if a, b, ok := chat.Parties(conv); ok {
			add(a)
			add(b)
			continue
		}
		members, err := c.members(conv)
		if err != nil {
			return nil, err
		}
		for _, u := range members {
			add(u)
		}
	}
	return peers, nil
}

// convs returns the conversations that a user is a member of.
func (c *circle) convs(user string) (convs []string, err error) {
	err = c.each(storage.In(storage.SpaceMembership).Str(user), func(conv string) bool {
		convs = append(convs, conv)
		return true
	})
	return convs, err
}

// members returns the members of a group; nil if there are too many.
func (c *circle) members(conv string) (members []string, err error) {
	if members, ok := c.groups[conv]; ok {
		return members, nil
	}
	err = c.each(storage.In(storage.SpaceMember).Str(conv), func(user string) bool {
		members = append(members, user)
		return len(members) <= c.max
	})
	if err != nil {
		return nil, err
	}
	if len(members) > c.max {
		members = nil
	}
	if c.groups != nil {
		c.groups[conv] = members
	}
	return members, nil
}

// each calls fn with the last part of the keys of current memberships until it returns false.
func (c *circle) each(prefix storage.Key, fn func(part string) bool) error {
	var bad error
	err := c.r.Scan(prefix, nil, func(k storage.Key, v []byte) bool {
		part, _, ok := storage.TakeStr(k[len(prefix):])
		var m chat.Member
		if m, bad = storage.DecodeMember(v); bad == nil && !ok {
			bad = storage.ErrRecord
		}
		if bad != nil {
			return false
		}
		return m.Role == chat.RoleNone || fn(part)
	})
	return errors.Join(err, bad)
}
