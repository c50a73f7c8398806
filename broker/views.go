package broker

import (
	"log/slog"
	"sync"
	"time"

	"github.com/petrelchat/petrel/broker/delivery"
	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/broker/notify"
	"github.com/petrelchat/petrel/broker/rpc"
	"github.com/petrelchat/petrel/broker/search"
	"github.com/petrelchat/petrel/broker/webhook"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// views is the hub's sink: events go to the registry, and what they change about a conversation's
// settings and members goes to c/{conv}/info, coalesced.
type views struct {
	*delivery.Registry
	notify *notify.Service // set before the hub has anything to report
	store  storage.Reader
	log    *slog.Logger
	hub    *hub.Hub
	rpc    *rpc.Service

	webhooks *webhook.Hooks // told what is durable
	search   *search.Index  // the same; nil: there is none

	receipts *receipts
	calls    *calls            // nil: there are none
	met      func(conv string) // two have accepted each other in a direct conversation; nil: nobody cares

	mu    sync.Mutex
	dirty map[string]bool // conversation → it has ended
	left  map[string][]string
	wake  chan struct{}
	stop  chan struct{}
	wg    sync.WaitGroup
}

// infoEvery is the least time between two updates of c/{conv}/info.
const infoEvery = 500 * time.Millisecond

func newViews(r *delivery.Registry, store storage.Reader, known *readers, log *slog.Logger) *views {
	return &views{Registry: r, store: store, log: log, receipts: newReceipts(r, store, known, log), dirty: make(map[string]bool), left: make(map[string][]string),
		wake: make(chan struct{}, 1), stop: make(chan struct{})}
}

// Deliver notes what changes a conversation's info, and passes everything on.
func (v *views) Deliver(d *hub.Delivery) {
	v.Registry.Deliver(d)
	v.notice(d)
	if d.Log[0] == '@' { // a user's own log has no info
		return
	}
	v.webhooks.Wake(d.Log)
	if v.search != nil {
		v.search.Note(d.Log)
	}
	switch d.Event.Kind {
	case chat.KindCreate, chat.KindInfo, chat.KindJoin, chat.KindAdd, chat.KindLeave, chat.KindRemove, chat.KindBan, chat.KindRole, chat.KindEnd:
	default:
		if d.Event.Seq != 1 { // a direct conversation begins
			return
		}
	}
	if d.Begins != "" && v.met != nil {
		v.met(d.Log)
	}
	v.calls.left(d)
	v.mu.Lock()
	v.dirty[d.Log] = v.dirty[d.Log] || d.Event.Kind == chat.KindEnd
	if d.Former != "" {
		v.left[d.Log] = append(v.left[d.Log], d.Former)
	}
	if d.Event.Kind == chat.KindEnd {
		v.left[d.Log] = append(v.left[d.Log], d.Members...)
	}
	v.mu.Unlock()
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// Moved passes a cursor's move on, in a large group to those who count. Whoever hides read receipts shows how
// far messages were delivered only, and sees no more of others.
func (v *views) Moved(m *hub.CursorMoved) {
	if m.Large && m.Wanted {
		v.receipts.note(m)
	}
	hidden := *m
	hidden.Cursor.Read, hidden.ReadNow, hidden.Authors = 0, false, nil
	open := *m
	open.Authors = nil
	for _, a := range m.Authors {
		if m.Hidden || v.receipts.readers.hides(a) {
			hidden.Authors = append(hidden.Authors, a)
		} else {
			open.Authors = append(open.Authors, a)
		}
	}
	if len(hidden.Authors) > 0 && m.Cursor.Delivered > m.Old.Delivered { // that something was read is what they hide
		v.Registry.Moved(&hidden)
	}
	v.Registry.Moved(&open) // the user's own devices see it all
}

// wanted reports whether anybody is there to be told of cursor moves.
func (v *views) wanted() bool { return v.Wanted(protocol.FilterReceipts) }

// start starts the goroutine that sends the updates; close stops it.
func (v *views) start(h *hub.Hub, r *rpc.Service) {
	v.hub, v.rpc = h, r
	v.receipts.start(h)
	v.wg.Add(1)
	go func() { defer v.wg.Done(); v.run() }()
}

func (v *views) close() {
	v.receipts.close()
	close(v.stop)
	v.wg.Wait()
}

func (v *views) run() {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-v.stop:
			return
		case <-v.wake:
		}
		v.mu.Lock()
		dirty, left := v.dirty, v.left
		v.dirty, v.left = make(map[string]bool), make(map[string][]string)
		v.mu.Unlock()
		for conv, ended := range dirty {
			v.tell(conv, ended, left[conv])
		}
		pause.Reset(infoEvery)
		select {
		case <-v.stop:
			return
		case <-pause.C:
		}
	}
}

// tell sends a conversation's info to its members, each with their own role, and clears it for those
// who left.
func (v *views) tell(conv string, ended bool, left []string) {
	if !v.Wanted(protocol.FilterInfo) {
		return
	}
	topic := []byte(protocol.InfoTopic(conv))
	var members []string
	if !ended {
		_, _, direct := chat.Parties(conv)
		err := v.hub.Query(conv, direct, func(w hub.View) { members = w.State.MemberList() })
		if err != nil {
			return // the hub has logged it
		}
	}
	v.Tell(left, protocol.FilterInfo, conv, topic, nil, false) // RETAIN is for what a subscription finds [MQTT-3.3.1-12]
	for _, u := range members {
		if v.Online(u) == 0 {
			continue
		}
		payload, ok, err := v.rpc.InfoPayload(u, conv)
		if err != nil {
			v.log.Error("making a conversation's info failed", "conv", conv, "error", err)
			return
		}
		if ok {
			v.Tell([]string{u}, protocol.FilterInfo, conv, topic, payload, false)
		}
	}
}

var _ hub.Sink = (*views)(nil)
