package crash_test

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/broker/verify"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
)

// TestPowerLoss lets a hub carry out random commands on a disk in memory and cuts the power in the middle,
// again and again. Unlike SIGKILL that takes everything away that was not synced. What was told to
// anybody, by an answer or by a delivery, must be there afterwards; what was refused must not; and all
// records must follow from the logs.
func TestPowerLoss(t *testing.T) {
	n := uint64(40)
	if testing.Short() {
		n = 8
	}
	for seed := range n {
		l := &lossy{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 7)), disk: pebblestore.NewMemDisk(), sent: map[string]*command{}, told: map[string]map[uint64]string{}}
		for range 6 {
			l.run()
			if t.Failed() {
				return
			}
		}
	}
}

// lossy is one history of a disk that loses power.
type lossy struct {
	t    *testing.T
	seed uint64
	rng  *rand.Rand
	disk *pebblestore.MemDisk
	n    int

	mu    sync.Mutex
	sent  map[string]*command          // by token
	told  map[string]map[uint64]string // log → seq → what a delivery said
	moved map[string]uint64            // read cursors that were answered, by conversation and user
}

type command struct {
	req   hub.Request
	token string
	done  bool
	res   hub.Result
}

// lossy is the hub's sink.
func (l *lossy) Begin()                 {}
func (l *lossy) End(uint64)             {}
func (l *lossy) Moved(*hub.CursorMoved) {}
func (l *lossy) Deliver(d *hub.Delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.told[d.Log] == nil {
		l.told[d.Log] = make(map[uint64]string)
	}
	l.told[d.Log][d.Event.Seq] = says(d.Event)
}

// says is what an event says, in short.
func says(e *chat.Event) string {
	s := fmt.Sprint(e.From, " ", e.Kind, " ", e.Text, " ", e.Conv)
	if e.Member != nil {
		s += fmt.Sprint(*e.Member)
	}
	return s
}

type stored struct{}

func (stored) EncodeStored(dst []byte, e *chat.Event) []byte { return protocol.EncodeStored(dst, e) }
func (stored) DecodeStored(b []byte) (chat.Event, error)     { return protocol.DecodeStored(b) }

// knowledge is what had been told when the power went.
type knowledge struct {
	sent  map[string]command
	told  map[string]map[uint64]string
	moved map[string]uint64
}

func (l *lossy) knows() knowledge {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := knowledge{sent: map[string]command{}, told: map[string]map[uint64]string{}, moved: maps.Clone(l.moved)}
	for tok, c := range l.sent {
		k.sent[tok] = *c
	}
	for log, m := range l.told {
		k.told[log] = maps.Clone(m)
	}
	return k
}

func (l *lossy) hub(st storage.Store) (*hub.Hub, func()) {
	p := hub.NewPipeline(st, func(err error) { l.t.Error("fatal:", err) })
	h := hub.New(hub.Options{Store: st, Pipeline: p, Sink: l, Codec: stored{}, Limits: chat.DefaultLimits(), Log: slog.New(slog.DiscardHandler), CacheMax: 3})
	p.Start(nil)
	return h, func() { h.Close(); p.Close() }
}

// run opens the disk, checks what it is to check, sends commands, and goes on with the disk as the power
// loss left it.
func (l *lossy) run() {
	st, err := l.disk.Open(pebblestore.Options{MemTableBytes: 1 << 20})
	if err != nil {
		l.t.Fatal(err)
	}
	h, stop := l.hub(st)
	started := make(chan struct{})
	var wg sync.WaitGroup
	for sender := range 3 {
		rng := rand.New(rand.NewPCG(l.rng.Uint64(), uint64(sender)))
		wg.Go(func() {
			<-started
			for range 20 + rng.IntN(80) {
				l.submit(h, rng)
			}
		})
	}
	answers := l.rng.IntN(100)
	close(started)
	for range answers { // each answered command lets some more pass: the moment is anywhere in the stream
		if h.Query("none", false, func(hub.View) {}) != nil {
			l.t.Error("a query failed")
		}
	}
	before := l.knows()
	after := l.disk.PowerLoss([]int{0, 0, 40, 80, 100}[l.rng.IntN(5)], l.rng.Uint64())
	wg.Wait()
	stop()
	if err := st.Close(); err != nil {
		l.t.Error(err)
	}
	l.disk = after
	l.check(before)
}

var (
	lossyUsers = []string{"ann", "bob", "cat", "dan"}
	lossyConvs = []string{"one", "two", "ann~bob", "cat~dan"}
)

// submit sends one random command and does not wait for its answer.
func (l *lossy) submit(h *hub.Hub, rng *rand.Rand) {
	user, conv := lossyUsers[rng.IntN(4)], lossyConvs[rng.IntN(4)]
	_, _, direct := chat.Parties(conv)
	l.mu.Lock()
	l.n++
	c := &command{token: fmt.Sprintf("%d.%d", l.seed, l.n)}
	l.mu.Unlock()
	cmd := chat.Command{Actor: user}
	switch r := rng.IntN(20); {
	case r == 0 && !direct:
		title := "t"
		cmd.Op, cmd.Info, cmd.Members = chat.OpCreate, &chat.InfoChange{Title: &title}, []string{"bob", "cat"}
	case r < 3 && !direct:
		cmd.Op, cmd.User, cmd.Role = chat.OpAdd, lossyUsers[rng.IntN(4)], chat.RoleMember
	case r < 4 && !direct:
		cmd.Op, cmd.User = chat.OpRemove, lossyUsers[rng.IntN(4)]
	case r < 6:
		l.read(h, conv, user, uint64(1+rng.IntN(20)))
		return
	default:
		cmd.Op = chat.OpAppend
		cmd.Event = chat.Event{Kind: chat.KindPost, Text: c.token}
		if rng.IntN(2) == 0 {
			cmd.Event.ID = c.token
		}
		cmd.Hash = protocol.ContentHash(&cmd.Event)
	}
	c.req = hub.Request{Conv: conv, Direct: direct, Cmd: cmd}
	req := c.req
	req.Done = func(res hub.Result) {
		l.mu.Lock()
		defer l.mu.Unlock()
		c.done, c.res = true, res
	}
	l.mu.Lock()
	l.sent[c.token] = c
	l.mu.Unlock()
	h.Submit(&req)
}

