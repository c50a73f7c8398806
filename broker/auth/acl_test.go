package auth

import (
	"slices"
	"strings"
	"testing"
)

func TestContains(t *testing.T) {
	for _, tc := range []struct {
		outer, inner string
		want         bool
	}{
		{"#", "a", true}, {"#", "a/b/#", true}, {"#", "+/#", true}, {"#", "#", true}, {"#", "/", true}, {"+/#", "#", true}, {"a/+/#", "a/#", false},
		{"#", "$SYS/x", false}, {"+/x", "$SYS/x", false}, {"+/#", "$SYS/x", false}, {"$SYS/#", "$SYS/x", true},
		{"a/#", "a", true}, {"a/#", "a/", true}, {"a/#", "a/b/+", true}, {"a/#", "ab", false}, {"a/#", "#", false},
		{"a/#", "+", false}, {"a/#", "+/b", false}, {"a/b/#", "a/#", false}, {"a/b/#", "a", false},
		{"+", "a", true}, {"+", "+", true}, {"+", "a/b", false}, {"+", "#", false}, {"+", "", true},
		{"a/+", "a/b", true}, {"a/+", "a/+", true}, {"a/+", "a/#", false}, {"a/+", "a", false}, {"a/+", "a/b/c", false},
		{"a/+/c", "a/b/c", true}, {"a/+/c", "a/b/+", false}, {"a/+/#", "a", false}, {"a/+/#", "a/b", true},
		{"+/#", "a", true}, {"a/b", "a/b", true}, {"a/b", "a/+", false}, {"a/b", "a/b/c", false}, {"a/b", "a", false},
		{"/a", "a", false}, {"+/a", "/a", true},
	} {
		if contains(tc.outer, tc.inner) != tc.want {
			t.Errorf("contains(%q, %q) = %v", tc.outer, tc.inner, !tc.want)
		}
	}
}

// matches is the standard's topic matching, written naively: what contains must agree with.
func matches(filter, topic []string) bool {
	switch {
	case len(filter) == 0:
		return len(topic) == 0
	case filter[0] == "#":
		return true
	case len(topic) == 0:
		return false
	}
	return (filter[0] == "+" || filter[0] == topic[0]) && matches(filter[1:], topic[1:])
}

// For all filters of up to three levels: contains says yes if and only if no topic of up to four is
// matched by inner alone. "z" stands for all levels that no filter names.
func TestContainsAgainstAllShortTopics(t *testing.T) {
	topics := words([]string{"a", "z", "$S"}, 4)
	filters := words([]string{"a", "$S", "+", "#"}, 3)
	hit := func(filter, topic string) bool {
		if topic[0] == '$' && (filter[0] == '+' || filter[0] == '#') {
			return false
		}
		f, to := strings.Split(filter, "/"), strings.Split(topic, "/")
		return matches(f, to) || f[len(f)-1] == "#" && matches(f[:len(f)-1], to)
	}
	yes := 0
	for _, outer := range filters {
		for _, inner := range filters {
			all := true
			for _, topic := range topics {
				all = all && (hit(outer, topic) || !hit(inner, topic))
			}
			if got := contains(outer, inner); got != all {
				t.Errorf("contains(%q, %q) = %v", outer, inner, got)
			}
			if all {
				yes++
			}
		}
	}
	if len(topics) != 120 || yes < len(filters) {
		t.Errorf("%d topics, %d filters, %d contained: the test tests nothing", len(topics), len(filters), yes)
	}
}

// words returns all topics or filters of 1 to depth of the levels; nothing follows #.
func words(levels []string, depth int) []string {
	all := slices.Clone(levels)
	for last := levels; depth > 1; depth-- {
		var next []string
		for _, w := range last {
			for _, l := range levels {
				if !strings.HasSuffix(w, "#") {
					next = append(next, w+"/"+l)
				}
			}
		}
		all, last = append(all, next...), next
	}
	return all
}

func TestDefaultACL(t *testing.T) {
	h := open(t, nil)
	ann := h.Compile(Identity{User: "ann"}, "phone")
	for topic, want := range map[string]bool{
		"ann/x": true, "ann": true, "public/x": true, "public": true, "bob/x": false, "annx": false, "x": false,
		"$SYS/x": false, "ann/+": false, "ann/#": false, "": false,
	} {
		if ann.AllowPublish(topic) != want {
			t.Errorf("publish %q: %v", topic, !want)
		}
	}
	for filter, want := range map[string]bool{
		"ann/#": true, "ann/+/x": true, "public/#": true, "#": false, "+/x": false, "+": false, "bob/#": false, "$SYS/#": false,
	} {
		if ann.AllowFilter(filter) != want {
			t.Errorf("subscribe %q: %v", filter, !want)
		}
	}
	guest := h.Compile(Identity{Guest: true}, "x")
	if guest.AllowPublish("public/x") || guest.AllowFilter("public/x") || guest.AllowPublish("/x") {
		t.Error("a guest may something")
	}
	root := h.Compile(Identity{User: "root", Admin: true}, "x")
	if !root.AllowFilter("$SYS/#") || root.AllowPublish("$SYS/x") || root.AllowFilter("ann/#") {
		t.Error("administrators may read $SYS, and no more than others otherwise")
	}
}

