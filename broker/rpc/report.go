package rpc

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/petrelchat/petrel/broker/auth"
	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

const (
	maxReason     = 1 << 10 // bytes
	reportBefore  = 4       // events before the reported one that go with it
	reportsADay   = 20      // of one user
	reportTellMax = 100     // moderators who are told
)

type reportParams struct {
	Conv   string `json:"conv"`
	Seq    uint64 `json:"seq"`
	User   string `json:"user"`
	Reason string `json:"reason"`
}

type reportReply struct {
	ID string `json:"id"`
}

// report tells of an event, or of a user: to the moderators of a group, and to the administrators, who have
// all reports. The reported event goes with it, and some before it, as they are now: deleting them later does
// not take them away from who has to decide.
func report(c *call, p *reportParams) (any, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	rec := storage.Report{By: c.User, Conv: p.Conv, Seq: p.Seq, User: p.User, Reason: p.Reason}
	if p.User != "" {
		if err := c.peer(p.User); err != nil {
			return nil, err
		}
	}
	var tell []hub.Own
	if p.Conv != "" {
		author, err := c.attach(&rec)
		if err == nil {
			tell, err = c.moderators(&rec, author)
		}
		if err != nil {
			return nil, err
		}
	}
	defer c.people.lock(c.User)()
	var b storage.Batch
	if err := c.spend(&b, "reports", reportsADay); err != nil {
		return nil, err
	}
	var n [8]byte
	rand.Read(n[:])
	at, id := uint64(c.now), binary.BigEndian.Uint64(n[:])
	b.Set(storage.ReportKey(at, id), storage.Marshal(rec))
	b.Ops = append(b.Ops, auth.AuditOp(auth.AuditEntry{Who: c.User, What: "report", Target: rec.User, Conv: rec.Conv, Seq: rec.Seq}))
	return reportReply{reportID(at, id)}, c.tell(storage.OwnLog(c.User), b, tell...)
}

func (p *reportParams) check() error {
	switch {
	case p.Conv == "" && p.User == "":
		return chat.Refuse(chat.BadRequest, "name what you report: an event by conv and seq, or a user")
	case p.Conv == "" && p.Seq != 0:
		return chat.Refuse(chat.BadRequest, "seq is that of an event in conv: name the conversation too")
	case strings.TrimSpace(p.Reason) == "" || len(p.Reason) > maxReason || !printable(strings.NewReplacer("\n", "", "\t", "").Replace(p.Reason)):
		return chat.Refuse(chat.BadRequest, "reason is 1 to %d bytes that say what is wrong", maxReason)
	}
	return nil
}

func reportID(at, n uint64) string { return fmt.Sprintf("%d-%d", at, n) }

func parseReportID(s string) (at, n uint64, ok bool) {
	a, b, ok := strings.Cut(s, "-")
	at, err1 := strconv.ParseUint(a, 10, 64)
	n, err2 := strconv.ParseUint(b, 10, 64)
	return at, n, ok && err1 == nil && err2 == nil
}

// spend counts what the caller does today, and refuses what is too much. The caller's lock is held.
func (c *call) spend(b *storage.Batch, what string, most int) error {
	const day = 24 * 60 * 60 * 1000
	k := storage.TallyKey(c.User, what)
	var t storage.Tally
	v, ok, err := c.o.Store.Get(k)
	if err == nil && ok {
		err = storage.Unmarshal(v, &t)
	}
	if err != nil {
		return err
	}
	if today := c.now / day; t.Day != today {
		t = storage.Tally{Day: today}
	}
	if t.N++; t.N > most {
		return chat.Refuse(chat.RateLimited, "that was the %dth time today: go on tomorrow", most)
	}
	b.Set(k, storage.Marshal(t))
	return nil
}

// attach copies the reported event, and some before it, if the reporter may see them. It returns who wrote it.
func (c *call) attach(rec *storage.Report) (author string, err error) {
	var head uint64
	from, err := c.readable(rec.Conv, &head)
	if err != nil || rec.Seq == 0 {
		return "", err
	}
	if rec.Seq < from || rec.Seq > head {
		return "", chat.Refuse(chat.NotFound, "the conversation has no such event for you: seq is %d to %d", from, head)
	}
	first := max(from, 1)
	if rec.Seq > reportBefore {
		first = max(first, rec.Seq-reportBefore)
	}
	err = c.events(c.o.Store.Read, rec.Conv, first, rec.Seq, func(ev *chat.Event, _ uint64) (bool, error) {
		rec.Events = append(rec.Events, protocol.EncodeStored(nil, ev))
		rec.Seqs = append(rec.Seqs, ev.Seq)
		if ev.Seq != rec.Seq {
			return true, nil
		}
		if ev.Kind == chat.KindGone {
			return false, chat.Refuse(chat.NotFound, "event %d is gone", ev.Seq)
		}
		if author = ev.From; rec.User == "" {
			rec.User = author
		}
		return false, nil
	})
	return author, err
}

