package sfu

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/transport/v4/packetio"

	"github.com/petrelchat/petrel/chat"
)

// room is a call. All of it is Server.run's own.
type room struct {
	s       *Server
	id      string
	parties map[string]*party
	order   []*party // as they came
	louder  []string // who speaks, as it was announced
}

// fits refuses an offer with more than is allowed.
func (o *offer) fits(opt Options) error {
	tracks, audios, videos := 0, 0, 0
	for _, s := range o.sections {
		switch {
		case s.off:
			continue
		case s.sends:
			tracks++
		}
		if s.takes && s.media == "audio" {
			audios++
		} else if s.takes && s.media == "video" {
			videos++
		}
	}
	switch {
	case tracks > opt.Tracks:
		return chat.Refuse(chat.BadRequest, "a party may send %d tracks, and the offer has %d", opt.Tracks, tracks)
	case audios > opt.Audio:
		return chat.Refuse(chat.BadRequest, "a party may have %d slots for audio, and the offer has %d", opt.Audio, audios)
	case videos > opt.Video:
		return chat.Refuse(chat.BadRequest, "a party may have %d slots for video, and the offer has %d", opt.Video, videos)
	}
	return nil
}

// offered takes an offer that was checked, and answers it.
func (s *Server) offered(call, id, user string, o *offer, now time.Time) {
	var p *party
	if r := s.rooms[call]; r != nil {
		p = r.parties[id]
	}
	if p != nil && (p.desc.fingerprint != o.fingerprint || p.desc.session != o.session) {
		p.room.remove(p) // a reload
		p = nil
	}
	r := s.rooms[call]
	if r == nil {
		r = &room{s: s, id: call, parties: map[string]*party{}}
		s.rooms[call] = r
		s.stats.rooms.Add(1)
	}
	if p == nil {
		p = r.join(id, user, o, now)
	} else if p.desc.ufrag != o.ufrag || p.desc.pwd != o.pwd {
		// An ICE restart: both sides' credentials are new, the keys stay. // RFC 8445 §9
		old := p.creds
		p.creds = newCreds(p, o.ufrag)
		s.index.add(p.creds)
		s.index.drop(old)
	}
	p.apply(o, now)
	r.arrange(now)
	p.version++
	s.say(p, "answer", o.name, []byte(p.answer(s.fingerprint, s.addrs, s.tcp != nil, p.version)))
	r.askSlots()
}

// join makes a party.
func (r *room) join(id, user string, o *offer, now time.Time) *party {
	s := r.s
	p := &party{room: r, id: id, user: user, ssrc: newSSRC(nil), finger: o.fingerprint, told: -1,
		dtlsIn: packetio.NewBuffer(), ended: make(chan struct{})}
	p.dtlsIn.SetLimitCount(dtlsQueue)
	p.dtlsIn.SetLimitSize(dtlsBytes)
	p.heard.Store(now.UnixNano())
	p.in.streams = map[uint32]*layer{}
	p.in.twcc = twcc.NewRecorder(p.ssrc)
	p.in.rate = s.opt.Bitrate / 8
	p.out.bwe = newEstimator()
	p.creds = newCreds(p, o.ufrag)
	s.index.add(p.creds)
	r.parties[id] = p
	r.order = append(r.order, p)
	s.seats.took(r.id, id)
	s.stats.parties.Add(1)
	return p
}

