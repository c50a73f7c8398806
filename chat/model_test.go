package chat_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/petrelchat/petrel/chat"
)

// model is the rules once more, written from the protocol's text and for slowness: it keeps a
// history and asks it everything. It shares no code and no structure with the package.
type model struct {
	direct bool
	party  []string
	max    int
	story  []entry

	asks  map[string]*ask    // requests to join, by user
	codes map[string]*ticket // invitations, by code
	did   string             // what the last step did at the gate
}

// entry is one event as the model sees it.
type entry struct {
	who, verb   string
	user        string
	role        int
	was         int    // before a ban
	by          string // who invited
	until       int64
	set         map[string]string
	re, in      int
	at, expires int64
	key         string
	hash        uint64
	emoji       string
	gone        bool
}

func (m *model) began() bool { return len(m.story) > 0 }
func (m *model) over() bool  { return m.began() && m.story[len(m.story)-1].verb == "ends" }

// role replays the whole history to find out what the user is now.
func (m *model) role(user string) int {
	if m.direct {
		if slices.Contains(m.party, user) {
			return 1
		}
		return 0
	}
	if m.over() {
		return 0
	}
	role := 0
	for _, e := range m.story {
		if e.user == user && e.moves() {
			role = e.role
		}
	}
	return role
}

// moves reports whether the entry is about who is a member, and as what.
func (e entry) moves() bool { return e.user != "" && e.verb != "mutes" && e.verb != "unbans" }

// least is what an action takes here.
func (m *model) least(action string) int {
	if r := slices.Index(roleNames, m.setting("p."+action)); r > 0 {
		return r
	}
	return map[string]int{"post": 1, "call": 1, "add": 2, "pin": 2, "delete": 2, "info": 3}[action]
}

func (m *model) setting(name string) string {
	v := ""
	for _, e := range m.story {
		if x, ok := e.set[name]; ok {
			v = x
		}
	}
	return v
}

// crowd is the members of now in the order of their coming.
func (m *model) crowd() (in []string) {
	for _, e := range m.story {
		if !e.moves() {
			continue
		}
		i := slices.Index(in, e.user)
		if e.role == 0 && i >= 0 {
			in = slices.Delete(in, i, i+1)
		} else if e.role > 0 && i < 0 {
			in = append(in, e.user)
		}
	}
	if m.over() {
		return nil
	}
	return in
}

func (m *model) room() int {
	if n := 0; m.setting("limit") != "" {
		if _, err := fmt.Sscan(m.setting("limit"), &n); err == nil && n > 0 && n < m.max {
			return n
		}
	}
	return m.max
}

// sees asks seq by seq whether the user may see it.
func (m *model) sees(user string, seq int) bool {
	if m.direct {
		return slices.Contains(m.party, user)
	}
	from, to, in := 0, 0, false
	history := ""
	for i, e := range m.story {
		if h, ok := e.set["history"]; ok {
			history = h
		}
		if e.user == user && e.role > 0 && !in {
			in, from, to = true, 1, 1<<60
			if history == "joined" {
				from = i + 1
			}
		} else if in && (e.user == user && e.moves() && e.role == 0 || e.verb == "ends") {
			in, to = false, i+1
		}
	}
	return from > 0 && seq >= from && seq <= to
}

const nowhere = "nowhere" // NoSuchConversation, apart from other things not found

// step says what the command should lead to: a refusal's code, or lines of events (none: it was
// done before). What it allows it adds to its history.
func (m *model) step(c chat.Command, now int64) (refusal string, told []string) {
	if m.began() {
		now = max(now, m.story[len(m.story)-1].at)
	}
	var news []entry
	m.did = ""
	if c.Op == chat.OpAppend {
		refusal, news = m.speak(c, now)
	} else {
		refusal, news = m.govern(c, now)
	}
	for _, e := range news {
		e.who, e.at = c.Actor, now
		m.story = append(m.story, e)
		told = append(told, m.tell(len(m.story), e, c))
		switch a := m.asks[e.user]; {
		case e.verb == "ends":
			m.asks, m.codes = nil, nil
		case a == nil:
		case e.verb == "bans" && a.closed == 0:
			a.closed, a.by = now, c.Actor
		case e.role > 0:
			delete(m.asks, e.user)
		}
	}
	return refusal, told
}

