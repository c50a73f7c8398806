package calls

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/internal/mqttc"
	"github.com/petrelchat/petrel/internal/petreltest"
	"github.com/petrelchat/petrel/internal/servertest"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
)

// killer has a server of its own, a process, which it kills with SIGKILL at a moment that it sees on the wire, and starts again with the
// same data.
type killer struct {
	t       testing.TB
	srv     *petreltest.Server
	out     *servertest.Log
	devices []*device
	work    sync.WaitGroup

	mu    sync.Mutex
	wires map[*tapped]bool
	over  map[string]bool // calls that ended
	at    *moment         // nil: none is waited for
	hit   *hit            // nil: what it is about was not published yet
	dead  bool
	back  chan struct{} // closed when the server that was killed is there again
	flows []*flow       // that go on meanwhile
}

// flow is media that go from one device to another, not through the server.
type flow struct {
	from string
	to   *voice
	last uint64 // frame that had arrived when the server was killed
}

// outage is how many frames flow before a server that was killed is started again: half a second.
const outage = 25

func newKiller(t testing.TB, petrel string) *killer {
	t.Helper()
	k := &killer{t: t, out: servertest.NewLog(t), wires: make(map[*tapped]bool), over: make(map[string]bool)}
	k.srv = petreltest.Serve(t, petrel, "--dev")
	t.Cleanup(k.work.Wait)
	return k
}

// device opens a device of a user, whose connections the killer sees.
func (k *killer) device(who string) *device {
	k.t.Helper()
	x := k.tap(who)
	k.t.Cleanup(func() {
		_ = x.ln.Close()
		k.cut(who)
	})
	user, name, _ := strings.Cut(who, "/")
	d := openDevice(k.t, k.out, x.ln.Addr().String(), user, name)
	k.devices = append(k.devices, d)
	return d
}

// await arms the killer. flows are those of connections that stand, and which nothing but the server's death touches meanwhile.
func (k *killer) await(m moment, flows []*flow) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.at, k.hit, k.flows, k.back = &m, nil, flows, make(chan struct{})
}

// strike kills the server.
func (k *killer) strike() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dead {
		return
	}
	k.dead, k.at = true, nil
	k.srv.Kill()
	for w := range k.wires {
		w.close()
	}
	k.work.Go(k.revive)
}

// revive starts the server again when everybody knows that it is gone, and media have gone on for a while without it.
func (k *killer) revive() {
	defer close(k.back)
	for _, d := range k.devices {
		must(k.t, d.Wait(soon(k.t), func(s client.Status) bool { return s.State <= client.Connecting }))
	}
	for _, f := range k.flows {
		f.last = f.to.newest(f.from)
	}
	for _, f := range k.flows {
		if !f.goesOn(outage) {
			k.t.Errorf("%s does not hear %s while there is no server", f.to.name, f.from)
		}
	}
	k.start()
}

// start starts the server. Where that fails the test has failed.
func (k *killer) start() {
	k.srv.Start()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dead = false
}

// again kills the server at once, and waits until all is as before.
func (k *killer) again() {
	k.t.Helper()
	k.mu.Lock()
	k.flows, k.back = nil, make(chan struct{})
	k.mu.Unlock()
	k.strike()
	k.struck(moment{})
}

// struck waits until the server was killed and is back, and everybody is connected again. Media must have had no hole.
func (k *killer) struck(m moment) {
	k.t.Helper()
	select {
	case <-k.back:
	case <-soon(k.t).Done():
		k.t.Fatalf("the moment %q does not come", m)
	}
	for _, d := range k.devices {
		must(k.t, d.Wait(soon(k.t), func(s client.Status) bool { return s.State == client.UpToDate }))
	}
	for _, f := range k.flows {
		if !f.goesOn(5) {
			k.t.Errorf("%s does not hear %s any more", f.to.name, f.from)
		}
		if hole := f.to.hole(f.from, f.last); hole > outage {
			k.t.Errorf("%s: %s did not hear %d frames of %s in a row", m, f.to.name, hole, f.from)
		}
	}
	k.flows = nil
}

// goesOn waits for n more frames.
func (f *flow) goesOn(n int) bool {
	v := f.to
	timeout := soon(f.to.t).Done()
	v.mu.Lock()
	want := len(v.log[f.from]) + n
	v.mu.Unlock()
	for {
		v.mu.Lock()
		got := len(v.log[f.from])
		v.mu.Unlock()
		if got >= want {
			return true
		}
		select {
		case <-v.bell:
		case <-timeout:
			return false
		}
	}
}

// newest is the newest frame of somebody.
func (v *voice) newest(who string) (n uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.heard[who]
}

// hole is how many frames in a row of somebody, from one on, did not arrive. What was not sent, by a busy machine, does not count.
func (v *voice) hole(who string, from uint64) (most uint64) {
	v.mu.Lock()
	all := slices.Clone(v.log[who])
	v.mu.Unlock()
	slices.Sort(all)
	for _, n := range all {
		if n > from {
			most = max(most, n-from-1)
			from = n
		}
	}
	return most
}

