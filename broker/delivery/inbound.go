package delivery

import (
	"math"
	"strconv"
	"strings"
	"sync"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// Inbound is a PUBLISH at QoS 1 or 2 on its way to its acknowledgement. Acknowledgements go out in the
// order of the publishes [MQTT-4.6.0-2], [MQTT-4.6.0-3], whatever the order in which they are stored.
type Inbound struct {
	s     *Session
	PID   uint16
	qos   byte
	hash  uint64
	done  bool
	err   error
	seq   uint64
	mark  uint64 // its number in the journal; 0: it is not journalled
	chain *chain // of a post that may hold others back, or be held back: see Follow
	place int    // there
	Topic string
	ID    string      // the event's own id, for the line on u/{me}/errors
	User  [][2]string // user properties of a successful acknowledgement; set before it is settled
}

// unseen is a stored publish whose acknowledgement never reached the client.
type unseen struct {
	hash, seq uint64
}

// ackSent is an acknowledgement on its way: until the connection has taken it, it counts as unseen.
type ackSent struct {
	end  int64 // of the connection's bytes, where it ends
	pid  uint16
	hash uint64
	seq  uint64
}

// InboundMax is how many publishes of one client may wait for the disk: beyond it we stop reading.
const InboundMax = 1024

// Receive notes a publish. known says that it is a retry of one that is stored or on its way: it is
// answered, and must not be stored again. It blocks while InboundMax publishes wait.
func (s *Session) Receive(pid uint16, qos byte, dup bool, hash uint64) (in *Inbound, known bool) {
	in, known, prior := s.receive(pid, qos, dup, hash)
	if prior != nil {
		s.confirm(in, prior.seq)
	}
	return in, known
}

func (s *Session) receive(pid uint16, qos byte, dup bool, hash uint64) (in *Inbound, known bool, prior *unseen) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.in {
		if x.PID == pid && x.qos == qos && (dup && x.hash == hash || qos == 2) {
			return nil, true, nil // it is acknowledged when it is stored
		}
	}
	if len(s.in) >= InboundMax {
		if s.inRoom == nil {
			s.inRoom = sync.NewCond(&s.mu)
		}
		for len(s.in) >= InboundMax && !s.gone {
			s.inRoom.Wait()
		}
	}
	in = &Inbound{s: s, PID: pid, qos: qos, hash: hash}
	s.in = append(s.in, in)
	s.undone++
	if qos == 2 {
		if _, ok := s.received[pid]; ok { // [MQTT-4.3.3-10]
			in.done, known = true, true
			s.hold(pid)
		}
	} else if u, ok := s.unseen[pid]; ok {
		delete(s.unseen, pid)
		if dup && u.hash == hash {
			return in, true, &u
		}
	}
	if known {
		s.undone--
		s.settleFirst()
	}
	return in, known, nil
}

// confirm answers a retry of a stored publish after it was noted on disk that this one is answered: the
// next that looks the same is another message.
func (s *Session) confirm(in *Inbound, seq uint64) {
	s.storing.Lock()
	defer s.storing.Unlock()
	b := storage.Batch{Vital: true}
	s.positionInto(&b)
	err := s.r.o.Pipeline.Commit(&b, func(uint64) { in.Settle(hub.Result{Seq: seq}) })
	if err != nil {
		s.r.o.Log.Error("storing that a retry is answered failed", "user", s.key.User, "error", err)
		s.Kick(Broken)
		in.SettleNow(hub.Result{Err: chat.Refuse(chat.Unavailable, "the server cannot answer now; try again later")})
	}
}

// Settle answers a publish: err nil after the sync, or the refusal. A success comes from the
// dispatcher, and its bytes go out with the rest of the commit; a refusal may come from any goroutine.
func (in *Inbound) Settle(res hub.Result) {
	if !in.settle(res) {
		return
	}
	s := in.s
	if res.Err == nil {
		s.r.flushes = append(s.r.flushes, s.link.out)
	} else {
		s.link.out.flush()
	}
}

// SettleNow answers a publish from any goroutine but the dispatcher's.
func (in *Inbound) SettleNow(res hub.Result) {
	if in.settle(res) {
		in.s.link.out.flush()
	}
}

func (in *Inbound) settle(res hub.Result) (wrote bool) {
	s := in.s
	s.mu.Lock()
	defer s.mu.Unlock()
	in.done, in.err, in.seq = true, res.Err, res.Seq
	if in.chain != nil {
		s.chains.settle(in.chain, in.place, res.Err)
	}
	s.undone--
	s.rested()
	if in.qos == 2 && res.Err == nil {
		s.hold(in.PID)
	}
	return s.settleFirst()
}

// hold notes that a QoS 2 publish is stored and its packet id in use. s.mu is held.
func (s *Session) hold(pid uint16) {
	if s.received == nil {
		s.received = make(map[uint16]bool)
	}
	if !s.received[pid] {
		s.received[pid] = true
		s.held++
	}
}

// Exceeds reports whether a PUBLISH goes beyond our Receive Maximum [MQTT-3.3.4-9]. What counts are the
// publishes of this connection (§4.9) that are not acknowledged; one that comes again counts once.
func (s *Session) Exceeds(pid uint16, qos byte) bool {
	if !s.c.V5 || s.c.Receive <= 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held+len(s.in) < s.c.Receive || qos == 2 && s.received[pid] {
		return false
	}
	n := s.held
	for _, in := range s.in {
		if in.PID == pid && in.qos == qos {
			return false
		}
		if in.qos == 1 || !in.done {
			n++
		}
	}
	return n >= s.c.Receive
}