// apply makes the party's tracks and slots those of the offer.
func (p *party) apply(o *offer, now time.Time) {
	p.desc = o
	var tracks []*track
	var slots []*slot
	declare := map[uint32]*track{}
	var inExts, audioExts, videoExts exts
	pts := map[*track][128]codec{}
	for _, sec := range o.sections {
		if sec.off || sec.media == "application" {
			continue
		}
		k, x := audio, &audioExts
		if sec.media == "video" {
			k, x = video, &videoExts
		}
		x.merge(sec.exts)
		inExts.merge(sec.exts)
		if sec.sends {
			t := p.trackOf(sec.mid)
			if t == nil || t.kind != k || !sameLayers(t, sec.rids) {
				t = newTrack(p, sec.mid, k, sec.rids)
			}
			var m [128]codec
			for _, c := range sec.codecs {
				m[c.pt] = c.codec
			}
			pts[t] = m
			for _, ssrc := range sec.ssrcs {
				declare[ssrc] = t
			}
			tracks = append(tracks, t)
		}
		if sec.takes {
			slots = append(slots, p.slotFor(sec, k, now))
		}
	}
	p.tracks, p.slots = tracks, slots
	p.in.take(tracks, declare, inExts, pts)
	p.out.take(o, slots, audioExts, videoExts)
	if videoExts.twcc != 0 {
		var ssrcs []uint32
		for _, sl := range slots {
			if sl.kind == video {
				ssrcs = append(ssrcs, sl.ssrc)
			}
		}
		if err := p.out.bwe.begin(videoExts.twcc, ssrcs, p.room.s.pionLog); err != nil {
			p.room.s.log.Warn("no bandwidth estimation by feedback for a party", "call", p.room.id, "party", p.id, "error", err)
		}
	}
}

// slotFor finds the slot of a section, or makes it.
func (p *party) slotFor(sec section, k kind, now time.Time) *slot {
	o := p.slotIn(sec.mid)
	if o == nil || o.kind != k {
		o = newSlot(p, sec.mid, k, newSSRC(p.slots))
		if o.version = p.version + 1; p.version > 0 { // without the first answer nothing can flow
			o.from = now.Add(slotWait)
		}
	}
	return o
}

// seats are who takes part in what, for the one question that Signal has to answer at once: is there room?
type seats struct {
	mu    sync.Mutex
	calls map[string]map[string]bool
}

// has reports whether the party is in the call, or there is room for it.
func (s *seats) has(call, id string, most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := s.calls[call]
	return in[id] || len(in) < most
}

func (s *seats) took(call, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls[call] == nil {
		s.calls[call] = map[string]bool{}
	}
	s.calls[call][id] = true
}

func (s *seats) free(call, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.calls[call], id)
	if len(s.calls[call]) == 0 {
		delete(s.calls, call)
	}
}

// take sets what packets of the party may be.
func (in *inbound) take(tracks []*track, declare map[uint32]*track, x exts, pts map[*track][128]codec) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.tracks, in.declare, in.exts = tracks, declare, x
	for t, m := range pts {
		t.pts = m
	}
	for ssrc, l := range in.streams {
		if l == nil || !slices.Contains(tracks, l.t) {
			delete(in.streams, ssrc)
		}
	}
}

// take sets what is sent to the party, and how.
func (out *outbound) take(o *offer, slots []*slot, audioExts, videoExts exts) {
	bySSRC := make(map[uint32]*slot, len(slots))
	out.mu.Lock()
	defer out.mu.Unlock()
	// The mid of a source says nothing to its receivers, who go by the SSRCs of the answer.
	changed := out.audioExts != audioExts || out.videoExts != videoExts
	out.audioExts, out.videoExts = audioExts, videoExts
	out.audioExts.twcc, out.audioExts.turn = 0, 0
	for _, sl := range slots {
		bySSRC[sl.ssrc] = sl
		for _, sec := range o.sections {
			if sec.mid != sl.mid {
				continue
			}
			var pts [codecs]uint8
			for _, c := range sec.codecs {
				pts[c.codec] = c.pt + 1
				sl.nack = sl.nack || c.nack
			}
			if changed || pts != sl.pts {
				clear(sl.sent) // what was sent can't be made again
			}
			sl.pts = pts
		}
	}
	out.slots.Store(&bySSRC)
}

