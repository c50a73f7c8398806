package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Rule allows or forbids plain topics: everything outside c/ u/ k/ rpc/. What no rule allows is
// forbidden; a rule with Deny wins over all that allow, wherever it stands.
type Rule struct {
	// Users names whom the rule is for: user ids, "*" for everybody with an account, "guest" for guests.
	Users []string
	// Filter is an MQTT topic filter in which %u stands for the user id, %c for the client id and %% for
	// a percent sign. The rule does not apply where that would not be a plain piece of one level: a
	// client id with + # or / in it, a guest's %u.
	Filter      string
	Read, Write bool // subscribe, publish; at least one
	Deny        bool
}

// DefaultACL gives every user their own tree and a public one, and guests nothing.
func DefaultACL() []Rule {
	return []Rule{
		{Users: []string{"*"}, Filter: "%u/#", Read: true, Write: true},
		{Users: []string{"*"}, Filter: "public/#", Read: true, Write: true},
	}
}

func (r Rule) validate() error {
	if len(r.Users) == 0 {
		return errors.New(`users is empty; "*" means everybody with an account`)
	}
	for _, u := range r.Users {
		if u != "*" && !ValidUser(u) {
			return fmt.Errorf(`%q is no user id; "*" means everybody with an account, "guest" guests`, u)
		}
	}
	if !r.Read && !r.Write {
		return errors.New("neither read nor write is set, so the rule says nothing")
	}
	rest := r.Filter
	for {
		_, after, found := strings.Cut(rest, "%")
		if !found {
			break
		}
		if after == "" || !strings.Contains("uc%", after[:1]) {
			return fmt.Errorf("filter %q: %%u, %%c and %%%% are what can follow a percent sign", r.Filter)
		}
		rest = after[1:]
	}
	return validFilter(r.Filter)
}

func validateRules(rules []Rule) error {
	var errs []error
	for i, r := range rules {
		if err := r.validate(); err != nil {
			errs = append(errs, fmt.Errorf("auth: ACL rule %d: %w", i+1, err))
		}
	}
	return errors.Join(errs...)
}

// validFilter checks a topic filter by [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.3-1] to -3.
func validFilter(f string) error {
	if f == "" || len(f) > 65535 || !utf8.ValidString(f) || strings.ContainsRune(f, 0) {
		return fmt.Errorf("filter %.100q: 1 to 65535 bytes of UTF-8 without a zero are needed", f)
	}
	levels := strings.Split(f, "/")
	for i, l := range levels {
		if strings.ContainsAny(l, "+#") && len(l) > 1 {
			return fmt.Errorf("filter %.100q: + and # must fill a whole level", f)
		}
		if l == "#" && i != len(levels)-1 {
			return fmt.Errorf("filter %.100q: # must be the last level", f)
		}
	}
	return nil
}

// ReloadACL takes over new rules; nil: DefaultACL. What was compiled before is stale from then on.
func (s *Service) ReloadACL(rules []Rule) error {
	if err := validateRules(rules); err != nil {
		return err
	}
	if rules == nil {
		rules = DefaultACL()
	}
	rules = slices.Clone(rules)
	if s.o.Dev {
		all := []string{"*", "guest"}
		rules = append(rules, Rule{Users: all, Filter: "#", Read: true, Write: true},
			Rule{Users: all, Filter: "$SYS/#", Read: true})
	}
	s.rules.Store(&rules)
	return nil
}

// ACL is what one connection may do with plain topics. It doesn't change, and any goroutine may ask it.
type ACL struct {
	rules               *[]Rule  // what it was compiled from
	read, write         []string // filters that allow
	denyRead, denyWrite []string
}

