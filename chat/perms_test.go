package chat_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/petrelchat/petrel/chat"
)

// The permission table as data: who may do what, for each least role that a group can set. The columns are
// none (an outsider), member, moderator, admin, owner.
var table = map[string]map[chat.Role]string{
	//             default  member            moderator         admin             owner
	"post":   {none: "-++++", member: "-++++", moderator: "--+++", admin: "---++", owner: "----+"},
	"add":    {none: "--+++", member: "-++++", moderator: "--+++", admin: "---++", owner: "----+"},
	"pin":    {none: "--+++", member: "-++++", moderator: "--+++", admin: "---++", owner: "----+"},
	"info":   {none: "---++", member: "-++++", moderator: "--+++", admin: "---++", owner: "----+"},
	"delete": {none: "--+++", member: "-++++", moderator: "--+++", admin: "---++", owner: "----+"},
	"call":   {none: "-++++", member: "-++++", moderator: "--+++", admin: "---++", owner: "----+"},
}

// What no setting changes: the row is the actor's role, the columns are whom it is done to (none, member,
// moderator, admin, owner). "." is for what makes no sense, whoever asks.
var upon = map[string]map[chat.Role]string{
	"remove": {none: "-----", member: "-----", moderator: ".+---", admin: ".++--", owner: ".+++-"},
	"ban":    {none: "-----", member: "-----", moderator: "++---", admin: "+++--", owner: "++++-"},
	"unban":  {none: "-----", member: "-----", moderator: "+++++", admin: "+++++", owner: "+++++"},
	"mute":   {none: "-----", member: "-----", moderator: ".+---", admin: ".++--", owner: ".+++-"},
	"promote to moderator": {
		none: "-----", member: "-----", moderator: "-----", admin: ".++--", owner: ".+++-",
	},
	"promote to owner": {none: "-----", member: "-----", moderator: "-----", admin: ".----", owner: ".+++-"},
	"delete a post of": {none: "-----", member: "-----", moderator: "++---", admin: "+++--", owner: "++++-"},
}

var ranks = []chat.Role{none, member, moderator, admin, owner}

// cast is a group in which each role has two: the actor "a-ROLE", and the target "t-ROLE", of whom each wrote
// a post. "t-none" did so and left. There is one owner only.
func cast(t *testing.T, settings string) (r *room, posts map[chat.Role]uint64) {
	t.Helper()
	r = newRoom(t, chat.NewGroup("team"))
	names := []string{"t-none"}
	for _, rank := range ranks[1:4] {
		names = append(names, "a-"+rank.String(), "t-"+rank.String())
	}
	r.must(create("a-owner", "title=t join=request", names...))
	for _, rank := range ranks[2:4] {
		r.must(on(chat.OpRole, "a-owner", "a-"+rank.String(), rank))
		r.must(on(chat.OpRole, "a-owner", "t-"+rank.String(), rank))
	}
	posts = map[chat.Role]uint64{}
	for _, rank := range ranks {
		who := "t-" + rank.String()
		if rank == owner {
			who = "a-owner"
		}
		r.must(post(who, "hello"))
		posts[rank] = r.s.Head
	}
	r.must(op(chat.OpLeave, "t-none"))
	r.must(chat.Command{Op: chat.OpJoin, Actor: "asks"})
	if settings != "" {
		r.must(update("a-owner", settings))
	}
	return r, posts
}

// attempts are the ways to do what an action names.
func attempts(action, who string, posts map[chat.Role]uint64) map[string]chat.Command {
	switch action {
	case "post":
		return map[string]chat.Command{
			"post": post(who, "t"), "reply": act(who, chat.KindPost, posts[member]),
			"react": act(who, chat.KindReact, posts[member]),
		}
	case "add":
		return map[string]chat.Command{
			"add": on(chat.OpAdd, who, "new", member), "approve": on(chat.OpApprove, who, "asks", none),
			"deny": on(chat.OpDeny, who, "asks", none), "invite": code(chat.OpInvite, who, "c1", 0, 0),
		}
	case "pin":
		return map[string]chat.Command{"pin": act(who, chat.KindPin, posts[member])}
	case "info":
		return map[string]chat.Command{"title": update(who, "title=new"), "join": update(who, "join=open")}
	case "delete":
		return map[string]chat.Command{"delete": act(who, chat.KindDelete, posts[none])} // of one who has left
	}
	return nil
}

// TestPermissionTable tries each action in each group as each role.
func TestPermissionTable(t *testing.T) {
	tried := 0
	for action, rows := range table {
		for least, row := range rows {
			settings := ""
			if least != none {
				settings = fmt.Sprintf("p.%s=%s", action, least)
			}
			for i, rank := range ranks {
				r, posts := cast(t, settings)
				who := "a-" + rank.String()
				if may := r.s.May(who, actionNamed(t, action)) == nil; may != (row[i] == '+') {
					t.Errorf("%s with %q as %s: May says %v", action, settings, rank, may)
				}
				for name, c := range attempts(action, who, posts) {
					r, _ := cast(t, settings)
					judge(t, r, fmt.Sprintf("%s with %q as %s", name, settings, rank), row[i], rank == none, c)
					tried++
				}
			}
		}
	}
	if want := (3 + 4 + 1 + 2 + 1) * 5 * 5; tried != want {
		t.Errorf("%d attempts, want %d", tried, want)
	}
}

