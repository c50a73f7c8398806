// Package crash_test kills a petrel server again and again, at random moments under load, and checks
// after each restart that it kept its promises.
//
// Start with [TestCrash]: go test ./crash -rounds=300. A world of devices sends and receives while the
// server dies; everything that they sent is in the world's ledger, with what the server answered. After
// the restart the devices send again what was not answered, and the ledger is compared with what fresh
// readers find. One data directory lives through all rounds.
//
// Beside the devices, which keep much in flight, there are actors, which do one thing at a time: to
// messages ([board]), to memberships ([gate]), to settings and contacts ([drawers]), to somebody who
// wants to be told while away ([bell]), and to an account that is erased ([farewell]); who pass posts on and
// report them ([relay]), call each other ([exchange], [bridge]), post and listen over HTTP ([hatch]), make bots ([workshop]), and come to where nothing
// of before is shown ([curtain]). What may have become of something is a [belief].
//
// [TestPowerLoss] does the like to a hub on a disk that forgets what was not synced.
package crash_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/verify"
	"github.com/petrelchat/petrel/storage"
)

var (
	rounds  = flag.Int("rounds", 10, "how often the server is killed")
	seed    = flag.Uint64("seed", 0, "of all random choices; 0: by the clock")
	dataDir = flag.String("dir", "", "data directory, kept; default: a temporary one, kept after a failure")
)

// epoch is for how many rounds a group of the board and of the gate lives.
const epoch = 5

// patience bounds how long the test waits for what must come; no assertion depends on it.
const patience = 30 * time.Second

// TestCrash is the test. What it promises stands beside the checks in check_test.go.
func TestCrash(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	dir := *dataDir
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "petrel-crash-"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if t.Failed() {
				t.Log("the data directory is kept in", dir)
			} else if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		})
	}
	t.Logf("seed %d", *seed)
	w := newWorld(t, *seed, build(t), filepath.Join(dir, "data"))
	w.begin()
	for w.round = 1; w.round <= *rounds && !t.Failed(); w.round++ {
		w.play()
	}
	w.end()
	w.summary()
}

// build makes the program once, as it is shipped.
func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "petrel")
	out, err := exec.Command("go", "build", "-o", bin, "github.com/petrelchat/petrel/cmd/petrel").CombinedOutput()
	if err != nil {
		t.Fatalf("building petrel: %v\n%s", err, out)
	}
	return bin
}

// play is one round: load, death, restart, load again, and the reckoning.
func (w *world) play() {
	life := time.Duration(20+w.rng.IntN(780)) * time.Millisecond
	if w.round%10 == 0 { // long enough for what had to disappear while there was no server
		life += afterwards * time.Millisecond
	}
	w.arm()
	if w.round%epoch == 1 {
		w.board.open(w.round)
		w.gate.open(w.round)
		w.farewell.open(w.round)
		w.relay.open(w.round)
		w.hatch.open(w.round)
		w.workshop.open(w.round)
		w.curtain.open(w.round)
	}
	if w.round%generation == 1 {
		w.drawers.open(w.round)
	}
	w.curtain.arm()
	w.hatch.sink.roughen(true)
	dead := make(chan struct{})
	time.AfterFunc(life, func() { w.server.kill(); close(dead) })
	w.each(func(d *device) { d.load(1 << 30) }, func(a *actor) { a.load(1 << 30) })
	<-dead
	w.endArmed()
	w.hatch.sink.drain()
	died := now()
	w.verify()
	if w.round%10 == 0 {
		w.store(func(st storage.Reader) { w.remains(st, died) })
	}
	w.server = w.start()
	w.hatch.sink.roughen(w.round%5 == 0) // whom it refuses comes again after a second
	w.each(func(d *device) {
		d.reconnect()
		d.load(5 + d.rng.IntN(20))
		d.settle()
	}, func(a *actor) { a.load(5 + a.rng.IntN(20)) })
	w.check()
	w.board.check()
	w.gate.check()
	w.drawers.check()
	w.bell.check()
	w.farewell.check()
	w.relay.check()
	w.hatch.check()
	w.workshop.check()
	w.curtain.check()
	w.exchange.check()
	w.bridge.check()
	if w.t.Failed() {
		w.t.Logf("seed %d, round %d, killed after %v; server log: %s", *seed, w.round, life, w.server.log)
	}
}

