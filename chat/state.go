package chat

import (
	"maps"
	"math"
	"slices"
	"strings"
)

// State is one conversation as its log has made it. It belongs to one goroutine, the conversation's
// owner; only what MemberList and Snapshot return may be handed to others. The exported fields are for
// reading: Apply alone changes them.
type State struct {
	ID     string
	Direct bool
	Head   uint64 // seq of the last event; 0: there is none, the conversation does not exist yet
	LastAt int64  // At of the last event
	Info   Info   // of a group
	Ended  bool   // the group was deleted: nothing follows

	members map[string]Member // former ones too
	list    []string          // current members, in byte order
	shared  bool              // list was handed out: copy before the next write

	requests map[string]Request // by user
	invites  map[string]Invite  // by code
}

// NewState returns a conversation that has no events. A direct one has an id made by [DirectID].
func NewState(id string, direct bool) *State { return &State{ID: id, Direct: direct} }

// NewGroup returns a group that has no events: it does not exist until an OpCreate is applied.
func NewGroup(id string) *State { return NewState(id, false) }

// NewDirect returns the direct conversation of two users, without events. Both may write to it at once;
// its first event makes them members.
func NewDirect(a, b string) *State { return NewState(DirectID(a, b), true) }

// Restore returns a conversation from its stored records instead of its whole log. The map, which
// has the former members too, belongs to the State from here on.
func Restore(id string, direct bool, head uint64, lastAt int64, info Info, ended bool, members map[string]Member) *State {
	s := &State{ID: id, Direct: direct, Head: head, LastAt: lastAt, Info: info, Ended: ended, members: members}
	for user, m := range members {
		if m.Role != RoleNone {
			s.list = append(s.list, user)
		}
	}
	slices.Sort(s.list)
	return s
}

// Member returns the user's record and whether the user is a member now. Former members have a record
// and false.
func (s *State) Member(user string) (Member, bool) {
	m := s.members[user]
	return m, m.Role != RoleNone
}

// Count is the number of members now.
func (s *State) Count() int { return len(s.list) }

// MemberList returns the members of now in byte order. The slice is immutable and may be used by any
// goroutine for as long as it likes; it is the same one until the membership changes.
func (s *State) MemberList() []string {
	s.shared = true
	return s.list[:len(s.list):len(s.list)]
}

// Visible returns the range of seqs that the user may see, both included, and whether there is one.
// For members it has no end (math.MaxUint64); former members see up to the event that ended their
// membership, so that sessions which were away still get it. The two users of a direct conversation
// see all of it, also before there is anything.
func (s *State) Visible(user string) (from, to uint64, ok bool) {
	m, found := s.members[user]
	switch {
	case !found || m.Role == RoleNone && m.Joined == 0: // such a one was banned, or waits, without ever having been a member
		if s.Head == 0 && s.isParty(user) {
			return 1, math.MaxUint64, true
		}
		return 0, 0, false
	case m.Role != RoleNone || m.Pending():
		return m.Since, math.MaxUint64, true
	}
	return m.Since, m.Left, true
}

// CanRead reports whether the event with this seq may be delivered to the user. It says nothing about
// whether there is such an event.
func (s *State) CanRead(user string, seq uint64) bool {
	from, to, ok := s.Visible(user)
	return ok && from <= seq && seq <= to
}

// MayRead returns nil if the user takes part in the conversation now, or the refusal that says why not. It
// is the condition of every request to read (history, a subscription); only deliveries to sessions that
// were attached before go by Visible.
func (s *State) MayRead(user string) error {
	if m := s.members[user]; m.Role != RoleNone || m.Pending() {
		return nil
	}
	if s.Head == 0 && s.isParty(user) {
		return nil
	}
	return s.refuseOutsider()
}

// MayPost returns nil if the user may append posts, edits and reactions at this time (ms since 1970), or
// the refusal that says why not: no member, a role that the group does not let post, muted.
func (s *State) MayPost(user string, now int64) error {
	if err := s.MayRead(user); err != nil {
		return err
	}
	if err := s.may(user, ActPost); err != nil {
		return err
	}
	return s.notMuted(user, now)
}

// CanSee reports whether the conversation exists as far as the user is concerned: for its members, and
// for everybody if it is a public group. For others the answer is [NoSuchConversation].
func (s *State) CanSee(user string) bool {
	return s.MayRead(user) == nil || s.isPublic()
}

func (s *State) isPublic() bool {
	return !s.Direct && s.Head > 0 && !s.Ended && s.Info.Visibility == Public
}

func (s *State) isParty(user string) bool {
	if !s.Direct {
		return false
	}
	a, b, ok := Parties(s.ID)
	return ok && (user == a || user == b)
}

// refuseOutsider is the answer to somebody who is no member now.
func (s *State) refuseOutsider() error {
	if !s.isPublic() {
		return NoSuchConversation()
	}
	return Refuse(NotAuthorized, "you are not a member of this group: %s", s.wayIn())
}

// wayIn says what somebody who wants to become a member has to do.
func (s *State) wayIn() string {
	switch s.Info.Join {
	case JoinOpen:
		return "join it first"
	case JoinRequest:
		return "it takes new members on request, ask a moderator"
	}
	return "it takes new members by invitation only, ask a moderator to add you"
}

// clock is now, but never before the last event.
func (s *State) clock(now int64) int64 { return max(now, s.LastAt) }

// room is how many members the group may have.
func (s *State) room(lim *Limits) int {
	if s.Info.Limit > 0 && int64(s.Info.Limit) < int64(lim.GroupMembers) {
		return int(s.Info.Limit)
	}
	return lim.GroupMembers
}

// setMember records m and keeps the list of members in step.
func (s *State) setMember(user string, m Member) {
	// The name may be part of a packet; the map would keep all of it.
	if _, found := s.members[user]; !found {
		user = strings.Clone(user)
	}
	if s.members == nil {
		s.members = make(map[string]Member)
	}
	if s.members[user] = m; m == (Member{}) {
		delete(s.members, user) // the ban of somebody who never was a member ended
	}
	i, listed := slices.BinarySearch(s.list, user)
	if listed == (m.Role != RoleNone) {
		return
	}
	if s.shared {
		s.list, s.shared = append(make([]string, 0, len(s.list)+1), s.list...), false
	}
	if listed {
		s.list = slices.Delete(s.list, i, i+1)
	} else {
		s.list = slices.Insert(s.list, i, user)
	}
}

// Snapshot is all that a State holds, as one value that shares nothing with it.
type Snapshot struct {
	ID      string
	Direct  bool
	Head    uint64
	LastAt  int64
	Info    Info
	Ended   bool
	Members map[string]Member // former ones too; never nil

	Requests map[string]Request // nil if there are none
	Invites  map[string]Invite  // nil if there are none
}

// Snapshot copies the state. Two states with equal snapshots decide alike; a stored state and its log
// replayed must have equal ones.
func (s *State) Snapshot() Snapshot {
	members := make(map[string]Member, len(s.members))
	maps.Copy(members, s.members)
	return Snapshot{ID: s.ID, Direct: s.Direct, Head: s.Head, LastAt: s.LastAt, Info: s.Info, Ended: s.Ended, Members: members,
		Requests: cloneFilled(s.requests), Invites: cloneFilled(s.invites)}
}
