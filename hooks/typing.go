package hooks

import (
	"sync"
	"time"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// typingEvery is the least time between two signs that a member is typing.
const typingEvery = 2 * time.Second

// typingPace remembers who said lately that they type: in two generations, of which the elder is dropped
// as a whole when nothing in it counts any more.
type typingPace struct {
	mu    sync.Mutex
	last  map[typingKey]time.Time // since began
	elder map[typingKey]time.Time
	began time.Time
	crowd map[string]int // signs in large conversations since began
}

// typingCrowd is how many members of a large conversation are shown to start typing within typingEvery: "several people
// are typing" needs no more, and each sign goes to everybody.
const typingCrowd = 4

type typingKey struct {
	conv, user string
	on         bool
	shown      bool // a start that went out in a large conversation
}

// ready reports whether a sign may go out now. A stop after a start always may, once.
func (t *typingPace) ready(conv, user string, on bool, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := typingKey{conv: conv, user: user, on: on}
	if now.Sub(t.began) >= typingEvery {
		t.elder, t.last, t.began = t.last, make(map[typingKey]time.Time), now
		clear(t.crowd)
	}
	at, ok := t.last[k]
	if !ok {
		at, ok = t.elder[k]
	}
	if ok && now.Sub(at) < typingEvery {
		return false
	}
	t.last[k] = now
	return true
}

// full reports, as far as it is known that the conversation is a large one, that a sign may not go out.
func (t *typingPace) full(conv, user string, on bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, large := t.crowd[conv]
	return large && (on && n >= typingCrowd || !on && !t.wasShown(conv, user))
}

// seat reports whether a sign in a large conversation may go out: few starts do, and the stops of those.
func (t *typingPace) seat(conv, user string, on bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !on {
		return t.wasShown(conv, user)
	}
	if t.crowd[conv] >= typingCrowd {
		return false
	}
	if t.crowd == nil {
		t.crowd = make(map[string]int)
	}
	t.crowd[conv]++
	t.last[typingKey{conv: conv, user: user, shown: true}] = t.began
	return true
}

func (t *typingPace) wasShown(conv, user string) bool {
	k := typingKey{conv: conv, user: user, shown: true}
	_, now := t.last[k]
	_, before := t.elder[k]
	return now || before
}

// typing tells the members of a conversation that the user is typing, or stopped. Nothing is stored.
func (c *conn) typing(conv string, on bool) error {
	if !c.id.Scope.MayWrite(conv) {
		return chat.Refuse(chat.NotAuthorized, "this device's token does not allow writing there")
	}
	member, err := c.a.member(conv, c.id.User)
	if err != nil {
		return err
	}
	if !member {
		return chat.NoSuchConversation()
	}
	if !c.a.o.Registry.Wanted(protocol.FilterTyping) || !c.a.typing.ready(conv, c.id.User, on, c.a.o.Now()) || c.a.typing.full(conv, c.id.User, on) {
		return nil
	}
	var members []string
	_, _, direct := chat.Parties(conv)
	err = c.a.o.Hub.Query(conv, direct, func(v hub.View) {
		// Not where one has not accepted the other, or blocks them, and not of who may not write.
		if !v.State.Silent() && v.State.MayPost(c.id.User, c.a.o.Now().UnixMilli()) == nil {
			members = v.State.MemberList()
		}
	})
	if err != nil {
		return err
	}
	if len(members) > hub.LargeGroup && !c.a.typing.seat(conv, c.id.User, on) {
		return nil
	}
	var payload []byte
	if on {
		payload = []byte("1")
	}
	others := make([]string, 0, len(members))
	for _, m := range members {
		if m != c.id.User {
			others = append(others, m)
		}
	}
	c.a.o.Registry.Tell(others, protocol.FilterTyping, conv, []byte(protocol.TypingTopic(conv, c.id.User)), payload, false)
	return nil
}

// member reports whether a user is a member of a conversation now.
func (a *Adapter) member(conv, user string) (bool, error) {
	m, ok, err := a.membership(conv, user)
	return ok && m.Role != chat.RoleNone, err
}

func (a *Adapter) membership(conv, user string) (m chat.Member, ok bool, err error) {
	v, ok, err := a.o.Store.Get(storage.In(storage.SpaceMembership).Str(user).Str(conv))
	if err != nil || !ok {
		return m, false, err
	}
	m, err = storage.DecodeMember(v)
	return m, true, err
}