// end lets everything disappear that is to, and looks for what is left of it.
func (w *world) end() {
	w.trail.check(w)
	w.relay.checkAll()
	last := max(w.server.started, now()+1000) // a draft may wait that long until it is told
	for _, g := range w.board.gone {
		last = max(last, g.since)
	}
	time.Sleep(time.Until(time.UnixMilli(last + afterwards)))
	w.server.kill()
	died := now() + 1
	w.verify()
	w.store(func(st storage.Reader) {
		w.remains(st, died)
		w.drawers.checkTold(st)
		w.relay.checkTold(st)
		w.hatch.checkLeft(st)
	})
}

// verify checks the store of the dead server: derived records against the logs, and the files.
func (w *world) verify() {
	_, err := broker.Verify(w.dir, func(p verify.Problem) {
		if p.Severity == verify.Error {
			w.t.Errorf("round %d: the store after the crash: %+v", w.round, p)
		}
	})
	if err != nil {
		w.t.Errorf("round %d: the store after the crash cannot be checked: %v", w.round, err)
	}
}

// world is all devices and what is known of what they did.
type world struct {
	t      *testing.T
	rng    *rand.Rand
	bin    string
	dir    string
	round  int
	server *process

	devices []*device
	armed   []*armed
	ops     map[string]*op    // by token: sent in this round
	known   map[string]string // tokens of earlier rounds, with what became of them
	convs   map[string]*convLog
	total   totals
	cuts    atomic.Int64 // connections that clients cut

	actors   []*actor // of the following
	board    *board
	gate     *gate
	drawers  *drawers
	bell     *bell
	farewell *farewell
	relay    *relay
	hatch    *hatch
	workshop *workshop
	curtain  *curtain
	exchange *exchange
	bridge   *bridge
	trail    trail
	lives    atomic.Int32 // of the server
}

type totals struct {
	acked, resent, abandoned, refused, ticks int
	doubles, doublesCut, doubleTicks, wills  int
	looked                                   int // texts that remains came across
	copies, reports, knocks, robots, stays   int
	delivered, again                         int // events that outgoing webhooks brought, and those that came twice
}

func newWorld(t *testing.T, seed uint64, bin, dir string) *world {
	return &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), bin: bin, dir: dir,
		ops: make(map[string]*op), known: make(map[string]string), convs: make(map[string]*convLog),
	}
}

// The people: everybody is in the group, and some talk in private.
var (
	group   = "team"
	directs = []string{"ann~bob", "ann~cat", "cat~dan"}
	people  = []string{"ann", "bob", "cat", "dan", "tim"}
	ghosts  = []string{"gil", "gus"} // come with a will, and do not come back
)

