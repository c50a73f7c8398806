package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/petrelchat/petrel/signaling/sfu/sfuload"
)

const (
	// ringFor is how long a call of calls-ringing rings before it is answered; the server ends it after 60 s.
	ringFor = 50 * time.Second
	// ringSetup is how many calls are begun at a time until all ring.
	ringSetup = 64
	// ringLanes is how many calls are answered, ended and begun anew at a time at most; what would be more is late, which is counted.
	ringLanes = 1024
	// rungBy is how many call one device: a user has one call that rings and one that waits.
	rungBy = 2
)

// What the parties say. The server checks it, and passes it on.
const (
	ringPrint     = "00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F"
	ringCandidate = "candidate:1 1 udp 2122260223 192.0.2.17 51472 typ host"
)

// ringing is many calls that ring at the same time, with a device at each end. As in life somebody answers, talks and hangs up,
// and somebody calls, in the order in which they began: so many each second that none rings longer than ringFor.
func (r *runner) ringing(ctx context.Context, s *server) (res Result, err error) {
	if !s.petrel {
		return conversationsOnly(), nil
	}
	cr := newCrew(ctx)
	defer cr.close()
	l := &ringLoad{clock: r.clock, cr: cr}
	if err := l.connect(s, r.opt.Calls); err != nil {
		return res, err
	}
	began := r.clock.now()
	if err := cr.each(len(l.calls), ringSetup, func(i int) error { return l.begin(l.calls[i]) }); err != nil {
		return res, err
	}
	took := time.Duration(r.clock.now() - began)
	if took > ringFor {
		return res, fmt.Errorf("it took %v until %d calls rang, and the first ones end before all is measured: use fewer --calls", took, r.opt.Calls)
	}
	l.win = r.measuring()
	load := watch(cr, r.clock, s, l.win)
	n, span := float64(len(l.calls)), (r.opt.Warmup + r.opt.Duration).Seconds()
	l.run(max(n/ringFor.Seconds(), min(n/span, 50))) // few calls are renewed once all the same
	if err := cr.wait(); err != nil {
		return res, err
	}
	res.add("calls begun/s, at the start", "", float64(len(l.calls))/took.Seconds())
	res.add("publishes/s", "", float64(l.puback.n)/l.win.seconds())
	res.latency("PUBACK", &l.puback)
	res.latency("delivery", &l.delivery)
	load.report(&res)
	if s.ready == "" {
		return res, nil
	}
	m, err := s.metrics(ctx)
	if live := m["petrel_calls"]; err == nil && live != float64(len(l.calls)) {
		err = fmt.Errorf("%d calls were to ring, and %.0f do", len(l.calls), live)
	}
	res.add("calls that ring", "", m["petrel_calls"])
	return res, err
}

// ringLoad is the calls of ringing.
type ringLoad struct {
	clock clock
	cr    *crew
	calls []*ringCall // in the order in which they are begun
	win   window
	next  atomic.Int64

	mu               sync.Mutex
	puback, delivery histogram // of publishes within win
}

// ringCall is one call and its two ends.
type ringCall struct {
	busy           *sync.Mutex // the callee's device, which is rung by others, too
	caller, callee *line
	call, party    string // the caller's
}

// connect connects everybody. Whose calls are begun one after the other call different devices.
func (l *ringLoad) connect(s *server, n int) error {
	devices := (n + rungBy - 1) / rungBy
	callees, locks := make([]*line, devices), make([]sync.Mutex, devices)
	l.calls = make([]*ringCall, n)
	err := l.cr.each(devices, ringSetup, func(i int) (err error) {
		callees[i], err = l.cr.line(s, i, receiverName(i), receiverName(i))
		return err
	})
	if err != nil {
		return err
	}
	return l.cr.each(n, ringSetup, func(i int) error {
		caller, err := l.cr.line(s, devices+i, senderName(i), senderName(i))
		l.calls[i] = &ringCall{busy: &locks[i%devices], caller: caller, callee: callees[i%devices]}
		return err
	})
}

