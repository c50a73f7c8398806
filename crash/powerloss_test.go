package crash_test

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/petrelchat/petrel/broker/hub"
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
		l.ended, l.cut, l.edits = make(map[string]map[uint64]bool), make(map[string]uint64), make(map[string]uint64)
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
	ended map[string]map[uint64]bool   // log → seq: somebody asked for the end of this event
	edits map[string]uint64            // log and seq of an edit that was delivered → the post
	cut   map[string]uint64            // log → before which seq somebody asked to cut it off
	codes []string                     // of invitations
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
	if d.Event.Kind == chat.KindEdit {
		l.edits[fmt.Sprint(d.Log, " ", d.Event.Seq)] = d.Event.Re
	}
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
	l.prepare(st)
	h, stop := l.hub(st)
	started := make(chan struct{})
	var wg sync.WaitGroup
	for sender := range 3 {
		rng := rand.New(rand.NewPCG(l.rng.Uint64(), uint64(sender)))
		wg.Go(func() {
			<-started
			for range 20 + rng.IntN(80) {
				l.submit(h, rng)
				if rng.IntN(40) == 0 {
					l.upkeep(h, st, rng)
				}
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
	switch r := rng.IntN(40); {
	case r == 0 && !direct:
		title, join := "t", chat.JoinRequest
		cmd.Op, cmd.Info, cmd.Members = chat.OpCreate, &chat.InfoChange{Title: &title, Join: &join}, []string{"bob", "cat"}
	case r < 3 && !direct:
		cmd.Op, cmd.User, cmd.Role = chat.OpAdd, lossyUsers[rng.IntN(4)], chat.RoleMember
	case r < 4 && !direct:
		cmd.Op, cmd.User = chat.OpRemove, lossyUsers[rng.IntN(4)]
	case r < 6:
		l.read(h, conv, user, uint64(1+rng.IntN(20)))
		return
	case r < 12 && !direct:
		l.keep(&cmd, c.token, rng)
	case r < 26:
		l.upon(&cmd, conv, c.token, rng)
	default:
		cmd.Op = chat.OpAppend
		cmd.Event = chat.Event{Kind: chat.KindPost, Text: c.token}
		if rng.IntN(2) == 0 {
			cmd.Event.ID = c.token
		}
		if rng.IntN(4) == 0 {
			cmd.Event.Expire = 1
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

// keep makes the command one of those that keep a group's gate.
func (l *lossy) keep(cmd *chat.Command, token string, rng *rand.Rand) {
	cmd.User = lossyUsers[rng.IntN(4)]
	l.mu.Lock()
	defer l.mu.Unlock()
	switch cmd.Op = []chat.Op{
		chat.OpBan, chat.OpUnban, chat.OpMute, chat.OpJoin, chat.OpLeave, chat.OpApprove, chat.OpDeny,
		chat.OpInvite, chat.OpAccept, chat.OpAccept, chat.OpRevoke, chat.OpRole,
	}[rng.IntN(12)]; cmd.Op {
	case chat.OpMute:
		cmd.Until = now() + 5
	case chat.OpBan:
		cmd.Until = now() + int64(rng.IntN(10))
	case chat.OpRole:
		cmd.Role = chat.RoleModerator
	case chat.OpInvite:
		cmd.Code, cmd.Invite.Uses = "code-"+strings.ReplaceAll(token, ".", "-"), uint32(rng.IntN(3))
		l.codes = append(l.codes, cmd.Code)
	case chat.OpAccept, chat.OpRevoke:
		if len(l.codes) > 0 {
			cmd.Code = l.codes[rng.IntN(len(l.codes))]
		}
	}
}

// upon makes the command one that acts upon an event, there or not.
func (l *lossy) upon(cmd *chat.Command, conv, token string, rng *rand.Rand) {
	cmd.Op = chat.OpAppend
	ev := &cmd.Event
	ev.Re = uint64(1 + rng.IntN(30))
	switch ev.Kind = []chat.Kind{
		chat.KindPost, chat.KindPost, chat.KindEdit, chat.KindDelete, chat.KindReact, chat.KindReact, chat.KindUnreact, chat.KindPin, chat.KindUnpin,
	}[rng.IntN(9)]; ev.Kind {
	case chat.KindPost, chat.KindEdit:
		ev.Text = token
	case chat.KindReact, chat.KindUnreact:
		ev.Emoji = emojis[rng.IntN(2)]
	case chat.KindDelete:
		l.end(conv, ev.Re)
	}
	cmd.Hash = protocol.ContentHash(ev)
}

// end notes that somebody asks for the end of an event.
func (l *lossy) end(conv string, seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended[conv] == nil {
		l.ended[conv] = make(map[uint64]bool)
	}
	l.ended[conv][seq] = true
}

// upkeep is what the server does by itself: some events disappear, or the beginning of a log is cut off.
func (l *lossy) upkeep(h *hub.Hub, st storage.Store, rng *rand.Rand) {
	done := func(wait func() error) {
		if err := wait(); err != nil {
			l.t.Errorf("seed %d: upkeep: %v", l.seed, err)
		}
	}
	if rng.IntN(6) == 0 {
		conv, below := lossyConvs[rng.IntN(4)], uint64(1+rng.IntN(8))
		l.mu.Lock()
		l.cut[conv] = max(l.cut[conv], below)
		l.mu.Unlock()
		done(h.Cut(conv, below))
		return
	}
	due := make(map[string][]hub.Due)
	err := st.Scan(storage.In(storage.SpaceExpire), nil, func(k storage.Key, _ []byte) bool {
		conv, d, ok := hub.TakeExpireKey(k)
		if !ok {
			l.t.Errorf("seed %d: the record %q", l.seed, []byte(k))
		}
		if rng.IntN(2) == 0 {
			due[conv] = append(due[conv], d)
		}
		return true
	})
	if err != nil {
		l.t.Error(err)
	}
	for conv, list := range due {
		for _, d := range list {
			l.end(conv, d.Seq)
		}
		done(h.Disappear(conv, list))
	}
}

// prepare gives a new store the mark that it has views, which are checked then.
func (l *lossy) prepare(st storage.Store) {
	commit := func(b *storage.Batch) error {
		p, err := st.Commit(b)
		if err == nil {
			err = p.Wait()
		}
		return err
	}
	if err := hub.BuildViews(st, stored{}, commit, slog.New(slog.DiscardHandler)); err != nil {
		l.t.Fatal(err)
	}
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
