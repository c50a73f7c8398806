package chat

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// What the settings of a group may be.
const (
	Private = "private" // only members know that the group is there
	Public  = "public"  // everybody can find it

	JoinInvite  = "invite"  // members are added
	JoinRequest = "request" // members are added after asking
	JoinOpen    = "open"    // whoever knows the id joins

	HistoryAll    = "all"    // new members may read what was before them
	HistoryJoined = "joined" // new members see what comes after them

	ForwardOrigin = "origin" // a forwarded post says who wrote it, and where
	ForwardHidden = "hidden" // it says only that it was forwarded
)

// decideCreate: a KindCreate with all the settings, then a KindAdd for each member from the start. The
// defaults are written into the event, so that a log means the same to every later version.
func (s *State) decideCreate(c *Command, now int64, lim *Limits) (Decision, error) {
	if !ValidGroup(s.ID) {
		return Decision{}, Refuse(BadRequest, "a group's id is 1 to 64 of a-z, 0-9 and '-', and does not start with '-'")
	}
	if !ValidUser(c.Actor) {
		return Decision{}, Refuse(BadRequest, "a group needs a user who creates it")
	}
	if s.Head > 0 {
		return Decision{}, Refuse(Conflict, "the id %s is taken: choose another, or none and get one", s.ID)
	}
	if c.Info == nil || c.Info.Title == nil {
		return Decision{}, Refuse(BadRequest, "a group needs a title")
	}
	if err := c.Info.check(lim); err != nil {
		return Decision{}, err
	}
	info := Info{Visibility: Private, Join: JoinInvite, History: HistoryAll}
	info.set(c.Info)
	limited := State{Info: info}
	room := limited.room(lim)

	d := s.draft(c.Actor, now, 1+min(len(c.Members), room))
	d.add(KindCreate, &MemberChange{User: c.Actor, Role: RoleOwner}, info.asChange())
	seen := map[string]bool{c.Actor: true}
	for _, user := range c.Members {
		if seen[user] {
			continue
		}
		if !ValidUser(user) {
			return Decision{}, Refuse(BadRequest, "members has something that is no user id")
		}
		if len(seen) >= room {
			return Decision{}, Refuse(Conflict, "a group of at most %d has no room for all these members: name fewer", room)
		}
		seen[user] = true
		d.add(KindAdd, &MemberChange{User: user, Role: RoleMember, By: c.Actor}, nil)
	}
	return d.decision()
}

func (s *State) decideUpdate(c *Command, role Role, now int64, lim *Limits) (Decision, error) {
	if c.Info == nil {
		c.Info = &InfoChange{}
	}
	if err := s.maySet(c.Actor, role, c.Info); err != nil {
		return Decision{}, err
	}
	if err := s.notMuted(c.Actor, now); err != nil { // a title is read by everybody
		return Decision{}, err
	}
	if err := c.Info.check(lim); err != nil {
		return Decision{}, err
	}
	change, differs := s.Info.diff(c.Info)
	if !differs {
		return s.unchanged()
	}
	if err := s.maySetPerms(role, change.Perms); err != nil {
		return Decision{}, err
	}
	if l := change.Limit; l != nil && *l != 0 && int64(*l) < int64(s.Count()) {
		return Decision{}, Refuse(Conflict, "the group has %d members already: set a higher limit, or remove some first", s.Count())
	}
	d := s.draft(c.Actor, now, 1)
	d.add(KindInfo, nil, change)
	return d.decision()
}

// maySet refuses changes of settings that the actor's role does not reach.
func (s *State) maySet(actor string, role Role, c *InfoChange) error {
	rest := *c
	if rest.Perms = nil; c.Perms == nil || rest != (InfoChange{}) {
		if err := s.may(actor, ActInfo); err != nil {
			return err
		}
	}
	if c.Perms != nil && role < RoleAdmin {
		return Refuse(NotAuthorized, "only an admin or the owner changes this group's permissions: ask one of them")
	}
	return nil
}

// maySetPerms: nobody gives away, or takes, what stands above them.
func (s *State) maySetPerms(role Role, change *Perms) error {
	if change == nil {
		return nil
	}
	for a, r := range change {
		if least := s.Info.Perms.Least(Action(a)); r != RoleNone && max(least, r) > role {
			return Refuse(NotAuthorized, "as %s you can neither set the permission %s to %s nor take it from %s: ask the owner", role, Action(a), r, least)
		}
	}
	return nil
}

