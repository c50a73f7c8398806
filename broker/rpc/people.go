package rpc

import (
	"hash/maphash"
	"sync"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// peopleMethods are the methods about what people are to each other, and what they keep for themselves.
func peopleMethods() map[string]method {
	return map[string]method{
		"message.requests":     with(messageRequests),
		"message.accept":       with(messageAccept),
		"message.decline":      with(messageDecline),
		"contact.request":      with(contactRequest),
		"contact.accept":       with(contactAccept),
		"contact.decline":      with(contactDecline),
		"contact.remove":       with(contactRemove),
		"contact.list":         with(contactList),
		"block":                with(blockUser),
		"unblock":              with(unblockUser),
		"block.list":           with(blockList),
		"report":               with(report),
		"admin.reports":        with(adminReports),
		"admin.report.resolve": with(adminReportResolve),
		"conv.mute":            with(convMute),
		"conv.archive":         with(convArchive),
		"conv.pin":             with(convPin),
		"draft.set":            with(draftSet),
		"setting.set":          with(settingSet),
		"setting.get":          with(settingGet),
		"setting.list":         with(settingList),
		"user.export":          with(userExport),
		"user.erase":           with(userErase),
		"admin.user.export":    with(adminUserExport),
	}
}

// people is what the methods about people share: who changes the records of a user holds the user's lock,
// from reading them until the change is durable. So of two devices that change the same, one is later.
type people struct {
	seed   maphash.Seed
	locks  [256]sync.Mutex
	drafts drafts
}

func newPeople() *people {
	return &people{seed: maphash.MakeSeed(), drafts: drafts{told: make(map[draftKey]int64)}}
}

// lock locks the records of one or two users, in an order that is the same for all.
func (p *people) lock(users ...string) (unlock func()) {
	var is []uint64
	for _, u := range users {
		is = append(is, maphash.String(p.seed, u)%uint64(len(p.locks)))
	}
	if len(is) == 2 && is[0] > is[1] {
		is[0], is[1] = is[1], is[0]
	}
	if len(is) == 2 && is[0] == is[1] {
		is = is[:1]
	}
	for _, i := range is {
		p.locks[i].Lock()
	}
	return func() {
		for _, i := range is {
			p.locks[i].Unlock()
		}
	}
}

type userParams struct {
	User string `json:"user"`
}

type pageParams struct {
	After string `json:"after"` // of the page before
	Limit *int64 `json:"limit"`
}

// peer checks the other user of a request: there is such an account, and it is not the caller's own.
func (c *call) peer(user string) error {
	if err := c.account("user", user); err != nil {
		return err
	}
	if user == c.User {
		return chat.Refuse(chat.BadRequest, "user is yourself: name somebody else")
	}
	return nil
}

// refuseStrange answers who may not come near another user, for whatever reason: nobody learns which.
func refuseStrange() error {
	return chat.Refuse(chat.NotAuthorized, "this user takes nothing from you")
}

func refuseBlocking() error {
	return chat.Refuse(chat.NotAuthorized, "you have blocked this user: unblock them first")
}

// apart refuses what one of two users who block each other asks of the other.
func (c *call) apart(other string) error {
	b, err := storage.BlockOf(c.o.Store, c.User, other)
	switch {
	case err != nil:
		return err
	case b.At != 0:
		return refuseBlocking()
	case b.By != 0:
		return refuseStrange()
	}
	return nil
}

// mayBring refuses to put somebody into a group who takes nothing from the caller. By an invitation they can
// still come themselves.
func (c *call) mayBring(user string) error {
	if user == c.User {
		return nil
	}
	b, err := storage.BlockOf(c.o.Store, user, c.User)
	if err == nil && b.At != 0 {
		return chat.Refuse(chat.NotAuthorized, "you cannot add this user: send them an invitation")
	}
	return err
}

// scan calls fn with the records of a space that are the caller's, by the last part of their keys, behind a
// name ("": from the first), until it returns false. An error of fn goes first.
func (c *call) scan(space storage.Space, user, behind string, fn func(name string, v []byte) (bool, error)) error {
	prefix := storage.In(space).Str(user)
	var from storage.Key
	if behind != "" {
		from = append(storage.Key(nil), prefix...).Str(behind)
	}
	var bad error
	err := c.o.Store.Scan(prefix, from, func(k storage.Key, v []byte) bool {
		name, _, ok := storage.TakeStr(k[len(prefix):])
		if !ok {
			bad = storage.ErrRecord
			return false
		}
		var more bool
		more, bad = fn(name, v)
		return more && bad == nil
	})
	if bad != nil {
		return bad
	}
	return err
}

// page fills a list with the caller's records in a space, in the order of their names and behind one: show says how
// a record looks, or that it is not shown. after is where the next page begins; "": there is none.
func (c *call) page(l *list, space storage.Space, behind string, limit int,
	show func(name string, v []byte) (view any, shown bool, err error),
) (after string, more bool, err error) {
	err = c.scan(space, c.User, behind, func(name string, v []byte) (bool, error) {
		view, shown, err := show(name, v)
		if err != nil || !shown {
			return true, err
		}
		if more = len(l.items) == limit; more {
			return false, nil
		}
		ok, err := l.add(view)
		if more = err == nil && !ok; ok {
			after = name
		}
		return ok, err
	})
	if err != nil {
		return "", false, err
	}
	if !more {
		after = ""
	}
	return after, more, c.o.Barrier()
}

// tell stores records and entries of own logs in one batch. log names who carries it out: changes of the
// same thing have the same.
func (c *call) tell(log string, b storage.Batch, own ...hub.Own) error {
	return c.o.Hub.Tell(&hub.Note{Log: log, With: b, Own: own})
}

// face is how somebody is shown in a list.
type face struct {
	User   string `json:"user"`
	Name   string `json:"name,omitempty"`
	Avatar string `json:"avatar,omitempty"`
}

func (c *call) face(user string) (face, error) {
	p, err := c.o.Profiles.Profile(user)
	return face{user, p.Name, p.Avatar}, err
}
