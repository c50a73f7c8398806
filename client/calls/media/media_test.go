package media

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"
)

func TestTone(t *testing.T) {
	f := &opusFrames{in: bytes.NewReader(tone)}
	if err := f.rewind(); err != nil {
		t.Fatal(err)
	}
	var all time.Duration
	for {
		fr, err := f.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if fr.lasts != 20*time.Millisecond {
			t.Errorf("a frame of %v", fr.lasts)
		}
		all += fr.lasts
	}
	if all < time.Second || all > 1100*time.Millisecond {
		t.Errorf("the tone lasts %v", all)
	}
}

// TestPlayKeepsTime: what is played takes as long as it lasts, over and over.
func TestPlayKeepsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Tone()
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := s.Play(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d < time.Second || d > 1100*time.Millisecond {
			t.Errorf("it took %v", d)
		}
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
		defer stop()
		began = time.Now()
		if err := s.Play(ctx, true); err != nil || time.Since(began) != 10*time.Second {
			t.Errorf("it went on for %v: %v", time.Since(began), err)
		}
	})
}

func TestDurations(t *testing.T) {
	for _, c := range []struct {
		packet []byte
		want   time.Duration
	}{
		{nil, 0}, {[]byte{0 << 3}, 10 * time.Millisecond}, {[]byte{3 << 3}, 60 * time.Millisecond}, {[]byte{3<<3 | 1}, 120 * time.Millisecond},
		{[]byte{13 << 3}, 20 * time.Millisecond}, {[]byte{16 << 3}, 2500 * time.Microsecond}, {[]byte{31<<3 | 2}, 40 * time.Millisecond},
		{[]byte{31<<3 | 3, 3}, 60 * time.Millisecond}, {[]byte{31<<3 | 3}, 0}, {[]byte{31<<3 | 3, 63}, 0},
	} {
		if got := opusDuration(c.packet); got != c.want {
			t.Errorf("%x lasts %v, not %v", c.packet, got, c.want)
		}
	}
}

// TestWrongFiles: what is no such file is said to be none.
func TestWrongFiles(t *testing.T) {
	dir := t.TempDir()
	for name, b := range map[string][]byte{
		"empty": nil, "text": []byte("hello, this is some text that is long enough for a header of one kind or another"),
		"cut off": tone[:60], "no frames": tone[:47], "ivf of av1": append([]byte("DKIF\x00\x00\x20\x00AV01"), make([]byte, 32)...),
		"no rate": append([]byte("DKIF\x00\x00\x20\x00VP80"), make([]byte, 32)...),
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenOgg(path); err == nil {
			t.Errorf("%s passes for Ogg", name)
		}
		if _, err := OpenIVF(path); err == nil {
			t.Errorf("%s passes for IVF", name)
		}
	}
	if _, err := OpenOgg(filepath.Join(dir, "nowhere")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestSorter(t *testing.T) {
	var s sorter
	var got []uint16
	push := func(all ...uint16) {
		for _, n := range all {
			for _, p := range s.push(&rtp.Packet{Header: rtp.Header{SequenceNumber: n}}) {
				got = append(got, p.SequenceNumber)
			}
		}
	}
	is := func(want ...uint16) {
		t.Helper()
		if len(got) != len(want) {
			t.Fatalf("%v, not %v", got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("%v, not %v", got, want)
			}
		}
		got = nil
	}
	push(65534, 0, 65535, 65535, 1)
	is(65534, 65535, 0, 1)
	push(65500, 3) // too late; one is missing
	is()
	for n := uint16(4); n < 3+sortMost; n++ {
		push(n)
	}
	is()
	push(3 + sortMost) // it does not come any more
	var want []uint16
	for n := uint16(3); n <= 3+sortMost; n++ {
		want = append(want, n)
	}
	is(want...)
	push(30_000)
	is(30_000) // the stream began anew
}

func FuzzOgg(f *testing.F) {
	f.Add(tone)
	f.Add(tone[:100])
	f.Fuzz(func(t *testing.T, b []byte) {
		o := &opusFrames{in: bytes.NewReader(b)}
		if o.rewind() != nil {
			return
		}
		for {
			fr, err := o.next()
			if err != nil {
				return
			}
			if len(fr.data) == 0 || fr.lasts <= 0 || fr.lasts > 120*time.Millisecond {
				t.Fatalf("a frame of %d bytes for %v", len(fr.data), fr.lasts)
			}
		}
	})
}

func FuzzIVF(f *testing.F) {
	one := append([]byte("DKIF\x00\x00\x20\x00VP80"), make([]byte, 20)...)
	binary.LittleEndian.PutUint32(one[16:], 30)
	binary.LittleEndian.PutUint32(one[20:], 1)
	f.Add(append(one, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9))
	f.Fuzz(func(t *testing.T, b []byte) {
		v := &vp8Frames{in: bytes.NewReader(b)}
		if v.rewind() != nil {
			return
		}
		for {
			fr, err := v.next()
			if err != nil {
				return
			}
			if len(fr.data) == 0 || fr.lasts < 0 || fr.lasts > 10*time.Second+v.unit {
				t.Fatalf("a frame of %d bytes for %v", len(fr.data), fr.lasts)
			}
		}
	})
}
