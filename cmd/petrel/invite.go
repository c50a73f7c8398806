package main

import (
	"context"
	"fmt"
	"net/url"
	"path"
	"strings"
	"time"

	qrcode "github.com/skip2/go-qrcode"

	"github.com/petrelchat/petrel/client"
)

type inviteCmd struct {
	Create inviteCreateCmd `cmd:"" help:"Make an invitation to a group: who has it can join."`
	List   inviteListCmd   `cmd:"" help:"List the invitations that hold."`
	Revoke inviteRevokeCmd `cmd:"" help:"End an invitation."`
	Accept inviteAcceptCmd `cmd:"" help:"Join the group that an invitation leads to."`
}

type inviteCreateCmd struct {
	talkFlags
	Conv    string `arg:"" help:"The id of the group."`
	Uses    uint32 `help:"How many people may come; 0: any number." placeholder:"N"`
	Expires string `help:"When it ends: 2026-05-01, or a duration from now, like 48h; without it never." placeholder:"WHEN"`
	QR      bool   `name:"qr" help:"Show the link as a QR code too, for the camera of a phone."`
}

func (c inviteCreateCmd) Run(ctx context.Context, con console) error {
	expires, err := later("--expires", c.Expires, time.Now())
	if err != nil {
		return err
	}
	return c.ask(ctx, con, func(ctx context.Context, t *talk) error {
		i, err := t.Invites().Create(ctx, client.NewInvite{Conv: c.Conv, Uses: c.Uses, Expires: expires})
		if err != nil {
			return err
		}
		if err := t.say(i, "%s", i.Link); err != nil || t.json || !c.QR {
			return err
		}
		code, err := qr(i.Link)
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(con.out, code)
		return err
	})
}

// qr draws a link with half blocks, two modules a character. Dark modules are drawn as spaces on the light frame that
// the standard asks for, so it reads on a terminal with a dark background; most readers take it the other way round too.
func qr(link string) (string, error) {
	code, err := qrcode.New(link, qrcode.Low)
	if err != nil {
		return "", err
	}
	return code.ToSmallString(false), nil
}

type inviteListCmd struct {
	talkFlags
	Conv string `arg:"" help:"The id of the group."`
}

func (c inviteListCmd) Run(ctx context.Context, con console) error {
	return c.ask(ctx, con, func(ctx context.Context, t *talk) error {
		page, err := t.Invites().List(ctx, c.Conv)
		if err != nil {
			return err
		}
		l := t.newList("CODE\tUSED\tEXPIRES\tBY\tMADE")
		for _, i := range page.Items {
			used := fmt.Sprint(i.Used)
			if i.Uses != 0 {
				used += fmt.Sprintf(" of %d", i.Uses)
			}
			if err := l.row(i, i.Code, used, moments(i.Expires, "never"), i.By, moments(i.At, "")); err != nil {
				return err
			}
		}
		return l.end()
	})
}

type inviteRevokeCmd struct {
	talkFlags
	Code string `arg:"" help:"The code of the invitation, or its link."`
}

func (c inviteRevokeCmd) Run(ctx context.Context, con console) error {
	return c.ask(ctx, con, func(ctx context.Context, t *talk) error {
		conv, err := t.Invites().Revoke(ctx, codeOf(c.Code), "")
		if err != nil {
			return err
		}
		return t.say(convOnly{conv}, "revoked an invitation to %s", conv)
	})
}

type inviteAcceptCmd struct {
	talkFlags
	Code string `arg:"" help:"The code of the invitation, or its link."`
}

func (c inviteAcceptCmd) Run(ctx context.Context, con console) error {
	return c.ask(ctx, con, func(ctx context.Context, t *talk) error {
		conv, err := t.Invites().Accept(ctx, codeOf(c.Code), "")
		if err != nil {
			return err
		}
		return t.say(convOnly{conv}, "joined %s", conv)
	})
}

// codeOf takes the code out of a link: petrel:join?code=CODE, or a page …/join/CODE.
func codeOf(s string) string {
	u, err := url.Parse(strings.TrimSpace(s))
	if err != nil || u.Scheme == "" {
		return strings.TrimSpace(s)
	}
	if code := u.Query().Get("code"); code != "" {
		return code
	}
	return path.Base(u.Path)
}
