package sfu

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/signaling/sfu/sfuload"
)

// plainOffer is an offer as a browser makes it, in short.
func plainOffer() string {
	return sfuload.Offer(strings.TrimSuffix(strings.Repeat("AB:", 32), ":"), 1)
}

func TestHostileOffersAreRefused(t *testing.T) {
	h := newHall(t, Options{Tracks: 2, Audio: 3})
	good := plainOffer()
	more := func(n int, dir string) string {
		var b strings.Builder
		sec := good[strings.LastIndex(good, "m=audio"):]
		mids := ""
		for i := range n {
			mids += fmt.Sprintf(" x%d", i)
			b.WriteString(strings.NewReplacer("a=mid:1", fmt.Sprintf("a=mid:x%d", i), "a=recvonly", "a="+dir).Replace(sec))
		}
		return strings.Replace(good, "BUNDLE 0 1", "BUNDLE 0 1"+mids, 1) + b.String()
	}
	for name, c := range map[string]struct{ sdp, want string }{
		"nothing":               {"", "sections"},
		"rubbish":               {"\x00\xff", "not SDP"},
		"too long":              {good + strings.Repeat("a=x:y\r\n", sdpMax/7), "at most"},
		"no sections":           {good[:strings.Index(good, "m=")], "sections"},
		"too many sections":     {more(sectionsMax, "inactive"), "sections"},
		"too many tracks":       {more(2, "sendonly"), "may send 2"},
		"too many slots":        {more(3, "recvonly"), "3 slots for audio"},
		"not bundled":           {strings.Replace(good, "BUNDLE 0 1", "BUNDLE 0", 1), "BUNDLE"},
		"one mid twice":         {strings.Replace(good, "a=mid:1", "a=mid:0", 1), "mid"},
		"a mid that breaks out": {strings.ReplaceAll(good, "a=mid:1", "a=mid:1 1"), "mid"},
		"no ufrag":              {strings.ReplaceAll(good, "a=ice-ufrag:"+sfuload.Ufrag, "a=x"), "ice-ufrag"},
		"a short password":      {strings.ReplaceAll(good, sfuload.Pwd, "short"), "ice-pwd"},
		"a ufrag with a colon":  {strings.ReplaceAll(good, sfuload.Ufrag, "lean:frag"), "ice-ufrag"},
		"two fingerprints":      {strings.Replace(good, "AB:AB", "CD:AB", 1), "same"},
		"a weak hash":           {strings.ReplaceAll(good, "sha-256", "md5"), "fingerprint"},
		"a passive client":      {strings.ReplaceAll(good, "setup:actpass", "setup:passive"), "setup"},
		"no mux":                {strings.ReplaceAll(good, "a=rtcp-mux\r\n", ""), "rtcp-mux"},
		"no encryption":         {strings.ReplaceAll(good, "UDP/TLS/RTP/SAVPF", "RTP/AVPF"), "UDP/TLS/RTP/SAVPF"},
		"lite on both sides":    {strings.Replace(good, "s=-\r\nt=0 0\r\n", "s=-\r\nt=0 0\r\na=ice-lite\r\n", 1), "ice-lite"},
		"an id with two uses":   {strings.Replace(good, levelURI, midURI, 1), "two meanings"},
		"layers of audio":       {strings.Replace(good, "a=sendonly", "a=sendonly\r\na=simulcast:send a;b", 1), "layers"},
		"an unreadable extmap":  {strings.Replace(good, "a=extmap:1 ", "a=extmap:x ", 1), "extmap"},
	} {
		t.Run(name, func(t *testing.T) {
			err := h.s.Signal("c", "eve", "eve", "offer", []byte(c.sdp))
			var r *chat.Refusal
			if !errors.As(err, &r) || r.Code != chat.BadRequest || !strings.Contains(r.Reason, c.want) {
				t.Fatalf("got %v, want bad-request with %q", err, c.want)
			}
		})
	}
	if err := h.s.Signal("c", "ann", "ann", "offer", []byte(good)); err != nil {
		t.Fatalf("and the good one: %v", err)
	}
	for _, kind := range []string{"answer", "nonsense"} {
		if err := h.s.Signal("c", "ann", "ann", kind, nil); !errors.Is(err, &chat.Refusal{Code: chat.BadRequest}) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	h.settle("ann is not there", func() bool { return h.s.rooms["c"] != nil })
	if h.s.Stats().Parties != 1 {
		t.Fatalf("%d parties", h.s.Stats().Parties)
	}
}

func TestFullCallIsRefused(t *testing.T) {
	h := newHall(t, Options{Parties: 2})
	for _, id := range []string{"ann", "bob", "ann"} {
		if err := h.s.Signal("c", id, id, "offer", []byte(plainOffer())); err != nil {
			t.Fatal(err)
		}
		h.settle("not taken", func() bool { return h.s.rooms["c"] != nil && h.s.rooms["c"].parties[id] != nil })
	}
	if err := h.s.Signal("c", "cem", "cem", "offer", []byte(plainOffer())); !errors.Is(err, &chat.Refusal{Code: chat.Unavailable}) {
		t.Fatalf("the third of two got %v", err)
	}
	if err := h.s.Signal("other", "cem", "cem", "offer", []byte(plainOffer())); err != nil {
		t.Fatal(err)
	}
	h.s.Gone("c", "bob")
	h.settle("bob is there", func() bool { return h.s.rooms["c"].parties["bob"] == nil })
	if err := h.s.Signal("c", "cem", "cem", "offer", []byte(plainOffer())); err != nil {
		t.Fatal(err)
	}
}

func TestAfterCloseNothingIsTaken(t *testing.T) {
	s, err := New(Options{Listen: "127.0.0.1:0", Send: func(string, string, string, string, []byte) {}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Signal("c", "ann", "ann", "offer", []byte(plainOffer())); !errors.Is(err, &chat.Refusal{Code: chat.Unavailable}) {
		t.Fatalf("got %v", err)
	}
	s.Gone("c", "ann")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func FuzzOffer(f *testing.F) {
	f.Add(plainOffer())
	f.Add(strings.Replace(plainOffer(), "m=audio 9 UDP/TLS/RTP/SAVPF 111", "m=video 9 UDP/TLS/RTP/SAVPF 96 102\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:102 H264/90000\r\n"+
		"a=fmtp:102 packetization-mode=1;profile-level-id=42e01f\r\na=rtcp-fb:* nack pli\r\na=rid:q send\r\na=simulcast:send q;h,~f\r\na=ssrc:5 cname:x", 1))
	s := &Server{opt: Options{}.withDefaults(), pionLog: silent{}, rooms: map[string]*room{}, speech: make(chan speech, 8), addrs: nil}
	s.index.byUfrag = map[string]*creds{}
	s.seats.calls = map[string]map[string]bool{}
	f.Fuzz(func(t *testing.T, text string) {
		o, err := parseOffer(text)
		if err != nil || o.fits(s.opt) != nil {
			return
		}
		// What was taken is answered with SDP of the same sections, and can be offered again.
		for range 2 {
			s.offered("c", "ann", "ann", o, time.Now())
		}
		var answer string
		for len(s.speech) > 0 {
			if m := <-s.speech; m.kind == "answer" {
				answer = string(m.body)
			}
		}
		if n := strings.Count(answer, "\r\nm="); n != len(o.sections) {
			t.Fatalf("%d sections were offered and %d answered:\n%s", len(o.sections), n, answer)
		}
		s.left("c", "", time.Now())
	})
}
