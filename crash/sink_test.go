package crash_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"time"
)

// sink is the endpoint of all outgoing webhooks. It lives through the crashes, keeps what comes in the order in
// which it comes, and now and then refuses something, or hangs up.
type sink struct {
	w      *world
	srv    *httptest.Server
	rang   chan struct{} // has something when a delivery came
	closed chan struct{} // has something when a connection ended

	mu     sync.Mutex
	rng    *rand.Rand
	rough  bool // it does refuse
	spouts map[string]*spout

	connMu sync.Mutex // of its own: hijacking a connection counts it
	open   map[net.Conn]bool
}

// spout is an outgoing webhook. Its fields are guarded by the sink.
type spout struct {
	path, conv string
	kinds      []string // none: posts
	id, secret string   // "": not known
	made       int64    // ms since 1970: events from then on are delivered
	there      belief[bool]
	gone       int32 // life of the server in which it was known to be removed; 0: it was not

	came   []delivery // since the last check
	acked  uint64     // the last seq that was taken
	before uint64     // what was stored when the newest delivery was taken: it begins behind this seq
	life   int32      // in which that was
	failed bool       // the last one was refused
	over   int32      // life in which one was refused for good; 0: none since it was switched on
}

type delivery struct {
	life   int32
	events []shown
	took   bool
}

func newSink(w *world) *sink {
	s := &sink{
		w: w, rang: make(chan struct{}, 1), closed: make(chan struct{}, 1), rng: rand.New(rand.NewPCG(w.rng.Uint64(), 3)),
		spouts: make(map[string]*spout), open: make(map[net.Conn]bool),
	}
	s.srv = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.srv.Config.ConnState = s.count
	s.srv.Start()
	w.t.Cleanup(s.srv.Close)
	return s
}

// count keeps the connections that are open.
func (s *sink) count(c net.Conn, is http.ConnState) {
	s.connMu.Lock()
	if is == http.StateClosed || is == http.StateHijacked {
		delete(s.open, c)
	} else {
		s.open[c] = true
	}
	s.connMu.Unlock()
	select {
	case s.closed <- struct{}{}:
	default:
	}
}

// drain returns when all that the server sent before it died has been taken. Connections are accepted in their
// order, so those of the server were before this one.
func (s *sink) drain() {
	c := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(s.srv.URL)
	if err != nil {
		s.w.t.Fatalf("%v: the endpoint of webhooks: %v", s.w, err)
	}
	_ = resp.Body.Close()
	late := time.After(patience)
	for {
		s.connMu.Lock()
		left := len(s.open)
		s.connMu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-s.closed:
		case <-late:
			s.w.t.Fatalf("%v: the dead server still has %d connections to the endpoint of webhooks", s.w, left)
		}
	}
}

// add makes the endpoint of a webhook that is about to be made.
func (s *sink) add(conv string, kinds []string) *spout {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := &spout{path: fmt.Sprintf("/%s/%d", conv, len(s.spouts)), conv: conv, kinds: kinds, there: belief[bool]{false, true}}
	s.spouts[o.path] = o
	return o
}

func (o *spout) wants(kind string) bool {
	if kind == "" {
		kind = "post"
	}
	if len(o.kinds) == 0 {
		return kind == "post"
	}
	return slices.Contains(o.kinds, kind)
}

// serve takes a delivery.
func (s *sink) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet { // drain's
		return
	}
	var d struct {
		Webhook, Conv string
		Events        []shown
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // it died
	}
	err = json.Unmarshal(body, &d)
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.spouts[r.URL.Path]
	head := r.Header.Get
	switch {
	case o == nil:
		err = fmt.Errorf("there is no endpoint %s", r.URL.Path)
	case err == nil && (len(d.Events) == 0 || d.Conv != o.conv || head("Petrel-Webhook") != d.Webhook || o.id != "" && o.id != d.Webhook):
		err = fmt.Errorf("it is of the webhook %q", o.id)
	case err == nil && head("Petrel-Delivery") != fmt.Sprintf("%d-%d", d.Events[0].Seq, d.Events[len(d.Events)-1].Seq):
		err = fmt.Errorf("it says that it is %s", head("Petrel-Delivery"))
	case err == nil && o.secret != "" && head("Petrel-Signature") != "v1="+sign(o.secret, head("Petrel-Timestamp"), body):
		err = fmt.Errorf("its signature is %q", head("Petrel-Signature"))
	}
	if err != nil {
		s.w.t.Errorf("%v: the delivery %s of a webhook: %v", s.w, body, err)
		http.Error(w, "what is this?", http.StatusBadRequest)
		return
	}
	s.answer(w, o, delivery{life: s.w.lives.Load(), events: d.Events})
}

