package call

import (
	"github.com/petrelchat/petrel/chat"
)

// resume says that a device is there with its party, takes the party over from another device of the user, or begins its
// media anew; and it vouches for parties whose media arrives.
func (t *turn) resume(c *Command) error {
	p := t.s.PartyOf(c.User)
	switch {
	case p == nil && c.Party == "" && t.s.RingOf(c.User) != nil:
		return nil // it only asks how things stand
	case p == nil && t.s.RingOf(c.User) != nil:
		return chat.Refuse(chat.NotFound, "there is no such party: accept the call")
	case p == nil:
		return RefuseOver() // for this user: the party was given up, or never was
	case c.Party != "" && c.Party != p.ID:
		return RefuseOver()
	case p.Device != c.Device && c.Party == "":
		return refuseTaken()
	case p.Device != c.Device:
		t.handOver(c, p.ID)
	default:
		if c.Here {
			t.back(p.ID)
		}
		if c.Fresh {
			t.anew(p.ID)
		}
	}
	if c.HasMedia && t.s.Party(p.ID).Media != c.Media {
		n := t.edit()
		n.Party(p.ID).Media = c.Media
		n.Media |= c.Media
		t.tell()
	}
	if c.Here {
		t.vouch(p.ID, c.Hears)
	}
	return nil
}

// handOver moves a party to another device of its user.
func (t *turn) handOver(c *Command, id string) {
	p := t.edit().Party(id)
	p.Device, p.Away = c.Device, 0
	if !c.Here {
		p.Away = t.now
	}
	t.presence()
	t.anew(id)
	t.add(Effect{Kind: TellTaken, User: c.User, Device: c.Device})
}

// anew begins a party's media again, with the others building new connections to it.
func (t *turn) anew(id string) {
	n := t.edit()
	p := n.Party(id)
	p.Epoch++
	p.Heard = 0
	n.Offer = ""
	t.add(Effect{Kind: Forget, Party: id})
	t.tell()
}

func (t *turn) back(id string) {
	if t.s.Party(id).Away == 0 {
		return
	}
	p := t.edit().Party(id)
	p.Away, p.Heard = 0, 0
	t.presence()
	t.tell()
}

// vouch notes that the media of parties arrives. A word for those who are there says nothing.
func (t *turn) vouch(by string, hears []string) {
	for _, id := range hears {
		if p := t.s.Party(id); p != nil && id != by && p.Away != 0 {
			t.soft().Party(id).Heard = t.now
		}
	}
}

func (t *turn) signal(c *Command) error {
	from := t.s.PartyOf(c.User)
	switch {
	case from == nil:
		return RefuseUnknown()
	case from.Device != c.Device:
		return refuseTaken()
	case c.To == from.ID:
		return chat.Refuse(chat.BadRequest, "to names the party that sends: name another one")
	case c.To == "" && c.Type != "negotiate":
		return chat.Refuse(chat.BadRequest, "to is missing: name the party that it is for")
	case c.To == SFUParty && t.s.SFU == 0:
		return chat.Refuse(chat.Conflict, "the call is a mesh: signals go to its parties")
	case c.To != "" && c.To != SFUParty && t.s.Party(c.To) == nil:
		return chat.Refuse(chat.NotFound, "there is no such party in the call: it may have left")
	}
	id := from.ID
	if c.Type == "negotiate" {
		t.negotiate(c, id)
	}
	if t.stale(c) {
		return nil // what it is about is no more: the sender will hear of it
	}
	if t.s.Phase == Connecting {
		t.connect(c, id)
	}
	if c.To != "" && !c.Void {
		t.add(Effect{Kind: PassOn, Party: c.To, From: id})
	}
	return nil
}

// stale reports whether a signal was meant for media of the receiver that have begun anew since.
func (t *turn) stale(c *Command) bool {
	switch p := t.s.Party(c.To); {
	case c.Of == 0:
		return false
	case p != nil:
		return c.Of < p.Epoch
	}
	return c.To == SFUParty && c.Of < t.s.SFU
}

// connect makes a direct call active once an offer and its answer were passed on.
func (t *turn) connect(c *Command, id string) {
	switch {
	case c.Type == "offer" && t.s.Offer != id:
		t.edit().Offer = id
	case c.Type == "answer" && t.s.Offer == c.To:
		t.begin()
		t.tell()
	}
}

// negotiate keeps what a party says of itself.
func (t *turn) negotiate(c *Command, id string) {
	p := t.s.Party(id)
	if c.HasMedia && c.Media != p.Media {
		n := t.edit()
		n.Party(id).Media = c.Media
		n.Media |= c.Media
		t.tell()
	}
	if c.Hold != nil && *c.Hold != t.s.Party(id).Hold {
		t.edit().Party(id).Hold = *c.Hold
		t.tell()
	}
}

func (t *turn) fromSFU(c *Command) error {
	if t.s.SFU == 0 || t.s.Party(c.To) == nil {
		return chat.Refuse(chat.NotFound, "there is no such party in the call: it has left")
	}
	t.add(Effect{Kind: PassOn, Party: c.To, From: SFUParty})
	return nil
}

// happened is what nobody asked for.
func (t *turn) happened(c *Command) {
	switch c.Verb {
	case Came:
		if p := t.s.PartyOf(c.User); p != nil && p.Device == c.Device {
			t.back(p.ID)
		}
	case Went:
		if p := t.s.PartyOf(c.User); p != nil && p.Device == c.Device && p.Away == 0 {
			t.edit().Party(p.ID).Away = t.now
			t.presence()
			t.tell()
		}
	case Removed:
		t.removed(c.User)
	}
}

func (t *turn) removed(user string) {
	switch {
	case user == "":
		t.end(t.s.outcome(ByClosing), ByClosing)
	case t.s.PartyOf(user) != nil:
		t.part(t.s.PartyOf(user).ID, ByRemoval)
	case t.s.RingOf(user) != nil && t.s.Direct:
		t.end(t.s.outcome(ByRemoval), ByRemoval)
	case t.s.RingOf(user) != nil:
		t.add(Effect{Kind: TellTaken, User: user})
		t.unring(func(r *Ring) bool { return r.User == user })
	}
}