var roleNames = []string{"none", "member", "moderator", "admin", "owner"}

func (m *model) tell(seq int, e entry, c chat.Command) string {
	s := fmt.Sprintf("%d %s %s", seq, e.who, e.verb)
	if e.user != "" {
		s += " " + e.user + " " + roleNames[max(e.role, e.was)]
		if slices.Contains([]string{"adds", "removes", "ranks", "bans", "unbans", "mutes"}, e.verb) {
			s += " by " + e.who
		} else if e.by != "" {
			s += " by " + e.by
		}
		if e.until != 0 {
			s += fmt.Sprintf(" until %d", e.until)
		}
	}
	if c.Op == chat.OpAppend && c.Event.Text != "" {
		s += " " + c.Event.Text
	}
	if e.re > 0 {
		s += fmt.Sprintf(" re %d", e.re)
	}
	if e.in > 0 {
		s += fmt.Sprintf(" in %d", e.in)
	}
	for _, k := range []string{"title", "about", "visibility", "join", "history", "limit", "p.post", "p.add", "p.pin", "p.info", "p.delete", "p.call"} {
		if v, ok := e.set[k]; ok {
			s += " " + k + "=" + v
		}
	}
	return s
}

// outside is what somebody is told who is no member.
func (m *model) outside() string {
	if !m.direct && m.began() && !m.over() && m.setting("visibility") == "public" {
		return "not-authorized"
	}
	return nowhere
}

func (m *model) speak(c chat.Command, now int64) (string, []entry) {
	e := c.Event
	h := hash(e)
	clash := false
	for _, old := range m.story {
		if e.ID != "" && old.who == c.Actor && old.key == e.ID {
			if old.hash == h {
				return "", nil
			}
			clash = true
		}
	}
	my := m.role(c.Actor)
	if my == 0 || !m.direct && !m.began() {
		return m.outside(), nil
	}
	verb, known := map[chat.Kind]string{0: "posts", 1: "posts", 2: "edits", 3: "deletes", 4: "reacts", 5: "unreacts", 6: "pins", 7: "unpins"}[e.Kind]
	need := m.least("post")
	if verb == "pins" || verb == "unpins" {
		need = m.least("pin")
	}
	if verb != "deletes" && !m.direct && (my < need || m.mute(c.Actor) > now) {
		return "not-authorized", nil
	}
	if clash {
		return "conflict", nil
	}
	switch {
	case !known || e.Seq != 0 || e.Conv != "":
		return "bad-request", nil
	case (verb == "posts" || verb == "edits") && (e.Text == "" || e.Emoji != ""):
		return "bad-request", nil
	case (verb == "deletes" || verb == "pins" || verb == "unpins") && e.Emoji != "":
		return "bad-request", nil
	case (verb == "reacts" || verb == "unreacts") && e.Emoji == "":
		return "bad-request", nil
	case verb != "posts" && e.Re == 0:
		return "bad-request", nil
	}
	n := entry{verb: verb, key: e.ID, hash: h, emoji: e.Emoji}
	if verb != "posts" && verb != "edits" && e.Text != "" {
		return "bad-request", nil
	}
	if e.Expire > 0 && (verb == "posts" || verb == "edits") {
		n.expires = now + int64(e.Expire)*1000
	}
	if e.Re == 0 {
		return "", []entry{n}
	}
	return m.about(c, my, now, n)
}

