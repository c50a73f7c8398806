package rpc

import (
	"strings"
	"unicode/utf8"

	"github.com/petrelchat/petrel/broker/auth"
	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// programMethods are those of programs that take part in conversations, as far as the server offers them.
func programMethods(o *Options) map[string]method {
	m := map[string]method{}
	if o.Webhooks != nil {
		m["webhook.create"] = with(webhookCreate)
		m["webhook.list"] = with(webhookList)
		m["webhook.delete"] = with(webhookDelete)
		m["webhook.rotate"] = with(webhookRotate)
		m["webhook.enable"] = with(webhookEnable)
	}
	if o.Bots != nil {
		m["bot.create"] = with(botCreate)
		m["bot.list"] = with(botList)
		m["bot.token"] = with(botToken)
		m["bot.delete"] = with(botDelete)
		m["bot.commands"] = with(botCommands)
		m["command.list"] = with(commandList)
	}
	return m
}

// checkName holds the name of a bot to what userUpdate takes.
func checkName(name string) error {
	if utf8.RuneCountInString(name) > maxName || strings.TrimSpace(name) == "" || !printable(name) {
		return chat.Refuse(chat.BadRequest, "name is 1 to %d characters with something to see and no control characters", maxName)
	}
	return nil
}

type botParams struct {
	User string `json:"user"`
}

func (p *botParams) check() error {
	if p.User == "" {
		return chat.Refuse(chat.BadRequest, "user is missing: name the bot")
	}
	return nil
}

// botScope limits a bot's token, as admin.token.add does: without read and write both are meant.
type botScope struct {
	Convs []string `json:"convs"`
	Read  *bool    `json:"read"`
	Write *bool    `json:"write"`
}

func (s *botScope) spec() auth.TokenSpec {
	both := s.Read == nil && s.Write == nil
	return auth.TokenSpec{Name: "bot", Convs: s.Convs, Read: both || s.Read != nil && *s.Read, Write: both || s.Write != nil && *s.Write}
}

type botCreateParams struct {
	User string `json:"user"`
	Name string `json:"name"`
	botScope
}

// botMade has the token: the only time that it is shown.
type botMade struct {
	User  string `json:"user"`
	ID    string `json:"id"` // of the token
	Token string `json:"token"`
}

// botCreate makes an account that only its token lets in.
func botCreate(c *call, p *botCreateParams) (any, error) {
	if p.User == "" {
		return nil, chat.Refuse(chat.BadRequest, "user is missing: the user id that the bot shall have")
	}
	if p.Name != "" {
		if err := checkName(p.Name); err != nil {
			return nil, err
		}
	}
	ctx := auth.WithActor(c.ctx, c.User)
	if err := c.o.Bots.AddBot(ctx, c.User, p.User, ""); err != nil {
		return nil, err
	}
	id, token, err := c.o.Bots.BotToken(ctx, c.User, p.User, p.spec())
	if err == nil && p.Name != "" {
		err = c.o.Profiles.UpdateProfile(p.User, func(r *storage.Profile) { r.Name = p.Name })
	}
	if err != nil { // a bot without a token is of no use, and its name would be taken
		if undo := c.o.Bots.DeleteBot(ctx, c.User, p.User); undo != nil {
			c.Service.o.Log.Warn("a bot that could not be finished was not removed", "user", p.User, "error", undo)
		}
		return nil, err
	}
	return botMade{p.User, id, token}, nil
}

type botTokenParams struct {
	User string `json:"user"`
	botScope
}

// botToken gives a bot a new token. The old ones are void at once, and their sessions end.
func botToken(c *call, p *botTokenParams) (any, error) {
	if err := (&botParams{p.User}).check(); err != nil {
		return nil, err
	}
	id, token, err := c.o.Bots.BotToken(auth.WithActor(c.ctx, c.User), c.User, p.User, p.spec())
	if err != nil {
		return nil, err
	}
	return botMade{p.User, id, token}, nil
}

// botDelete removes a bot from its groups and then altogether. What it wrote stays.
func botDelete(c *call, p *botParams) (any, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	if owner, ok := c.o.Bots.IsBot(p.User); ok && owner == c.User {
		if err := c.leaveAll(p.User); err != nil {
			return nil, err
		}
	}
	return p, c.o.Bots.DeleteBot(auth.WithActor(c.ctx, c.User), c.User, p.User)
}

// leaveAll has a user leave all groups. A group that won't let go keeps a member without an account.
func (c *call) leaveAll(user string) error {
	var groups []string
	prefix := storage.In(storage.SpaceMembership).Str(user)
	err := c.o.Store.Scan(prefix, nil, func(k storage.Key, v []byte) bool {
		conv, _, ok := storage.TakeStr(k[len(prefix):])
		if m, err := storage.DecodeMember(v); ok && err == nil && m.Role != chat.RoleNone && chat.ValidGroup(conv) {
			groups = append(groups, conv)
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, conv := range groups {
		res := c.o.Hub.Do(&hub.Request{Conv: conv, Cmd: chat.Command{Op: chat.OpLeave, Actor: user}})
		if res.Err != nil {
			c.Service.o.Log.Warn("a bot that is deleted could not leave a group", "user", user, "conv", conv, "error", res.Err)
		}
	}
	return nil
}

type botView struct {
	User     string    `json:"user"`
	Name     string    `json:"name,omitempty"`
	Commands []command `json:"commands"`
}

type botListReply struct {
	Bots *list `json:"bots"`
	More bool  `json:"more"`
}

type botListParams struct {
	After string `json:"after"` // the last user of the page before
}

// botList lists the caller's bots in byte order.
func botList(c *call, p *botListParams) (any, error) {
	reply := botListReply{Bots: c.list(32)}
	for _, b := range c.o.Bots.ListBots(c.User) {
		if b.User <= p.After {
			continue
		}
		rec, err := c.o.Profiles.Profile(b.User)
		if err != nil {
			return nil, err
		}
		ok, err := reply.Bots.add(botView{b.User, rec.Name, commandsOf(b)})
		if err != nil {
			return nil, err
		}
		if reply.More = !ok; !ok {
			break
		}
	}
	return reply, nil
}

// command is a slash command, without the slash.
type command struct {
	Name  string `json:"name"`
	About string `json:"about,omitempty"`
}

// commandsOf is a list even where there are none.
func commandsOf(b auth.Bot) []command {
	list := make([]command, len(b.Commands))
	for i, c := range b.Commands {
		list[i] = command(c)
	}
	return list
}

type botCommandsParams struct {
	User     string    `json:"user"` // "": the caller, a bot
	Commands []command `json:"commands"`
}

// botCommands says which slash commands a bot listens to, instead of those before.
func botCommands(c *call, p *botCommandsParams) (any, error) {
	if p.User == "" {
		p.User = c.User
	}
	list := make([]auth.Command, len(p.Commands))
	for i, x := range p.Commands {
		list[i] = auth.Command(x)
	}
	return botParams{p.User}, c.o.Bots.SetCommands(auth.WithActor(c.ctx, c.User), c.User, p.User, list)
}

type commandListParams struct {
	Conv  string `json:"conv"`
	After string `json:"after"` // the last user of the page before
}

type commandView struct {
	User     string    `json:"user"`
	Commands []command `json:"commands"`
}

type commandListReply struct {
	Bots *list `json:"bots"`
	More bool  `json:"more"`
}

// commandList tells a member which slash commands the bots of a conversation listen to.
func commandList(c *call, p *commandListParams) (any, error) {
	var bots []auth.Bot
	err := c.query(p.Conv, func(v hub.View) error {
		if err := v.State.MayRead(c.User); err != nil {
			return err
		}
		bots = c.o.Bots.CommandsOf(func(bot string) bool { return v.State.CanRead(bot, v.State.Head+1) })
		return nil
	})
	if err != nil {
		return nil, err
	}
	reply := commandListReply{Bots: c.list(32)}
	for _, b := range bots {
		if b.User <= p.After {
			continue
		}
		ok, err := reply.Bots.add(commandView{b.User, commandsOf(b)})
		if err != nil {
			return nil, err
		}
		if reply.More = !ok; !ok {
			break
		}
	}
	return reply, nil
}