// answer takes a delivery, or refuses it; never twice in a row, since the server waits the longer the more often.
func (s *sink) answer(w http.ResponseWriter, o *spout, d delivery) {
	r := 100
	if s.rough && !o.failed {
		r = s.rng.IntN(100)
	}
	o.failed = r < 6
	if d.took = !o.failed; o.over == d.life {
		s.w.t.Errorf("%v: the webhook %s was told to stop, and delivers %+v", s.w, o, d.events)
	} else if d.took {
		o.over = 0 // the server did not live to remember it
	}
	o.came = append(o.came, d)
	switch {
	case r < 3:
		w.WriteHeader(http.StatusInternalServerError)
	case r < 5:
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = conn.Close() // without an answer
		}
	case r < 6:
		o.over = d.life
		w.WriteHeader(http.StatusGone)
	}
	select {
	case s.rang <- struct{}{}:
	default:
	}
}

// sign is what the contract says about signatures.
func sign(secret, stamp string, body []byte) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(stamp + "."))
	m.Write(body)
	return hex.EncodeToString(m.Sum(nil))
}

// settle compares what came with the log: all that it asked for, in order, without a gap. Only what a server
// took to its grave comes again.
func (s *sink) settle(k look, conv string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.spouts {
		for _, d := range o.came {
			if o.gone != 0 && d.life > o.gone {
				s.w.wrongf("the webhook %s was deleted, and delivers %+v", o, d.events)
			}
		}
		if o.conv == conv {
			s.follow(o, k)
		}
		o.came = nil
	}
}

func (s *sink) follow(o *spout, k look) {
	for _, d := range o.came {
		first, last := d.events[0].Seq, d.events[len(d.events)-1].Seq
		s.w.total.delivered += len(d.events)
		if first <= o.acked {
			s.w.total.again++
		}
		if first <= o.acked && (d.life == o.life || first <= o.before) {
			s.w.wrongf("the webhook %s delivers %d to %d again, up to %d was taken", o, first, last, o.acked)
		}
		at := first - 1
		if first > o.acked {
			at = o.acked
		}
		for _, e := range d.events {
			is := k.events[e.Seq]
			if e.Seq <= at || is.Kind != "gone" && (is.Seq == 0 || is.Text != e.Text || is.Kind != e.Kind || is.From != e.From || !o.wants(e.Kind)) {
				s.w.wrongf("the webhook %s delivers %+v after %d; the log has %+v", o, e, at, is)
				continue
			}
			s.complete(o, k, at, e.Seq)
			at = e.Seq
		}
		if d.took {
			o.before, o.acked, o.life = first-1, max(o.acked, last), d.life
		}
	}
}

// complete: between two events that came one after the other there is none that should have come. What is gone
// by now may have been then.
func (s *sink) complete(o *spout, k look, from, to uint64) {
	for seq := from + 1; seq < to; seq++ {
		if e := k.events[seq]; e.Seq != 0 && o.wants(e.Kind) && e.At > o.made {
			s.w.wrongf("the webhook %s passes over %+v, between %d and %d", o, e, from, to)
		}
	}
}

// behind reports whether something that is in the log is still to come.
func (s *sink) behind(o *spout, k look) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	done := o.acked
	for _, d := range o.came {
		if d.took {
			done = max(done, d.events[len(d.events)-1].Seq)
		}
	}
	for seq, e := range k.events {
		if seq > done && o.wants(e.Kind) && e.At > o.made {
			return true
		}
	}
	return false
}

// roughen says whether deliveries are refused at times.
func (s *sink) roughen(on bool) {
	s.mu.Lock()
	s.rough = on
	s.mu.Unlock()
}

func (o *spout) String() string { return fmt.Sprintf("%s (%s) for %v", o.path, o.id, o.kinds) }