// about judges an event that has a Re.
func (m *model) about(c chat.Command, my int, now int64, n entry) (string, []entry) {
	at := int(c.Event.Re)
	if at > len(m.story) || !m.sees(c.Actor, at) || m.past(at, now) {
		return "not-found", nil
	}
	t := m.story[at-1]
	thread := t.in
	n.re = at
	if t.verb == "edits" {
		n.re = t.re
		if !m.sees(c.Actor, n.re) || m.past(n.re, now) {
			return "not-found", nil
		}
	}
	isPost := t.verb == "posts" || t.verb == "edits"
	switch {
	case slices.Contains([]string{"deletes", "reacts", "unreacts", "pins", "unpins"}, t.verb):
		return "bad-request", nil
	case (n.verb == "edits" || n.verb == "deletes") && !isPost:
		return "bad-request", nil
	case n.verb == "edits" && t.who != c.Actor:
		return "not-authorized", nil
	case n.verb == "deletes" && t.who != c.Actor && (m.direct || my < m.least("delete") || m.role(t.who) >= my):
		return "not-authorized", nil
	case n.verb == "edits":
		n.in = thread
		if t.expires > 0 { // in whole seconds, with its post
			with := now + (t.expires-now+999)/1000*1000
			if n.expires == 0 || with < n.expires {
				n.expires = with
			}
		}
	case n.verb == "posts":
		n.in = thread
		if thread == 0 {
			n.in = n.re
		}
	case n.verb == "reacts" && m.hangs(n.re, "reacts", "unreacts", c.Actor, n.emoji),
		n.verb == "unreacts" && !m.hangs(n.re, "reacts", "unreacts", c.Actor, n.emoji),
		n.verb == "pins" && m.hangs(n.re, "pins", "unpins", "", ""),
		n.verb == "unpins" && !m.hangs(n.re, "pins", "unpins", "", ""):
		return "", nil
	case n.verb == "deletes":
		for i := range m.story {
			if e := &m.story[i]; i+1 == n.re || e.verb == "edits" && e.re == n.re {
				e.gone = true
			}
		}
	}
	return "", []entry{n}
}

// past reports whether an event was deleted, or its time is over.
func (m *model) past(at int, now int64) bool {
	e := m.story[at-1]
	return e.gone || e.expires > 0 && e.expires <= now
}

// hangs reports whether what was put on an event is there still; whoever is "" is anybody.
func (m *model) hangs(re int, put, take, who, emoji string) (there bool) {
	for _, e := range m.story {
		if e.re == re && (who == "" || e.who == who) && e.emoji == emoji && (e.verb == put || e.verb == take) {
			there = e.verb == put
		}
	}
	return there
}

func (m *model) govern(c chat.Command, now int64) (string, []entry) {
	my := m.role(c.Actor)
	switch {
	case m.direct && my == 0:
		return nowhere, nil
	case m.direct:
		return "bad-request", nil
	case c.Op == chat.OpCreate:
		return m.found(c)
	case c.Op == chat.OpAccept:
		return m.accept(c, my, now)
	case !m.began() || m.over():
		return nowhere, nil
	case c.Op == chat.OpJoin:
		return m.join(c, my, now)
	case my == 0 && c.Op == chat.OpLeave && m.waits(c.Actor):
		m.asks[c.Actor] = &ask{now, c.Actor}
		m.did = "withdraws"
		return "", nil
	case my == 0:
		return m.outside(), nil
	case c.Op == chat.OpLeave || c.Op == chat.OpRemove && c.User == c.Actor:
		return "", m.parting(c.Actor)
	case c.Op == chat.OpUpdate:
		return m.settings(c, my, now)
	case c.Op == chat.OpEnd && my < 4:
		return "not-authorized", nil
	case c.Op == chat.OpEnd:
		return "", []entry{{verb: "ends"}}
	case slices.Contains([]chat.Op{chat.OpApprove, chat.OpDeny, chat.OpInvite, chat.OpRevoke}, c.Op):
		if my < m.least("add") {
			return "not-authorized", nil
		}
		return m.gate(c, my, now)
	case slices.Contains([]chat.Op{chat.OpBan, chat.OpUnban, chat.OpMute}, c.Op):
		return m.keep(c, my, m.role(c.User), now)
	}
	return m.upon(c, my, m.role(c.User), now)
}

// upon judges what one member does to another user.
func (m *model) upon(c chat.Command, my, their int, now int64) (string, []entry) {
	role := int(c.Role)
	switch c.Op {
	case chat.OpAdd:
		if role == 0 {
			role = 1
		}
		switch {
		case role > 4:
			return "bad-request", nil
		case my < m.least("add") || role > 1 && role >= my:
			return "not-authorized", nil
		case their > 0:
			return "", nil
		case m.kept(c.User, now):
			return "conflict", nil
		case len(m.crowd()) >= m.room():
			return "conflict", nil
		}
		return "", []entry{{verb: "adds", user: c.User, role: role}}
	case chat.OpRemove:
		switch {
		case my < 2:
			return "not-authorized", nil
		case their == 0:
			return "not-found", nil
		case their >= my:
			return "not-authorized", nil
		}
		return "", []entry{{verb: "removes", user: c.User}}
	case chat.OpRole:
		switch {
		case role == 0 || role > 4:
			return "bad-request", nil
		case my < 3:
			return "not-authorized", nil
		case their == 0:
			return "not-found", nil
		case their >= my || role >= my && my != 4:
			return "not-authorized", nil
		case role == their:
			return "", nil
		case role == 4:
			return "", []entry{{verb: "ranks", user: c.User, role: 4}, {verb: "ranks", user: c.Actor, role: 3}}
		}
		return "", []entry{{verb: "ranks", user: c.User, role: role}}
	}
	return "bad-request", nil
}

