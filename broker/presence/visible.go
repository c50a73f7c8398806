package presence

import (
	"errors"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// Peers returns who may see a user's presence: the user, their contacts, who has a direct conversation with
// them that both have accepted, and the members of every group of at most maxGroup that the user is in; none
// of those whom the user blocks or who block the user. Each is named once, the user first; former members are
// none. It reads one record for each contact, conversation and member of its groups, of larger ones maxGroup+1.
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
	if blocked, err := storage.Blocked(p.o.Store, viewer, subject); blocked || err != nil {
		return false, err
	}
	m, err := membership(p.o.Store, viewer, chat.DirectID(viewer, subject))
	if err != nil || m.Role != chat.RoleNone && !m.Unheard() {
		return err == nil, err
	}
	if contact, err := storage.IsContact(p.o.Store, viewer, subject); contact || err != nil {
		return err == nil, err
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
	m, err := membership(r, user, conv)
	return m.Role != chat.RoleNone, err
}

// membership returns a user's record in a conversation; the zero Member if there is none.
func membership(r storage.Reader, user, conv string) (m chat.Member, err error) {
	v, ok, err := r.Get(storage.In(storage.SpaceMembership).Str(user).Str(conv))
	if err == nil && ok {
		m, err = storage.DecodeMember(v)
	}
	return m, err
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
	known, err := c.hidden(user)
	if err != nil {
		return nil, err
	}
	known[user] = struct{}{}
	add := func(u string) {
		if _, ok := known[u]; !ok {
			known[u] = struct{}{}
			peers = append(peers, u)
		}
	}
	if err := c.contacts(user, add); err != nil {
		return nil, err
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

// hidden returns who has nothing to do with a user: one of them blocks the other.
func (c *circle) hidden(user string) (map[string]struct{}, error) {
	list := make(map[string]struct{})
	prefix := storage.In(storage.SpaceBlock).Str(user)
	err := c.r.Scan(prefix, nil, func(k storage.Key, _ []byte) bool {
		if other, _, ok := storage.TakeStr(k[len(prefix):]); ok {
			list[other] = struct{}{}
		}
		return true
	})
	return list, err
}

// contacts calls fn with the contacts of a user.
func (c *circle) contacts(user string, fn func(other string)) error {
	prefix := storage.In(storage.SpaceContact).Str(user)
	var bad error
	err := c.r.Scan(prefix, nil, func(k storage.Key, v []byte) bool {
		var rec storage.Contact
		if bad = storage.Unmarshal(v, &rec); bad != nil {
			return false
		}
		if other, _, ok := storage.TakeStr(k[len(prefix):]); ok && rec.State == storage.ContactAccepted {
			fn(other)
		}
		return true
	})
	return errors.Join(err, bad)
}

// convs returns the conversations that a user is a member of, without the direct ones in which the two see
// nothing of each other.
func (c *circle) convs(user string) (convs []string, err error) {
	err = c.each(storage.In(storage.SpaceMembership).Str(user), func(conv string, m chat.Member) bool {
		if !m.Unheard() {
			convs = append(convs, conv)
		}
		return true
	})
	return convs, err
}

// members returns the members of a group; nil if there are too many.
func (c *circle) members(conv string) (members []string, err error) {
	if members, ok := c.groups[conv]; ok {
		return members, nil
	}
	err = c.each(storage.In(storage.SpaceMember).Str(conv), func(user string, _ chat.Member) bool {
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
func (c *circle) each(prefix storage.Key, fn func(part string, m chat.Member) bool) error {
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
		return m.Role == chat.RoleNone || fn(part, m)
	})
	return errors.Join(err, bad)
}
