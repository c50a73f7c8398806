package rpc

import (
	"context"

	"github.com/petrelchat/petrel/broker/auth"
	"github.com/petrelchat/petrel/broker/webhook"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// Webhooks joins conversations to programs that speak HTTP. It judges who may do what.
type Webhooks interface {
	Create(ctx context.Context, by string, s webhook.Spec) (webhook.Made, error)
	List(user, conv string) ([]webhook.View, error)
	Delete(ctx context.Context, by, id string) error
	Rotate(by, id string) (webhook.Made, error)
	Enable(by, id string) error
}

var _ Webhooks = (*webhook.Hooks)(nil)

type webhookCreateParams struct {
	Conv   string   `json:"conv"`
	Kind   string   `json:"kind"`
	Name   string   `json:"name"`
	Bot    string   `json:"bot"`    // in: who posts; without it a bot is made
	URL    string   `json:"url"`    // out
	Events []string `json:"events"` // out: kinds; without it posts
}

// webhookMade is the only reply that has the secret: in the url of an incoming webhook, by itself of an
// outgoing one.
type webhookMade struct {
	ID     string `json:"id"`
	URL    string `json:"url,omitempty"`
	Secret string `json:"secret,omitempty"`
	Bot    string `json:"bot,omitempty"`
}

func webhookCreate(c *call, p *webhookCreateParams) (any, error) {
	made, err := c.o.Webhooks.Create(c.ctx, c.User, webhook.Spec{
		Conv: p.Conv, Kind: p.Kind, Name: p.Name, Bot: p.Bot, URL: p.URL, Events: p.Events,
	})
	if err != nil {
		return nil, err
	}
	if made.Bot != "" && p.Bot == "" && p.Name != "" {
		if err := c.o.Profiles.UpdateProfile(made.Bot, func(r *storage.Profile) { r.Name = p.Name }); err != nil {
			return nil, err
		}
	}
	return webhookMade(made), nil
}

// webhookView is a webhook in a list. Times are ms since 1970.
type webhookView struct {
	ID      string   `json:"id"`
	Kind    string   `json:"kind"`
	Name    string   `json:"name,omitempty"`
	By      string   `json:"by"`
	Created int64    `json:"created"`
	Bot     string   `json:"bot,omitempty"`
	URL     string   `json:"url,omitempty"`
	Events  []string `json:"events,omitempty"`
	Off     int64    `json:"off,omitempty"` // since when; left out: it is on
	Why     string   `json:"why,omitempty"`
	Next    uint64   `json:"next,omitempty"`   // out: the first seq that was not delivered
	Failed  int      `json:"failed,omitempty"` // out: times in a row
	Last    string   `json:"last,omitempty"`   // out: what the last failure was
}

type webhookListReply struct {
	Webhooks *list `json:"webhooks"`
	More     bool  `json:"more"`
}

type webhookListParams struct {
	Conv  string `json:"conv"`
	After string `json:"after"` // the last id of the page before
}

func webhookList(c *call, p *webhookListParams) (any, error) {
	all, err := c.o.Webhooks.List(c.User, p.Conv)
	if err != nil {
		return nil, err
	}
	reply := webhookListReply{Webhooks: c.list(32)}
	skip := p.After != ""
	for _, v := range all {
		if skip {
			skip = v.ID != p.After
			continue
		}
		ok, err := reply.Webhooks.add(webhookView{v.ID, v.Kind, v.Name, v.By, v.Created, v.Bot, v.URL, v.Events, v.Off, v.Why, v.Next, v.Failed, v.Last})
		if err != nil {
			return nil, err
		}
		if reply.More = !ok; !ok {
			break
		}
	}
	return reply, nil
}

type webhookParams struct {
	ID string `json:"id"`
}

func (p *webhookParams) check() error {
	if p.ID == "" {
		return chat.Refuse(chat.BadRequest, "id is missing: name the webhook, see webhook.list")
	}
	return nil
}

func webhookDelete(c *call, p *webhookParams) (any, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	return p, c.o.Webhooks.Delete(c.ctx, c.User, p.ID)
}

func webhookRotate(c *call, p *webhookParams) (any, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	made, err := c.o.Webhooks.Rotate(c.User, p.ID)
	if err != nil {
		return nil, err
	}
	return webhookMade(made), nil
}

func webhookEnable(c *call, p *webhookParams) (any, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	return p, c.o.Webhooks.Enable(c.User, p.ID)
}

// Bots are accounts of programs.
type Bots interface {
	AddBot(ctx context.Context, owner, bot, hook string) error
	BotToken(ctx context.Context, owner, bot string, spec auth.TokenSpec) (id, text string, err error)
	ListBots(owner string) []auth.Bot
	DeleteBot(ctx context.Context, owner, bot string) error
	SetCommands(ctx context.Context, by, bot string, list []auth.Command) error
	CommandsOf(member func(bot string) bool) []auth.Bot
	// IsBot says whether there is such a bot, and whose.
	IsBot(user string) (owner string, ok bool)
}

var _ Bots = (*auth.Service)(nil)
