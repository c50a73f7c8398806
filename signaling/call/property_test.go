package call_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/signaling/call"
	"github.com/petrelchat/petrel/storage"
)

// rig drives one call and checks after every step what must hold of all calls.
type rig struct {
	t      *rapid.T
	s      *call.State
	now    int64
	direct bool
	n      int // parties made

	// A model of its own, that knows only what went in and which answers came out.
	winner   string // device of the callee that was told that it has the call
	answered bool
	endings  int
	finished bool
	outcome  call.Outcome
	lastRing map[string]int64 // user → when it was to ring last
	away     map[string]bool
	joined   map[string]bool // who ever was a party
}

func newRig(t *rapid.T, direct bool) *rig {
	return &rig{t: t, s: &call.State{}, now: 1_800_000_000_000, direct: direct, lastRing: map[string]int64{}, away: map[string]bool{}, joined: map[string]bool{}}
}

func limits() *call.Limits { return &call.Limits{Parties: 7, Mesh: 2, MeshOnly: 3} }

func (r *rig) do(c *call.Command) error {
	r.n++
	c.NewParty = fmt.Sprintf("p%06d", r.n)
	prev := r.s
	before := storage.Marshal(prev)
	next, effects, err := call.Decide(prev, c, r.now, limits())
	if !bytes.Equal(before, storage.Marshal(prev)) {
		r.t.Fatalf("%+v changed what it was given", c)
	}
	r.s = next
	r.always(prev, c, effects, err)
	return err
}

// always is what holds whatever happens.
func (r *rig) always(prev *call.State, c *call.Command, effects []call.Effect, err error) {
	next := r.s
	switch same := bytes.Equal(storage.Marshal(prev), storage.Marshal(next)); {
	case next.Version < prev.Version || next.Version > prev.Version+1:
		r.t.Fatalf("version %d after %d", next.Version, prev.Version)
	case prev.Phase == call.Ended && (!same || len(effects) > 0):
		r.t.Fatalf("%+v did something to a call that is over: %+v %+v", c, next, effects)
	case prev.Phase > next.Phase && !(prev.Phase == call.Ringing && next.Phase == call.New && !r.direct):
		r.t.Fatalf("from %v back to %v", prev.Phase, next.Phase)
	}
	if size := len(storage.Marshal(next)); size > 8<<10 {
		r.t.Fatalf("the state has %d bytes", size)
	}
	if d := next.Deadline(); d != 0 && d <= r.now {
		r.t.Fatalf("the deadline %d is not after %d: %+v", d, r.now, next)
	}
	if err != nil {
		if _, ok := err.(*chat.Refusal); !ok {
			r.t.Fatalf("%v is no refusal", err)
		}
	}
	users := map[string]bool{}
	for i := range next.Parties {
		p := &next.Parties[i]
		if users[p.User] || next.RingOf(p.User) != nil {
			r.t.Fatalf("%s is in the call twice: %+v", p.User, next)
		}
		users[p.User], r.joined[p.User] = true, true
		if q := prev.Party(p.ID); q != nil && (q.Epoch > p.Epoch || q.Device != p.Device && q.Epoch == p.Epoch) {
			r.t.Fatalf("epoch %d after %d", p.Epoch, q.Epoch)
		}
	}
	if len(next.Parties) > limits().Parties || next.SFU == 0 && len(next.Parties) > limits().MeshOnly || prev.SFU > next.SFU && next.Live() {
		r.t.Fatalf("%d parties, SFU %d after %d", len(next.Parties), next.SFU, prev.SFU)
	}
	for _, e := range effects {
		r.effect(e, prev, c)
	}
	if next.Phase == call.Ended && !r.finished {
		r.t.Fatal("it ended and nobody wrote it down")
	}
	if next.Phase == call.Active {
		r.answered = true
	}
}

func (r *rig) effect(e call.Effect, prev *call.State, c *call.Command) {
	switch e.Kind {
	case call.TellRing:
		ring := r.s.RingOf(e.User)
		if !r.s.Live() || ring == nil || ring.Exp() <= r.now || r.s.PartyOf(e.User) != nil {
			r.t.Fatalf("%s rings for %+v at %d", e.User, r.s, r.now)
		}
		r.lastRing[e.User] = ring.Exp()
	case call.TellMissed, call.TellTaken:
		if ring := r.s.RingOf(e.User); ring != nil && !ring.Silent {
			r.t.Fatalf("%s is told that it is over and rings on", e.User)
		}
	case call.PassOn:
		if p := r.s.Party(e.Party); c.Of != 0 && (p != nil && c.Of < p.Epoch || p == nil && c.Of < r.s.SFU) {
			r.t.Fatalf("a signal for epoch %d of %q in %+v", c.Of, e.Party, r.s)
		}
		if e.From != call.SFUParty && r.s.Party(e.From) == nil || e.Party != call.SFUParty && r.s.Party(e.Party) == nil || e.From == e.Party {
			r.t.Fatalf("a signal from %q to %q in %+v", e.From, e.Party, r.s)
		}
	case call.Finish:
		r.finished = true
		if r.endings++; r.endings > 1 || prev.Phase == call.Ended || r.s.Phase != call.Ended || r.s.Outcome == "" || len(r.s.Parties)+len(r.s.Rings) > 0 {
			r.t.Fatalf("ending %d: %+v", r.endings, r.s)
		}
		r.outcome = r.s.Outcome
	}
}

