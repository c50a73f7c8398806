package rpc

import (
	"errors"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

const (
	maxContacts  = 5000 // of one user, requests in both directions included
	maxRequested = 200  // requests of one user that wait
	requestsADay = 500  // of one user
	maxWords     = 256  // bytes of what comes with a request
)

type contactRequestParams struct {
	User string `json:"user"`
	Text string `json:"text"`
}

// contactReply is what two users are to each other now, from the caller's side.
type contactReply struct {
	User  string `json:"user"`
	State string `json:"state"`
}

// contacts is one pair's records while its lock is held.
type contacts struct {
	c            *call
	other        string
	mine, theirs storage.Contact
	b            storage.Batch
	own          []hub.Own
}

// contact reads both sides.
func (c *call) contact(other string) (*contacts, error) {
	p := &contacts{c: c, other: other}
	for _, side := range []struct {
		key storage.Key
		rec *storage.Contact
	}{{storage.ContactKey(c.User, other), &p.mine}, {storage.ContactKey(other, c.User), &p.theirs}} {
		v, ok, err := c.o.Store.Get(side.key)
		if err == nil && ok {
			err = storage.Unmarshal(v, side.rec)
		}
		if err != nil {
			return nil, err
		}
	}
	return p, nil
}

// put changes one side, and tells its user unless they are not to know.
func (p *contacts) put(user string, rec storage.Contact) {
	other, side := p.other, &p.mine
	if user == p.other {
		other, side = p.c.User, &p.theirs
	}
	if side.State == rec.State {
		return
	}
	hidden := rec.State == storage.ContactDeclined || side.State == storage.ContactDeclined && rec.State == 0
	*side = rec
	key := storage.ContactKey(user, other)
	if rec.State == 0 {
		p.b.Delete(key)
	} else {
		rec.At = p.c.now
		p.b.Set(key, storage.Marshal(rec))
	}
	if !hidden || user == p.c.User {
		p.own = append(p.own, hub.Own{User: user, Event: chat.Event{
			From: p.c.User, At: p.c.now, Kind: chat.KindContact, Text: rec.State.String(), Member: &chat.MemberChange{User: other},
		}})
	}
}

// store makes the changes durable, and shows both what they see of each other now.
func (p *contacts) store() error {
	if p.b.Len() == 0 {
		return nil
	}
	if err := p.c.tell(chat.DirectID(p.c.User, p.other), p.b, p.own...); err != nil {
		return err
	}
	return p.c.o.Profiles.Refresh(p.c.User, p.other)
}

func (p *contacts) reply() contactReply { return contactReply{p.other, p.mine.State.String()} }

// contactRequest asks somebody to become a contact. Who was asked by the other accepts with it.
func contactRequest(c *call, p *contactRequestParams) (any, error) {
	if err := c.peer(p.User); err != nil {
		return nil, err
	}
	if len(p.Text) > maxWords || !printable(p.Text) {
		return nil, chat.Refuse(chat.BadRequest, "text is at most %d bytes without control characters", maxWords)
	}
	defer c.people.lock(c.User, p.User)()
	if err := c.apart(p.User); err != nil {
		return nil, err
	}
	pair, err := c.contact(p.User)
	if err != nil {
		return nil, err
	}
	switch {
	case pair.mine.State == storage.ContactAccepted || pair.mine.State == storage.ContactRequested:
		return pair.reply(), nil
	case pair.theirs.State == storage.ContactRequested: // crossing requests meet
		return pair.accept()
	}
	if err := c.roomForContact(p.User); err != nil {
		return nil, err
	}
	if err := c.spend(&pair.b, "contacts", requestsADay); err != nil { // asking and taking it back is an entry for the other each time
		return nil, err
	}
	pair.put(c.User, storage.Contact{State: storage.ContactRequested})
	if pair.theirs.State != storage.ContactDeclined { // who said no once is not asked again
		pair.put(p.User, storage.Contact{State: storage.ContactIncoming, Text: p.Text})
	}
	return pair.reply(), pair.store()
}

// roomForContact holds both sides to the limits.
func (c *call) roomForContact(other string) error {
	total, waiting, err := c.countContacts(c.User, storage.ContactRequested)
	if err != nil {
		return err
	}
	switch {
	case total >= maxContacts:
		return chat.Refuse(chat.TooLarge, "you have %d contacts and requests already: remove some first", total)
	case waiting >= maxRequested:
		return chat.Refuse(chat.RateLimited, "%d requests of yours wait for an answer already: withdraw some with contact.remove, or wait", waiting)
	}
	if total, _, err = c.countContacts(other, storage.ContactIncoming); err == nil && total >= maxContacts {
		return chat.Refuse(chat.Conflict, "this user takes no more requests now: try again later")
	}
	return err
}

func (c *call) countContacts(user string, state storage.ContactState) (total, in int, err error) {
	err = c.scan(storage.SpaceContact, user, "", func(_ string, v []byte) (bool, error) {
		var rec storage.Contact
		err := storage.Unmarshal(v, &rec)
		total++
		in += count(rec.State == state)
		return true, err
	})
	return total, in, err
}

// accept makes the two contacts. What one wrote to the other as a request is accepted with it.
func (p *contacts) accept() (any, error) {
	p.put(p.c.User, storage.Contact{State: storage.ContactAccepted})
	p.put(p.other, storage.Contact{State: storage.ContactAccepted})
	if err := p.store(); err != nil {
		return nil, err
	}
	return p.reply(), errors.Join(p.c.takeMessages(p.c.User, p.other), p.c.takeMessages(p.other, p.c.User))
}

// takeMessages accepts for user what other wrote to them as a request, if there is something.
func (c *call) takeMessages(user, other string) error {
	conv := chat.DirectID(user, other)
	v, ok, err := c.o.Store.Get(storage.In(storage.SpaceMembership).Str(user).Str(conv))
	if err != nil || !ok {
		return err
	}
	if m, err := storage.DecodeMember(v); err != nil || !m.Pending() {
		return err
	}
	return c.o.Hub.Do(&hub.Request{Conv: conv, Direct: true, Cmd: chat.Command{Op: chat.OpTake, Actor: user}}).Err
}

// contactAccept takes a request, also one that was declined before.
func contactAccept(c *call, p *userParams) (any, error) {
	if err := c.peer(p.User); err != nil {
		return nil, err
	}
	defer c.people.lock(c.User, p.User)()
	if err := c.apart(p.User); err != nil {
		return nil, err
	}
	pair, err := c.contact(p.User)
	if err != nil {
		return nil, err
	}
	switch {
	case pair.mine.State == storage.ContactAccepted:
		return pair.reply(), nil
	case pair.theirs.State != storage.ContactRequested:
		return nil, errNoRequest()
	}
	return pair.accept()
}

// contactDecline puts a request away. Who asked is not told: to them it goes on waiting.
func contactDecline(c *call, p *userParams) (any, error) {
	if err := c.peer(p.User); err != nil {
		return nil, err
	}
	defer c.people.lock(c.User, p.User)()
	pair, err := c.contact(p.User)
	if err != nil {
		return nil, err
	}
	switch pair.mine.State {
	case storage.ContactDeclined:
		return contactReply{p.User, storage.ContactState(0).String()}, nil
	case storage.ContactIncoming:
	default:
		return nil, errNoRequest()
	}
	pair.put(c.User, storage.Contact{State: storage.ContactDeclined})
	return contactReply{p.User, storage.ContactState(0).String()}, pair.store()
}

// contactRemove ends a contact, or withdraws a request. That a request was declined stays on record.
func contactRemove(c *call, p *userParams) (any, error) {
	if err := c.peer(p.User); err != nil {
		return nil, err
	}
	defer c.people.lock(c.User, p.User)()
	pair, err := c.contact(p.User)
	if err != nil {
		return nil, err
	}
	pair.remove()
	return pair.reply(), pair.store()
}

func (p *contacts) remove() {
	if p.mine.State == storage.ContactDeclined { // it has no effect for the other, who goes on waiting
		return
	}
	p.put(p.c.User, storage.Contact{})
	if p.theirs.State != storage.ContactDeclined {
		p.put(p.other, storage.Contact{})
	}
}

func errNoRequest() error {
	return chat.Refuse(chat.NotFound, "that user has not asked to be your contact: ask them with contact.request")
}

// contactView is a contact with what a client needs to begin.
type contactView struct {
	face
	State    string             `json:"state"`
	Conv     string             `json:"conv"`
	At       int64              `json:"at"`
	Text     string             `json:"text,omitempty"`
	Presence *protocol.Presence `json:"presence,omitempty"`
}

type contactListReply struct {
	Contacts *list  `json:"contacts"`
	After    string `json:"after,omitempty"`
	More     bool   `json:"more"`
}

// contactList lists contacts and requests of both directions in the byte order of the users' ids.
func contactList(c *call, p *pageParams) (any, error) {
	limit, err := pageOf(p.Limit, 100, 1000)
	if err != nil {
		return nil, err
	}
	reply := contactListReply{Contacts: c.list(128)}
	reply.After, reply.More, err = c.page(reply.Contacts, storage.SpaceContact, p.After, limit, func(user string, v []byte) (any, bool, error) {
		var rec storage.Contact
		if err := storage.Unmarshal(v, &rec); err != nil || rec.State == storage.ContactDeclined {
			return nil, false, err
		}
		view, err := c.viewContact(user, &rec)
		return view, true, err
	})
	return reply, err
}

func (c *call) viewContact(user string, rec *storage.Contact) (*contactView, error) {
	f, err := c.face(user)
	if err != nil {
		return nil, err
	}
	view := &contactView{face: f, State: rec.State.String(), Conv: chat.DirectID(c.User, user), At: rec.At, Text: rec.Text}
	if presence, ok := c.o.Profiles.Seen(c.User, user); ok {
		view.Presence = &presence
	}
	return view, nil
}
