package calls

import (
	"bytes"
	"testing"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/petrelchat/petrel/chat"
)

func TestPictureVP8(t *testing.T) {
	for _, c := range []struct{ in, want []byte }{
		{[]byte{0x90, 0x80, 5, 0, 9}, []byte{0x90, 0x80, 0x80, 7, 0, 9}},
		{[]byte{0x90, 0x80, 0xFF, 0xFF, 0, 9}, []byte{0x90, 0x80, 0x80, 1, 0, 9}},
		{[]byte{0x10, 0, 9}, []byte{0x10, 0, 9}}, // it has none
		{[]byte{0x90, 0x80, 0xFF}, []byte{0x90, 0x80, 0xFF}},
		{nil, nil},
	} {
		if got := withPicture(c.in, 2); !bytes.Equal(got, c.want) {
			t.Errorf("%x becomes %x, not %x", c.in, got, c.want)
		}
	}
}

func TestKeyFrame(t *testing.T) {
	for _, c := range []struct {
		mime string
		b    []byte
		want bool
	}{
		{webrtc.MimeTypeVP8, []byte{0x10, 0, 9}, true}, {webrtc.MimeTypeVP8, []byte{0x10, 1, 9}, false}, {webrtc.MimeTypeVP8, []byte{0, 0, 9}, false},
		{webrtc.MimeTypeVP8, []byte{0x90, 0xF0, 0x81, 2, 3, 4, 0}, true}, {webrtc.MimeTypeVP8, []byte{0x90, 0xF0, 0x81, 2, 3, 4}, false},
		{webrtc.MimeTypeVP8, nil, false},
		{webrtc.MimeTypeH264, []byte{0x65, 1}, true}, {webrtc.MimeTypeH264, []byte{0x41, 1}, false}, {webrtc.MimeTypeH264, []byte{24, 0, 9, 0x67}, true},
		{webrtc.MimeTypeH264, []byte{24, 0, 2, 9, 0x10, 0, 2, 0x67, 1}, true}, // behind a delimiter of access units
		{webrtc.MimeTypeH264, []byte{28, 0x85}, true}, {webrtc.MimeTypeH264, []byte{28, 0x05}, false}, {webrtc.MimeTypeH264, []byte{0x65}, false},
		{webrtc.MimeTypeAV1, []byte{1}, true},
	} {
		if got := keyFrame(c.mime, c.b); got != c.want {
			t.Errorf("%s %x: %v", c.mime, c.b, got)
		}
	}
}

func FuzzVP8(f *testing.F) {
	f.Add([]byte{0x90, 0x80, 5, 0, 9}, uint16(3))
	f.Fuzz(func(t *testing.T, b []byte, off uint16) {
		was, ok := pictureVP8(b)
		out := withPicture(b, off)
		now, still := pictureVP8(out)
		if ok != still || ok && now != (was+off)&0x7FFF || keyFrame(webrtc.MimeTypeVP8, b) != keyFrame(webrtc.MimeTypeVP8, out) {
			t.Errorf("%x becomes %x", b, out)
		}
		keyFrame(webrtc.MimeTypeH264, b)
	})
}

// out is a stream that a lane writes to.
type out struct{ got []rtp.Packet }

func (o *out) WriteRTP(h *rtp.Header, b []byte) (int, error) {
	o.got = append(o.got, rtp.Packet{Header: h.Clone(), Payload: b})
	return len(b), nil
}

func (o *out) Write(b []byte) (int, error) { return len(b), nil }

// TestLane: what is dropped leaves no gap, and begins again with a key frame; another layer too.
func TestLane(t *testing.T) {
	l, o := newLane("", videoTrack(t, "a"), videoTrack(t, "a")), &out{}
	l.out, l.codec = o, webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}
	put := func(layer int, seq uint16, pic byte, key bool) {
		t.Helper()
		b := []byte{0x90, 0x80, pic, 1}
		if key {
			b[3] = 0
		}
		h := rtp.Header{Version: 2, SequenceNumber: seq, Timestamp: uint32(seq) * 3000}
		if _, err := l.write(layer, &h, b); err != nil || h.SequenceNumber != seq {
			t.Fatalf("%v; the track's header is %+v", err, h)
		}
	}
	is := func(n int) {
		t.Helper()
		if len(o.got) != n {
			t.Fatalf("%d packets went out, not %d", len(o.got), n)
		}
		for i := 1; i < n; i++ {
			a, b := &o.got[i-1], &o.got[i]
			pa, _ := pictureVP8(a.Payload)
			pb, _ := pictureVP8(b.Payload)
			if b.SequenceNumber != a.SequenceNumber+1 || pb != pa+1 || int32(b.Timestamp-a.Timestamp) <= 0 {
				t.Fatalf("behind %v comes %v", a, b)
			}
		}
	}
	put(0, 10, 1, true)
	put(1, 900, 77, true) // the other layer
	put(0, 11, 2, false)
	is(2)
	l.gate(true)
	put(0, 12, 3, true)
	if !l.gate(false) || l.gate(false) {
		t.Error("it is not said once that it flows again")
	}
	put(0, 13, 4, false)
	is(2)
	put(0, 14, 5, true)
	is(3)
	l.aim(1)
	put(1, 901, 78, false)
	put(0, 15, 6, false)
	is(4)
	put(1, 902, 79, true)
	put(0, 16, 7, true)
	put(1, 903, 80, false)
	is(6)
	if n := l.count(); n[0] == 0 || n[1] == 0 {
		t.Errorf("counted %v", n)
	}
}

func TestTracksRefused(t *testing.T) {
	layer := func(rid string) webrtc.TrackLocal {
		track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}, "v", "s", webrtc.WithRTPStreamID(rid))
		must(t, err)
		return track
	}
	for what, l := range map[string]Local{
		"four layers": {Tracks: []webrtc.TrackLocal{layer("a"), layer("b"), layer("c"), layer("d")}},
		"one twice":   {Tracks: []webrtc.TrackLocal{layer("a"), layer("a")}},
		"a bad RID":   {Tracks: []webrtc.TrackLocal{layer("a"), layer("b;c")}},
		"five tracks": {Tracks: []webrtc.TrackLocal{layer(""), layer(""), layer(""), layer(""), layer("")}},
		"less than 0": {Watch: Watch{Limit: -1}},
		"many pins":   {Watch: Watch{Pin: make([]string, pinsMost+1)}},
	} {
		var r *chat.Refusal
		if err := l.validate(); !asRefusal(err, &r) || r.Code != chat.BadRequest {
			t.Errorf("%s: %v", what, err)
		}
	}
	ok := Local{Tracks: []webrtc.TrackLocal{layer("a"), layer("b"), layer("c"), layer("")}}
	must(t, ok.validate())
}