func TestRules(t *testing.T) {
	h := open(t, func(o *Options) {
		o.ACL = []Rule{
			{Users: []string{"*"}, Filter: "dev/%u/%c/+", Write: true},
			{Users: []string{"*"}, Filter: "100%%/%u", Read: true},
			{Users: []string{"*", "guest"}, Filter: "news/#", Read: true},
			{Users: []string{"ann"}, Filter: "news/#", Write: true},
			{Users: []string{"guest"}, Filter: "guests/%c", Write: true},
			{Users: []string{"guest"}, Filter: "named/%u/x", Write: true},
			{Users: []string{"bob"}, Filter: "news/#", Write: true, Read: true},
			{Users: []string{"bob"}, Filter: "news/secret/#", Read: true, Deny: true},
			{Users: []string{"bob"}, Filter: "news/bob", Write: true, Deny: true},
			{Users: []string{"*"}, Filter: "%c/own", Read: true},
		}
	})
	ann, bob, guest := Identity{User: "ann"}, Identity{User: "bob"}, Identity{Guest: true}
	for _, tc := range []struct {
		id           Identity
		client, what string
		write, want  bool
	}{
		{ann, "p1", "dev/ann/p1/t", true, true},
		{ann, "p1", "dev/ann/p2/t", true, false},
		{ann, "p1", "dev/bob/p1/t", true, false},
		{ann, "p1", "dev/ann/p1/t", false, false},
		{ann, "+", "dev/ann/x/t", true, false}, // a client id with a wildcard is nothing
		{ann, "#", "dev/ann/#/t", true, false},
		{ann, "a/b", "dev/ann/a/b", true, false},
		{ann, "", "dev/ann//t", true, false},
		{ann, "%u", "dev/ann/ann/t", true, false}, // and is put in once
		{ann, "%u", "dev/ann/%u/t", true, true},
		{ann, "p", "100%/ann", false, true},
		{ann, "p", "news/x", true, true},
		{ann, "$SYS", "$SYS/own", false, false},
		{ann, "x", "x/own", false, true},
		{guest, "g", "news/x", false, true},
		{guest, "g", "news/x", true, false},
		{guest, "g", "guests/g", true, true},
		{guest, "g", "named//x", true, false},
		{Identity{User: "guest"}, "g", "guests/g", true, false}, // a user of that name is no guest
		{bob, "p", "news/x", true, true},
		{bob, "p", "news/bob", true, false},
		{bob, "p", "news/bob", false, true},
		{bob, "p", "news/secret/1", false, false},
		{bob, "p", "news/secret/1", true, true},
	} {
		if got := h.Allow(tc.id, tc.client, tc.what, tc.write); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
	a := h.Compile(bob, "p")
	if !a.AllowFilter("news/#") || a.AllowFilter("news/secret/+") || a.AllowDeliver("news/secret/1") || !a.AllowDeliver("news/x") {
		t.Error("a partly forbidden filter is granted, and the forbidden part not delivered")
	}
}

func TestTokensAndPlainTopics(t *testing.T) {
	h := open(t, nil)
	may := func(sc *Scope) [2]bool {
		a := h.Compile(Identity{User: "ann", Scope: sc}, "x")
		return [2]bool{a.AllowFilter("ann/x"), a.AllowPublish("ann/x")}
	}
	for name, tc := range map[string]struct {
		scope *Scope
		want  [2]bool
	}{
		"none":          {nil, [2]bool{true, true}},
		"read":          {&Scope{Read: true}, [2]bool{true, false}},
		"write":         {&Scope{Write: true}, [2]bool{false, true}},
		"conversations": {&Scope{Convs: map[string]bool{"garden": true}, Read: true, Write: true}, [2]bool{false, false}},
	} {
		if got := may(tc.scope); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestDevACL(t *testing.T) {
	h := open(t, func(o *Options) {
		o.Dev = true
		o.ACL = []Rule{{Users: []string{"*", "guest"}, Filter: "test/nosubscribe", Read: true, Deny: true}}
	})
	for _, id := range []Identity{{User: "ann"}, {Guest: true}} {
		a := h.Compile(id, "x")
		if !a.AllowFilter("#") || !a.AllowPublish("any/thing") || !a.AllowFilter("$SYS/#") || a.AllowPublish("$SYS/x") {
			t.Errorf("%+v may too little or too much", id)
		}
		if a.AllowFilter("test/nosubscribe") || !a.AllowPublish("test/nosubscribe") || a.AllowDeliver("test/nosubscribe") {
			t.Error("the rule that forbids has no effect")
		}
	}
	must(t, h.ReloadACL(nil))
	if !h.Compile(Identity{Guest: true}, "x").AllowFilter("test/nosubscribe") {
		t.Error("new rules have no effect")
	}
	if err := h.ReloadACL([]Rule{{}}); err == nil {
		t.Error("a rule that says nothing is accepted")
	}
}

func TestRulesAreChecked(t *testing.T) {
	for _, filter := range []string{"", "a#", "#/a", "a+/b", "%", "a/%x", "a%", "a\x00", "\xff", strings.Repeat("a", 65536)} {
		if (Rule{Users: []string{"*"}, Filter: filter, Read: true}).validate() == nil {
			t.Errorf("filter %.20q is accepted", filter)
		}
	}
	for _, users := range [][]string{nil, {""}, {"a b"}, {"**"}} {
		if (Rule{Users: users, Filter: "a", Read: true}).validate() == nil {
			t.Errorf("users %q are accepted", users)
		}
	}
	for _, filter := range []string{"#", "+", "a/+/#", "/", "%u/%c/%%", "a%u/x", "$SYS/#"} {
		if err := (Rule{Users: []string{"*", "guest", "ann"}, Filter: filter, Read: true}).validate(); err != nil {
			t.Error(err)
		}
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	h := open(t, nil)
	a := h.Compile(Identity{User: "ann"}, "x")
	if n := testing.AllocsPerRun(100, func() {
		a.AllowPublish("public/kitchen/temperature")
		a.AllowDeliver("public/kitchen/temperature")
		a.AllowFilter("ann/+/x")
		h.Exists("nobody")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