func (s *State) decideEnd(c *Command, role Role, now int64) (Decision, error) {
	if role < RoleOwner {
		return Decision{}, Refuse(NotAuthorized, "only the owner deletes the group: leave it, or ask the owner")
	}
	d := s.draft(c.Actor, now, 1)
	d.add(KindEnd, nil, nil)
	return d.decision()
}

// check refuses values that no group may have.
func (i *InfoChange) check(lim *Limits) error {
	if i.Title != nil {
		if t := *i.Title; len(t) > maxTitleBytes || strings.TrimSpace(t) == "" || !isLine(t) {
			return Refuse(BadRequest, "a title is 1 to %d bytes of UTF-8 with something to see and no control characters", maxTitleBytes)
		}
	}
	if i.About != nil {
		if a := *i.About; len(a) > maxAboutBytes || !isLine(strings.NewReplacer("\n", "", "\t", "").Replace(a)) {
			return Refuse(BadRequest, "about is at most %d bytes of UTF-8, without control characters but tabs and newlines", maxAboutBytes)
		}
	}
	if v := i.Visibility; v != nil && *v != Private && *v != Public {
		return Refuse(BadRequest, "visibility is private or public")
	}
	if j := i.Join; j != nil && *j != JoinInvite && *j != JoinRequest && *j != JoinOpen {
		return Refuse(BadRequest, "join is invite, request or open")
	}
	if h := i.History; h != nil && *h != HistoryAll && *h != HistoryJoined {
		return Refuse(BadRequest, "history is all or joined")
	}
	if l := i.Limit; l != nil && int64(*l) > int64(lim.GroupMembers) {
		return Refuse(BadRequest, "limit is at most %d here; 0 takes the server's", lim.GroupMembers)
	}
	if f := i.Forward; f != nil && *f != ForwardOrigin && *f != ForwardHidden {
		return Refuse(BadRequest, "forward is origin or hidden")
	}
	for _, seconds := range []*uint32{i.Expire, i.Withdraw} {
		if seconds != nil && *seconds > maxSettingSeconds {
			return Refuse(BadRequest, "expire and withdraw are at most %d seconds; 0 is for no end", maxSettingSeconds)
		}
	}
	if i.Perms != nil {
		for _, r := range i.Perms {
			if r > RoleOwner {
				return refuseUnknownRole()
			}
		}
	}
	return nil
}

// isLine reports whether s is UTF-8 without control characters.
func isLine(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

// set takes over what the change names. A nil change names nothing.
func (i *Info) set(c *InfoChange) {
	if c == nil {
		return
	}
	take(&i.Title, c.Title)
	take(&i.About, c.About)
	take(&i.Visibility, c.Visibility)
	take(&i.Join, c.Join)
	take(&i.History, c.History)
	take(&i.Limit, c.Limit)
	take(&i.Forward, c.Forward)
	take(&i.Expire, c.Expire)
	take(&i.Withdraw, c.Withdraw)
	i.Perms.set(c.Perms)
}

func take[T any](field *T, change *T) {
	if change != nil {
		*field = *change
	}
}

// diff returns the part of c that would change something, copied, and whether there is any.
func (i *Info) diff(c *InfoChange) (change *InfoChange, differs bool) {
	change = &InfoChange{
		Title:      changed(i.Title, c.Title),
		About:      changed(i.About, c.About),
		Visibility: changed(i.Visibility, c.Visibility),
		Join:       changed(i.Join, c.Join),
		History:    changed(i.History, c.History),
		Limit:      changed(i.Limit, c.Limit),
		Forward:    changed(i.Forward, c.Forward),
		Expire:     changed(i.Expire, c.Expire),
		Withdraw:   changed(i.Withdraw, c.Withdraw),
		Perms:      i.Perms.diff(c.Perms),
	}
	return change, *change != InfoChange{}
}

func changed[T comparable](field T, change *T) *T {
	if change == nil || *change == field {
		return nil
	}
	v := *change
	return &v
}

// asChange returns the settings as the event of a new group states them: all that a reader needs,
// without what is empty anyway.
func (i *Info) asChange() *InfoChange {
	change, _ := (&Info{}).diff(&InfoChange{
		Title: &i.Title, About: &i.About, Visibility: &i.Visibility, Join: &i.Join, History: &i.History, Limit: &i.Limit,
		Forward: &i.Forward, Expire: &i.Expire, Withdraw: &i.Withdraw, Perms: &i.Perms,
	})
	return change
}
