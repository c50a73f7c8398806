package chat

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The gate of a group is what stands beside its log: requests to join and invitations. They are records of
// their own, not events, for they concern people outside. Decide says in [Decision.Gate] what changes, and
// [State.ApplyGate] carries it out after the events.

// Request is somebody's wish to join a group that takes requests.
type Request struct {
	At     int64  // ms since 1970
	Text   string // their words
	Closed int64  // ms since 1970 when it was denied or withdrawn; 0: it waits
	By     string // who closed it: the user themselves, or who denied it
}

// Invite is an invitation. Its code is made outside, from random bits: whoever knows it joins.
type Invite struct {
	By      string // who made it; it holds for as long as they may invite
	At      int64  // ms since 1970
	Uses    uint32 // how many may come by it; 0: any number
	Used    uint32
	Expires int64 // ms since 1970; 0: never
}

// GateChange is one change of the gate: of the request of User, of the invitation Code, or of all of it.
type GateChange struct {
	User    string
	Request *Request // nil: the request is gone
	Code    string
	Invite  *Invite // nil: the invitation is gone
	End     bool    // the group ended: nothing is left
}

// NoSuchInvitation is the refusal of a code that does not let its bearer in, whatever the reason: whoever
// tries codes learns nothing else.
func NoSuchInvitation() *Refusal {
	return &Refusal{Code: NotFound, Reason: "this invitation does not exist, has expired, or was used up or revoked: ask for a new one"}
}

// ApplyGate moves the gate on by the changes of one decision, after its events were applied.
func (s *State) ApplyGate(changes []GateChange) {
	for i := range changes {
		switch g := &changes[i]; {
		case g.End:
			s.requests, s.invites = nil, nil
		case g.User != "":
			put(&s.requests, g.User, g.Request)
		case g.Code != "":
			put(&s.invites, g.Code, g.Invite)
		}
	}
}

// RestoreGate gives a state that [Restore] returned its stored requests and invitations. The maps belong to
// the State from here on.
func (s *State) RestoreGate(requests map[string]Request, invites map[string]Invite) {
	s.requests, s.invites = requests, invites
}

func put[V any](m *map[string]V, key string, v *V) {
	if v == nil {
		delete(*m, key)
		return
	}
	if *m == nil {
		*m = make(map[string]V)
	}
	(*m)[strings.Clone(key)] = *v
}

// cloneFilled copies a map; an empty one is nil.
func cloneFilled[V any](m map[string]V) map[string]V {
	if len(m) == 0 {
		return nil
	}
	return maps.Clone(m)
}

// Requested reports whether a request of the user waits.
func (s *State) Requested(user string) bool {
	r, ok := s.requests[user]
	return ok && r.Closed == 0
}

// Request returns the user's request, a closed one too.
func (s *State) Request(user string) (Request, bool) {
	r, ok := s.requests[user]
	return r, ok
}

// Requesters returns those whose requests wait, in byte order.
func (s *State) Requesters() []string {
	var users []string
	for user := range s.requests {
		if s.Requested(user) {
			users = append(users, user)
		}
	}
	slices.Sort(users)
	return users
}

// Invites returns a copy of the invitations that hold at now, by their codes.
func (s *State) Invites(now int64) map[string]Invite {
	hold := make(map[string]Invite)
	for code, inv := range s.invites {
		if s.holds(&inv, now) {
			hold[code] = inv
		}
	}
	return hold
}

// Deciders returns at most so many of those who may decide about requests: the highest roles first, then
// the longest members.
func (s *State) Deciders(most int) []string {
	var users []string
	for _, user := range s.list {
		if s.may(user, ActAdd) == nil {
			users = append(users, user)
		}
	}
	slices.SortStableFunc(users, func(a, b string) int {
		ma, mb := s.members[a], s.members[b]
		if ma.Role != mb.Role {
			return int(mb.Role) - int(ma.Role)
		}
		return int(min(max(int64(ma.Joined)-int64(mb.Joined), -1), 1))
	})
	return users[:min(most, len(users))]
}

// May asks whether the user may do it, or says why not. Outsiders get the refusal of [State.MayRead].
func (s *State) May(user string, a Action) error {
	if err := s.MayRead(user); err != nil {
		return err
	}
	return s.may(user, a)
}

