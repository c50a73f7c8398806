package main

import (
	"context"
	"fmt"
	"time"

	"github.com/petrelchat/petrel/client"
)

type membersCmd struct {
	List   membersListCmd   `cmd:"" default:"withargs" help:"List the members."`
	Add    membersAddCmd    `cmd:"" help:"Add members."`
	Remove membersRemoveCmd `cmd:"" help:"Remove a member."`
	Role   membersRoleCmd   `cmd:"" help:"Give a member a role: member, moderator, admin, owner."`
	Ban    membersBanCmd    `cmd:"" help:"Keep a user out."`
	Unban  membersUnbanCmd  `cmd:"" help:"Let a user be a member again."`
	Bans   membersBansCmd   `cmd:"" help:"List who is banned."`
	Mute   membersMuteCmd   `cmd:"" help:"Keep a member from writing."`
	Unmute membersUnmuteCmd `cmd:"" help:"Let a member write again."`
}

// memberArgs name somebody in a group.
type memberArgs struct {
	Conv string `arg:"" help:"The id of the group."`
	User string `arg:"" help:"User id."`
}

type membersListCmd struct {
	talkFlags
	Conv  string `arg:"" help:"The id of the group, or @user."`
	Limit int    `short:"n" help:"How many; 0: all." default:"0"`
}

func (c membersListCmd) Run(ctx context.Context, con console) error {
	return c.ask(ctx, con, func(ctx context.Context, t *talk) error {
		conv, err := t.conv(c.Conv)
		if err != nil {
			return err
		}
		l := t.newList("USER\tROLE\tREAD\tMUTED UNTIL")
		for m, err := range t.Roster().List(ctx, conv) {
			if err != nil {
				return err
			}
			read := ""
			if m.Read != nil {
				read = fmt.Sprint(*m.Read)
			}
			if err := l.row(m, m.User, m.Role, read, moments(m.Muted, "")); err != nil {
				return err
			}
			if c.Limit > 0 && l.n >= c.Limit {
				break
			}
		}
		return l.end()
	})
}

// did reports what became of a member.
func (t *talk) did(m client.GroupMember, err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	return t.say(m, format, args...)
}

type membersAddCmd struct {
	talkFlags
	Conv string   `arg:"" help:"The id of the group."`
	User []string `arg:"" help:"User ids."`
	Role string   `help:"Their role: member, moderator, admin." default:"member"`
}

func (c membersAddCmd) Run(ctx context.Context, con console) error {
	return c.ask(ctx, con, func(ctx context.Context, t *talk) error {
		for _, user := range c.User {
			m, err := t.Roster().Add(ctx, c.Conv, user, c.Role)
			if err := t.did(m, err, "added %s to %s as %s", user, c.Conv, c.Role); err != nil {
				return fmt.Errorf("%s: %w", user, err)
			}
		}
		return nil
	})
}

type membersRemoveCmd struct {
	talkFlags
	memberArgs
}

func (c membersRemoveCmd) Run(ctx context.Context, con console) error {
	return c.ask(ctx, con, func(ctx context.Context, t *talk) error {
		m, err := t.Roster().Remove(ctx, c.Conv, c.User)
		return t.did(m, err, "removed %s from %s", c.User, c.Conv)
	})
}

type membersRoleCmd struct {
	talkFlags
	memberArgs
	Role string `arg:"" help:"member, moderator, admin, or owner, who hands the group over." enum:"member,moderator,admin,owner"`
}

func (c membersRoleCmd) Run(ctx context.Context, con console) error {
	return c.ask(ctx, con, func(ctx context.Context, t *talk) error {
		m, err := t.Roster().SetRole(ctx, c.Conv, c.User, c.Role)
		return t.did(m, err, "%s is %s of %s", c.User, c.Role, c.Conv)
	})
}

type membersBanCmd struct {
	talkFlags
	memberArgs
	Until string `help:"Until when: 2026-05-01, or a duration from now, like 24h; without it for good." placeholder:"WHEN"`
}