// Compile picks the rules for one connection.
func (s *Service) Compile(id Identity, clientID string) *ACL {
	a := &ACL{rules: s.rules.Load()}
	if id.Scope != nil && id.Scope.Convs != nil {
		return a // a token for some conversations is for nothing else
	}
	mayRead := id.Scope == nil || id.Scope.Read
	mayWrite := id.Scope == nil || id.Scope.Write
	for _, r := range *a.rules {
		if !r.appliesTo(id) {
			continue
		}
		f, ok := substitute(r.Filter, id.User, clientID)
		if !ok {
			continue
		}
		read, write := &a.read, &a.write
		if r.Deny {
			read, write = &a.denyRead, &a.denyWrite
		}
		if r.Read && mayRead {
			*read = append(*read, f)
		}
		if r.Write && mayWrite {
			*write = append(*write, f)
		}
	}
	if id.Admin && mayRead {
		a.read = append(a.read, "$SYS/#")
	}
	return a
}

// Stale says whether a was compiled from rules that are no longer in force. It costs one atomic load.
func (s *Service) Stale(a *ACL) bool { return a.rules != s.rules.Load() }

func (r *Rule) appliesTo(id Identity) bool {
	for _, u := range r.Users {
		if id.Guest && u == "guest" || !id.Guest && (u == "*" || u == id.User && u != "guest") {
			return true
		}
	}
	return false
}

// substitute puts user and client id into a filter, once: what they hold is not looked at again.
func substitute(filter, user, client string) (string, bool) {
	if !strings.Contains(filter, "%") {
		return filter, true
	}
	out := make([]byte, 0, len(filter)+len(user)+len(client))
	for i := 0; i < len(filter); i++ {
		if filter[i] != '%' {
			out = append(out, filter[i])
			continue
		}
		i++ // validate saw to it that u, c or % follows
		if filter[i] == '%' {
			out = append(out, '%')
			continue
		}
		value := user
		if filter[i] == 'c' {
			value = client
		}
		switch {
		case value == "" || strings.ContainsAny(value, "+#/"):
			return "", false
		case len(out) == 0 && value[0] == '$':
			return "", false // a client called $SYS must not get at the server's own topics
		default:
			out = append(out, value...)
		}
	}
	return string(out), true
}

// Allow asks once. Compile is for those who ask more often.
func (s *Service) Allow(id Identity, clientID, topic string, write bool) bool {
	a := s.Compile(id, clientID)
	if write {
		return a.AllowPublish(topic)
	}
	return !strings.ContainsAny(topic, "+#") && a.AllowFilter(topic)
}

// AllowPublish says whether the connection may publish to the topic.
func (a *ACL) AllowPublish(topic string) bool {
	return !strings.ContainsAny(topic, "+#") && covered(a.write, topic) && !covered(a.denyWrite, topic)
}

// AllowFilter says whether the connection may subscribe to the filter: one rule must allow every topic
// that it matches, and none forbid them all. A filter that is only partly forbidden is granted; then
// AllowDeliver keeps the forbidden topics away. The filter of a shared subscription is given without
// $share/{name}/.
func (a *ACL) AllowFilter(filter string) bool {
	return covered(a.read, filter) && !covered(a.denyRead, filter)
}

// AllowDeliver says whether a message to a topic may be delivered. The subscription that it matches may
// have been made under other rules, or with another credential of the same device.
func (a *ACL) AllowDeliver(topic string) bool {
	return covered(a.read, topic) && !covered(a.denyRead, topic)
}

func covered(filters []string, inner string) bool {
	for _, f := range filters {
		if contains(f, inner) {
			return true
		}
	}
	return false
}

// contains says whether every topic that inner matches is matched by outer too. A topic is a filter
// without wildcards. Both are valid.
func contains(outer, inner string) bool {
	// [MQTT-4.7.2-1]: a wildcard at the start matches no topic that begins with $.
	if strings.HasPrefix(inner, "$") && (outer[0] == '+' || outer[0] == '#') {
		return false
	}
	if outer == "+/#" {
		outer = "#" // every topic has a first level
	}
	for {
		if outer == "#" {
			return true
		}
		o, oRest, oMore := strings.Cut(outer, "/")
		i, iRest, iMore := strings.Cut(inner, "/")
		// "+" contains any one level, "#" many: an inner "#" is contained by an outer "#" only.
		if i == "#" || o != i && o != "+" {
			return false
		}
		if !iMore {
			return !oMore || oRest == "#" // §4.7.1.2: a/# matches a too
		}
		if !oMore {
			return false
		}
		outer, inner = oRest, iRest
	}
}
