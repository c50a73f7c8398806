package calls

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
)

// Watch is what a device wants to see of the others in a call. The zero value is everything that the network carries.
type Watch struct {
	// Pin names users, or parties, whose pictures come before those of whoever spoke last.
	Pin []string
	// Limit is how many bits per second all pictures together may take; 0: as many as the network carries. Who sends layers sends smaller ones.
	Limit int
	// Pictures is how many are shown at once: of who is pinned, and who spoke last. 0: all, negative: none.
	Pictures int
}

// pinsMost bounds Watch.Pin.
const pinsMost = 32

func (w *Watch) validate() error {
	switch {
	case len(w.Pin) > pinsMost:
		return chat.Refuse(chat.BadRequest, "at most %d may be pinned", pinsMost)
	case w.Limit < 0:
		return chat.Refuse(chat.BadRequest, "a limit is a number of bits per second, or 0 for none")
	}
	return nil
}

// Watch says what this device wants to see from now on. It returns at once: Member.Shown and RemoteTrack.Party show what becomes of it.
func (c *Call) Watch(ctx context.Context, w Watch) error {
	if err := w.validate(); err != nil {
		return err
	}
	w.Pin = slices.Clone(w.Pin)
	return c.do(ctx, func(done func(error)) {
		c.watch, c.local.Watch = w, w
		for _, p := range c.peers {
			p.look()
		}
		c.show()
		done(nil)
	})
}

// watched is what is said to the SFU of it, on the channel "sfu".
type watched struct {
	Kind  string   `json:"kind"`
	Pin   []string `json:"pin"`
	Limit int      `json:"limit"`
}

// look says what this device wants to see, if that is news.
func (p *peer) look() {
	if p.closed || p.c.party == "" {
		return
	}
	if p.sfu {
		p.lookSFU()
		return
	}
	if !p.up {
		return // with the connection
	}
	w := p.c.wanted(p.party)
	b, err := json.Marshal(w)
	if err != nil || string(b) == p.asked || p.asked == "" && string(b) == "{}" {
		return
	}
	p.asked = string(b)
	p.signal("negotiate", negotiation{Want: &w})
}

func (p *peer) lookSFU() {
	if p.useful.Audio != nil || p.useful.Video != nil {
		p.slotsFor(p.useful)
	}
	if p.control == nil || p.control.ReadyState() != webrtc.DataChannelStateOpen {
		return
	}
	w := watched{Kind: "want", Pin: []string{}, Limit: p.c.watch.Limit}
	for _, m := range p.c.state.Parties {
		if p.c.pinned(&m) {
			w.Pin = append(w.Pin, m.Party)
		}
	}
	b, err := json.Marshal(w)
	if err != nil || string(b) == p.asked || p.asked == "" && len(w.Pin) == 0 && w.Limit == 0 {
		return
	}
	if err := p.control.SendText(string(b)); err == nil {
		p.asked = string(b)
	}
}

func (c *Call) pinned(m *client.CallParty) bool {
	return m.Party != c.party && (slices.Contains(c.watch.Pin, m.Party) || slices.Contains(c.watch.Pin, m.User))
}

// wanted is what this device wants to get from a party of the mesh. What the pictures may take is shared out evenly.
func (c *Call) wanted(party string) want {
	var w want
	if c.watch.Pictures == 0 && c.watch.Limit == 0 {
		return w
	}
	shown := c.shown()
	if !slices.Contains(shown, party) && c.shows(party) {
		none := 0
		w.Video = &none
		return w
	}
	w.Limit = c.watch.Limit / max(1, len(shown))
	return w
}

// shows reports whether a party sends pictures.
func (c *Call) shows(party string) bool {
	return slices.ContainsFunc(c.state.Parties, func(m client.CallParty) bool { return m.Party == party && slices.Contains(m.Media, "video") })
}

// shown are the parties whose pictures are shown here: in a mesh those that are wanted, else those in slots.
func (c *Call) shown() []string {
	var all []string
	if p := c.peers[sfuParty]; p != nil && p.up {
		for _, s := range p.shown {
			if !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
		return all
	}
	var order []client.CallParty
	for _, m := range c.state.Parties {
		if m.Party != c.party && slices.Contains(m.Media, "video") {
			order = append(order, m)
		}
	}
	slices.SortStableFunc(order, func(a, b client.CallParty) int {
		switch x, y := c.pinned(&a), c.pinned(&b); {
		case x && !y:
			return -1
		case y && !x:
			return 1
		}
		return c.spoke[b.Party].Compare(c.spoke[a.Party])
	})
	for _, m := range order {
		if n := c.watch.Pictures; n == 0 || len(all) < n {
			all = append(all, m.Party)
		}
	}
	return all
}

// Who speaks: as loud as that (0 to 127), and not silent for longer than a pause.
const (
	speakLevel = 40
	speakHold  = 2 * time.Second
)

// listen notes who speaks. The SFU says so; in a mesh it is heard.
func (c *Call) listen(now time.Time) {
	if c.spoke == nil {
		c.spoke = make(map[string]time.Time)
	}
	for party := range c.spoke {
		if !c.member(party) {
			delete(c.spoke, party)
		}
	}
	sfu := c.peers[sfuParty]
	if sfu != nil && sfu.up {
		for _, party := range sfu.speakers {
			if c.member(party) {
				c.spoke[party] = now
			}
		}
		return
	}
	for _, p := range c.peers {
		for _, t := range p.tracks {
			if ns := t.spoke.Load(); ns != 0 && c.member(p.party) {
				if at := time.Unix(0, ns); at.After(c.spoke[p.party]) {
					c.spoke[p.party] = at
				}
			}
		}
	}
}

// speaks reports whether a party speaks at the moment.
func (c *Call) speaks(party string, now time.Time) bool {
	if p := c.peers[sfuParty]; p != nil && p.up {
		return slices.Contains(p.speakers, party)
	}
	at, ok := c.spoke[party]
	return ok && now.Sub(at) < speakHold
}

// keyFrame asks for key frames of some of this device's own tracks.
func (c *Call) keyFrame(tracks ...webrtc.TrackLocal) {
	for _, t := range tracks {
		if c.local.OnKeyFrame != nil && t.Kind() == webrtc.RTPCodecTypeVideo {
			c.local.OnKeyFrame(t)
		}
	}
}

// adapt chooses the layers that go to the parties of a mesh, each second.
func (c *Call) adapt(now time.Time, span time.Duration) {
	if span <= 0 {
		return
	}
	for _, p := range c.peers {
		for _, s := range p.sends {
			s.choose(now, span, p.wants.Limit)
			if t := s.switching(); t != nil {
				c.keyFrame(t)
			}
		}
	}
}
