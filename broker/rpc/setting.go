package rpc

import (
	"strings"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

const (
	maxSettings    = 500     // of names that a user chose
	maxSettingName = 64      // bytes
	maxSettingSize = 4 << 10 // bytes of a value in CBOR
)

// Private settings follow the user: each change is a record and an entry in the user's own log, in one batch.
// Of two devices that change the same at once, the later one wins by the server's clock; a device that wants to
// know gives the time of the value that it has seen, and gets a conflict if there is a newer one.

type settingSetParams struct {
	Name  string       `json:"name"`
	Value protocol.Raw `json:"value"`
	If    *int64       `json:"if"` // at of the value that this one replaces; 0: there is none
}

// settingView is a private setting in a reply.
type settingView struct {
	Name  string       `json:"name"`
	Conv  string       `json:"conv,omitempty"`
	Value protocol.Raw `json:"value"` // null: not set
	At    int64        `json:"at"`
}

// settingSet sets a setting of a name of the client's choice; null takes it away.
func settingSet(c *call, p *settingSetParams) (any, error) {
	if !settingName(p.Name) {
		return nil, chat.Refuse(chat.BadRequest, "name is 1 to %d of a-z, 0-9, '.', '_' and '-'", maxSettingName)
	}
	if len(p.Value) > maxSettingSize {
		return nil, chat.Refuse(chat.TooLarge, "value is at most %d bytes", maxSettingSize)
	}
	defer c.people.lock(c.User)()
	old, found, err := c.setting(storage.SettingKey(c.User, p.Name))
	if err != nil {
		return nil, err
	}
	if err := unseen(p.If, old.At); err != nil {
		return nil, err
	}
	if !found && !p.Value.Null() {
		if err := c.roomForSetting(maxSettings, func(name string) bool { return !strings.Contains(name, "/") }); err != nil {
			return nil, err
		}
	}
	view := settingView{Name: p.Name, Value: p.Value, At: later(c.now, old.At)}
	if p.Value.Null() {
		view.Value = nil
	}
	return view, c.storeSetting(storage.SettingKey(c.User, p.Name), view, storage.Setting{Value: view.Value, At: view.At})
}

func settingName(s string) bool {
	if len(s) == 0 || len(s) > maxSettingName {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
	}) < 0
}

// unseen refuses a change of something that has changed since the caller saw it.
func unseen(seen *int64, at int64) error {
	if seen != nil && *seen != at {
		return chat.Refuse(chat.Conflict, "another device changed this at %d: look at it again, and give that time as if", at)
	}
	return nil
}

// later is the time of a change: that of the server, but never that of the change before.
func later(now, old int64) int64 { return max(now, old+1) }

// setting reads a record; the zero Setting if there is none.
func (c *call) setting(k storage.Key) (s storage.Setting, found bool, err error) {
	v, found, err := c.o.Store.Get(k)
	if err == nil && found {
		err = storage.Unmarshal(v, &s)
	}
	return s, found, err
}

// roomForSetting refuses one more setting than there may be of those that are counted.
func (c *call) roomForSetting(most int, counts func(name string) bool) error {
	n := 0
	err := c.scan(storage.SpaceSetting, c.User, "", func(name string, _ []byte) (bool, error) {
		n += count(counts(name))
		return true, nil
	})
	if err == nil && n >= most {
		return chat.Refuse(chat.TooLarge, "you have %d of these already: take some away first", n)
	}
	return err
}

// storeSetting stores a record, or takes away what has no value any more, and tells the user's devices.
func (c *call) storeSetting(k storage.Key, view settingView, rec any) error {
	var b storage.Batch
	if view.Value == nil && view.Conv == "" {
		b.Delete(k)
	} else {
		b.Set(k, storage.Marshal(rec))
	}
	return c.tell(storage.OwnLog(c.User), b, c.settingTold(c.User, view))
}