// restart is a crash: what is on disk is all there is, and that is the state of the newest version.
func (r *rig) restart() {
	kept := &call.State{}
	if err := storage.Unmarshal(storage.Marshal(r.s), kept); err != nil {
		r.t.Fatal(err)
	}
	r.s = kept
	_ = r.do(&call.Command{Verb: call.Restart})
}

// ends lets time pass with nobody doing anything, looking only at deadlines.
func (r *rig) ends() {
	for i := 0; r.s.Live(); i++ {
		d := r.s.Deadline()
		if d == 0 || i > 40 {
			r.t.Fatalf("a ghost: %+v", r.s)
		}
		if d-r.now > call.NobodyFor {
			r.t.Fatalf("it waits for %d ms", d-r.now)
		}
		r.now = d
		_ = r.do(&call.Command{Verb: call.Tick})
	}
}

var verbs = []call.Verb{
	call.Start, call.Rings, call.Accept, call.Decline, call.Cancel, call.Hangup, call.Join, call.Leave, call.Resume, call.Signal, call.Signal, call.Signal,
	call.FromSFU, call.Came, call.Went, call.Removed, call.Tick,
}

func (r *rig) draw(users, devices []string) *call.Command {
	t := r.t
	c := &call.Command{
		Verb: rapid.SampledFrom(verbs).Draw(t, "verb"), User: rapid.SampledFrom(users).Draw(t, "user"), Device: rapid.SampledFrom(devices).Draw(t, "device"),
		Here: rapid.IntRange(0, 5).Draw(t, "here") > 0, Member: rapid.IntRange(0, 20).Draw(t, "member") > 0, Media: call.Audio, SFU: rapid.Bool().Draw(t, "sfu"),
		Call: "c", Conv: "ann~ben", Direct: r.direct, Key: rapid.SampledFrom([]string{"", "k"}).Draw(t, "key"),
		Type:      rapid.SampledFrom([]string{"offer", "answer", "candidates", "negotiate"}).Draw(t, "type"),
		ForDevice: rapid.IntRange(0, 3).Draw(t, "forDevice") == 0, Fresh: rapid.IntRange(0, 5).Draw(t, "fresh") == 0,
		Reason: rapid.SampledFrom([]string{"", "", "busy", "failed"}).Draw(t, "reason"),
	}
	if rapid.Bool().Draw(t, "hasMedia") {
		c.HasMedia, c.Media = true, call.Media(rapid.IntRange(0, 15).Draw(t, "media"))
	}
	if rapid.IntRange(0, 4).Draw(t, "hold") == 0 {
		hold := rapid.Bool().Draw(t, "held")
		c.Hold = &hold
	}
	ids := []string{"", "sfu", "forged"}
	for i := range r.s.Parties {
		ids = append(ids, r.s.Parties[i].ID)
	}
	c.To, c.Hears = rapid.SampledFrom(ids).Draw(t, "to"), rapid.SliceOfN(rapid.SampledFrom(ids), 0, 3).Draw(t, "hears")
	if rapid.IntRange(0, 2).Draw(t, "named") == 0 {
		c.Party = rapid.SampledFrom(ids).Draw(t, "party")
	}
	if c.Verb == call.Signal {
		c.Of = rapid.Uint32Range(0, 3).Draw(t, "of")
	}
	if c.Verb == call.Start || c.Verb == call.Join {
		c.Ring = r.callees(c.User, users)
	}
	if c.Verb == call.Removed && rapid.IntRange(0, 8).Draw(t, "rarely") > 0 {
		c.Verb = call.Tick
	}
	return c
}

func (r *rig) callees(user string, users []string) []call.Callee {
	if r.direct {
		other := "ben"
		if user == "ben" {
			other = "ann"
		}
		busy := rapid.IntRange(0, 20).Draw(r.t, "busy") == 0
		return []call.Callee{{User: other, Busy: busy, Waiting: rapid.Bool().Draw(r.t, "waiting")}}
	}
	var all []call.Callee
	for _, u := range users {
		if u != user && rapid.Bool().Draw(r.t, "ring") {
			all = append(all, call.Callee{User: u, Silent: rapid.IntRange(0, 9).Draw(r.t, "silent") == 0, Busy: rapid.IntRange(0, 9).Draw(r.t, "busy") == 0})
		}
	}
	return all
}

// step is one thing out of all that can happen.
func (r *rig) step(users, devices []string, late *[]call.Command) {
	switch rapid.IntRange(0, 9).Draw(r.t, "what") {
	case 0:
		r.now += rapid.SampledFrom([]int64{1, 1000, 14_000, 31_000, 61_000, -5000, 301_000}).Draw(r.t, "passes")
	case 1:
		r.restart()
	case 2:
		if len(*late) > 0 { // a message that was under way for long, or came twice
			c := rapid.SampledFrom(*late).Draw(r.t, "again")
			r.model(&c)
		}
	case 3, 4, 5:
		if c := r.helpful(); c != nil {
			r.model(c)
		}
	default:
		c := r.draw(users, devices)
		*late = append(*late, *c)
		r.model(c)
	}
}

