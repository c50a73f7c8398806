package rpc

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"math"
	"slices"
	"strings"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/broker/search"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// Tokens of this file and of search: numbers behind their kind.
const (
	tokenSearch byte = 16
	tokenRank   byte = 17
	tokenGroups byte = 18
)

type groupFindParams struct {
	Q     string `json:"q"`
	After string `json:"after"` // of the page before
	Limit *int64 `json:"limit"`
}

type groupFindReply struct {
	Groups *list  `json:"groups"`
	After  string `json:"after,omitempty"` // for the next page
	More   bool   `json:"more"`
	Behind bool   `json:"behind,omitempty"`
}

// groupSearch finds public groups by their title and about, the best first; without q all of them, the largest first.
func groupSearch(c *call, p *groupFindParams) (any, error) {
	q, err := search.Parse(p.Q)
	if err != nil {
		return nil, err
	}
	q = q.Prefixes()
	if q.Empty() && strings.TrimSpace(p.Q) != "" {
		return nil, chat.Refuse(chat.BadRequest, "q has nothing to look for: give words, or leave it out for all public groups")
	}
	all, err := c.o.Search.FindGroups(c.ctx, q)
	if err != nil {
		return nil, err
	}
	return c.groupPage(p, all, func(g *groupView, _ chat.Member) bool {
		_, ok := q.Match(g.Title + "\n" + g.About)
		return ok
	})
}

// groupPage shows one page of groups that are public still and that also accepts, the best first.
func (c *call) groupPage(p *groupFindParams, all []search.Group, also func(*groupView, chat.Member) bool) (any, error) {
	limit, err := pageOf(p.Limit, 20, 100)
	if err != nil {
		return nil, err
	}
	var behind *search.Group
	if p.After != "" {
		if behind, err = parseGroupPlace(p.After); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, compareGroups)
	reply := groupFindReply{Groups: c.list(maxToken + 48), Behind: c.o.Search.Behind()}
	for i := range all {
		g := &all[i]
		if behind != nil && compareGroups(*g, *behind) <= 0 {
			continue
		}
		view, m, ok, err := c.publicGroup(g.Conv)
		if err != nil {
			return nil, err
		}
		if !ok || !also(view, m) {
			continue
		}
		if reply.More = len(reply.Groups.items) == limit; reply.More {
			break
		}
		if ok, err = reply.Groups.add(view); err != nil {
			return nil, err
		}
		if reply.More = !ok; !ok {
			break
		}
		reply.After = groupPlace(g)
	}
	if !reply.More {
		reply.After = ""
	}
	return reply, nil
}

// compareGroups puts the best first.
func compareGroups(a, b search.Group) int {
	return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(b.Members, a.Members), strings.Compare(a.Conv, b.Conv))
}

// publicGroup shows a group as it is now, and the caller's record in it; ok is false if it is not public, or over.
func (c *call) publicGroup(conv string) (view *groupView, m chat.Member, ok bool, err error) {
	view = &groupView{Conv: conv}
	err = c.query(conv, func(v hub.View) error {
		st := v.State
		if ok = !st.Direct && st.Head > 0 && !st.Ended && st.Info.Visibility == chat.Public; ok {
			m, _ = st.Member(c.User)
			view.InfoView = protocol.NewInfoView(&st.Info, st.Count(), m.Role, st.Head)
		}
		return nil
	})
	return view, m, ok, err
}

// Bounds of what a recommendation looks at.
const (
	myConvs   = 16  // of the caller's conversations, the last active
	theirs    = 64  // members of each
	peersMost = 128 // of these, who shares most with the caller
	peerConvs = 64  // conversations of each
	ofAll     = 500 // public groups beside those
)

// groupRecommend names public groups that the caller is no member of: those where people are whom the caller shares
// conversations with, and those where something happens. It looks at a sample, so its cost is bounded. It reads whose
// conversations are which, tells nobody of them, and counts public groups only.
func groupRecommend(c *call, p *groupFindParams) (any, error) {
	if p.Q != "" {
		return nil, chat.Refuse(chat.BadRequest, "q is for group.search")
	}
	mine, err := c.searchable("")
	if err != nil {
		return nil, err
	}
	peers, err := c.peersOf(mine)
	if err != nil {
		return nil, err
	}
	shared := make(map[string]int)
	for _, user := range peers {
		n := 0
		err := c.scan(storage.SpaceMembership, user, "", func(conv string, v []byte) (bool, error) {
			n++
			m, err := storage.DecodeMember(v)
			if _, public := c.o.Search.PublicGroup(conv); public && m.Role != chat.RoleNone {
				shared[conv]++
			}
			return n < peerConvs, err
		})
		if err != nil {
			return nil, err
		}
	}
	all := c.candidates(mine, shared)
	return c.groupPage(p, all, func(_ *groupView, m chat.Member) bool {
		banned := m.Banned < 0 || m.Banned > c.now
		return m.Role == chat.RoleNone && !banned
	})
}