// parting: the heir is found by sorting everybody, and comes into office before the owner is gone.
func (m *model) parting(who string) []entry {
	out := []entry{{verb: "leaves", user: who}}
	others := slices.DeleteFunc(m.crowd(), func(u string) bool { return u == who })
	if len(others) == 0 {
		return append(out, entry{verb: "ends"})
	}
	if m.role(who) < 4 {
		return out
	}
	slices.SortStableFunc(others, func(a, b string) int { return m.role(b) - m.role(a) })
	if m.role(others[0]) < 4 {
		out = slices.Insert(out, 0, entry{verb: "ranks", user: others[0], role: 4})
	}
	return out
}

func words(i *chat.InfoChange) map[string]string {
	set := map[string]string{}
	for _, w := range strings.Fields(setting(i)) {
		k, v, _ := strings.Cut(w, "=")
		set[k] = v
	}
	return set
}

// sane: the generator makes few values, so that few have to be known as wrong.
func (m *model) sane(set map[string]string) bool {
	for k, v := range set {
		n := 0
		if k == "limit" {
			if _, err := fmt.Sscan(v, &n); err != nil || n > m.max {
				return false
			}
		}
		if v == "wrong" || k == "title" && v == "" {
			return false
		}
	}
	return true
}

func (m *model) found(c chat.Command) (string, []entry) {
	if m.began() {
		return "conflict", nil
	}
	set := words(c.Info)
	if set["title"] == "" || !m.sane(set) {
		return "bad-request", nil
	}
	for k, v := range map[string]string{"visibility": "private", "join": "invite", "history": "all"} {
		if set[k] == "" {
			set[k] = v
		}
	}
	if set["limit"] == "0" {
		delete(set, "limit")
	}
	if set["about"] == "" {
		delete(set, "about")
	}
	for k, v := range set { // the defaults go without saying
		if action, ok := strings.CutPrefix(k, "p."); ok && slices.Index(roleNames, v) == (&model{}).least(action) {
			delete(set, k)
		}
	}
	out := []entry{{verb: "creates", user: c.Actor, role: 4, set: set}}
	for i, user := range c.Members {
		if user != c.Actor && slices.Index(c.Members, user) == i {
			out = append(out, entry{verb: "adds", user: user, role: 1})
		}
	}
	if trial := (&model{max: m.max, story: out[:1]}); len(out) > trial.room() {
		return "conflict", nil
	}
	return "", out
}

func (m *model) settings(c chat.Command, my int, now int64) (string, []entry) {
	set := words(c.Info)
	table := 0
	for k := range set {
		if strings.HasPrefix(k, "p.") {
			table++
		}
	}
	if (table == 0 || len(set) > table) && my < m.least("info") || table > 0 && my < 3 {
		return "not-authorized", nil
	}
	if m.mute(c.Actor) > now {
		return "not-authorized", nil
	}
	if !m.sane(set) {
		return "bad-request", nil
	}
	above := false
	for k, v := range set {
		if action, ok := strings.CutPrefix(k, "p."); ok {
			if to := slices.Index(roleNames, v); to == m.least(action) {
				delete(set, k)
			} else if to > my || m.least(action) > my {
				above = true
			}
		} else if old := m.setting(k); v == old || k == "limit" && v == "0" && old == "" {
			delete(set, k)
		}
	}
	if above {
		return "not-authorized", nil
	}
	if len(set) == 0 {
		return "", nil
	}
	n := 0
	if _, err := fmt.Sscan(set["limit"], &n); err == nil && n > 0 && n < len(m.crowd()) {
		return "conflict", nil
	}
	return "", []entry{{verb: "sets", set: set}}
}