// helpful is what brings a call further, without which chance alone would hardly get anywhere.
func (r *rig) helpful() *call.Command {
	c := &call.Command{Device: "d1", Here: true, Member: true, Media: call.Audio, HasMedia: true, Call: "c", Conv: "ann~ben", Direct: r.direct, SFU: true}
	switch {
	case r.s.Phase == 0:
		c.Verb, c.User, c.Key = call.Start, "ann", "k"
		c.Ring = []call.Callee{{User: "ben"}}
	case len(r.s.Rings) > 0 && r.s.Phase == call.New:
		c.Verb, c.User = call.Rings, r.s.Rings[0].User
	case len(r.s.Rings) > 0:
		c.Verb, c.User = call.Accept, r.s.Rings[0].User
	case r.s.Phase == call.Connecting:
		from, to := r.s.Parties[1], r.s.Parties[0]
		c.Type = "offer"
		if r.s.Offer == from.ID {
			from, to, c.Type = to, from, "answer"
		}
		c.Verb, c.User, c.Device, c.To = call.Signal, from.User, from.Device, to.ID
	case r.s.Phase == call.Active && len(r.s.Parties) > 1:
		c.Verb, c.User, c.Device = call.Resume, r.s.Parties[0].User, r.s.Parties[0].Device
		c.Hears = []string{r.s.Parties[1].ID}
	default:
		return nil
	}
	return c
}

// model carries a command out and compares its answer with what a winner means.
func (r *rig) model(c *call.Command) {
	callee := r.s.From != "" && c.User != r.s.From
	prev := r.s
	err := r.do(c)
	if !r.direct || !prev.Live() || !callee {
		return
	}
	switch {
	case c.Verb == call.Accept || c.Verb == call.Join || c.Verb == call.Start:
		if err != nil || !r.s.Live() {
			return
		}
		if r.winner != "" && r.winner != c.Device {
			r.t.Fatalf("%s won, and then %s", r.winner, c.Device)
		}
		r.winner = c.Device
	case c.Verb == call.Resume && err == nil && c.Party != "" && r.s.Live():
		r.winner = c.Device // a hand-over is asked for by name
	}
}

// TestDirect: any interleaving of anything from anybody in a direct call, with restarts and a clock that moves as it likes: one winner, no
// ghosts, no ring after the end, and a history that says what happened.
func TestDirect(t *testing.T) {
	outcomes := map[call.Outcome]int{}
	for range 50 { // until each outcome was met: chance alone decides
		rapid.Check(t, func(t *rapid.T) { checkDirect(t, outcomes) })
		if t.Failed() || len(outcomes) == 6 {
			return
		}
	}
	t.Errorf("not all outcomes were met: %v", outcomes)
}

func checkDirect(t *rapid.T, outcomes map[call.Outcome]int) {

	r := newRig(t, true)
	var late []call.Command
	for range rapid.IntRange(1, 30).Draw(t, "steps") {
		r.step([]string{"ann", "ben", "eve"}[:2+rapid.IntRange(0, 1).Draw(t, "eve")], []string{"d1", "d2"}, &late)
		if p := r.s.PartyOf("eve"); p != nil && r.s.From != "eve" {
			t.Fatal("a stranger is in the call")
		}
	}
	if r.s.Phase == 0 {
		return
	}
	r.restart()
	r.ends()
	if r.answered != (r.outcome == call.Answered) || r.s.Duration() < 0 || !r.answered && (r.s.Duration() != 0 || len(r.s.With) > 0) || r.answered && len(r.s.With) != 2 {
		t.Fatalf("answered %v: %+v", r.answered, r.s)
	}
	if r.winner == "" && (r.answered || r.outcome == call.Failed) {
		t.Fatalf("%s without anybody who accepted", r.outcome)
	}
	outcomes[r.outcome]++
}

// TestGroup is the same for a group's call, that goes from mesh to SFU.
func TestGroup(t *testing.T) {
	sfu := 0
	rapid.Check(t, func(t *rapid.T) {
		r := newRig(t, false)
		users := []string{"ann", "ben", "cat", "dan", "eli", "fay", "gus", "hal"}
		var late []call.Command
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			r.step(users, []string{"d1", "d2"}, &late)
		}
		if r.s.Phase == 0 {
			return
		}
		if r.s.SFU != 0 {
			sfu++
		}
		r.restart()
		r.ends()
		for _, u := range r.s.With {
			if !r.joined[u] {
				t.Fatalf("%s is said to have taken part", u)
			}
		}
		if r.answered != (r.s.Outcome == call.Answered) || r.answered && len(r.s.With) < 2 || slices.Contains(r.s.With, "") {
			t.Fatalf("answered %v: %+v", r.answered, r.s)
		}
	})
	if sfu == 0 {
		t.Error("no call went through the SFU")
	}
}