// request notes the wish of somebody who may ask to join. Asking again changes nothing.
func (s *State) request(c *Command, now int64) (Decision, error) {
	at := s.clock(now)
	r, had := s.requests[c.Actor]
	switch {
	case had && r.Closed == 0:
		return Decision{Seq: s.Head, Duplicate: true, Pending: true}, nil
	case had && at < r.Closed+requestPause:
		return Decision{}, Refuse(RateLimited, "your request to join this group was closed: ask again in %s", span(r.Closed+requestPause-at))
	case len(c.Text) > maxRequestText || !isLine(c.Text):
		return Decision{}, Refuse(BadRequest, "text is one line of at most %d bytes of UTF-8 without control characters", maxRequestText)
	}
	d := Decision{Seq: s.Head, Pending: true}
	waiting := 0
	for _, user := range slices.Sorted(maps.Keys(s.requests)) {
		switch old := s.requests[user]; {
		case old.Closed == 0:
			waiting++
		case user != c.Actor && at >= old.Closed+requestPause: // it has served its time
			d.Gate = append(d.Gate, GateChange{User: user})
		}
	}
	if waiting >= maxRequests {
		return Decision{}, Refuse(Conflict, "%d requests to join this group wait already: try again later", waiting)
	}
	d.Gate = append(d.Gate, GateChange{User: c.Actor, Request: &Request{At: at, Text: strings.Clone(c.Text)}})
	return d, nil
}

// withdraw takes a request back.
func (s *State) withdraw(user string, now int64) (Decision, error) {
	return Decision{Seq: s.Head, Gate: []GateChange{s.closed(user, user, now)}}, nil
}

func (s *State) closed(user, by string, now int64) GateChange {
	r := s.requests[user]
	return GateChange{User: user, Request: &Request{At: r.At, Closed: s.clock(now), By: strings.Clone(by)}}
}

func (s *State) decideApprove(c *Command, now int64, lim *Limits) (Decision, error) {
	if err := s.may(c.Actor, ActAdd); err != nil {
		return Decision{}, err
	}
	if _, ok := s.Member(c.User); ok {
		return s.unchanged()
	}
	if !s.Requested(c.User) {
		return Decision{}, refuseNoRequest()
	}
	if s.bannedAt(c.User, now) { // cannot be: a ban closes the request
		return Decision{}, Refuse(Conflict, "that user is banned from this group: unban them first")
	}
	if err := s.checkRoom(lim); err != nil {
		return Decision{}, err
	}
	d := s.draft(c.Actor, now, 1)
	d.add(KindAdd, &MemberChange{User: c.User, Role: RoleMember, By: c.Actor}, nil)
	return d.decision()
}

func (s *State) decideDeny(c *Command, now int64) (Decision, error) {
	if err := s.may(c.Actor, ActAdd); err != nil {
		return Decision{}, err
	}
	r, ok := s.requests[c.User]
	switch {
	case !ok || r.Closed != 0 && r.By == c.User:
		return Decision{}, refuseNoRequest()
	case r.Closed != 0:
		return s.unchanged()
	}
	return Decision{Seq: s.Head, Gate: []GateChange{s.closed(c.User, c.Actor, now)}}, nil
}

func refuseNoRequest() error {
	return Refuse(NotFound, "no request of that user waits: see request.list")
}

func (s *State) decideInvite(c *Command, now int64) (Decision, error) {
	if err := s.may(c.Actor, ActAdd); err != nil {
		return Decision{}, err
	}
	inv := Invite{By: strings.Clone(c.Actor), At: s.clock(now), Uses: c.Invite.Uses, Expires: c.Invite.Expires}
	switch _, taken := s.invites[c.Code]; {
	case c.Code == "" || len(c.Code) > maxCodeBytes || !ValidGroup(c.Code) || taken:
		return Decision{}, Refuse(BadRequest, "an invitation has a new code of its own, made by the server")
	case inv.Uses > maxInviteUses:
		return Decision{}, Refuse(BadRequest, "uses is at most %d; without it any number may come", maxInviteUses)
	case inv.Expires != 0 && (inv.Expires <= inv.At || inv.Expires > maxTime):
		return Decision{}, Refuse(BadRequest, "expires is a time to come, in ms since 1970; without it the invitation holds until it is revoked")
	}
	d := Decision{Seq: s.Head}
	live := 0
	for _, code := range slices.Sorted(maps.Keys(s.invites)) {
		if old := s.invites[code]; s.holds(&old, now) {
			live++
		} else {
			d.Gate = append(d.Gate, GateChange{Code: code})
		}
	}
	if live >= maxInvites {
		return Decision{}, Refuse(Conflict, "the group has %d invitations already: revoke one first, see invite.list", live)
	}
	d.Gate = append(d.Gate, GateChange{Code: c.Code, Invite: &inv})
	return d, nil
}