// moderators returns what the moderators of a group are told, but for the reporter, who is reported, and who wrote
// what is reported.
func (c *call) moderators(rec *storage.Report, author string) (tell []hub.Own, err error) {
	if chat.IsDirect(rec.Conv) {
		return nil, nil
	}
	err = c.query(rec.Conv, func(v hub.View) error {
		for _, user := range v.State.MemberList() {
			m, _ := v.State.Member(user)
			if m.Role < chat.RoleModerator || user == c.User || user == rec.User || user == author || len(tell) == reportTellMax {
				continue
			}
			tell = append(tell, hub.Own{User: user, Event: chat.Event{
				From: c.User, At: c.now, Kind: chat.KindReport, Conv: rec.Conv, Re: rec.Seq, Text: rec.Reason,
				Member: &chat.MemberChange{User: c.User},
			}})
		}
		return nil
	})
	return tell, err
}

type adminReportsParams struct {
	pageParams
	All bool `json:"all"` // settled ones too
}

// reportView is a report as administrators see it.
type reportView struct {
	ID     string          `json:"id"`
	At     int64           `json:"at"`
	By     string          `json:"by"`
	User   string          `json:"user,omitempty"`
	Conv   string          `json:"conv,omitempty"`
	Seq    uint64          `json:"seq,omitempty"`
	Reason string          `json:"reason"`
	Events protocol.Events `json:"events"`
	Done   int64           `json:"done,omitempty"`
	DoneBy string          `json:"doneby,omitempty"`
	Note   string          `json:"note,omitempty"`
}

type adminReportsReply struct {
	Reports *list  `json:"reports"`
	After   string `json:"after,omitempty"`
	More    bool   `json:"more"`
}

// adminReports lists the open reports, the oldest first.
func adminReports(c *call, p *adminReportsParams) (any, error) {
	limit, err := pageOf(p.Limit, 20, 100)
	if err != nil {
		return nil, err
	}
	var after storage.Key
	if p.After != "" {
		at, n, ok := parseReportID(p.After)
		if !ok {
			return nil, chat.Refuse(chat.BadRequest, "after is the id of a report")
		}
		after = storage.ReportKey(at, n)
	}
	reply := adminReportsReply{Reports: c.list(64)}
	var bad error
	err = c.o.Store.Scan(storage.In(storage.SpaceReport), after, func(k storage.Key, v []byte) bool {
		at, rest, ok1 := storage.TakeU64(k[1:])
		n, _, ok2 := storage.TakeU64(rest)
		var rec storage.Report
		if bad = storage.Unmarshal(v, &rec); bad != nil || !ok1 || !ok2 {
			return false
		}
		if rec.Done != 0 && !p.All {
			return true
		}
		if reply.More = len(reply.Reports.items) == limit; reply.More {
			return false
		}
		var view *reportView
		if view, bad = viewReport(at, n, &rec); bad != nil {
			return false
		}
		ok, err := reply.Reports.add(view)
		if bad = err; ok {
			reply.After = view.ID
		}
		reply.More = !ok
		return ok && bad == nil
	})
	if !reply.More {
		reply.After = ""
	}
	if bad != nil {
		err = bad
	}
	if err != nil {
		return nil, err
	}
	return reply, c.o.Barrier()
}

func viewReport(at, n uint64, rec *storage.Report) (*reportView, error) {
	view := &reportView{
		ID: reportID(at, n), At: int64(at), By: rec.By, User: rec.User, Conv: rec.Conv, Seq: rec.Seq, Reason: rec.Reason,
		Done: rec.Done, DoneBy: rec.DoneBy, Note: rec.Note, Events: protocol.Events{List: []chat.Event{}},
	}
	for i, b := range rec.Events {
		ev, err := protocol.DecodeStored(b)
		if err != nil {
			return nil, err
		}
		if i < len(rec.Seqs) {
			ev.Seq = rec.Seqs[i]
		}
		view.Events.List = append(view.Events.List, ev)
	}
	return view, nil
}

type adminReportResolveParams struct {
	ID   string `json:"id"`
	Note string `json:"note"`
}

// adminReportResolve settles a report; again, it changes who did and the note.
func adminReportResolve(c *call, p *adminReportResolveParams) (any, error) {
	at, n, ok := parseReportID(p.ID)
	if !ok {
		return nil, chat.Refuse(chat.BadRequest, "id is that of a report: admin.reports lists them")
	}
	if len(p.Note) > maxReason || !printable(strings.ReplaceAll(p.Note, "\n", "")) {
		return nil, chat.Refuse(chat.BadRequest, "note is at most %d bytes of text", maxReason)
	}
	defer c.people.lock("report " + p.ID)()
	v, ok, err := c.o.Store.Get(storage.ReportKey(at, n))
	if err == nil && !ok {
		err = chat.Refuse(chat.NotFound, "there is no report %s", p.ID)
	}
	if err != nil {
		return nil, err
	}
	var rec storage.Report
	if err := storage.Unmarshal(v, &rec); err != nil {
		return nil, err
	}
	rec.Done, rec.DoneBy, rec.Note = c.now, c.User, p.Note
	var b storage.Batch
	b.Set(storage.ReportKey(at, n), storage.Marshal(rec))
	b.Ops = append(b.Ops, auth.AuditOp(auth.AuditEntry{Who: c.User, What: "report.resolve", Target: rec.User, Conv: rec.Conv, Seq: rec.Seq, Note: p.ID}))
	if err := c.tell(storage.OwnLog(c.User), b); err != nil {
		return nil, err
	}
	return viewReport(at, n, &rec)
}
