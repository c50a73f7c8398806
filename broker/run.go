package broker

import (
	"context"
	"errors"
	"sync"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/broker/plain"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
)

// later registers what Close has to undo, in reverse order.
func (s *Server) later(fn func()) { s.closers = append(s.closers, fn) }

// closeAll waits for who uses the parts, and closes them.
func (s *Server) closeAll() {
	s.end.Lock()
	s.over = true
	s.end.Unlock()
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
	s.closers = nil
}

// use keeps the parts open until release is called.
func (s *Server) use() (release func(), err error) {
	s.end.RLock()
	if s.over {
		s.end.RUnlock()
		return nil, chat.Refuse(chat.Unavailable, "the server has stopped")
	}
	return s.end.RUnlock, nil
}

// Close gives back what New opened, for a server that Run is not called for. After Run it does nothing,
// and Run after it is an error.
func (s *Server) Close() {
	if s.ran.CompareAndSwap(false, true) {
		s.closeAll()
	}
}

// fail reports that the store broke its promise, once.
func (s *Server) fail(err error) {
	select {
	case s.fatal <- err:
		s.log.Error("the store failed; the server stops, since it can no longer keep its promise", "error", err)
		if s.onFatal != nil {
			s.onFatal(err)
		}
	default:
	}
}

// Run listens and serves until ctx ends or the store fails, then drains: no new connections, everything
// that was sent is acknowledged, sessions are put away. It may be called once. An error about a listener
// leaves nothing open.
func (s *Server) Run(ctx context.Context) error {
	if !s.ran.CompareAndSwap(false, true) {
		return errors.New("broker: Run is for a new server, once")
	}
	clean := true
	defer func() {
		if clean {
			s.closeAll()
		}
	}()
	if err := s.mochi.Serve(); err != nil { // starts the library's event loop; it has no listener yet
		return err
	}
	if err := s.listen(); err != nil {
		clean = s.drain() // closes those that are open
		return err
	}
	quiet := make(chan struct{})
	stopQuiet := sync.OnceFunc(func() { close(quiet) })
	s.wg.Add(1)
	go func() { defer s.wg.Done(); giveBack(quiet) }()
	defer stopQuiet()
	s.ready.Store(true)
	if s.onReady != nil {
		s.onReady()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-s.fatal:
	}
	s.ready.Store(false)
	stopQuiet()
	clean = s.drain() // else connections still use what closing would take from them: the process just ends
	return err
}

// Ready reports whether the server takes connections.
func (s *Server) Ready() bool { return s.ready.Load() }

// drain stops the listeners and puts all sessions away. It returns false when that took too long.
func (s *Server) drain() bool {
	for _, l := range s.listeners {
		l.Close(func(string) {})
	}
	if s.relay != nil {
		s.relay.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Load().Limits.DrainTimeout)
	defer cancel()
	if s.control != nil {
		if err := s.control.Close(ctx); err != nil {
			s.log.Warn("closing the control socket failed", "error", err)
		}
	}
	done := make(chan struct{})
	go func() { s.adapter.Drain(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		s.log.Warn("not all sessions were put away in time; they go on from their last stored position")
		return false
	}
	s.wg.Wait()
	for _, l := range s.listeners {
		if w, ok := l.(interface{ Wait() }); ok {
			w.Wait()
		}
	}
	return true
}

// Addr is the address of a listener ("mqtt", "mqtt-1", "http", "metrics", "turn", "sfu"); "" before Run or without it.
func (s *Server) Addr(name string) string {
	if name == "sfu" && s.sfu != nil {
		return s.sfu.Addrs()[0].String()
	}
	if name == "turn" && s.relay != nil {
		return s.relay.Addr()
	}
	if l, ok := s.listeners[name]; ok {
		return l.Address()
	}
	return ""
}

// Publish gives a plain message to its subscribers, as the server. done is nil, or called once, on a
// goroutine of its own, when the message is stored or could not be: in which order for several messages is
// not said. It is not called when Publish returns an error, as it does once Run has returned.
func (s *Server) Publish(topic string, payload []byte, qos byte, retain bool, done func(error)) error {
	if err := protocol.ValidTopic(topic); err != nil {
		return err
	}
	if protocol.SpaceOf(topic) != protocol.SpacePlain {
		return chat.Refuse(chat.BadRequest, "the server publishes to plain topics only; use Post for conversations")
	}
	release, err := s.use()
	if err != nil {
		return err
	}
	defer release()
	tell := done
	if done != nil { // not where the server waits for it
		tell = func(err error) { go done(err) }
	}
	s.adapter.Publish(&plain.Message{Topic: topic, Payload: payload, QoS: qos, Retain: retain, At: s.now().UnixMilli()}, tell)
	return nil
}

// Post appends an event to a conversation as a user and returns its seq after the sync. Once Run has
// returned it is refused.
func (s *Server) Post(conv, user string, ev chat.Event) (seq uint64, err error) {
	release, err := s.use()
	if err != nil {
		return 0, err
	}
	defer release()
	_, _, direct := chat.Parties(conv)
	res := s.hub.Do(&hub.Request{Conv: conv, Direct: direct,
		Cmd: chat.Command{Op: chat.OpAppend, Actor: user, Event: ev, Hash: protocol.ContentHash(&ev)}})
	return res.Seq, res.Err
}