// holds: an invitation ends with its time and its uses, and with the right of who made it to invite. So
// nobody who was thrown out comes back by a code of their own.
func (s *State) holds(inv *Invite, now int64) bool {
	if _, ok := s.Member(inv.By); !ok || s.may(inv.By, ActAdd) != nil {
		return false
	}
	return (inv.Expires == 0 || s.clock(now) < inv.Expires) && (inv.Uses == 0 || inv.Used < inv.Uses)
}

// decideRevoke: one's own, and those of lower roles and of who has none any more.
func (s *State) decideRevoke(c *Command, role Role) (Decision, error) {
	if err := s.may(c.Actor, ActAdd); err != nil {
		return Decision{}, err
	}
	inv, ok := s.invites[c.Code]
	if !ok {
		return Decision{}, NoSuchInvitation()
	}
	if maker := s.members[inv.By].Role; inv.By != c.Actor && maker >= role {
		return Decision{}, refuseRank(role, maker)
	}
	return Decision{Seq: s.Head, Gate: []GateChange{{Code: c.Code}}}, nil
}

// decideAccept is for the bearer of a code. Who is a member already costs the invitation nothing.
func (s *State) decideAccept(c *Command, now int64, lim *Limits) (Decision, error) {
	inv, ok := s.invites[c.Code]
	if s.Head == 0 || s.Ended || !ok {
		return Decision{}, NoSuchInvitation()
	}
	if _, in := s.Member(c.Actor); in {
		return s.unchanged()
	}
	if !s.holds(&inv, now) {
		return Decision{}, NoSuchInvitation()
	}
	if !ValidUser(c.Actor) {
		return Decision{}, Refuse(BadRequest, "only a user can join a group")
	}
	if err := s.notBanned(c.Actor, now); err != nil {
		return Decision{}, err
	}
	if err := s.checkRoom(lim); err != nil {
		return Decision{}, err
	}
	inv.Used++
	d := s.draft(c.Actor, now, 1)
	d.add(KindJoin, &MemberChange{User: c.Actor, Role: RoleMember, By: inv.By}, nil)
	dec, err := d.decision()
	dec.Gate = []GateChange{{Code: c.Code, Invite: &inv}}
	return dec, err
}

// withGate adds what the events of a decision mean for the gate: who comes in waits no longer, who is
// banned is denied, and with the group all of it ends.
func (s *State) withGate(d Decision, err error) (Decision, error) {
	if err != nil || len(s.requests)+len(s.invites) == 0 {
		return d, err
	}
	for i := range d.Events {
		e := &d.Events[i]
		switch {
		case e.Kind == KindEnd:
			d.Gate = append(d.Gate, GateChange{End: true})
		case e.Member == nil:
		case e.Kind == KindJoin || e.Kind == KindAdd:
			if _, ok := s.requests[e.Member.User]; ok {
				d.Gate = append(d.Gate, GateChange{User: e.Member.User})
			}
		case e.Kind == KindBan && s.Requested(e.Member.User):
			d.Gate = append(d.Gate, s.closed(e.Member.User, e.From, e.At))
		}
	}
	return d, nil
}

// span says a duration of so many ms as a person would, rounded up.
func span(ms int64) string {
	const second, minute, hour, day = 1000, 60_000, 3_600_000, 86_400_000
	up := func(unit int64, name string) string {
		if n := (ms + unit - 1) / unit; n != 1 {
			return fmt.Sprintf("%d %ss", n, name)
		}
		return "1 " + name
	}
	switch {
	case ms > 2*day:
		return up(day, "day")
	case ms > 2*hour:
		return up(hour, "hour")
	case ms > 2*minute:
		return up(minute, "minute")
	}
	return up(second, "second")
}
