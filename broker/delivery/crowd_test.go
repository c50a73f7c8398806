package delivery

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Whoever comes, goes, joins and leaves, the audience of a large conversation is its members who are online; of
// a small one all members are asked.
func TestAudience(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &Registry{users: make(map[string][]*Session)}
		var all []string
		for i := range 200 {
			all = append(all, fmt.Sprintf("user%03d", i))
		}
		groups := map[string][]string{"large": slices.Clone(all[:150]), "other": slices.Clone(all[50:]), "small": slices.Clone(all[:20])}
		user := rapid.SampledFrom(all)
		for range 300 {
			u := user.Draw(t, "user")
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				r.users[u] = append(r.users[u], new(Session))
				r.crowds.came(u)
			case 1:
				delete(r.users, u)
				r.crowds.went(u)
			case 2: // the membership changes: the hub hands out another slice
				list := slices.Clone(groups["large"])
				if i, in := slices.BinarySearch(list, u); in {
					list = slices.Delete(list, i, i+1)
				} else {
					list = slices.Insert(list, i, u)
				}
				groups["large"] = list
			default:
				for log, members := range groups {
					var want []string
					for _, m := range members {
						if len(members) < crowdMembers || len(r.users[m]) > 0 {
							want = append(want, m)
						}
					}
					if got := r.audience(log, members); !slices.Equal(got, want) {
						t.Fatalf("%s: %v, want %v", log, got, want)
					}
				}
			}
		}
	})
}

// The crowds of many conversations are bounded, and the one that was wanted last stays.
func TestCrowdsAreBounded(t *testing.T) {
	r := &Registry{users: make(map[string][]*Session)}
	members := make([]string, crowdMembers)
	for i := range members {
		members[i] = fmt.Sprintf("user%03d", i)
	}
	for i := range 3 * crowdsMax {
		r.audience("busy", members)
		r.audience(fmt.Sprint("group", i), members)
	}
	if n := len(r.crowds.m); n != crowdsMax || r.crowds.m["busy"] == nil {
		t.Errorf("%d crowds, the busy one is there: %v", n, r.crowds.m["busy"] != nil)
	}
}