// step is something that somebody does in a call, with all that follows by itself. do waits until everybody knows.
type step struct {
	name    string
	do      func()
	moments []moment
	flows   []*flow
}

// around lists all moments of things that are published by themselves or by do. Of what is for nobody else nobody is told.
func around(list ...string) (all []moment) {
	for _, what := range list {
		what, alone := strings.CutSuffix(what, "!")
		who, what, _ := strings.Cut(what, " ")
		for w := published; w <= spread; w++ {
			if w != spread || !alone {
				all = append(all, moment{who, what, w})
			}
		}
	}
	return all
}

// story is a call from its start to its end.
type story struct {
	k       *killer
	conv    string
	steps   []step
	id      string
	outcome string
	with    []string
	opened  time.Time
	began   time.Time // when it was known to be active
	ended   time.Time
}

// play plays a story; of each step the server may be killed at one moment.
func (s *story) play(kills map[string]moment) {
	t := s.k.t
	t.Helper()
	s.opened = time.Now()
	for _, st := range s.steps {
		m, dies := kills[st.name]
		if dies {
			t.Logf("%s: killed when %s", st.name, m)
			s.k.await(m, st.flows)
		}
		st.do()
		if dies {
			s.k.struck(m)
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	s.check()
	s.k.again() // when all is over
	s.check()
	s.k.srv.Kill()
	s.leftovers()
}

// check compares what is left of the call with what happened: one event, and nothing that lives.
func (s *story) check() {
	t, k := s.k.t, s.k
	t.Helper()
	for _, d := range k.devices {
		must(t, d.Wait(soon(t), func(st client.Status) bool { return st.State == client.UpToDate }))
	}
	var events []protocol.CallEnd
	for ctx := soon(t); len(events) == 0 && ctx.Err() == nil; { // it is written behind the end
		events = k.devices[0].past(s.conv)
	}
	if len(events) != 1 {
		t.Fatalf("the log has %+v", events)
	}
	e := events[0]
	if slices.Sort(e.With); e.Call != s.id || e.Outcome != s.outcome || !slices.Equal(e.With, s.with) {
		t.Errorf("the log has %+v, it was the call %s of %v, %s", e, s.id, s.with, s.outcome)
	}
	took := time.Duration(e.Duration) * time.Second
	if s.outcome == Answered && (took+time.Second < s.ended.Sub(s.began) || took > time.Since(s.began)+s.began.Sub(s.opened)) || s.outcome != Answered && took != 0 {
		t.Errorf("the log has %+v, it took %v", e, s.ended.Sub(s.began))
	}
	for _, d := range k.devices {
		live, err := client.CallingCalls{Via: d.Client}.State(soon(t), "")
		must(t, err)
		if len(live) > 0 || len(d.Manager.Calls()) > 0 {
			t.Errorf("%s: calls live: %+v; here: %v", d.Device(), live, d.Manager.Calls())
		}
		select {
		case c := <-d.Incoming():
			t.Errorf("%s/%s: %s rings", d.Me(), d.Device(), c.ID())
		default:
		}
	}
	if got := k.retained(s.conv); got != nil {
		t.Errorf("a running call is retained: %s", got)
	}
}

// past are the calls in the log of a conversation.
func (d *device) past(conv string) (all []protocol.CallEnd) {
	d.t.Helper()
	for ev, err := range (client.HistoryCalls{Via: d.Client}).After(soon(d.t), conv, 0) {
		must(d.t, err)
		if end, ok := protocol.CallEndOf(&ev); ok {
			all = append(all, end)
		}
	}
	return all
}

// retained is the running call as somebody finds it who subscribes now.
func (k *killer) retained(conv string) []byte {
	k.t.Helper()
	c, _, err := mqttc.Dial(soon(k.t), k.srv.MQTT, mqttc.ConnectOptions{Version: 5, ClientID: "looker", Username: k.devices[0].Me(), CleanStart: true})
	must(k.t, err)
	defer c.Close()
	must(k.t, c.SetReadDeadline(time.Now().Add(servertest.Patience)))
	must(k.t, c.WriteSubscribe(1, []mqttc.Filter{{Topic: "c/" + conv + "/call"}}))
	must(k.t, c.WritePing())
	must(k.t, c.Flush())
	var got []byte
	_, err = c.Await(mqttc.PINGRESP, func(p mqttc.Packet) error {
		if p.Type == mqttc.PUBLISH {
			got = slices.Clone(p.Payload)
		}
		return nil
	})
	must(k.t, err)
	return got
}

// leftovers looks into the store of the dead server.
func (s *story) leftovers() {
	t := s.k.t
	t.Helper()
	st, err := pebblestore.Open(broker.StoreDir(s.k.srv.Data), pebblestore.Options{ReadOnly: true})
	must(t, err)
	for _, space := range []storage.Space{storage.SpaceCall, storage.SpaceSignal} {
		must(t, st.Scan(storage.In(space), nil, func(k storage.Key, v []byte) bool {
			t.Errorf("there is a record of a call left: %x %x", k, v)
			return true
		}))
	}
	must(t, st.Close())
}
