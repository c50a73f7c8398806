package delivery

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
)

// posted is a post as a naive model knows it: all that were posted before it are at hand.
type posted struct {
	then   bool
	before *posted // in its chain; nil: it stands for itself
	c      *chain
	place  int
	over   bool // it was decided about
	later  bool // refused for now
}

// held: somebody before it in its chain was refused for now.
func (p *posted) held() bool {
	for b := p.before; b != nil; b = b.before {
		if b.later {
			return true
		}
	}
	return false
}

// desk plays a connection's reader, an owner who decides after it, and the disk, which tells of what is stored later still.
type desk struct {
	t      *rapid.T
	cs     chains
	last   map[string]*posted
	queue  map[string][]*posted // with the owner
	stored []*posted            // on their way to the disk
	exact  bool                 // nothing was forgotten
}

// check asks the chains about a post. What is never wrong is to hold one that follows another.
func (d *desk) check(p *posted) (held bool) {
	held = p.then && p.c.held(p.place) != nil
	want := p.held()
	if want && !held || d.exact && held && !want {
		d.t.Fatalf("held %v, should be %v", held, want)
	}
	return held
}

func (d *desk) post(conv string, then bool) *posted {
	p := &posted{then: then}
	if then {
		p.before = d.last[conv]
	}
	d.last[conv] = p
	p.c, p.place = d.cs.join(conv, then)
	return p
}

func (d *desk) settle(p *posted, err error) {
	p.over, p.later = true, protocol.ForNow(err)
	d.cs.settle(p.c, p.place, err)
	if d.cs.rule != nil {
		d.exact = false
	}
}

// outcome decides about a post that nothing holds. Stored is told later.
func (d *desk) outcome(p *posted) {
	switch rapid.SampledFrom([]string{"stored", "stored", "later", "fault", "never"}).Draw(d.t, "outcome") {
	case "stored":
		d.stored = append(d.stored, p)
	case "later":
		d.settle(p, chat.Refuse(chat.RateLimited, "slow down"))
	case "fault":
		d.settle(p, errors.New("the disk is on fire"))
	case "never":
		d.settle(p, chat.Refuse(chat.NotAuthorized, "not you"))
	}
}

// decide has the owner decide about what it got first of a conversation.
func (d *desk) decide(conv string) {
	q := d.queue[conv]
	if len(q) == 0 {
		return
	}
	p := q[0]
	d.queue[conv] = q[1:]
	if d.check(p) {
		d.settle(p, p.c.held(p.place))
		return
	}
	d.outcome(p)
}

func (d *desk) sane() {
	kept := 0
	for conv, c := range d.cs.of {
		if c.open == 0 {
			kept++
		}
		if c.conv != conv || c.open < 0 || c.open == 0 && (c.why != nil) == (d.cs.rule != nil) {
			d.t.Fatalf("%s: %+v, rule %v", conv, *c, d.cs.rule)
		}
	}
	if kept != d.cs.kept || kept > chainsMax {
		d.t.Fatalf("%d are kept, counted %d", kept, d.cs.kept)
	}
}

// TestChains compares the marks of a connection with a model that forgets nothing: whatever the reader, the owner and the
// disk do in whatever order, a post that follows one which was refused for now is not stored; and, while not too much is marked,
// nothing else is held up.
func TestChains(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := &desk{t: rt, last: make(map[string]*posted), queue: make(map[string][]*posted), exact: true}
		conv := rapid.SampledFrom([]string{"a", "b", "c"})
		crowds := 0
		rt.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { d.sane() },
			"post": func(t *rapid.T) {
				c := conv.Draw(t, "conv")
				p := d.post(c, rapid.IntRange(0, 3).Draw(t, "then") > 0)
				switch {
				case d.check(p):
					d.settle(p, p.c.held(p.place))
				case rapid.IntRange(0, 3).Draw(t, "reader") == 0:
					d.outcome(p)
				default:
					d.queue[c] = append(d.queue[c], p)
				}
			},
			"decide": func(t *rapid.T) { d.decide(conv.Draw(t, "conv")) },
			"sync": func(t *rapid.T) {
				for _, p := range d.stored {
					d.settle(p, nil)
				}
				d.stored = nil
			},
			"crowd": func(t *rapid.T) {
				if crowds++; crowds > 3 {
					return
				}
				err := error(chat.Refuse(chat.Unavailable, "full"))
				if rapid.Bool().Draw(t, "stored") {
					err = nil
				}
				for i := range rapid.IntRange(1, chainsMax+10).Draw(t, "n") {
					d.settle(d.post(fmt.Sprint("crowd ", crowds, i), false), err)
				}
			},
		})
		for _, c := range []string{"a", "b", "c"} { // a post that follows nothing always gets on, and so does who follows it
			first := d.post(c, false)
			if d.check(first) {
				rt.Fatal("a post that stands for itself is held")
			}
			if d.check(d.post(c, true)) {
				rt.Fatal("what follows it is held before anything happened to it")
			}
		}
	})
}

// What too many marks cost: posts that follow others are held where nobody knows better, with the code of the last refusal.
func TestChainsBeyondTheBound(t *testing.T) {
	var cs chains
	full := chat.Refuse(chat.Unavailable, "the disk is full")
	for i := range chainsMax + 1 {
		c, place := cs.join(fmt.Sprint(i), false)
		cs.settle(c, place, full)
	}
	if len(cs.of) != 0 || !errors.Is(cs.rule, &chat.Refusal{Code: chat.Unavailable}) {
		t.Fatalf("%d marks, rule %v", len(cs.of), cs.rule)
	}
	c, place := cs.join("7", true)
	if err := c.held(place); !errors.Is(err, &chat.Refusal{Code: chat.Unavailable}) {
		t.Fatal("what follows a refused post:", err)
	}
	cs.settle(c, place, c.held(place))
	for range 3 {
		c, place = cs.join("7", false)
		cs.settle(c, place, nil)
		if c, place = cs.join("7", true); c.held(place) != nil {
			t.Fatal("what follows a stored post is held")
		}
		cs.settle(c, place, nil)
	}
	if len(cs.of) != 1 || cs.kept != 1 {
		t.Errorf("%d are kept, counted %d", len(cs.of), cs.kept)
	}
}
