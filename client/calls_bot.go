package client

import (
	"context"
	"iter"
)

// BotCalls are the calls about bots, accounts of programs: see [Caller]. A bot of somebody else is not-found.
type BotCalls struct{ Via Caller }

// TokenScope limits what a token may do. The zero value: all that its user may. A token with Convs is for small devices:
// there are no requests with it.
type TokenScope struct {
	Convs []string `json:"convs,omitempty"` // only in these conversations; nil: everywhere
	Read  *bool    `json:"read,omitempty"`  // if neither Read nor Write is given, both are meant; if one is, the other is false
	Write *bool    `json:"write,omitempty"`
}

// NewBot is a bot to be made.
type NewBot struct {
	User string `json:"user"`           // the user id that it shall have; one that is taken is a conflict
	Name string `json:"name,omitempty"` // 1 to 64 characters, for people
	TokenScope
}

// BotToken is a bot's token. It is shown this once.
type BotToken struct {
	User  string `json:"user"`
	ID    string `json:"id"`    // of the token
	Token string `json:"token"` // what the bot connects with, as its password
}

// Create makes a bot that only its token lets in. A user has at most 32 (conflict).
func (b BotCalls) Create(ctx context.Context, bot NewBot) (BotToken, error) {
	return call[BotToken](ctx, b.Via, "bot.create", &bot)
}

type wireBotToken struct {
	User string `json:"user"`
	TokenScope
}

// NewToken gives a bot another token. The old ones are void at once, and their sessions end.
func (b BotCalls) NewToken(ctx context.Context, bot string, scope TokenScope) (BotToken, error) {
	return call[BotToken](ctx, b.Via, "bot.token", wireBotToken{bot, scope})
}

// Delete removes a bot from its groups, then altogether. What it wrote stays; its id is not given again.
func (b BotCalls) Delete(ctx context.Context, bot string) error {
	return b.Via.Call(ctx, "bot.delete", wireUser{bot}, nil)
}

// SlashCommand is what a bot listens to, without the slash.
type SlashCommand struct {
	Name  string `json:"name"` // 1 to 32 of a-z, 0-9, '_' and '-'
	About string `json:"about,omitempty"`
}

// Bot is a bot, and the slash commands that it listens to.
type Bot struct {
	User     string         `json:"user"`
	Name     string         `json:"name,omitempty"` // of the caller's own ones
	Commands []SlashCommand `json:"commands"`
}

type wireBots struct {
	Bots []Bot `json:"bots"`
	More bool  `json:"more"`
}

func (w *wireBots) page() PageOf[Bot] {
	return pagedBy(w.Bots, w.More, func(b *Bot) string { return b.User })
}

// List goes through the caller's bots, by the byte order of their ids.
func (b BotCalls) List(ctx context.Context) iter.Seq2[Bot, error] { return each(ctx, b.ListPage) }

// ListPage is one page of [BotCalls.List], as many as fit; Limit means nothing.
func (b BotCalls) ListPage(ctx context.Context, o ListOptions) (PageOf[Bot], error) {
	reply, err := call[wireBots](ctx, b.Via, "bot.list", wireAfter{o.After})
	return reply.page(), err
}

type wireBotCommands struct {
	User     string         `json:"user,omitempty"`
	Commands []SlashCommand `json:"commands"`
}

// SetCommands says which slash commands a bot listens to, in place of those before: by its owner, or by the bot itself,
// which may leave its id out ("").
func (b BotCalls) SetCommands(ctx context.Context, bot string, commands []SlashCommand) error {
	if commands == nil {
		commands = []SlashCommand{}
	}
	return b.Via.Call(ctx, "bot.commands", wireBotCommands{bot, commands}, nil)
}

// Commands goes through the bots of a conversation that listen to slash commands.
func (b BotCalls) Commands(ctx context.Context, conv string) iter.Seq2[Bot, error] {
	return each(ctx, func(ctx context.Context, o ListOptions) (PageOf[Bot], error) { return b.CommandsPage(ctx, conv, o) })
}

type wireConvAfter struct {
	Conv  string `json:"conv"`
	After string `json:"after,omitempty"`
}

// CommandsPage is one page of [BotCalls.Commands], as many as fit; Limit means nothing.
func (b BotCalls) CommandsPage(ctx context.Context, conv string, o ListOptions) (PageOf[Bot], error) {
	reply, err := call[wireBots](ctx, b.Via, "command.list", wireConvAfter{conv, o.After})
	return reply.page(), err
}
