package main

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/cmd/petrel/internal/termtext"
)

type groupsCmd struct {
	List      groupsListCmd      `cmd:"" default:"withargs" help:"List your groups."`
	Show      groupsShowCmd      `cmd:"" help:"Show a group's settings."`
	Create    groupsCreateCmd    `cmd:"" help:"Create a group; it is yours."`
	Set       groupsSetCmd       `cmd:"" help:"Change a group's settings."`
	Delete    groupsDeleteCmd    `cmd:"" help:"End a group for all its members."`
	Join      groupsJoinCmd      `cmd:"" help:"Join an open group, or ask to be let in."`
	Leave     groupsLeaveCmd     `cmd:"" help:"Leave a group."`
	Search    groupsSearchCmd    `cmd:"" help:"Find public groups."`
	Recommend groupsRecommendCmd `cmd:"" help:"Public groups that may be for you."`
	Members   membersCmd         `cmd:"" help:"Members of a group: list, add, remove, role, ban, unban, mute, unmute."`
	Requests  requestsCmd        `cmd:"" help:"Requests to join: list, approve, deny."`
}

type groupsListCmd struct {
	talkFlags
	All bool `help:"Direct conversations too."`
}

// convJSON is a conversation in a list.
type convJSON struct {
	Conv     string        `json:"conv"`
	Kind     string        `json:"kind"`
	Title    string        `json:"title,omitempty"`
	Role     string        `json:"role,omitempty"`
	Head     uint64        `json:"head"`
	Read     uint64        `json:"read"`
	Unread   uint64        `json:"unread"`
	Mentions int           `json:"mentions,omitempty"`
	Muted    bool          `json:"muted,omitempty"`
	Archived bool          `json:"archived,omitempty"`
	Pinned   bool          `json:"pinned,omitempty"`
	Pending  bool          `json:"pending,omitempty"`
	At       client.Millis `json:"at"`
}

func (c groupsListCmd) Run(ctx context.Context, con console) error {
	return c.ask(ctx, con, func(ctx context.Context, t *talk) error {
		l := t.newList("CONVERSATION\tTITLE\tROLE\tUNREAD\tLAST ACTIVE")
		for r, err := range t.Convs().List(ctx) {
			if err != nil {
				return err
			}
			if r.Kind == "direct" && !c.All {
				continue
			}
			muted := r.Mute == client.ForGood || r.Mute.Time().After(time.Now())
			row := convJSON{r.Conv, r.Kind, r.Title, r.Role, r.Head, r.Read, r.Unread, r.Mentions, muted, r.Archived, r.Pinned, r.Pending, r.At}
			if err := l.row(row, r.Conv, cut(r.Title, 40), r.Role, fmt.Sprint(r.Unread), moments(r.At, "")); err != nil {
				return err
			}
		}
		return l.end()
	})
}

type groupsShowCmd struct {
	talkFlags
	Conv string `arg:"" help:"The id of the group."`
}

func (c groupsShowCmd) Run(ctx context.Context, con console) error {
	return c.ask(ctx, con, func(ctx context.Context, t *talk) error {
		conv, err := t.conv(c.Conv)
		if err != nil {
			return err
		}
		g, err := t.Groups().Get(ctx, conv)
		if err != nil {
			return err
		}
		return t.showGroup(&g)
	})
}

// showGroup prints what there is to know of a group.
func (t *talk) showGroup(g *client.Group) error {
	if t.json {
		return writeJSON(t.con.out, g)
	}
	members := fmt.Sprint(g.Members)
	if g.Limit != 0 {
		members += fmt.Sprintf(" of %d", g.Limit)
	}
	rows := [][2]string{
		{"group", g.Conv}, {"title", g.Title}, {"about", g.About}, {"visibility", g.Visibility}, {"join", g.Join}, {"history", g.History},
		{"members", members}, {"your role", g.Role}, {"forward", g.Forward}, {"expire", seconds(g.Expire)}, {"withdraw", seconds(g.Withdraw)},
	}
	for _, action := range slices.Sorted(maps.Keys(g.Perms)) {
		rows = append(rows, [2]string{action, g.Perms[action] + " and above"})
	}
	if g.Pending {
		rows = append(rows, [2]string{"request", "you have asked to join"})
	}
	for _, r := range rows {
		if r[1] == "" {
			continue
		}
		if _, err := fmt.Fprintf(t.con.out, "%-11s %s\n", termtext.Line(r[0]), termtext.Line(r[1])); err != nil {
			return err
		}
	}
	return nil
}

func seconds(n uint32) string {
	if n == 0 {
		return ""
	}
	return (time.Duration(n) * time.Second).String()
}

// settingFlags are the settings of a group. What is not given stays as it is, or is as the server has it.
type settingFlags struct {
	About      *string           `help:"What it is about, at most 1,024 bytes."`
	Visibility *string           `help:"private or public: whether others than members can find it." placeholder:"WHO"`
	Join       *string           `help:"invite, request or open: how people come in." placeholder:"HOW"`
	History    *string           `help:"all or joined: what new members see." placeholder:"WHAT"`
	Limit      *uint32           `help:"Most members; 0: the server's limit." placeholder:"N"`
	Forward    *string           `help:"origin or hidden: whether forwarded messages tell where they are from." placeholder:"WHAT"`
	Expire     *time.Duration    `help:"Messages disappear after this time; 0: never." placeholder:"DURATION"`
	Withdraw   *time.Duration    `help:"How long authors may delete for everyone; 0: always." placeholder:"DURATION"`
	Perm       map[string]string `help:"Who may post, add, pin, info, delete, call: the least role, as in post=moderator. May be repeated." placeholder:"ACTION=ROLE" mapsep:","`
}