// settleFirst sends the acknowledgements that are next in order. s.mu is held.
func (s *Session) settleFirst() (wrote bool) {
	for len(s.in) > 0 && s.in[0].done {
		in := s.in[0]
		s.in[0] = nil
		s.in = s.in[1:]
		s.acknowledge(in)
		wrote = true
	}
	if len(s.in) == 0 {
		s.in = nil
	}
	if wrote && s.inRoom != nil {
		s.inRoom.Broadcast()
	}
	return wrote
}

func (s *Session) acknowledge(in *Inbound) {
	typ := byte(typePuback)
	if in.qos == 2 {
		typ = typePubrec
	}
	var code byte
	var props []byte
	switch {
	case in.err != nil && s.c.V5:
		code = protocol.ReasonCode(in.err)
		if s.c.Problems && !strings.HasPrefix(in.Topic, "$") { // of the server's own topics the code says it all
			props = appendStringProp(nil, propReasonString, protocol.ReasonString(in.err))
		}
	case in.err == nil && s.c.MetaSeq && s.c.V5 && in.seq > 0:
		props = appendUserProp(nil, "seq", strconv.FormatUint(in.seq, 10))
	case in.err == nil && s.c.V5 && s.c.Problems: // else the client wants none [MQTT-3.1.2-29]
		for _, p := range in.User {
			props = appendUserProp(props, p[0], p[1])
		}
	}
	if most := int(s.c.MaxPacket); most > 0 && len(props)+10 > most {
		props = nil // [MQTT-3.4.2-2], [MQTT-3.5.2-2]
	}
	end := int64(math.MaxInt64) // a connection that has ended takes nothing any more
	out := s.link.out
	out.append(func(b []byte) []byte {
		b = appendAck(b, typ, in.PID, s.c.V5, code, props)
		end = out.sent + out.flying + int64(len(b))
		if in.mark != 0 {
			out.marks = append(out.marks, in.mark)
		}
		return b
	})
	if in.err != nil && !s.c.V5 {
		s.errorLine(in.err, in.Topic, in.PID, in.ID)
	}
	if in.err == nil && in.qos == 1 && s.durable {
		s.acked = append(s.acked, ackSent{end: end, pid: in.PID, hash: in.hash, seq: in.seq})
		if len(s.acked) >= InboundMax {
			s.trimAcked()
		}
	}
}

// errorLine tells a 3.1.1 client what its acknowledgement could not (PROTOCOL: u/{me}/errors).
func (s *Session) errorLine(err error, topic string, pid uint16, id string) {
	name := protocol.ErrorsTopic(s.key.User)
	ids, ok := s.index.liveMatch(protocol.FilterErrors, "", name)
	if ok {
		s.putLive(&publish{topic: []byte(name), payload: protocol.AppendErrorLine(nil, err, topic, pid, id), subIDs: ids})
	}
}

// ErrorLine sends a line on u/{me}/errors to this session, if it subscribes to it.
func (s *Session) ErrorLine(err error, topic string, pid uint16, id string) {
	s.mu.Lock()
	if !s.gone {
		s.errorLine(err, topic, pid, id)
	}
	s.mu.Unlock()
	s.link.out.flush()
}

// trimAcked forgets acknowledgements that the connection has taken.
func (s *Session) trimAcked() {
	sent := s.link.out.taken()
	i := 0
	for i < len(s.acked) && s.acked[i].end <= sent {
		i++
	}
	s.acked = append(s.acked[:0], s.acked[i:]...)
}

// Release answers a PUBREL: the packet id of an inbound QoS 2 message is free again, durably.
func (s *Session) Release(pid uint16) {
	s.mu.Lock()
	now, ok := s.received[pid]
	delete(s.received, pid)
	if now {
		s.held--
	}
	s.mu.Unlock()
	comp := func(b []byte) []byte {
		code := byte(0)
		if !ok {
			code = 0x92 // packet identifier not found, §3.7.2.1
		}
		return appendAck(b, typePubcomp, pid, s.c.V5, code, nil)
	}
	if !ok || !s.durable {
		s.link.out.append(comp)
		s.link.out.flush()
		return
	}
	var b storage.Batch
	b.Vital = true
	b.Delete(storage.In(storage.SpaceReceived).U64(s.SID).U16(pid))
	err := s.r.o.Pipeline.Commit(&b, func(uint64) {
		s.link.out.append(comp)
		s.r.flushes = append(s.r.flushes, s.link.out)
	})
	if err != nil {
		s.r.o.Log.Error("storing a PUBREL failed", "user", s.key.User, "error", err)
		s.Kick(Broken)
	}
}

// Mark returns what the journal keeps of a publish at QoS 1: only durable sessions come back with a retry.
// At QoS 2 the packet id itself is stored, see With. Call it before the publish is handed on.
func (in *Inbound) Mark() storage.Journal {
	if !in.s.durable || in.qos != 1 {
		return storage.Journal{}
	}
	in.mark = in.s.r.o.Hub.NextJournal()
	return storage.Journal{SID: in.s.SID, PID: in.PID, Hash: in.hash, N: in.mark}
}

// With returns what must be stored together with a QoS 2 publish: that its packet id is in use.
func (s *Session) With(pid uint16, qos byte) (b storage.Batch) {
	if qos == 2 && s.durable {
		b.Set(storage.In(storage.SpaceReceived).U64(s.SID).U16(pid), nil)
	}
	return b
}