// judge carries out c and compares what comes of it with the mark of the table.
func judge(t *testing.T, r *room, what string, mark byte, outsider bool, c chat.Command) {
	t.Helper()
	r.fill(&c)
	d, err := r.s.Decide(c, r.now, r.lim)
	var refusal *chat.Refusal
	errors.As(err, &refusal)
	switch {
	case mark == '+' && err != nil:
		t.Errorf("%s is refused: %v", what, err)
	case mark == '+' && len(d.Events)+len(d.Gate) == 0:
		t.Errorf("%s leads to nothing", what)
	case mark != '+' && err == nil:
		t.Errorf("%s leads to %v", what, lines(d.Events))
	case mark == '-' && outsider && !errors.Is(err, chat.NoSuchConversation()):
		t.Errorf("%s tells an outsider more than it should: %v", what, err)
	case mark == '-' && !outsider && refusal.Code != chat.NotAuthorized:
		t.Errorf("%s is refused with %v", what, err)
	case mark == '.' && refusal.Code != chat.NotFound && refusal.Code != chat.BadRequest:
		t.Errorf("%s is refused with %v", what, err)
	}
}

func actionNamed(t *testing.T, name string) chat.Action {
	for _, a := range chat.Actions() {
		if a.String() == name {
			return a
		}
	}
	t.Fatalf("no action %s", name)
	return 0
}

// TestUponOthers tries what is done to somebody, for each pair of roles, and whatever the table says: the most
// generous one changes nothing about ranks.
func TestUponOthers(t *testing.T) {
	for _, settings := range []string{"", "p.post=member p.add=member p.pin=member p.info=member p.delete=member"} {
		for what, rows := range upon {
			for _, rank := range ranks {
				for i, target := range ranks {
					r, posts := cast(t, settings)
					who, whom := "a-"+rank.String(), "t-"+target.String()
					if target == owner {
						if rank == owner {
							continue // to oneself
						}
						whom = "a-owner"
					}
					mark := rows[rank][i]
					if what == "delete a post of" && settings != "" && rank == member && target == none {
						mark = '+' // the group lets members delete posts of lower roles: of those who have none any more
					}
					c := done(what, who, whom, posts[target])
					if what == "unban" {
						if target != none {
							continue // members aren't banned
						}
						r.must(on(chat.OpBan, "a-owner", whom, none))
					}
					if what == "promote to moderator" && target == moderator && mark == '+' {
						r.idle(c) // they are
						continue
					}
					judge(t, r, fmt.Sprintf("%s %s as %s with %q", what, target, rank, settings), mark, rank == none, c)
				}
			}
		}
	}
}

func done(what, who, whom string, seq uint64) chat.Command {
	switch what {
	case "remove":
		return on(chat.OpRemove, who, whom, none)
	case "ban":
		return on(chat.OpBan, who, whom, none)
	case "unban":
		return on(chat.OpUnban, who, whom, none)
	case "mute":
		return until(chat.OpMute, who, whom, 1<<40)
	case "promote to moderator":
		return on(chat.OpRole, who, whom, moderator)
	case "promote to owner":
		return on(chat.OpRole, who, whom, owner)
	}
	return act(who, chat.KindDelete, seq)
}

// TestWhoSetsPermissions tries each change of each entry of the table as each role: an admin or the owner,
// and nobody beyond their own role.
func TestWhoSetsPermissions(t *testing.T) {
	for _, a := range chat.Actions() {
		for _, from := range ranks[1:] {
			for _, to := range ranks[1:] {
				for _, rank := range ranks {
					r, _ := cast(t, fmt.Sprintf("p.post=member p.%s=%s", a, from))
					c := update("a-"+rank.String(), fmt.Sprintf("p.%s=%s", a, to))
					what := fmt.Sprintf("p.%s from %s to %s as %s", a, from, to, rank)
					switch may := rank >= admin && from <= rank && to <= rank; {
					case rank == none:
						r.hidden(c)
					case from == to && rank >= admin:
						r.idle(c)
					case may:
						judge(t, r, what, '+', false, c)
					default:
						judge(t, r, what, '-', false, c)
					}
				}
			}
		}
	}
	r, _ := cast(t, "p.info=member")
	r.must(update("a-member", "title=new"))
	r.no(chat.NotAuthorized, "permissions", update("a-member", "title=newer p.post=member"))
	r.no(chat.NotAuthorized, "ask the owner", update("a-admin", "title=newer p.pin=owner"))
	r.no(chat.BadRequest, "role is", update("a-owner", "p.pin=king"))
	r.must(update("a-owner", "p.info=owner"))
	r.no(chat.NotAuthorized, "only the owner changes", update("a-admin", "title=newer"))
	r.must(update("a-admin", "p.pin=admin")) // the table itself does not depend on info
}

// TestAnnouncements: a group in which only some post; everybody reads, and takes back their own.
func TestAnnouncements(t *testing.T) {
	r := newTeam(t, "")
	r.must(post("ben", "before"))
	mine := r.s.Head
	r.must(update("ada", "p.post=moderator"))
	r.no(chat.NotAuthorized, "only a moderator or above posts here", post("ben", "hello"))
	r.no(chat.NotAuthorized, "posts here", act("ben", chat.KindEdit, mine))
	r.no(chat.NotAuthorized, "posts here", act("ben", chat.KindReact, mine))
	r.must(post("mo", "news"))
	if err := r.s.MayRead("ben"); err != nil || r.s.MayPost("ben", r.now) == nil {
		t.Fatalf("ben may read: %v; may post: %v", err, r.s.MayPost("ben", r.now))
	}
	r.must(act("ben", chat.KindDelete, mine))
}

// TestARetryIsAnsweredAlsoToTheMuted: what was stored stays stored.
func TestARetryIsAnsweredAlsoToTheMuted(t *testing.T) {
	r := newTeam(t, "")
	c := post("ben", "hello")
	c.Event.ID = "x"
	r.must(c)
	r.must(until(chat.OpMute, "mo", "ben", r.now+10_000))
	r.idle(c)
	c.Event.Text = "changed"
	r.no(chat.NotAuthorized, "muted you in this group for 10 seconds more", c)
}
