package rpc

import (
	"cmp"
	"encoding/base64"
	"maps"
	"slices"
	"strings"

	qrcode "github.com/skip2/go-qrcode"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// qrSize is the least width of a QR code in pixels; one that needs more modules gets more.
const qrSize = 256

type inviteCreateParams struct {
	Conv    string `json:"conv"`
	Uses    uint32 `json:"uses"`    // how many may come; 0: any number
	Expires int64  `json:"expires"` // ms since 1970; 0: never
	QR      bool   `json:"qr"`
}

// inviteView is an invitation in a reply.
type inviteView struct {
	Conv    string `json:"conv"`
	Code    string `json:"code"`
	Link    string `json:"link"`
	Uses    uint32 `json:"uses"` // how many may come; 0: any number
	Used    uint32 `json:"used"`
	Expires int64  `json:"expires"` // ms since 1970; 0: never
	By      string `json:"by"`
	At      int64  `json:"at"`           // ms since 1970
	QR      string `json:"qr,omitempty"` // the link as a PNG, base64url
}

// inviteCreate makes an invitation. Whoever learns its code can join, so the code is as random as the id of a private group.
func inviteCreate(c *call, p *inviteCreateParams) (any, error) {
	cmd := chat.Command{
		Op: chat.OpInvite, Code: c.o.NewID(),
		Invite: chat.Invite{Uses: p.Uses, Expires: p.Expires},
	}
	if err := c.do(p.Conv, cmd); err != nil {
		return nil, err
	}
	var view inviteView
	err := c.query(p.Conv, func(v hub.View) error {
		inv, ok := v.State.Invites(c.now)[cmd.Code]
		if !ok { // revoked, or its maker demoted, in the meantime
			return chat.NoSuchInvitation()
		}
		view = c.viewInvite(p.Conv, cmd.Code, &inv)
		return nil
	})
	if err != nil || !p.QR {
		return &view, err
	}
	png, err := qrcode.Encode(view.Link, qrcode.Medium, qrSize)
	view.QR = base64.RawURLEncoding.EncodeToString(png)
	return &view, err
}

func (c *call) viewInvite(conv, code string, i *chat.Invite) inviteView {
	return inviteView{
		Conv: conv, Code: code, Link: c.link(code),
		Uses: i.Uses, Used: i.Used, Expires: i.Expires, By: i.By, At: i.At,
	}
}

// link is what the bearer of a code opens: a page of this server's users where it has one, else what an
// application registers for. A code needs no escaping.
func (c *call) link(code string) string {
	if c.o.PublicURL != nil {
		if base := c.o.PublicURL(); base != "" {
			return base + "/join/" + code
		}
	}
	return "petrel:join?code=" + code
}

type inviteListReply struct {
	Invites *list `json:"invites"`
	More    bool  `json:"more"`
}

// inviteList lists the invitations that hold, the oldest first: for those who may invite. There are at most
// a hundred of them, so more says only that the reply's room was short.
func inviteList(c *call, p *convParams) (any, error) {
	var page []inviteView
	reply := inviteListReply{Invites: c.list(32)}
	err := c.query(p.Conv, func(v hub.View) error {
		if err := v.State.May(c.User, chat.ActAdd); err != nil {
			return err
		}
		invites := v.State.Invites(c.now)
		for _, code := range slices.Collect(maps.Keys(invites)) {
			inv := invites[code]
			page = append(page, c.viewInvite(p.Conv, code, &inv))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(page, func(a, b inviteView) int {
		return cmp.Or(cmp.Compare(a.At, b.At), strings.Compare(a.Code, b.Code))
	})
	return reply, fill(reply.Invites, page, &reply.More)
}

type inviteParams struct {
	Conv string `json:"conv"`
	Code string `json:"code"`
}

// codeOf reads a code as somebody typed it.
func codeOf(code string) (string, error) {
	if code == "" {
		return "", chat.Refuse(chat.BadRequest, "code is missing: name the invitation")
	}
	if code = strings.ToLower(code); !chat.ValidGroup(code) { // no code is anything else
		return "", chat.NoSuchInvitation()
	}
	return code, nil
}

type inviteRevoked struct {
	Conv    string `json:"conv"`
	Code    string `json:"code"`
	Revoked bool   `json:"revoked"`
}

func inviteRevoke(c *call, p *inviteParams) (any, error) {
	code, err := codeOf(p.Code)
	if err != nil {
		return nil, err
	}
	if p.Conv == "" {
		if p.Conv, err = c.invitesTo(code); err != nil {
			return nil, err
		}
		// Who is not in the group learns nothing of a code by it, not even that it was one.
		if c.query(p.Conv, func(v hub.View) error { return v.State.MayRead(c.User) }) != nil {
			return nil, chat.NoSuchInvitation()
		}
	}
	return inviteRevoked{p.Conv, code, true}, c.do(p.Conv, chat.Command{Op: chat.OpRevoke, Code: code})
}

// inviteAccept joins the group that a code leads to; its bearer need not know which.
func inviteAccept(c *call, p *inviteParams) (any, error) {
	code, err := codeOf(p.Code)
	if err != nil {
		return nil, err
	}
	conv, err := c.invitesTo(code)
	if err != nil {
		return nil, err
	}
	if p.Conv != "" && p.Conv != conv {
		return nil, chat.NoSuchInvitation()
	}
	return groupState{conv, "member"}, c.do(conv, chat.Command{Op: chat.OpAccept, Code: code})
}

// invitesTo returns the group that a code leads to. A code that was only just made may not be durable yet:
// what is done with it waits for that.
func (c *call) invitesTo(code string) (string, error) {
	conv, ok, err := storage.ConvOfCode(c.o.Store, code)
	if err == nil && !ok {
		err = chat.NoSuchInvitation()
	}
	return conv, err
}