func (c membersBanCmd) Run(ctx context.Context, con console) error {
	until, err := later("--until", c.Until, time.Now())
	if err != nil {
		return err
	}
	return c.ask(ctx, con, func(ctx context.Context, t *talk) error {
		m, err := t.Roster().Ban(ctx, c.Conv, c.User, until)
		return t.did(m, err, "banned %s from %s %s", c.User, c.Conv, untilWords(until))
	})
}

type membersUnbanCmd struct {
	talkFlags
	memberArgs
}

func (c membersUnbanCmd) Run(ctx context.Context, con console) error {
	return c.ask(ctx, con, func(ctx context.Context, t *talk) error {
		m, err := t.Roster().Unban(ctx, c.Conv, c.User)
		return t.did(m, err, "%s may be a member of %s again", c.User, c.Conv)
	})
}

type membersBansCmd struct {
	talkFlags
	Conv string `arg:"" help:"The id of the group."`
}

func (c membersBansCmd) Run(ctx context.Context, con console) error {
	return c.ask(ctx, con, func(ctx context.Context, t *talk) error {
		l := t.newList("USER\tUNTIL")
		for b, err := range t.Roster().Bans(ctx, c.Conv) {
			if err != nil {
				return err
			}
			if err := l.row(b, b.User, moments(b.Until, "for good")); err != nil {
				return err
			}
		}
		return l.end()
	})
}

type membersMuteCmd struct {
	talkFlags
	memberArgs
	Until string `help:"Until when: 2026-05-01, or a duration from now, like 24h." default:"24h" placeholder:"WHEN"`
}

func (c membersMuteCmd) Run(ctx context.Context, con console) error {
	until, err := later("--until", c.Until, time.Now())
	if err != nil {
		return err
	}
	if until == 0 {
		return usagef("--until: say until when")
	}
	return c.ask(ctx, con, func(ctx context.Context, t *talk) error {
		m, err := t.Roster().Mute(ctx, c.Conv, c.User, until)
		return t.did(m, err, "muted %s in %s %s", c.User, c.Conv, untilWords(until))
	})
}

type membersUnmuteCmd struct {
	talkFlags
	memberArgs
}

func (c membersUnmuteCmd) Run(ctx context.Context, con console) error {
	return c.ask(ctx, con, func(ctx context.Context, t *talk) error {
		m, err := t.Roster().Mute(ctx, c.Conv, c.User, 0)
		return t.did(m, err, "%s may write in %s again", c.User, c.Conv)
	})
}

func untilWords(until client.Millis) string {
	if until == 0 {
		return "for good"
	}
	return "until " + moments(until, "")
}

type requestsCmd struct {
	List    requestsListCmd    `cmd:"" default:"withargs" help:"List who asks to join."`
	Approve requestsApproveCmd `cmd:"" help:"Let somebody in."`
	Deny    requestsDenyCmd    `cmd:"" help:"Say no."`
}

type requestsListCmd struct {
	talkFlags
	Conv string `arg:"" help:"The id of the group."`
}

func (c requestsListCmd) Run(ctx context.Context, con console) error {
	return c.ask(ctx, con, func(ctx context.Context, t *talk) error {
		l := t.newList("USER\tSINCE\tTEXT")
		for r, err := range t.JoinRequests().List(ctx, c.Conv) {
			if err != nil {
				return err
			}
			if err := l.row(r, r.User, moments(r.At, ""), r.Text); err != nil {
				return err
			}
		}
		return l.end()
	})
}

type requestsApproveCmd struct {
	talkFlags
	memberArgs
}

func (c requestsApproveCmd) Run(ctx context.Context, con console) error {
	return c.ask(ctx, con, func(ctx context.Context, t *talk) error {
		m, err := t.JoinRequests().Approve(ctx, c.Conv, c.User)
		return t.did(m, err, "%s is a member of %s", c.User, c.Conv)
	})
}

type requestsDenyCmd struct {
	talkFlags
	memberArgs
}

func (c requestsDenyCmd) Run(ctx context.Context, con console) error {
	return c.ask(ctx, con, func(ctx context.Context, t *talk) error {
		if err := t.JoinRequests().Deny(ctx, c.Conv, c.User); err != nil {
			return err
		}
		return t.say(struct {
			Conv string `json:"conv"`
			User string `json:"user"`
		}{c.Conv, c.User}, "denied %s", c.User)
	})
}
