package sfu

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
)

// seat is a slot as the server has it.
type seat struct {
	kind kind
	who  string // "": nobody
}

// view is what the server shows, by receiver and mid.
type view map[string]map[string]seat

func (h *hall) view() view {
	got := make(chan view)
	h.s.post(func(time.Time) {
		v := view{}
		if r := h.s.rooms["c"]; r != nil {
			for _, p := range r.order {
				v[p.id] = map[string]seat{}
				for _, o := range p.slots {
					x := seat{kind: o.kind}
					if o.source != nil {
						x.who = o.source.p.id
					}
					v[p.id][o.mid] = x
				}
			}
		}
		got <- v
	})
	return <-got
}

// origin returns who sent a frame of talk or roll, and its number.
func (g got) origin() (id string, n int64) {
	b := g.pkt.Payload
	if b[0] == 0x90 { // the first byte of roll
		b = b[8:]
	}
	id, rest, _ := strings.Cut(string(b), "/")
	rest, _, _ = strings.Cut(rest, "/")
	n, _ = strconv.ParseInt(rest, 10, 64)
	return id, n
}

const (
	crowdSize  = 12
	crowdVideo = 4
)

// crowd is a call of many, and who sends video in it.
type crowd struct {
	*hall
	all     map[string]*client
	cameras map[string]bool
}

func (w *crowd) enter(id string) {
	w.t.Helper()
	var tr *webrtc.TrackLocalStaticRTP
	c := w.join(id, clientOptions{video: crowdVideo, setup: func(pc *webrtc.PeerConnection, c *client) {
		tr = addAudio(w.t, pc, c)
		for range crowdSize - 1 { // all slots at once: offer by offer it would take long
			c.slot(webrtc.RTPCodecTypeAudio)
		}
		if w.cameras[id] {
			film(w.t, c, &stage{bitrate: 20_000})
		}
	}})
	c.talkEvery(40*time.Millisecond, tr, 127) // silent, so that nobody takes a place by speaking
	w.all[id] = c
}

// revive has those come anew whose connection did not come to be on a machine that has no time for it, and reports whether there were any.
func (w *crowd) revive() (any bool) {
	for id, c := range maps.Clone(w.all) {
		if s := c.pc.ConnectionState(); s == webrtc.PeerConnectionStateFailed || s == webrtc.PeerConnectionStateClosed {
			any = true
			w.quit(id)
			w.enter(id)
		}
	}
	return any
}

func (w *crowd) quit(id string) {
	w.all[id].leave()
	delete(w.all, id)
}

// seats waits until everybody has places for everybody's audio, and for as much video as there may be.
func (w *crowd) seats() {
	w.t.Helper()
	w.until(func() (short string) {
		for id, slots := range w.view() {
			var has [2]map[string]bool
			for k := range has {
				has[k] = map[string]bool{}
			}
			for _, x := range slots {
				if x.who == id || x.who != "" && has[x.kind][x.who] {
					w.t.Fatalf("%s gets itself, or somebody twice: %v", id, slots)
				}
				if x.who != "" {
					has[x.kind][x.who] = true
				}
			}
			others := 0
			for q := range w.all {
				if q != id && w.cameras[q] {
					others++
				}
			}
			if len(has[audio]) != len(w.all)-1 || len(has[video]) != min(crowdVideo, others) {
				short = fmt.Sprintf("%s has places for the audio of %d of %d, and the video of %d of %d", id, len(has[audio]), len(w.all)-1, len(has[video]), min(crowdVideo, others))
			}
		}
		return short
	})
}

// flows checks that frames which are sent from now on come in the slots that the server has given them, and in no other: all audio,
// and of the video what comes first at least. How much more there is room for depends on how fast the machine is.
func (w *crowd) flows() {
	w.t.Helper()
	revived := 0
flowing:
	for range 20 {
		before := w.view()
		mark := w.frames.Load()
		var wrong []string
		for id, c := range w.all {
			open, film := map[string]bool{}, false
			for mid, x := range before[id] {
				if x.who != "" && x.kind == audio {
					open[mid] = true
				}
				film = film || x.who != "" && x.kind == video
			}
			for deadline := time.After(patience); len(open) > 0 || film; {
				select {
				case g := <-c.packets:
					who, n := g.origin()
					if n <= mark {
						continue
					}
					x := before[id][g.mid]
					if x.who != who {
						wrong = append(wrong, fmt.Sprintf("%s got frame %d of %s in slot %s, where %q is", id, n, who, g.mid, x.who))
					}
					delete(open, g.mid)
					film = film && x.kind != video
				case <-deadline:
					if revived++; revived < 3 && w.revive() {
						w.seats()
						continue flowing
					}
					var missing []string
					for mid := range open {
						who := before[id][mid].who
						missing = append(missing, fmt.Sprintf("%s (%s)", who, w.all[who].pc.ConnectionState()))
					}
					w.t.Fatalf("%s (%s) doesn't hear %v; it sees nothing: %v", id, c.pc.ConnectionState(), missing, film)
				}
			}
		}
		if !sameSeats(before, w.view()) {
			continue // somebody was moved meanwhile
		}
		if len(wrong) > 0 {
			w.t.Fatal(strings.Join(wrong, "\n"))
		}
		return
	}
	w.t.Fatal("the places never come to rest")
}

func sameSeats(a, b view) bool {
	return maps.EqualFunc(a, b, func(x, y map[string]seat) bool { return maps.Equal(x, y) })
}

// Twelve parties of whom six send video, in a call that shows four at most, come and go in random order.
func TestCrowd(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	w := &crowd{hall: newHall(t, Options{Video: crowdVideo}), all: map[string]*client{}, cameras: map[string]bool{}}
	var ids []string
	for i := range crowdSize {
		id := fmt.Sprintf("party%02d", i)
		ids = append(ids, id)
		w.cameras[id] = i < 6
	}
	rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	for _, id := range ids {
		w.enter(id)
	}
	w.seats()
	w.flows()

	// A pin comes before all others, at whoever pinned; a limit leaves one camera.
	pins, limited := "party11", "party10"
	ready(t, w.all[pins], w.all[limited])
	if err := w.all[pins].control.SendText(`{"kind":"want","pin":["party05","party04"]}`); err != nil {
		t.Fatal(err)
	}
	if err := w.all[limited].control.SendText(`{"kind":"want","limit":1}`); err != nil {
		t.Fatal(err)
	}
	w.settle("the pinned ones are not shown", func() bool {
		var seen []string
		for _, o := range w.s.rooms["c"].parties[pins].slots {
			if o.kind == video && o.source != nil {
				seen = append(seen, o.source.p.id)
			}
		}
		return slices.Contains(seen, "party05") && slices.Contains(seen, "party04") && w.s.rooms["c"].parties[limited].limit == 1
	})
	w.flows()
	w.settle("not one camera is shown to whoever limits video to a bit per second", func() bool { // cameras that paused with the machine are measured again first
		return w.s.rooms["c"].parties[limited].showing() == 1
	})

	rounds := 1
	if os.Getenv("PETREL_LONG") != "" {
		rounds = 10
	}
	for range rounds {
		gone := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return id == limited || rng.IntN(3) > 0 })
		for _, id := range gone {
			w.quit(id)
		}
		w.seats()
		w.flows()
		rng.Shuffle(len(gone), func(i, j int) { gone[i], gone[j] = gone[j], gone[i] })
		for _, id := range gone {
			w.enter(id)
		}
		w.seats()
		w.flows()
	}
}
