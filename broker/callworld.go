package broker

import (
	"errors"
	"sync"
	"time"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/broker/notify"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/signaling"
	"github.com/petrelchat/petrel/storage"
)

// callWorld is the server around the calls. What it is asked for in a completion, or by the dispatcher, its goroutine
// does, in the order of asking.
type callWorld struct {
	callGate
	s       *Server
	service *signaling.Service // set before anything is asked

	mu    sync.Mutex
	queue []func()
	wake  chan struct{} // holds one token: the queue has something
	stop  chan struct{}
	wg    sync.WaitGroup

	// again are events that the store did not take; the goroutine's own.
	again []ending

	rosterMu sync.Mutex // held while a roster is told, so that an older one does not follow. Before Registry.mu
	rosters  map[string][]byte
}

// ending is the event of a call that ended.
type ending struct {
	conv, from string
	ev         chat.Event
	done       func(error)
}

// endingEvery is how long an event that the store did not take waits for the next try.
const endingEvery = 2 * time.Second

var _ signaling.World = (*callWorld)(nil)

func newCallWorld(s *Server) *callWorld {
	return &callWorld{
		callGate: callGate{s}, s: s, wake: make(chan struct{}, 1), stop: make(chan struct{}), rosters: make(map[string][]byte),
	}
}

// start starts the goroutine; close stops it. What it has not done by then the next run does.
func (w *callWorld) start() {
	w.wg.Add(1)
	go func() { defer w.wg.Done(); w.run() }()
}

func (w *callWorld) close() {
	close(w.stop)
	w.wg.Wait()
}

// later has the goroutine do something. It returns at once.
func (w *callWorld) later(fn func()) {
	w.mu.Lock()
	w.queue = append(w.queue, fn)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *callWorld) run() {
	retry := time.NewTicker(endingEvery)
	defer retry.Stop()
	for {
		var due <-chan time.Time
		if len(w.again) > 0 {
			due = retry.C
		}
		select {
		case <-w.stop:
			return
		case <-w.wake:
		case <-due:
			again := w.again
			w.again = nil
			for _, e := range again {
				w.append(e)
			}
		}
		w.mu.Lock()
		queue := w.queue
		w.queue = nil
		w.mu.Unlock()
		for _, fn := range queue {
			fn()
		}
	}
}

// Sessions implements signaling.World.
func (w *callWorld) Sessions(user string) []signaling.Session {
	devices := w.s.adapter.Devices(user)
	all := make([]signaling.Session, len(devices))
	for i, d := range devices {
		all[i] = device{d}
	}
	return all
}

// Rang implements signaling.World.
func (w *callWorld) Rang(user string, r signaling.Rung) {
	at := w.s.now().UnixMilli()
	w.later(func() {
		ext := protocol.AppendCallRing(nil, protocol.CallRing{Call: r.Call, Exp: r.Exp})
		w.s.hub.Note(&hub.Note{
			Log: storage.OwnLog(user), Done: func(hub.Result) {},
			Own: []hub.Own{{User: user, Event: chat.Event{From: r.From, At: at, Kind: chat.KindRing, Conv: r.Conv, Ext: ext}}},
		})
		w.s.notify.Ring(notify.Ring{User: user, Call: r.Call, Conv: r.Conv, From: r.From, At: at, Exp: r.Exp, Here: w.here(user)})
	})
}

// here tells which devices of a user ring by themselves.
func (w *callWorld) here(user string) func(client string) bool {
	clients := make(map[string]bool)
	for _, d := range w.s.adapter.Devices(user) {
		_, client := d.Who()
		clients[client] = true
	}
	return func(client string) bool { return clients[client] }
}

// Roster implements signaling.World.
func (w *callWorld) Roster(conv string, payload []byte) {
	w.later(func() {
		var members []string
		if w.s.registry.Wanted(protocol.FilterCall) {
			_, _, direct := chat.Parties(conv)
			if err := w.s.hub.Query(conv, direct, func(v hub.View) { members = v.State.MemberList() }); err != nil {
				return // the hub has stopped, or logged it
			}
		}
		w.rosterMu.Lock()
		defer w.rosterMu.Unlock()
		if payload == nil {
			delete(w.rosters, conv)
		} else {
			w.rosters[conv] = payload
		}
		w.tellRoster(members, conv, payload)
	})
}

// tellRoster tells users the running call of a group; RETAIN is for what a subscription finds [MQTT-3.3.1-12].
func (w *callWorld) tellRoster(users []string, conv string, payload []byte) {
	w.s.registry.Tell(users, protocol.FilterCall, conv, []byte(protocol.CallTopic(conv)), payload, false)
}

// sendCurrent calls send with the running call of a group, or of all of a user's ("").
func (w *callWorld) sendCurrent(user, conv string, send func(conv string, payload []byte)) error {
	w.rosterMu.Lock()
	convs := make([]string, 0, len(w.rosters))
	for c := range w.rosters {
		if conv == "" || c == conv {
			convs = append(convs, c)
		}
	}
	w.rosterMu.Unlock()
	for _, c := range convs {
		member, err := storage.IsMember(w.s.store, user, c)
		if err != nil {
			return err
		}
		if !member {
			continue
		}
		w.rosterMu.Lock()
		if payload := w.rosters[c]; payload != nil {
			send(c, payload)
		}
		w.rosterMu.Unlock()
	}
	return nil
}

// left notes whose membership an event ended. The dispatcher calls it.
func (c *calls) left(d *hub.Delivery) {
	if c == nil {
		return
	}
	w := c.callWorld
	switch {
	case d.Event.Kind == chat.KindEnd:
		w.later(func() {
			w.clear(d.Members, d.Log)
			w.service.Left(d.Log, "")
		})
	case d.Former != "":
		w.later(func() {
			w.clear([]string{d.Former}, d.Log)
			w.service.Left(d.Log, d.Former)
		})
	}
}

// clear takes a running call from the sight of those who are no members any more.
func (w *callWorld) clear(users []string, conv string) {
	w.rosterMu.Lock()
	defer w.rosterMu.Unlock()
	if w.rosters[conv] != nil {
		w.tellRoster(users, conv, nil)
	}
}

// Append implements signaling.World.
func (w *callWorld) Append(conv, from string, ev chat.Event, done func(error)) {
	w.later(func() { w.append(ending{conv, from, ev, done}) })
}

// append writes the event of a call that ended. What the store cannot take now is tried again: the call happened.
func (w *callWorld) append(e ending) {
	_, _, direct := chat.Parties(e.conv)
	e.ev.Kind, e.ev.From, e.ev.Seq = chat.KindCall, "", 0
	end, _ := protocol.CallEndOf(&e.ev)
	w.s.hub.Submit(&hub.Request{
		Conv: e.conv, Direct: direct,
		Cmd: chat.Command{Op: chat.OpCall, Actor: e.from, Event: e.ev, Members: end.With, Hash: protocol.ContentHash(&e.ev)},
		Done: func(res hub.Result) {
			w.later(func() {
				if errors.Is(res.Err, &chat.Refusal{Code: chat.Unavailable}) {
					w.again = append(w.again, e)
					return
				}
				e.done(res.Err)
			})
		},
	})
}
