package calls

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media/ivfreader"

	"github.com/petrelchat/petrel/client/calls/media"
)

// film writes an IVF file of frames that are told apart: every tenth stands for itself.
func film(t *testing.T, n int) (path string, frames [][]byte) {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("DKIF\x00\x00\x20\x00VP80")
	for _, v := range []any{uint16(64), uint16(48), uint32(50), uint32(1), uint32(n), uint32(0)} {
		must(t, binary.Write(&b, binary.LittleEndian, v))
	}
	for i := range n {
		f := bytes.Repeat([]byte{byte(i)}, 700*(1+i%5)) // some of more than one packet
		f[0] = 1
		if i%10 == 0 {
			copy(f, []byte{0x10, 0, 0, 0x9d, 0x01, 0x2a, 64, 0, 48, 0}) // RFC 6386 §9.1
		}
		frames = append(frames, f)
		must(t, binary.Write(&b, binary.LittleEndian, uint32(len(f))))
		must(t, binary.Write(&b, binary.LittleEndian, uint64(i)))
		b.Write(f)
	}
	path = filepath.Join(t.TempDir(), "film.ivf")
	must(t, os.WriteFile(path, b.Bytes(), 0o600))
	return path, frames
}

// TestFiles sends a film and a tone, and records them at the other side: frame by frame they are the same.
func TestFiles(t *testing.T) {
	s := serve(t)
	ann, bob := s.device("ann", "a"), s.device("bob", "b")
	path, frames := film(t, 100)
	video, err := media.OpenIVF(path)
	must(t, err)
	tone, err := media.Tone()
	must(t, err)
	dir := t.TempDir()
	rec, err := media.NewRecorder(dir)
	must(t, err)

	a := ann.start(ann.Direct("bob"), Local{
		Tracks:     []webrtc.TrackLocal{tone.Track(), video.Track()},
		OnKeyFrame: func(webrtc.TrackLocal) { video.KeyFrame() },
	})
	b := bob.rings()
	if got := strings.Join(b.Status().Media, " "); got != "audio video" {
		t.Errorf("it rings with %q", got)
	}
	must(t, b.Accept(soon(t), Local{Media: []string{"audio", "video"}, OnTrack: func(rt *RemoteTrack) { rec.Take(rt) }}))
	until(t, a, "connected", func(s Status) bool { return !s.Began.IsZero() })
	ctx, stop := context.WithCancel(soon(t))
	var playing sync.WaitGroup
	playing.Go(func() { _ = tone.Play(ctx, true) })
	must(t, video.Play(ctx, false))
	stop()
	playing.Wait()
	must(t, a.Hangup(soon(t)))
	over(t, b)
	<-b.Done()
	must(t, video.Close())
	files, err := rec.Files()
	must(t, err)
	if len(files) != 2 {
		t.Fatalf("recorded %v", files)
	}

	in, err := os.Open(filepath.Join(dir, "ann-1.ivf"))
	must(t, err)
	defer in.Close()
	r, _, err := ivfreader.NewWith(in)
	must(t, err)
	n, at := 0, -1 // frames that arrived, and which was the last
	for ; ; n++ {
		f, _, err := r.ParseNextFrame()
		if err == io.EOF {
			break
		}
		must(t, err)
		was := at
		for at++; at < len(frames) && !bytes.Equal(f, frames[at]); at++ {
		}
		if at == len(frames) {
			t.Fatalf("behind frame %d comes one that was not sent", was)
		}
		if at != was+1 && at%10 != 0 {
			t.Fatalf("behind frame %d comes %d, which does not stand for itself", was, at)
		}
	}
	if n < 50 {
		t.Errorf("only %d of %d frames arrived", n, len(frames))
	}

	heard, err := media.OpenOgg(filepath.Join(dir, "ann-1.ogg"))
	must(t, err)
	must(t, heard.Close())
	if fi, err := os.Stat(filepath.Join(dir, "ann-1.ogg")); err != nil || fi.Size() < 2000 {
		t.Errorf("of the tone there is %v, %v", fi, err)
	}
}