// settingTold is what the own log says of a changed setting. A value that is too long for an event is left out:
// setting.get has it.
func (s *Service) settingTold(user string, view settingView) hub.Own {
	ext := map[string]any{"name": view.Name}
	if len(view.Value) <= maxSettingSize {
		ext["value"] = view.Value
	}
	b, err := s.cbor.Marshal(ext)
	if err != nil {
		panic("rpc: " + err.Error()) // a text and CBOR that was encoded here
	}
	return hub.Own{User: user, Event: chat.Event{From: user, At: view.At, Kind: chat.KindSetting, Conv: view.Conv, Ext: b}}
}

type settingGetParams struct {
	Name string `json:"name"`
	Conv string `json:"conv"`
}

// The names of what is set about a conversation.
const (
	nameConv  = "conv"  // muted, archived and pinned together
	nameDraft = "draft" // the text that is not sent yet
)

// settingGet shows one setting: of a chosen name, or with conv the draft or how the conversation is put away.
func settingGet(c *call, p *settingGetParams) (any, error) {
	view := settingView{Name: p.Name, Conv: p.Conv}
	var err error
	switch {
	case p.Conv == "" && settingName(p.Name):
		view, err = c.viewSetting(view, storage.SettingKey(c.User, p.Name))
	case p.Conv != "" && p.Name == nameDraft:
		view, err = c.viewSetting(view, storage.DraftKey(c.User, p.Conv))
	case p.Conv != "" && p.Name == nameConv:
		var rec storage.ConvSetting
		if rec, err = storage.ConvSettings(c.o.Store, c.User, p.Conv); err == nil {
			view, err = c.viewConv(view, rec)
		}
	default:
		return nil, chat.Refuse(chat.BadRequest, "name is 1 to %d of a-z, 0-9, '.', '_' and '-'; with conv it is %s or %s", maxSettingName, nameConv, nameDraft)
	}
	if err != nil {
		return nil, err
	}
	return view, c.o.Barrier()
}

func (c *call) viewSetting(view settingView, k storage.Key) (settingView, error) {
	rec, _, err := c.setting(k)
	view.Value, view.At = rec.Value, rec.At
	return view, err
}

// convSettingView is how a conversation is put away.
type convSettingView struct {
	Mute     int64 `json:"mute"` // until, ms since 1970; -1: until unmuted; 0: not muted
	Archived bool  `json:"archived"`
	Pinned   bool  `json:"pinned"`
}

func (c *call) viewConv(view settingView, rec storage.ConvSetting) (settingView, error) {
	var err error
	view.Value, err = c.cbor.Marshal(convSettingView{rec.Mute, rec.Archived, rec.Pinned})
	view.At = rec.At
	return view, err
}

type settingListReply struct {
	Settings *list  `json:"settings"`
	After    string `json:"after,omitempty"`
	More     bool   `json:"more"`
}

// settingList lists all private settings, with those about conversations.
func settingList(c *call, p *pageParams) (any, error) {
	limit, err := pageOf(p.Limit, 100, 500)
	if err != nil {
		return nil, err
	}
	reply := settingListReply{Settings: c.list(256)}
	reply.After, reply.More, err = c.page(reply.Settings, storage.SpaceSetting, p.After, limit, func(name string, v []byte) (any, bool, error) {
		return c.listed(name, v)
	})
	return reply, err
}

// listed is a record of SpaceSetting as it is shown; ok is false for what the server keeps for itself.
func (c *call) listed(name string, v []byte) (view settingView, ok bool, err error) {
	what, conv, about := strings.Cut(name, "/")
	if about && what == nameConv {
		var rec storage.ConvSetting
		if err = storage.Unmarshal(v, &rec); err == nil {
			view, err = c.viewConv(settingView{Name: nameConv, Conv: conv}, rec)
		}
		return view, true, err
	}
	if about && what != nameDraft {
		return view, false, nil
	}
	var rec storage.Setting
	err = storage.Unmarshal(v, &rec)
	return settingView{Name: what, Conv: conv, Value: rec.Value, At: rec.At}, true, err
}
