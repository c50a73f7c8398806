package rpc

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

const (
	maxName   = 64  // characters
	maxAvatar = 256 // bytes
)

type userGetParams struct {
	User string `json:"user"`
}

// userView is a profile. What others may not see is left out.
type userView struct {
	User     string             `json:"user"`
	Name     string             `json:"name,omitempty"`
	Avatar   string             `json:"avatar,omitempty"`
	Receipts *bool              `json:"receipts,omitempty"` // own profile only
	LastSeen *bool              `json:"lastseen,omitempty"` // own profile only
	Messages string             `json:"messages,omitempty"` // own profile only; left out: as the server has it
	Calls    string             `json:"calls,omitempty"`    // the same
	Relay    string             `json:"relay,omitempty"`    // own profile only; left out: never
	Presence *protocol.Presence `json:"presence,omitempty"`
	Bot      bool               `json:"bot,omitempty"`
}

// userGet shows a profile. That a user exists is no secret, for anybody can write to them; where they are
// is told to those who may see their presence topic.
func userGet(c *call, p *userGetParams) (any, error) {
	if p.User == "" {
		p.User = c.User
	}
	if err := c.account("user", p.User); err != nil {
		return nil, err
	}
	return c.profile(p.User)
}

func (c *call) profile(user string) (any, error) {
	rec, err := c.o.Profiles.Profile(user)
	if err != nil {
		return nil, err
	}
	view := userView{User: user, Name: rec.Name, Avatar: rec.Avatar}
	if user == c.User {
		shows, seen := !rec.NoRead, !rec.NoSeen
		view.Receipts, view.LastSeen, view.Messages = &shows, &seen, rec.Messages.String()
		view.Calls, view.Relay = rec.Calls.String(), rec.Relay.String()
	}
	if presence, ok := c.o.Profiles.Seen(c.User, user); ok {
		view.Presence = &presence
	}
	if c.o.Bots != nil {
		_, view.Bot = c.o.Bots.IsBot(user)
	}
	return view, nil
}

type userUpdateParams struct {
	Name     *string `json:"name"`
	Avatar   *string `json:"avatar"`
	Receipts *bool   `json:"receipts"`
	LastSeen *bool   `json:"lastseen"`
	Messages *string `json:"messages"`
	Calls    *string `json:"calls"`
	Relay    *string `json:"relay"`
}

// userUpdate changes the caller's profile. An empty avatar takes it away.
func userUpdate(c *call, p *userUpdateParams) (any, error) {
	if p.Name != nil {
		if n := utf8.RuneCountInString(*p.Name); n > maxName || strings.TrimSpace(*p.Name) == "" || !printable(*p.Name) {
			return nil, chat.Refuse(chat.BadRequest, "name is 1 to %d characters with something to see and no control characters", maxName)
		}
	}
	if p.Avatar != nil && (len(*p.Avatar) > maxAvatar || !printable(*p.Avatar)) {
		return nil, chat.Refuse(chat.BadRequest, "avatar is a reference of at most %d bytes without control characters", maxAvatar)
	}
	var messages chat.Messages
	if p.Messages != nil && *p.Messages != "" {
		ok := false
		if messages, ok = chat.ParseMessages(*p.Messages); !ok {
			return nil, chat.Refuse(chat.BadRequest, "messages is anyone, requests or shared; empty: as the server has it")
		}
	}
	calls, relay, err := p.ofCalls()
	if err != nil {
		return nil, err
	}
	if *p != (userUpdateParams{}) {
		err := c.o.Profiles.UpdateProfile(c.User, func(rec *storage.Profile) {
			if p.Name != nil {
				rec.Name = *p.Name
			}
			if p.Avatar != nil {
				rec.Avatar = *p.Avatar
			}
			if p.Receipts != nil {
				rec.NoRead = !*p.Receipts
			}
			if p.LastSeen != nil {
				rec.NoSeen = !*p.LastSeen
			}
			if p.Messages != nil {
				rec.Messages = messages
			}
			if p.Calls != nil {
				rec.Calls = calls
			}
			if p.Relay != nil {
				rec.Relay = relay
			}
			rec.Modified = c.now
		})
		if err != nil {
			return nil, err
		}
	}
	return c.profile(c.User)
}

// ofCalls reads who may call, and when media are relayed.
func (p *userUpdateParams) ofCalls() (calls chat.Callers, relay chat.Relay, err error) {
	ok := true
	if p.Calls != nil && *p.Calls != "" {
		if calls, ok = chat.ParseCallers(*p.Calls); !ok {
			return 0, 0, chat.Refuse(chat.BadRequest, "calls is anyone, accepted or nobody; empty: as the server has it")
		}
	}
	if p.Relay != nil && *p.Relay != "" {
		if relay, ok = chat.ParseRelay(*p.Relay); !ok {
			return 0, 0, chat.Refuse(chat.BadRequest, "relay is always, until-accepted or never; empty: never")
		}
	}
	return calls, relay, nil
}

func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}