func (f settingFlags) settings() (client.GroupSettings, error) {
	s := client.GroupSettings{About: f.About, Visibility: f.Visibility, Join: f.Join, History: f.History, Limit: f.Limit, Forward: f.Forward, Perms: f.Perm}
	for _, d := range []struct {
		flag string
		from *time.Duration
		to   **uint32
	}{{"--expire", f.Expire, &s.Expire}, {"--withdraw", f.Withdraw, &s.Withdraw}} {
		if d.from == nil {
			continue
		}
		n := *d.from / time.Second
		if *d.from < 0 || *d.from%time.Second != 0 || n > 1<<32-1 {
			return s, usagef("%s: %v must be whole seconds, 0 or more", d.flag, *d.from)
		}
		*d.to = new(uint32(n))
	}
	return s, nil
}

type groupsCreateCmd struct {
	talkFlags
	settingFlags
	Title  string   `arg:"" help:"Its title, 1 to 128 bytes."`
	ID     string   `name:"id" help:"Its id; without it the server gives one, which nobody can guess." placeholder:"ID"`
	Member []string `short:"m" help:"Users who are members from the beginning." placeholder:"USER"`
}

func (c groupsCreateCmd) Run(ctx context.Context, con console) error {
	settings, err := c.settings()
	if err != nil {
		return err
	}
	settings.Title = &c.Title
	return c.ask(ctx, con, func(ctx context.Context, t *talk) error {
		conv, err := t.Groups().Create(ctx, client.NewGroup{ID: c.ID, Members: c.Member, GroupSettings: settings})
		if err != nil {
			return err
		}
		return t.say(convOnly{conv}, "%s", conv)
	})
}

// convOnly is the answer of what makes or finds a conversation.
type convOnly struct {
	Conv string `json:"conv"`
}

type groupsSetCmd struct {
	talkFlags
	settingFlags
	Conv  string  `arg:"" help:"The id of the group."`
	Title *string `help:"Its title, 1 to 128 bytes."`
}

func (c groupsSetCmd) Run(ctx context.Context, con console) error {
	settings, err := c.settings()
	if err != nil {
		return err
	}
	settings.Title = c.Title
	return c.ask(ctx, con, func(ctx context.Context, t *talk) error {
		conv, err := t.conv(c.Conv)
		if err != nil {
			return err
		}
		g, err := t.Groups().Update(ctx, conv, settings)
		if err != nil {
			return err
		}
		return t.showGroup(&g)
	})
}

type groupsDeleteCmd struct {
	talkFlags
	Conv string `arg:"" help:"The id of the group."`
}

func (c groupsDeleteCmd) Run(ctx context.Context, con console) error {
	return c.ask(ctx, con, func(ctx context.Context, t *talk) error {
		if err := t.Groups().Delete(ctx, c.Conv); err != nil {
			return err
		}
		return t.say(convOnly{c.Conv}, "deleted %s", c.Conv)
	})
}

type groupsJoinCmd struct {
	talkFlags
	Conv string `arg:"" help:"The id of the group."`
	Text string `arg:"" optional:"" help:"What you say to those who decide, at most 256 bytes."`
}

func (c groupsJoinCmd) Run(ctx context.Context, con console) error {
	return c.ask(ctx, con, func(ctx context.Context, t *talk) error {
		pending, err := t.Groups().Join(ctx, c.Conv, c.Text)
		if err != nil {
			return err
		}
		state, words := "member", "joined %s"
		if pending {
			state, words = "pending", "asked to join %s"
		}
		return t.say(struct {
			Conv  string `json:"conv"`
			State string `json:"state"`
		}{c.Conv, state}, words, c.Conv)
	})
}

type groupsLeaveCmd struct {
	talkFlags
	Conv string `arg:"" help:"The id of the group."`
}

func (c groupsLeaveCmd) Run(ctx context.Context, con console) error {
	return c.ask(ctx, con, func(ctx context.Context, t *talk) error {
		if err := t.Groups().Leave(ctx, c.Conv); err != nil {
			return err
		}
		return t.say(convOnly{c.Conv}, "left %s", c.Conv)
	})
}

type groupsSearchCmd struct {
	talkFlags
	Words []string `arg:"" optional:"" help:"Beginnings of words of the title and of what it is about; none: all, the largest first."`
	Limit int      `short:"n" help:"How many." default:"20"`
}

func (c groupsSearchCmd) Run(ctx context.Context, con console) error {
	return c.ask(ctx, con, func(ctx context.Context, t *talk) error {
		return t.listGroups(t.Groups().Search(ctx, strings.Join(c.Words, " ")), c.Limit)
	})
}

type groupsRecommendCmd struct {
	talkFlags
	Limit int `short:"n" help:"How many." default:"20"`
}

func (c groupsRecommendCmd) Run(ctx context.Context, con console) error {
	return c.ask(ctx, con, func(ctx context.Context, t *talk) error {
		return t.listGroups(t.Groups().Recommend(ctx), c.Limit)
	})
}

func (t *talk) listGroups(all iter.Seq2[client.Group, error], limit int) error {
	l := t.newList("GROUP\tTITLE\tMEMBERS\tJOIN\tABOUT")
	for g, err := range all {
		if err != nil {
			return err
		}
		if err := l.row(&g, g.Conv, cut(g.Title, 40), fmt.Sprint(g.Members), g.Join, cut(g.About, 60)); err != nil {
			return err
		}
		if l.n >= limit {
			break
		}
	}
	return l.end()
}
