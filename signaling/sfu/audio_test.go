package sfu

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
)

// caller joins and talks.
func (h *hall) caller(id string, level byte) *client {
	h.t.Helper()
	var tr *webrtc.TrackLocalStaticRTP
	c := h.join(id, clientOptions{setup: func(pc *webrtc.PeerConnection, c *client) { tr = addAudio(h.t, pc, c) }})
	c.talk(tr, level)
	return c
}

func TestAllHearAllOthers(t *testing.T) {
	for _, n := range []int{3, 5} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			h := newHall(t, Options{})
			var all []*client
			for i := range n {
				all = append(all, h.caller(fmt.Sprintf("party%d", i), 30))
			}
			began := time.Now()
			for _, c := range all {
				var others []string
				for _, o := range all {
					if o != c {
						others = append(others, o.id)
					}
				}
				c.hears(others...)
			}
			t.Logf("%d clients heard each other after %v", n, time.Since(began).Round(time.Millisecond))
		})
	}
}

func TestOpaquePayloadArrivesUnchangedAndInOrder(t *testing.T) {
	h := newHall(t, Options{})
	bob := h.join("bob", clientOptions{setup: func(_ *webrtc.PeerConnection, c *client) { c.slot(webrtc.RTPCodecTypeAudio) }})
	h.caller("ann", 30) // alone: frames are numbered through all who send any
	bob.hears("ann")
	var first, seqFirst, last int
	var tsFirst uint32
	for i := range 200 {
		select {
		case g := <-bob.packets:
			f := strings.SplitN(string(g.pkt.Payload), "/", 3)
			n, err := strconv.Atoi(f[1])
			if err != nil || string(g.pkt.Payload) != string(opaque("ann", n)) {
				t.Fatalf("the payload changed: %q", g.pkt.Payload)
			}
			if i == 0 {
				first, seqFirst, tsFirst = n, int(g.pkt.SequenceNumber), g.pkt.Timestamp
			} else if n <= last {
				t.Fatalf("frame %d came after frame %d", n, last)
			}
			last = n
			if uint16(n-first) != g.pkt.SequenceNumber-uint16(seqFirst) || uint32(n-first)*240 != g.pkt.Timestamp-tsFirst {
				t.Fatalf("frame %d has number %d and time %d", n-first, g.pkt.SequenceNumber-uint16(seqFirst), g.pkt.Timestamp-tsFirst)
			}
			if g.ext != 30 {
				t.Fatalf("the audio level is %d, not 30", g.ext)
			}
		case <-time.After(patience):
			t.Fatal("no more packets")
		}
	}
}

func TestSpeakersAreAnnounced(t *testing.T) {
	h := newHall(t, Options{})
	quiet := h.caller("quiet", 110)
	h.caller("loud", 20)
	deadline := time.After(patience)
	for {
		select {
		case m := <-quiet.controls:
			if m["kind"] != "speakers" {
				continue
			}
			if who := fmt.Sprint(m["parties"]); who != "[loud]" {
				t.Fatalf("speakers are %s", who)
			}
			return
		case <-deadline:
			t.Fatal("no speaker was announced")
		}
	}
}

func TestMessagesArePassedOn(t *testing.T) {
	h := newHall(t, Options{})
	ann, bob, eve := h.join("ann", clientOptions{}), h.join("bob", clientOptions{}), h.join("eve", clientOptions{})
	ready(t, ann, bob, eve)
	if err := ann.data.SendText("hello"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*client{bob, eve} {
		select {
		case m := <-c.messages:
			if string(m) != "\x03annhello" {
				t.Fatalf("%s got %q", c.id, m)
			}
		case <-time.After(patience):
			t.Fatalf("%s got nothing", c.id)
		}
	}
	select {
	case m := <-ann.messages:
		t.Fatalf("the sender got %q", m)
	default:
	}
}

// ready waits until the clients' data channels are open on both sides.
func ready(t *testing.T, cs ...*client) {
	t.Helper()
	for _, c := range cs {
		for open := false; !open; {
			select {
			case m := <-c.controls:
				open = m["kind"] == "slots"
			case <-time.After(patience):
				t.Fatalf("%s: the channel never opened", c.id)
			}
		}
	}
	// The server knows a channel as soon as it has accepted it; this goes through the queue behind that.
	for _, c := range cs {
		settled := make(chan bool)
		for ok := false; !ok; {
			c.h.s.post(func(time.Time) { settled <- c.h.s.rooms["c"].parties[c.id].data != nil })
			ok = <-settled
		}
	}
}

func TestFloodOfMessagesIsBounded(t *testing.T) {
	h := newHall(t, Options{})
	ann, bob := h.join("ann", clientOptions{}), h.join("bob", clientOptions{})
	ready(t, ann, bob)
	for range 10 * messageRate {
		if err := ann.data.Send([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(patience)
	for h.s.Stats().Dropped == 0 {
		if time.Now().After(deadline) {
			t.Fatal("ten times the rate was let through")
		}
	}
	<-bob.messages // and yet some arrive
}

func TestOverTCP(t *testing.T) {
	h := newHall(t, Options{})
	var tr *webrtc.TrackLocalStaticRTP
	tcp := h.join("tcp", clientOptions{tcp: true, setup: func(pc *webrtc.PeerConnection, c *client) { tr = addAudio(t, pc, c) }})
	tcp.talk(tr, 30)
	udp := h.caller("udp", 30)
	udp.hears("tcp")
	tcp.hears("udp")
}
