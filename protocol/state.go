package protocol

import (
	"strconv"

	"github.com/petrelchat/petrel/chat"
)

// Receipt is a delivery on c/{conv}/receipts: how far a member has come.
type Receipt struct {
	User      string `json:"user"`
	Delivered uint64 `json:"delivered"`
	Read      uint64 `json:"read"`
}

// Append appends the receipt as JSON.
func (r Receipt) Append(dst []byte) []byte {
	dst = appendJSONString(append(dst, `{"user":`...), r.User)
	dst = strconv.AppendUint(append(dst, `,"delivered":`...), r.Delivered, 10)
	dst = strconv.AppendUint(append(dst, `,"read":`...), r.Read, 10)
	return append(dst, '}')
}

// The states of a presence.
const (
	StateOnline  = "online"
	StateAway    = "away"
	StateOffline = "offline"
)

// Presence is a delivery on u/{user}/presence.
type Presence struct {
	State string `json:"state"`
	Seen  int64  `json:"seen,omitempty"` // when the user was last there, ms since 1970 UTC; 0: not told
	Text  string `json:"text,omitempty"`
}

// Append appends the presence as JSON.
func (p Presence) Append(dst []byte) []byte {
	dst = appendJSONString(append(dst, `{"state":`...), p.State)
	if p.Seen != 0 {
		dst = strconv.AppendInt(append(dst, `,"seen":`...), p.Seen, 10)
	}
	if p.Text != "" {
		dst = appendJSONString(append(dst, `,"text":`...), p.Text)
	}
	return append(dst, '}')
}

// InfoView is a delivery on c/{conv}/info, and the group in replies, as one member sees it. A direct
// conversation has none of the settings.
type InfoView struct {
	Title      string `json:"title,omitempty"`
	About      string `json:"about,omitempty"`
	Visibility string `json:"visibility,omitempty"`
	Join       string `json:"join,omitempty"`
	History    string `json:"history,omitempty"`
	Forward    string `json:"forward,omitempty"`
	Limit      uint32 `json:"limit,omitempty"`    // most members; left out: the server's limit
	Expire     uint32 `json:"expire,omitempty"`   // seconds until posts disappear
	Withdraw   uint32 `json:"withdraw,omitempty"` // seconds within which authors delete for everyone
	// Perms has the least role for each action; left out: the defaults.
	Perms   map[string]string `json:"perms,omitempty"`
	Members int               `json:"members"`           // how many there are
	Role    string            `json:"role,omitempty"`    // the caller's
	Created int64             `json:"created,omitempty"` // ms since 1970 UTC
	Head    uint64            `json:"head,omitempty"`    // seq of the last event
}

// NewInfoView shows settings to somebody with a role.
func NewInfoView(i *chat.Info, members int, role chat.Role, head uint64) InfoView {
	return InfoView{
		Title: i.Title, About: i.About, Visibility: i.Visibility, Join: i.Join, History: i.History, Forward: i.Forward,
		Limit: i.Limit, Expire: i.Expire, Withdraw: i.Withdraw, Perms: permsView(&i.Perms), Members: members, Role: RoleName(role), Created: i.Created, Head: head,
	}
}

// permsView names what differs from the defaults.
func permsView(p *chat.Perms) map[string]string {
	var view map[string]string
	for _, a := range chat.Actions() {
		if p[a] == chat.RoleNone || p[a] == (&chat.Perms{}).Least(a) {
			continue
		}
		if view == nil {
			view = make(map[string]string)
		}
		view[a.String()] = RoleName(p[a])
	}
	return view
}

// Append appends the view as JSON.
func (v InfoView) Append(dst []byte) []byte {
	dst = append(dst, '{')
	for _, f := range [...][2]string{
		{`"title":`, v.Title}, {`"about":`, v.About}, {`"visibility":`, v.Visibility},
		{`"join":`, v.Join}, {`"history":`, v.History}, {`"forward":`, v.Forward},
	} {
		if f[1] != "" {
			dst = append(appendJSONString(append(dst, f[0]...), f[1]), ',')
		}
	}
	for _, f := range [...]struct {
		name string
		n    uint32
	}{{`"limit":`, v.Limit}, {`"expire":`, v.Expire}, {`"withdraw":`, v.Withdraw}} {
		if f.n != 0 {
			dst = append(strconv.AppendUint(append(dst, f.name...), uint64(f.n), 10), ',')
		}
	}
	if len(v.Perms) > 0 {
		dst = append(dst, `"perms":{`...)
		for _, a := range chat.Actions() {
			if role, ok := v.Perms[a.String()]; ok {
				dst = append(append(append(dst, '"'), a.String()...), `":`...)
				dst = append(appendJSONString(dst, role), ',')
			}
		}
		dst[len(dst)-1] = '}'
		dst = append(dst, ',')
	}
	dst = strconv.AppendInt(append(dst, `"members":`...), int64(v.Members), 10)
	if v.Role != "" {
		dst = appendJSONString(append(dst, `,"role":`...), v.Role)
	}
	if v.Created != 0 {
		dst = strconv.AppendInt(append(dst, `,"created":`...), v.Created, 10)
	}
	if v.Head != 0 {
		dst = strconv.AppendUint(append(dst, `,"head":`...), v.Head, 10)
	}
	return append(dst, '}')
}

// MaxStatus is how long the text of a status may be, in bytes.
const MaxStatus = 256

// ParseStatus reads what is published to u/{me}/status. An empty payload clears: both results are "".
// Else state is StateOnline (also when none is given) or StateAway.
func ParseStatus(payload []byte) (state, text string, err error) {
	if len(payload) == 0 {
		return "", "", nil
	}
	var s struct {
		State string `json:"state"`
		Text  string `json:"text"`
	}
	req, err := ParseRequest("", payload)
	if err == nil && req.Tag != "" {
		err = errUnknownField("tag")
	}
	if err == nil {
		err = req.Params(&s)
	}
	switch {
	case err != nil:
		return "", "", err
	case s.State == "":
		s.State = StateOnline
	case s.State != StateOnline && s.State != StateAway:
		return "", "", chat.Refuse(chat.BadRequest, "state must be online or away; the server says who is offline")
	}
	if len(s.Text) > MaxStatus {
		return "", "", tooLarge("text", MaxStatus)
	}
	return s.State, s.Text, nil
}

// ParseRead reads what is published to c/{conv}/read: a seq in decimal; all is true for an empty
// payload, which means everything that this session has acknowledged.
func ParseRead(payload []byte) (seq uint64, all bool, err error) {
	if len(payload) == 0 {
		return 0, true, nil
	}
	if len(payload) <= 20 && isDigit(payload[0]) {
		if seq, err = strconv.ParseUint(string(payload), 10, 64); err == nil {
			return seq, false, nil
		}
	}
	return 0, false, chat.Refuse(chat.BadRequest, "the payload must be a seq in decimal digits, or empty for all")
}
