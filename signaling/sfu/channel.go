package sfu

import (
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/pion/datachannel"
	"github.com/pion/dtls/v3"
	"github.com/pion/sctp"
)

const (
	messageMax  = 16 << 10  // bytes of a message on a data channel
	messageRate = 100       // messages a second of a party, as many at once
	byteRate    = 256 << 10 // bytes a second of a party, as many at once
	behindMax   = 1 << 20   // bytes that wait for a slow receiver; messages beyond them are lost to it
	channelsMax = 4         // of a party
	controlName = "sfu"
	dataName    = "data"
)

// channels serves the party's data channels until its connection ends.
func (p *party) channels(conn *dtls.Conn) error {
	s := p.room.s
	assoc, err := sctp.ServerWithOptions(sctp.WithNetConn(conn), sctp.WithLoggerFactory(s.pionLog),
		sctp.WithMaxMessageSize(messageMax+256), sctp.WithMaxReceiveBufferSize(256<<10))
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer assoc.Close()
	for n := 0; ; n++ {
		ch, err := datachannel.Accept(assoc, &datachannel.Config{LoggerFactory: s.pionLog})
		if err != nil {
			return err
		}
		if n >= channelsMax || ch.Label != controlName && ch.Label != dataName {
			_ = ch.Close()
			if n > 64 {
				return errors.New("too many data channels")
			}
			continue
		}
		s.post(func(now time.Time) { s.opened(p, ch, now) })
		wg.Go(func() { p.listen(ch) })
	}
}

// listen reads a data channel until it ends.
func (p *party) listen(ch *datachannel.DataChannel) {
	s := p.room.s
	buf := make([]byte, messageMax)
	var count, bytes bucket
	for {
		n, text, err := ch.ReadDataChannel(buf)
		if errors.Is(err, io.ErrShortBuffer) {
			// The answer said how long a message may be.
			_ = ch.Close()
			return
		}
		if err != nil {
			return
		}
		now := time.Now()
		if !count.take(1, messageRate, messageRate, now) || !bytes.take(float64(n), byteRate, byteRate, now) {
			s.stats.dropped.Add(1)
			continue
		}
		if ch.Label == controlName {
			var w wish
			if n > 4<<10 || json.Unmarshal(buf[:n], &w) != nil {
				continue
			}
			switch w.Kind {
			case "want":
				s.post(func(now time.Time) { s.wish(p, w, now) })
			case "has":
				s.post(func(now time.Time) { s.has(p, w.Version, now) })
			}
			continue
		}
		msg := make([]byte, 0, 1+len(p.id)+n)
		msg = append(msg, byte(len(p.id)))
		msg = append(append(msg, p.id...), buf[:n]...)
		s.post(func(time.Time) { s.passOn(p, msg, text) })
	}
}

// wish is what a client says on "sfu".
type wish struct {
	Kind    string   `json:"kind"`
	Pin     []string `json:"pin"`
	Limit   int      `json:"limit"`
	Version int      `json:"version"`
}

// wish takes what a party wants to see.
func (s *Server) wish(p *party, w wish, now time.Time) {
	if p.gone.Load() {
		return
	}
	p.pins = w.Pin[:min(len(w.Pin), s.opt.Video)]
	p.limit = max(0, w.Limit)
	p.room.arrange(now)
}

// has begins the slots of an answer that a party has.
func (s *Server) has(p *party, version int, now time.Time) {
	if p.gone.Load() {
		return
	}
	for _, o := range p.slots {
		if o.version <= version {
			o.from = time.Time{}
		}
	}
	p.room.arrange(now)
}

// opened takes a data channel of a party.
func (s *Server) opened(p *party, ch *datachannel.DataChannel, _ time.Time) {
	if ch.Label == dataName {
		p.data = ch
		return
	}
	p.control = ch
	p.shown = ""
	p.room.show(p)
	if len(p.room.louder) > 0 {
		s.write(ch, p.room.speakers(), true) // they are announced when they change
	}
}

// passOn hands a message of one party to all others.
func (s *Server) passOn(from *party, msg []byte, text bool) {
	if from.gone.Load() {
		return
	}
	for _, p := range from.room.order {
		if p != from && p.data != nil {
			s.write(p.data, msg, text)
		}
	}
}

// write sends a message without waiting: to one who doesn't read it is lost.
func (s *Server) write(ch *datachannel.DataChannel, msg []byte, text bool) {
	if ch.BufferedAmount() > behindMax {
		s.stats.dropped.Add(1)
		return
	}
	_, _ = ch.WriteDataChannel(msg, text) // closed: its end is told elsewhere
}