// candidates are groups with people whom the caller knows, and the most active others.
func (c *call) candidates(mine map[string]chat.Member, shared map[string]int) []search.Group {
	var known, others []search.Group
	c.o.Search.PublicGroups(func(g search.Group) bool {
		if _, member := mine[g.Conv]; member {
			return true
		}
		n := shared[g.Conv]
		g.Score = score(n, g, c.now)
		if n > 0 {
			known = append(known, g)
		} else {
			others = append(others, g)
		}
		return true
	})
	slices.SortFunc(others, compareGroups)
	return append(known, others[:min(len(others), ofAll)]...)
}

const dayMS = 24 * 3600 * 1000

// score weighs shared people, activity, and size. Activity counts in days, so that the order stays while somebody pages.
func score(shared int, g search.Group, now int64) float64 {
	age := float64(max(0, now/dayMS-g.Last/dayMS))
	return 3*math.Log2(1+float64(shared)) + 3*math.Exp2(-age/7) + math.Log10(1+float64(g.Members))
}

// peersOf returns people whom the caller shares conversations with, from a sample.
func (c *call) peersOf(mine map[string]chat.Member) ([]string, error) {
	type active struct {
		conv   string
		commit uint64
	}
	var convs []active
	for conv, m := range mine {
		if m.Unheard() { // who blocks the caller is nobody whom they share something with
			continue
		}
		_, commit, err := c.o.Hub.Head(conv)
		if err != nil {
			return nil, err
		}
		convs = append(convs, active{conv, commit})
	}
	slices.SortFunc(convs, func(a, b active) int { return cmp.Or(cmp.Compare(b.commit, a.commit), strings.Compare(a.conv, b.conv)) })
	count := make(map[string]int)
	for _, a := range convs[:min(len(convs), myConvs)] {
		n := 0
		meet := func(user string, v []byte) (bool, error) {
			n++
			m, err := storage.DecodeMember(v)
			if user != c.User && m.Role != chat.RoleNone {
				count[user]++
			}
			return n < theirs, err
		}
		// Those behind the caller in the order of names, then the others: not the same few for everybody.
		err := c.scan(storage.SpaceMember, a.conv, c.User, meet)
		if err == nil && n < theirs {
			err = c.scan(storage.SpaceMember, a.conv, "", func(user string, v []byte) (bool, error) {
				if user >= c.User {
					return false, nil
				}
				return meet(user, v)
			})
		}
		if err != nil {
			return nil, err
		}
	}
	peers := make([]string, 0, len(count))
	for user := range count {
		peers = append(peers, user)
	}
	slices.SortFunc(peers, func(a, b string) int { return cmp.Or(cmp.Compare(count[b], count[a]), strings.Compare(a, b)) })
	return peers[:min(len(peers), peersMost)], nil
}

func groupPlace(g *search.Group) string {
	return encodePage(tokenGroups, math.Float64bits(g.Score), uint64(g.Members)) + "." + g.Conv
}

func parseGroupPlace(s string) (*search.Group, error) {
	head, conv, _ := strings.Cut(s, ".")
	n, ok := decodePage(head, tokenGroups, 2)
	if !ok || n[1] > math.MaxInt32 || !chat.ValidGroup(conv) || math.IsNaN(math.Float64frombits(n[0])) {
		return nil, errPage("after")
	}
	return &search.Group{Conv: conv, Members: int(n[1]), Score: math.Float64frombits(n[0])}, nil
}

// encodePage makes a token of numbers.
func encodePage(kind byte, numbers ...uint64) string {
	b := []byte{kind}
	for _, n := range numbers {
		b = binary.AppendUvarint(b, n)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// decodePage is the reverse of encodePage; ok is false for everything else.
func decodePage(s string, kind byte, count int) (numbers []uint64, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(s) > maxToken || !bytes.HasPrefix(b, []byte{kind}) {
		return nil, false
	}
	for b = b[1:]; len(b) > 0; {
		n, k := binary.Uvarint(b)
		if k <= 0 {
			return nil, false
		}
		numbers, b = append(numbers, n), b[k:]
	}
	return numbers, len(numbers) == count
}

func errPage(field string) error {
	return chat.Refuse(chat.BadRequest, "%s is not what a reply of this method held: leave it out to begin anew", field)
}