func (l *lossy) read(h *hub.Hub, conv, user string, seq uint64) {
	h.MoveCursor(&hub.Move{Conv: conv, User: user, Read: seq, Done: func(res hub.Result) {
		if res.Err != nil {
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.moved == nil {
			l.moved = make(map[string]uint64)
		}
		l.moved[conv+" "+user] = max(l.moved[conv+" "+user], seq)
	}})
}

// check opens the disk after the power loss and compares it with what was known before.
func (l *lossy) check(k knowledge) {
	t := l.t
	st, err := l.disk.Open(pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	_, err = verify.Check(st, func(p verify.Problem) {
		if p.Severity == verify.Error {
			t.Errorf("seed %d: %v", l.seed, p)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	logs, where := l.readAll(st)
	for tok, c := range k.sent {
		if c.req.Cmd.Op != chat.OpAppend {
			continue
		}
		seqs := where[tok]
		switch {
		case len(seqs) > 1:
			t.Errorf("seed %d: %s is stored %d times", l.seed, tok, len(seqs))
		case c.done && c.res.Err != nil && len(seqs) > 0:
			t.Errorf("seed %d: %s was refused (%v) and is stored", l.seed, tok, c.res.Err)
		case c.done && c.res.Err == nil && !slices.Equal(seqs, []uint64{c.res.Seq}):
			t.Errorf("seed %d: %s was acknowledged as seq %d and is at %v", l.seed, tok, c.res.Seq, seqs)
		}
	}
	for log, told := range k.told {
		for seq, what := range told {
			if got := logs[log][seq]; got != what {
				t.Errorf("seed %d: %s %d was delivered as %q and is %q", l.seed, log, seq, what, got)
			}
		}
	}
	l.checkCursors(st, k)
	l.checkRetries(st, k)
	// The future begins here: what was under way and is lost may be told anew.
	l.sent, l.told, l.moved = map[string]*command{}, map[string]map[uint64]string{}, maps.Clone(k.moved)
}

// readAll reads all logs, and where each token is.
func (l *lossy) readAll(st storage.Store) (logs map[string]map[uint64]string, where map[string][]uint64) {
	logs, where = make(map[string]map[uint64]string), make(map[string][]uint64)
	err := st.Logs(func(log string) bool {
		logs[log] = make(map[uint64]string)
		next := uint64(1)
		err := st.Read(log, 1, 1<<62, func(e storage.Entry) bool {
			ev, err := protocol.DecodeStored(e.Data)
			if err != nil || e.Seq != next {
				l.t.Errorf("seed %d: %s: seq %d where %d is due (%v)", l.seed, log, e.Seq, next, err)
			}
			next++
			logs[log][e.Seq] = says(&ev)
			if ev.Text != "" {
				where[ev.Text] = append(where[ev.Text], e.Seq)
			}
			return true
		})
		if err != nil {
			l.t.Error(err)
		}
		return true
	})
	if err != nil {
		l.t.Error(err)
	}
	return logs, where
}

func (l *lossy) checkCursors(st storage.Store, k knowledge) {
	for key, seq := range k.moved {
		var conv, user string
		if _, err := fmt.Sscan(key, &conv, &user); err != nil {
			l.t.Fatal(err)
		}
		v, _, err := st.Get(storage.In(storage.SpaceCursor).Str(conv).Str(user))
		if err != nil {
			l.t.Error(err)
		}
		if c, err := storage.DecodeCursor(v); err != nil || c.Read < seq {
			l.t.Errorf("seed %d: %s had read up to %d, the record says %d (%v)", l.seed, key, seq, c.Read, err)
		}
	}
}

// checkRetries sends acknowledged events with an id again: they have the seq that they had; with other
// content they are refused.
func (l *lossy) checkRetries(st storage.Store, k knowledge) {
	h, stop := l.hub(st)
	defer stop()
	for tok, c := range k.sent {
		if !c.done || c.res.Err != nil || c.req.Cmd.Event.ID == "" {
			continue
		}
		r := c.req
		if res := h.Do(&r); res.Err == nil && (res.Seq != c.res.Seq || !res.Duplicate) {
			l.t.Errorf("seed %d: the retry of %s became seq %d, it was %d", l.seed, tok, res.Seq, c.res.Seq)
		}
		r = c.req
		r.Cmd.Event.Text += "?"
		r.Cmd.Hash = protocol.ContentHash(&r.Cmd.Event)
		if res := h.Do(&r); res.Err == nil {
			l.t.Errorf("seed %d: other content under the id of %s was accepted", l.seed, tok)
		}
	}
}
