package delivery

// Ack takes the client's PUBACK.
func (s *Session) Ack(pid uint16) {
	s.mu.Lock()
	x := s.win.find(pid)
	if x == nil || x.qos != 1 {
		s.mu.Unlock()
		return // of an earlier connection, or nothing of ours: harmless
	}
	src, seq, alloc := x.src, x.seq, x.alloc
	s.win.ack(x)
	s.touch()
	if src.view != viewPlain && src.view != viewOwn && !s.c.NoCursors {
		if s.delivered == nil {
			s.delivered, s.owned = make(map[string]uint64), make(map[string]uint64)
		}
		s.delivered[src.log] = max(s.delivered[src.log], seq)
		s.owned[src.log] = max(s.owned[src.log], seq)
	}
	more := len(s.lag) > 0 || s.shares != nil
	s.mu.Unlock()
	if src.view == viewPlain {
		s.toPlain(plainWork{release: []uint64{seq}})
	}
	if src.view >= viewShared {
		s.ackShared(src, alloc)
	}
	if more {
		s.pumpAside()
	}
}

// toPlain gives the owner of the plain messages something to do for the session. It may block.
func (s *Session) toPlain(w plainWork) {
	s.plainUsed.Store(true)
	w.s = s
	s.r.plain.give(w) // what is lost with a failed disk comes again after the restart
}

// pumpAside pumps on another goroutine if there is room to make it worthwhile: the reader goes on with
// the next acknowledgement, and its stack stays small.
func (s *Session) pumpAside() {
	s.mu.Lock()
	idle := !s.pumping && (s.win.n == 0 || s.win.room() >= s.win.max/2)
	shared := s.shares != nil
	s.mu.Unlock()
	switch {
	case shared:
		s.pumpSharesAside()
	case idle:
		go s.pump()
	}
}

// Rec takes the client's PUBREC. failed: the client refuses the message.
func (s *Session) Rec(pid uint16, failed bool) {
	s.mu.Lock()
	x := s.win.find(pid)
	if x == nil || x.qos != 2 {
		_, again := s.released[pid]
		s.mu.Unlock()
		code := byte(0)
		if !again {
			code = 0x92
		}
		s.link.out.append(func(b []byte) []byte { return appendAck(b, typePubrel, pid, s.c.V5, code, nil) })
		s.link.out.flush()
		return
	}
	c := *x
	if failed {
		s.win.ack(x)
		s.touch()
	} else {
		x.rec = true
	}
	more := len(s.lag) > 0 || s.shares != nil
	s.mu.Unlock()
	switch {
	case failed:
		s.toPlain(plainWork{release: []uint64{c.seq}})
		if more {
			s.pumpAside()
		}
	case c.rec || !s.durable:
		s.link.out.append(func(b []byte) []byte { return appendAck(b, typePubrel, pid, s.c.V5, 0, nil) })
		s.link.out.flush()
		if !c.rec {
			s.toPlain(plainWork{release: []uint64{c.seq}})
		}
	default:
		s.toPlain(plainWork{rec: &c})
	}
}

// Comp takes the client's PUBCOMP.
func (s *Session) Comp(pid uint16) {
	s.mu.Lock()
	_, old := s.released[pid]
	delete(s.released, pid)
	if x := s.win.find(pid); x != nil && x.qos == 2 && x.rec {
		s.win.ack(x)
		s.touch()
		old = true
	}
	more := len(s.lag) > 0 || s.shares != nil
	s.mu.Unlock()
	if old && s.durable {
		s.toPlain(plainWork{comp: pid})
	}
	if more {
		s.pumpAside()
	}
}

// Acknowledged is how far this connection has acknowledged in a conversation: what an empty publish to
// c/{conv}/read means.
func (s *Session) Acknowledged(conv string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owned[conv]
}
