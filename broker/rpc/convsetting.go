package rpc

import (
	"strings"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// maxConvSettings bounds what a user keeps about conversations that they are not in.
const maxConvSettings = 10_000

type convMuteParams struct {
	Conv  string `json:"conv"`
	Until *int64 `json:"until"` // ms since 1970; 0: not muted any more; left out: until unmuted
}

type convFlagParams struct {
	Conv     string `json:"conv"`
	Archived *bool  `json:"archived"`
	Pinned   *bool  `json:"pinned"`
}

// convSettingReply is how a conversation is put away now.
type convSettingReply struct {
	Conv string `json:"conv"`
	convSettingView
	At int64 `json:"at"`
}

// convMute lets a conversation notify nobody until a time.
func convMute(c *call, p *convMuteParams) (any, error) {
	until := int64(storage.MutedForGood)
	if p.Until != nil {
		if until = *p.Until; until < 0 {
			return nil, chat.Refuse(chat.BadRequest, "until is in ms since 1970; 0 unmutes, and without it the conversation stays muted")
		}
		if until <= c.now {
			until = 0
		}
	}
	return c.changeConv(p.Conv, "mute", func(rec *storage.ConvSetting) any { rec.Mute = until; return until })
}

func convArchive(c *call, p *convFlagParams) (any, error) {
	if p.Pinned != nil {
		return nil, chat.Refuse(chat.BadRequest, "the field is archived: conv.pin sets pinned")
	}
	on := p.Archived == nil || *p.Archived
	return c.changeConv(p.Conv, "archive", func(rec *storage.ConvSetting) any { rec.Archived = on; return on })
}

func convPin(c *call, p *convFlagParams) (any, error) {
	if p.Archived != nil {
		return nil, chat.Refuse(chat.BadRequest, "the field is pinned: conv.archive sets archived")
	}
	on := p.Pinned == nil || *p.Pinned
	return c.changeConv(p.Conv, "pin", func(rec *storage.ConvSetting) any { rec.Pinned = on; return on })
}

// changeConv changes how the caller has put a conversation away. set returns the value that devices are told.
func (c *call) changeConv(conv, name string, set func(rec *storage.ConvSetting) any) (any, error) {
	if err := c.mayKeep(conv); err != nil {
		return nil, err
	}
	defer c.people.lock(c.User)()
	rec, err := storage.ConvSettings(c.o.Store, c.User, conv)
	if err != nil {
		return nil, err
	}
	if rec == (storage.ConvSetting{}) {
		if err := c.roomForSetting(maxConvSettings, func(n string) bool { return strings.HasPrefix(n, nameConv+"/") }); err != nil {
			return nil, err
		}
	}
	old := rec
	value, err := c.cbor.Marshal(set(&rec))
	if err != nil {
		return nil, err
	}
	reply := func() convSettingReply {
		return convSettingReply{conv, convSettingView{rec.Mute, rec.Archived, rec.Pinned}, rec.At}
	}
	if rec == old {
		return reply(), nil
	}
	rec.At = later(c.now, old.At)
	err = c.storeSetting(storage.ConvSettingKey(c.User, conv), settingView{Name: name, Conv: conv, Value: value, At: rec.At}, rec)
	return reply(), err
}

// mayKeep refuses settings about what is no conversation of the caller's. A direct one need not have begun:
// a draft comes before the first message.
func (c *call) mayKeep(conv string) error {
	direct, err := kindOf(conv)
	if err != nil {
		return err
	}
	if direct {
		a, b, _ := chat.Parties(conv)
		if a != c.User && b != c.User || !c.o.Accounts.Exists(a) || !c.o.Accounts.Exists(b) {
			return chat.NoSuchConversation()
		}
		return nil
	}
	member, err := storage.IsMember(c.o.Store, c.User, conv)
	if err == nil && !member {
		return chat.NoSuchConversation()
	}
	return err
}
