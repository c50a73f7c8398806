package rpc

import (
	"cmp"
	"net/url"

	"github.com/petrelchat/petrel/broker/notify"
	"github.com/petrelchat/petrel/chat"
)

// pushMethods are the methods about notifications, where they are offered.
func pushMethods(o *Options) map[string]method {
	if o.Push == nil {
		return nil
	}
	return map[string]method{
		"push.key":      with(pushKey),
		"push.register": with(pushRegister),
		"push.list":     with(pushList),
		"push.remove":   with(pushRemove),
		"push.test":     with(pushTest),
		"push.settings": with(pushSettings),
	}
}

type noParams struct{}

type pushKeyReply struct {
	Key   string   `json:"key"` // applicationServerKey: an uncompressed point of P-256, base64url
	Kinds []string `json:"kinds"`
}

func pushKey(c *call, _ *noParams) (any, error) {
	return pushKeyReply{c.o.Push.PublicKey(), c.o.Push.Offers()}, nil
}

type pushKeys struct {
	P256dh string `json:"p256dh"`
	Auth   string `json:"auth"`
}

type pushRegisterParams struct {
	Name     string   `json:"name"` // "": the client id of the session that asks
	Kind     string   `json:"kind"`
	Endpoint string   `json:"endpoint"`
	Token    string   `json:"token"`
	Keys     pushKeys `json:"keys"`
	Secret   string   `json:"secret"`
	Private  bool     `json:"private"`
	Lang     string   `json:"lang"`
}

// pushView is a registration in a reply. Whoever takes a device over shall not learn from it where others are
// called: of an endpoint the host is shown, of a token nothing.
type pushView struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Host    string `json:"host,omitempty"`
	Private bool   `json:"private,omitempty"`
	Lang    string `json:"lang,omitempty"`
	Created int64  `json:"created"`
	Secret  string `json:"secret,omitempty"` // of a webhook, in the reply that made it
}

func viewPush(r *notify.Registration) pushView {
	v := pushView{Name: r.Name, Kind: r.Kind, Private: r.Private, Lang: r.Lang, Created: r.Created}
	if u, err := url.Parse(r.Endpoint); err == nil {
		v.Host = u.Host
	}
	return v
}

func pushRegister(c *call, p *pushRegisterParams) (any, error) {
	r, err := c.o.Push.Register(notify.Registration{
		User: c.User, Name: cmp.Or(p.Name, c.Client), Kind: p.Kind, Endpoint: p.Endpoint, Token: p.Token,
		P256dh: p.Keys.P256dh, Auth: p.Keys.Auth, Secret: p.Secret, Private: p.Private, Lang: p.Lang,
	})
	if err != nil {
		return nil, err
	}
	v := viewPush(&r)
	if p.Secret == "" {
		v.Secret = r.Secret
	}
	return v, nil
}

type pushListReply struct {
	Pushes []pushView `json:"pushes"`
}

func pushList(c *call, _ *noParams) (any, error) {
	all, err := c.o.Push.Registrations(c.User)
	if err != nil {
		return nil, err
	}
	reply := pushListReply{Pushes: make([]pushView, len(all))}
	for i := range all {
		reply.Pushes[i] = viewPush(&all[i])
	}
	return reply, nil
}

type pushNameParams struct {
	Name string `json:"name"` // "": the client id of the session that asks
}

func pushRemove(c *call, p *pushNameParams) (any, error) {
	name := cmp.Or(p.Name, c.Client)
	found, err := c.o.Push.Remove(c.User, name)
	if err == nil && !found {
		err = chat.Refuse(chat.NotFound, "you have no registration of that name: see push.list")
	}
	return pushNameParams{name}, err
}

func pushTest(c *call, p *pushNameParams) (any, error) {
	name := cmp.Or(p.Name, c.Client)
	return pushNameParams{name}, c.o.Push.Test(c.User, name)
}

// quietView is quiet hours: minutes since midnight in a time zone. From and to alike: none.
type quietView struct {
	From int    `json:"from"`
	To   int    `json:"to"`
	Zone string `json:"zone"`
}

// pushSettingsView is what a user wants of notifications, in requests and replies.
type pushSettingsView struct {
	Private  *bool      `json:"private,omitempty"`
	Mentions *string    `json:"mentions,omitempty"` // of muted conversations: all or muted
	Quiet    *quietView `json:"quiet,omitempty"`
}

const mentionsAll = "all"

// pushSettings changes what the request names and returns all of it.
func pushSettings(c *call, p *pushSettingsView) (any, error) {
	var u notify.UserSettings
	var err error
	if *p == (pushSettingsView{}) {
		u, err = c.o.Push.UserSettings(c.User)
	} else {
		u, err = c.o.Push.UpdateSettings(c.User, p.apply)
	}
	if err != nil {
		return nil, err
	}
	mentions := cmp.Or(u.Mentions, mentionsAll)
	reply := pushSettingsView{Private: &u.Private, Mentions: &mentions}
	if u.Quiet != nil {
		reply.Quiet = (*quietView)(u.Quiet)
	}
	return reply, nil
}

func (p *pushSettingsView) apply(u *notify.UserSettings) {
	if p.Private != nil {
		u.Private = *p.Private
	}
	if p.Mentions != nil {
		if u.Mentions = *p.Mentions; u.Mentions == mentionsAll {
			u.Mentions = ""
		}
	}
	if q := p.Quiet; q != nil {
		if u.Quiet = nil; q.From != q.To {
			u.Quiet = &notify.Quiet{From: q.From, To: q.To, Zone: q.Zone}
		}
	}
}
