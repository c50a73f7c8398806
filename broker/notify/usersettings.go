package notify

import (
	"time"
	_ "time/tzdata" // a server has to know its users' zones, wherever it runs

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// UserSettings are what a user wants of notifications, on all devices (SpacePush, name "").
type UserSettings struct {
	Private  bool   `cbor:"1,keyasint,omitempty"` // no text, no names
	Quiet    *Quiet `cbor:"2,keyasint,omitempty"`
	Mentions string `cbor:"3,keyasint,omitempty"` // of muted conversations; "": told all the same; MentionsMuted: not
}

// MentionsMuted says that a mute holds for mentions and calls too.
const MentionsMuted = "muted"

// Quiet is the hours of each day in which nothing is told, from From on and before To. Over midnight if From is after To.
type Quiet struct {
	From int    `cbor:"1,keyasint"` // minutes since midnight
	To   int    `cbor:"2,keyasint"`
	Zone string `cbor:"3,keyasint"` // of the IANA time zone database
}

// minutes of a day.
const minutes = 24 * 60

// Check refuses hours that are none.
func (q *Quiet) Check() error {
	if q.From < 0 || q.From >= minutes || q.To < 0 || q.To >= minutes || q.From == q.To {
		return chat.Refuse(chat.BadRequest, "quiet has from and to, two different minutes of the day: 0 to %d", minutes-1)
	}
	if _, err := q.location(); err != nil {
		return chat.Refuse(chat.BadRequest, "zone is the name of a time zone, like Europe/Berlin")
	}
	return nil
}

func (q *Quiet) location() (*time.Location, error) {
	if q.Zone == "" || q.Zone == "Local" || len(q.Zone) > 64 { // which would be the server's
		return nil, chat.Refuse(chat.BadRequest, "a time zone has a name")
	}
	return time.LoadLocation(q.Zone)
}

// Until returns when the quiet hours that now is in end; ok is false outside of them.
func (q *Quiet) Until(now time.Time) (end time.Time, ok bool) {
	loc, err := q.location()
	if err != nil {
		return end, false
	}
	now = now.In(loc)
	at := now.Hour()*60 + now.Minute()
	if q.From < q.To {
		ok = q.From <= at && at < q.To
	} else {
		ok = q.From <= at || at < q.To
	}
	if !ok {
		return end, false
	}
	day := now.Day()
	if at >= q.To {
		day++
	}
	end = time.Date(now.Year(), now.Month(), day, q.To/60, q.To%60, 0, 0, loc)
	if !end.After(now) { // the clock is put back in that very hour
		end = now.Add(time.Minute)
	}
	return end, true
}

// UserSettings returns a user's settings, the zero ones if there are none.
func (s *Service) UserSettings(user string) (u UserSettings, err error) {
	v, ok, err := s.o.Store.Get(PushKey(user, ""))
	if err == nil && ok {
		err = storage.Unmarshal(v, &u)
	}
	return u, err
}

// UpdateSettings has change alter a user's settings and returns them after the sync. Errors: *chat.Refusal, or what
// the store returns; nothing is changed then.
func (s *Service) UpdateSettings(user string, change func(*UserSettings)) (UserSettings, error) {
	s.subs.change.Lock()
	defer s.subs.change.Unlock()
	u, err := s.UserSettings(user)
	if err != nil {
		return u, err
	}
	change(&u)
	if u.Quiet != nil {
		if err := u.Quiet.Check(); err != nil {
			return u, err
		}
	}
	if u.Mentions != "" && u.Mentions != MentionsMuted {
		return u, chat.Refuse(chat.BadRequest, "mentions is all or %s", MentionsMuted)
	}
	var b storage.Batch
	b.Set(PushKey(user, ""), storage.Marshal(&u))
	return u, s.o.CommitWait(&b)
}