// merge takes ids over.
func (x *exts) merge(o exts) {
	for _, f := range []struct {
		to   *uint8
		from uint8
	}{{&x.level, o.level}, {&x.twcc, o.twcc}, {&x.turn, o.turn}, {&x.mid, o.mid}, {&x.rid, o.rid}} {
		if f.from != 0 {
			*f.to = f.from
		}
	}
}

func sameLayers(t *track, rids []string) bool {
	if len(rids) == 0 {
		return len(t.layers) == 1 && t.layers[0].rid == ""
	}
	return slices.EqualFunc(t.layers, rids, func(l *layer, r string) bool { return l.rid == r })
}

func (p *party) trackOf(mid string) *track {
	for _, t := range p.tracks {
		if t.mid == mid {
			return t
		}
	}
	return nil
}

func (p *party) slotIn(mid string) *slot {
	for _, o := range p.slots {
		if o.mid == mid {
			return o
		}
	}
	return nil
}

// connected: keys are there, so video can begin.
func (s *Server) connected(p *party, _ time.Time) {
	if p.gone.Load() {
		return
	}
	for _, o := range p.slots {
		if l := o.next.Load(); l != nil && o.kind == video {
			l.wantKey.Store(true)
		}
	}
}

// lost: a party's connection ended by itself.
func (s *Server) lost(p *party) {
	if !p.gone.Load() {
		p.room.remove(p)
		p.room.arrange(time.Now())
		p.room.askSlots()
	}
}

// left carries out Gone.
func (s *Server) left(call, id string, now time.Time) {
	r := s.rooms[call]
	if r == nil {
		return
	}
	if id == "" {
		for len(r.order) > 0 {
			r.remove(r.order[0])
		}
		return
	}
	if p := r.parties[id]; p != nil {
		r.remove(p)
		r.arrange(now)
	}
}

// remove frees all that a party has.
func (r *room) remove(p *party) {
	r.s.release(p)
	delete(r.parties, p.id)
	r.s.seats.free(r.id, p.id)
	r.order = slices.DeleteFunc(r.order, func(q *party) bool { return q == p })
	r.s.stats.parties.Add(-1)
	for _, q := range r.order {
		for _, o := range q.slots {
			if o.source != nil && o.source.p == p {
				o.source = nil
				o.aim(nil, time.Time{})
			}
		}
	}
	if len(r.order) == 0 {
		delete(r.s.rooms, r.id)
		r.s.stats.rooms.Add(-1)
	}
}

// release ends a party's connection and goroutines.
func (s *Server) release(p *party) {
	s.index.forgetParty(p)
	p.end()
	p.out.bwe.close()
	p.in.mu.Lock()
	p.in.srtp = nil
	clear(p.in.streams)
	p.in.mu.Unlock()
	for _, t := range p.tracks {
		t.subs.Store(nil)
	}
}

// askSlots tells parties that more slots would be of use to them.
func (r *room) askSlots() {
	for _, p := range r.order {
		var want, have [2]int
		for _, q := range r.order {
			if q != p {
				for _, t := range q.tracks {
					want[t.kind]++
				}
			}
		}
		for _, o := range p.slots {
			have[o.kind]++
		}
		want[audio], want[video] = min(want[audio], r.s.opt.Audio), min(want[video], r.s.opt.Video)
		sum := want[audio]<<16 | want[video]
		if sum == p.told {
			continue
		}
		p.told = sum
		if want[audio] > have[audio] || want[video] > have[video] {
			body, _ := json.Marshal(map[string]any{"want": map[string]int{"audio": want[audio], "video": want[video]}}) // numbers always encode
			r.s.say(p, "negotiate", "", body)
		}
	}
}

func random4() []byte {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails
	return b
}

// newSSRC draws an SSRC that none of the slots has.
func newSSRC(slots []*slot) uint32 {
	for {
		n := binary.BigEndian.Uint32(random4())
		if n != 0 && !slices.ContainsFunc(slots, func(o *slot) bool { return o.ssrc == n }) {
			return n
		}
	}
}