// begin starts the server for the first time and connects all devices.
func (w *world) begin() {
	w.server = w.start()
	for _, user := range append(append([]string{}, people...), ghosts...) {
		w.reader(user).close() // whoever comes exists, in dev mode
	}
	r := w.reader("ann")
	var made struct{ Conv string }
	members := append(append([]string{}, people[1:]...), ghosts...)
	r.call("group.create", map[string]any{"id": group, "title": "Team", "visibility": "private", "join": "invite", "history": "all", "members": members}, &made)
	r.close()
	for _, c := range append([]string{group}, directs...) {
		w.convs[c] = &convLog{}
	}
	w.devices = []*device{
		w.device("ann", "phone", 4, sub{"c/+/json", 1}, sub{"plain/#", 2}, sub{"will/#", 2}),
		w.device("ann", "watch", 5, sub{"c/" + group + "/json", 1}, sub{"plain/q1/#", 1}),
		w.device("bob", "laptop", 5, sub{"c/+/cbor", 1}, sub{"plain/q2/#", 2}),
		w.device("cat", "radio", 4, sub{"c/+/text/+", 1}, sub{"plain/q1/+", 1}, sub{"plain/q2/+", 2}),
		w.device("dan", "slow", 5, sub{"c/+/json", 1}, sub{"u/dan/events", 1}, sub{"plain/q1/ann-phone", 1}),
		w.device("tim", "ticker", 4),
	}
	w.devices[4].receiveMax = 5
	w.devices[5].ticker = true
	w.each(func(d *device) { d.reconnect(); d.subscribe() }, nil)
	w.board, w.gate, w.drawers, w.bell, w.farewell = newBoard(w), newGate(w), newDrawers(w), newBell(w), newFarewell(w)
	w.relay, w.hatch, w.workshop, w.curtain = newRelay(w), newHatch(w), newWorkshop(w), newCurtain(w)
	w.exchange, w.bridge = newExchange(w), newBridge(w)
	w.actors = slices.Concat(w.board.actors, w.gate.actors, w.drawers.actors, []*actor{w.bell.actor, w.farewell.actor},
		w.relay.actors, w.hatch.actors, w.workshop.actors, w.curtain.actors, []*actor{w.exchange.caller, w.bridge.host})
	for _, a := range w.actors {
		w.reader(a.user).close()
	}
	w.reader(usher).close()
	w.reader(answerer).close()
	w.addAdmin()
	w.bell.register()
	w.bridge.open()
}

// addAdmin makes the administrator, as whoever runs the server does.
func (w *world) addAdmin() {
	cmd := exec.Command(w.bin, "user", "add", admin, "--admin", "--data", w.dir)
	cmd.Env = append(os.Environ(), "PETREL_PASSWORD=correct horse battery")
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("adding an administrator: %v\n%s", err, out)
	}
}

// each runs fn for all devices, and play for all actors, at the same time. Either may be nil.
func (w *world) each(fn func(*device), play func(*actor)) {
	var running sync.WaitGroup
	for _, d := range w.devices {
		if fn != nil {
			running.Go(func() { d.fault = caught(func() { fn(d) }) })
		}
	}
	for _, a := range w.actors {
		if play != nil {
			running.Go(func() { a.fault = caught(func() { play(a) }) })
		}
	}
	running.Wait()
	for _, d := range w.devices {
		if d.fault != nil {
			w.t.Fatalf("seed %d, round %d, %s: %v; server log: %s", *seed, w.round, d, d.fault, w.server.log)
		}
	}
	for _, a := range w.actors {
		if a.fault != nil {
			w.t.Fatalf("seed %d, round %d, %s: %v; server log: %s", *seed, w.round, a.name, a.fault, w.server.log)
		}
	}
}

func (w *world) summary() {
	n := w.total
	things := 0
	for _, a := range w.actors {
		things += a.n
	}
	w.t.Logf("%d things done by actors, %d texts gone, %d looked at in the store of the dead server", things, len(w.board.gone), n.looked)
	w.t.Logf("%d rounds: %d acknowledged, %d sent again, %d given up, %d refused, %d ticks, %d wills, %d cuts by clients; "+
		"stored twice: %d (and %d ticks) after a crash, %d after a client's cut", *rounds, n.acked, n.resent, n.abandoned, n.refused, n.ticks, n.wills, w.cuts.Load(), n.doubles, n.doubleTicks, n.doublesCut)
	w.t.Logf("%d copies, %d reports, %d posts and %d deliveries by webhooks (%d came again), %d bots, %d stays behind the curtain, %d calls, %d calls of a group with %d signals",
		n.copies, n.reports, n.knocks, n.delivered, n.again, n.robots, n.stays, w.exchange.log.finals, w.bridge.log.finals, w.bridge.signals)
	for id, c := range w.convs {
		w.t.Logf("%s: %d events", id, len(c.log))
	}
}

func within() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}

func (w *world) String() string { return fmt.Sprintf("round %d", w.round) }
