package rpc

import (
	"context"
	"math"
	"strconv"
	"strings"

	"github.com/petrelchat/petrel/broker/auth"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

const (
	exportPage = 500    // items of a page
	exportScan = 20_000 // events that a page looks at
)

type userExportParams struct {
	After string `json:"after"` // of the page before
}

type userExportReply struct {
	Items *list  `json:"items"`
	After string `json:"after,omitempty"` // for the next page
	More  bool   `json:"more"`
}

// exportItem is one thing that a user is, has or said: the field that type names.
type exportItem struct {
	Type       string               `json:"type"`
	Account    *exportAccount       `json:"account,omitempty"`
	Profile    *exportProfile       `json:"profile,omitempty"`
	Device     *exportDevice        `json:"device,omitempty"`
	Contact    *contactView         `json:"contact,omitempty"`
	Block      *blockView           `json:"block,omitempty"`
	Setting    *settingView         `json:"setting,omitempty"`
	Membership *exportMembership    `json:"membership,omitempty"`
	Conv       string               `json:"conv,omitempty"` // of the event
	Event      *protocol.EventReply `json:"event,omitempty"`
}

type exportAccount struct {
	User    string `json:"user"`
	Created int64  `json:"created"`
	Admin   bool   `json:"admin"`
}

type exportProfile struct {
	Name     string `json:"name,omitempty"`
	Avatar   string `json:"avatar,omitempty"`
	State    string `json:"state,omitempty"`
	Text     string `json:"text,omitempty"`
	Seen     int64  `json:"seen,omitempty"`
	Receipts bool   `json:"receipts"`
	LastSeen bool   `json:"lastseen"`
	Messages string `json:"messages,omitempty"`
	Calls    string `json:"calls,omitempty"`
	Relay    string `json:"relay,omitempty"`
	Modified int64  `json:"modified,omitempty"`
}

type exportDevice struct {
	Device  string `json:"device"`
	Name    string `json:"name,omitempty"`
	Created int64  `json:"created"`
	Ended   int64  `json:"ended,omitempty"`
	Addr    string `json:"addr,omitempty"`
}

type exportMembership struct {
	Conv   string `json:"conv"`
	Role   string `json:"role,omitempty"` // left out: no member any more
	Since  uint64 `json:"since"`
	Joined uint64 `json:"joined"`
	Left   uint64 `json:"left,omitempty"`
	Read   uint64 `json:"read"`
}

// exporter fills one page. at is where in a section the next item stands.
type exporter struct {
	c       *call
	user    string
	reply   *userExportReply
	section int
	scanned int
}

// The sections, in their order. Each goes on behind a key of its own making.
var exportSections = [...]func(x *exporter, behind string) (more bool, err error){
	(*exporter).facts, (*exporter).contacts, (*exporter).blocks, (*exporter).settings, (*exporter).memberships, (*exporter).events,
}

// userExport gives the caller all that they are, have and said, page by page. What was written by others is
// not part of it.
func userExport(c *call, p *userExportParams) (any, error) {
	if err := c.noteExport(c.User, c.User, p.After); err != nil {
		return nil, err
	}
	return c.export(c.User, p.After)
}

// noteExport puts into the audit trail that somebody takes away all that a user said, once for all pages.
func (c *call) noteExport(who, user, after string) error {
	if after != "" {
		return nil
	}
	var b storage.Batch
	b.Ops = append(b.Ops, auth.AuditOp(auth.AuditEntry{Who: who, What: "user.export", Target: user}))
	return c.tell(storage.OwnLog(user), b)
}

// ExportRequest asks for a page of what a user is, has and said: for administrators.
type ExportRequest struct {
	User  string `json:"user"`
	After string `json:"after"`
}

func adminUserExport(c *call, p *ExportRequest) (any, error) {
	if err := c.account("user", p.User); err != nil {
		return nil, err
	}
	who := c.User
	if who == "" {
		who = auth.Actor(c.ctx)
	}
	if err := c.noteExport(who, p.User, p.After); err != nil {
		return nil, err
	}
	own := *c // what is read is as the user sees it
	own.User = p.User
	return own.export(p.User, p.After)
}

// Export is what rpc/admin.user.export does, for who is not connected. Errors are as those of requests.
func (s *Service) Export(ctx context.Context, r ExportRequest) (any, error) {
	c := &call{Service: s, Caller: Caller{Admin: true}, ctx: ctx, max: MaxReply, now: s.o.Now()}
	return adminUserExport(c, &r)
}

func (c *call) export(user, after string) (any, error) {
	section, behind := 0, ""
	if after != "" {
		n, rest, ok := strings.Cut(after, "/")
		i, err := strconv.Atoi(n)
		if !ok || err != nil || i < 0 || i >= len(exportSections) {
			return nil, chat.Refuse(chat.BadRequest, "after is that of the page before")
		}
		section, behind = i, rest
	}
	reply := &userExportReply{Items: c.list(256)}
	x := &exporter{c: c, user: user, reply: reply}
	for x.section = section; x.section < len(exportSections); x.section++ {
		more, err := exportSections[x.section](x, behind)
		if err != nil {
			return nil, err
		}
		if more {
			reply.More = true
			return reply, c.o.Barrier()
		}
		behind = ""
	}
	reply.After = ""
	return reply, c.o.Barrier()
}

// add adds an item unless the page is full: then the next page goes on behind the one before.
func (x *exporter) add(item *exportItem, key string) (ok bool, err error) {
	if len(x.reply.Items.items) >= exportPage {
		return false, nil
	}
	ok, err = x.reply.Items.add(item)
	if ok {
		x.at(key)
	}
	return ok, err
}

func (x *exporter) at(key string) { x.reply.After = strconv.Itoa(x.section) + "/" + key }

// facts are few: they always fit the first page.
func (x *exporter) facts(string) (more bool, err error) {
	x.at("")
	var items []*exportItem
	if a, ok := x.c.o.Accounts.GetUser(x.user); ok {
		items = append(items, &exportItem{Type: "account", Account: &exportAccount{a.User, a.Created.UnixMilli(), a.Admin}})
	}
	p, err := x.c.o.Profiles.Profile(x.user)
	if err != nil {
		return false, err
	}
	items = append(items, &exportItem{Type: "profile", Profile: &exportProfile{
		p.Name, p.Avatar, p.State, p.Text, p.Seen, !p.NoRead, !p.NoSeen, p.Messages.String(), p.Calls.String(), p.Relay.String(), p.Modified,
	}})
	devices, err := x.c.o.Devices.Devices(x.user)
	if err != nil {
		return false, err
	}
	for _, d := range devices {
		items = append(items, &exportItem{Type: "device", Device: &exportDevice{d.Client, d.Name, d.Created, d.Ended, d.Addr}})
	}
	for _, item := range items {
		if _, err := x.reply.Items.add(item); err != nil {
			return false, err
		}
	}
	return false, nil
}

// records exports one space of records of the user.
func (x *exporter) records(space storage.Space, behind string, item func(name string, v []byte) (*exportItem, error)) (more bool, err error) {
	err = x.c.scan(space, x.user, behind, func(name string, v []byte) (bool, error) {
		it, err := item(name, v)
		if err != nil || it == nil {
			return true, err
		}
		ok, err := x.add(it, name)
		if more = err == nil && !ok; more && x.reply.After == "" {
			x.at(behind)
		}
		return ok, err
	})
	return more, err
}

func (x *exporter) contacts(behind string) (bool, error) {
	return x.records(storage.SpaceContact, behind, func(name string, v []byte) (*exportItem, error) {
		var rec storage.Contact
		if err := storage.Unmarshal(v, &rec); err != nil {
			return nil, err
		}
		return &exportItem{Type: "contact", Contact: &contactView{
			face: face{User: name}, State: rec.State.String(), Conv: chat.DirectID(x.user, name), At: rec.At, // the words are the other's
		}}, nil
	})
}

func (x *exporter) blocks(behind string) (bool, error) {
	return x.records(storage.SpaceBlock, behind, func(name string, v []byte) (*exportItem, error) {
		var rec storage.Block
		if err := storage.Unmarshal(v, &rec); err != nil || rec.At == 0 { // who blocks the user is theirs to know
			return nil, err
		}
		return &exportItem{Type: "block", Block: &blockView{face{User: name}, rec.At}}, nil
	})
}

func (x *exporter) settings(behind string) (bool, error) {
	return x.records(storage.SpaceSetting, behind, func(name string, v []byte) (*exportItem, error) {
		view, ok, err := x.c.listed(name, v)
		if err != nil || !ok {
			return nil, err
		}
		return &exportItem{Type: "setting", Setting: &view}, nil
	})
}

func (x *exporter) memberships(behind string) (bool, error) {
	return x.records(storage.SpaceMembership, behind, func(conv string, v []byte) (*exportItem, error) {
		m, err := storage.DecodeMember(v)
		if err != nil || m.Joined == 0 || m.Pending() {
			return nil, err
		}
		cur, err := x.cursor(conv)
		return &exportItem{Type: "membership", Membership: &exportMembership{
			conv, protocol.RoleName(m.Role), m.Since, m.Joined, m.Left, cur.Read,
		}}, err
	})
}

func (x *exporter) cursor(conv string) (cur chat.Cursor, err error) {
	v, ok, err := x.c.o.Store.Get(storage.In(storage.SpaceCursor).Str(conv).Str(x.user))
	if err == nil && ok {
		cur, err = storage.DecodeCursor(v)
	}
	return cur, err
}

// events exports what the user wrote, conversation by conversation. behind is a conversation and the last seq
// of it that was looked at.
func (x *exporter) events(behind string) (more bool, err error) {
	last, done := uint64(0), ""
	if conv, n, ok := strings.Cut(behind, ":"); ok {
		if last, err = strconv.ParseUint(n, 10, 64); err != nil {
			return false, chat.Refuse(chat.BadRequest, "after is that of the page before")
		}
		if more, err = x.eventsOf(conv, last); more || err != nil {
			return more, err
		}
		done = conv
	}
	err = x.c.scan(storage.SpaceMembership, x.user, done, func(conv string, v []byte) (bool, error) {
		m, err := storage.DecodeMember(v)
		if err != nil || m.Joined == 0 || m.Pending() {
			return true, err
		}
		more, err = x.eventsOf(conv, 0)
		return !more, err
	})
	return more, err
}

// eventsOf exports what the user wrote in one conversation behind a seq, at any time of theirs in it.
func (x *exporter) eventsOf(conv string, last uint64) (more bool, err error) {
	head, _, err := x.c.o.Hub.Head(conv)
	if err != nil || last >= head {
		return false, err
	}
	x.at(conv + ":" + strconv.FormatUint(last, 10))
	err = x.c.events(x.c.o.Store.Read, conv, last+1, min(head, math.MaxInt64), func(ev *chat.Event, _ uint64) (bool, error) {
		if x.scanned++; x.scanned > exportScan {
			more = true
			return false, nil
		}
		key := conv + ":" + strconv.FormatUint(ev.Seq, 10)
		if ev.From != x.user || ev.Kind == chat.KindGone {
			x.at(key)
			return true, nil
		}
		ok, err := x.add(&exportItem{Type: "event", Conv: conv, Event: &protocol.EventReply{Me: x.user, Event: ev}}, key)
		more = err == nil && !ok
		return ok, err
	})
	return more, err
}