// run answers, ends and begins calls, rate of them a second, until the end of the window.
func (l *ringLoad) run(rate float64) {
	first := l.clock.now()
	for range ringLanes {
		l.cr.run(func() error {
			for {
				k := l.next.Add(1) - 1
				due := first + int64(float64(k)/rate*1e9)
				if due >= l.win.to {
					return nil
				}
				if err := l.cr.sleep(time.Duration(max(0, l.clock.until(due)))); err != nil {
					return err
				}
				if err := l.renew(l.calls[int(k)%len(l.calls)], due); err != nil {
					return err
				}
			}
		})
	}
}

// step is one publish: who publishes what, and what the other side hears of it.
type step struct {
	due            int64 // when it should have been made; 0: now
	from, to       *line
	topic, payload string
	what           string
	want           func(*told) bool
	count          bool
}

// do publishes and waits until it is acknowledged, and until the other side has heard of it.
func (l *ringLoad) do(st step) (acked, error) {
	began := l.clock.now()
	if st.due > 0 && began-st.due > int64(2*time.Millisecond) {
		began = st.due // see load.go: a server that is behind is charged for the wait
	}
	var at int64
	var missed error
	var other sync.WaitGroup
	other.Go(func() { _, at, missed = st.to.hears(l.clock, st.what, st.want) })
	a, err := st.from.publish(l.clock, st.topic, st.payload)
	if err != nil {
		_ = st.to.SetReadDeadline(time.Now()) // nothing will come
	}
	other.Wait()
	if err = errors.Join(err, missed); err == nil && st.count && l.win.has(began) {
		l.mu.Lock()
		l.puback.add(a.at - began)
		l.delivery.add(at - began)
		l.mu.Unlock()
	}
	return a, err
}

// begin has a call ring.
func (l *ringLoad) begin(c *ringCall) error {
	c.busy.Lock()
	defer c.busy.Unlock()
	return l.ring(c, false)
}

// ring starts a call, and says that it rings. busy is held.
func (l *ringLoad) ring(c *ringCall, count bool) error {
	last := c.call
	a, err := l.do(step{from: c.caller, to: c.callee, topic: "u/" + c.callee.user + "/call", payload: `{"media":["audio"]}`, count: count,
		what: "a call", want: func(t *told) bool { return t.Kind == "ring" && t.From == c.caller.user && t.Call != last }})
	if err != nil {
		return err
	}
	c.call, c.party = a.call, a.party
	_, err = l.do(step{from: c.callee, to: c.caller, topic: "k/" + c.call + "/ringing", count: count,
		what: "its ringing", want: c.stands("ringing")})
	return err
}

// stands is what the caller and the callee are told of the call's state.
func (c *ringCall) stands(state string) func(*told) bool {
	return func(t *told) bool { return t.Kind == "state" && t.Call == c.call && t.State == state }
}

func (c *ringCall) says(kind string) func(*told) bool {
	return func(t *told) bool { return t.Kind == "signal" && t.Call == c.call && t.Type == kind }
}

// renew answers a call that rings, has the two find a way to each other, and hangs up; then the caller calls again.
func (l *ringLoad) renew(c *ringCall, due int64) error {
	c.busy.Lock()
	defer c.busy.Unlock()
	topic := "k/" + c.call + "/"
	a, err := l.do(step{due: due, from: c.callee, to: c.caller, topic: topic + "accept", payload: `{"media":["audio"]}`, count: true,
		what: "its being accepted", want: c.stands("connecting")})
	if err != nil {
		return err
	}
	for _, kind := range []string{"offer", "answer", "candidates"} {
		st := step{from: c.callee, to: c.caller, topic: topic + "signal", count: true, what: "the " + kind, want: c.says(kind)}
		to, body := c.party, sfuload.Offer(ringPrint, 0)
		switch kind {
		case "answer":
			st.from, st.to, to = c.caller, c.callee, a.party
		case "candidates":
			body = ringCandidate
		}
		st.payload = signal(to, kind, body)
		if _, err := l.do(st); err != nil {
			return err
		}
	}
	if _, err := l.do(step{from: c.caller, to: c.callee, topic: topic + "hangup", count: true, what: "its end", want: c.stands("ended")}); err != nil {
		return err
	}
	return l.ring(c, true)
}
