package media

import (
	"bytes"
	"context"
	_ "embed" // the test tone
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
)

// tone is one second of 440 Hz, which goes on where it began: Opus, 16 kbit/s.
//
//go:embed tone.ogg
var tone []byte

// frame is what is sent at once.
type frame struct {
	data  []byte
	lasts time.Duration
	key   bool // it stands for itself

	silent bool // of audio: nobody is heard
}

// frames are read from a file; rewind comes first.
type frames interface {
	next() (frame, error)
	rewind() error
}

// Source is a track with what it plays. Play is for one goroutine at a time, all else for any.
type Source struct {
	track  *track
	in     frames
	close  func() error
	pixels int         // of a picture
	wanted atomic.Bool // a key frame
}

// track is a track that says how loud it is, as far as that can be seen without decoding: as speech, or not at all.
type track struct {
	*webrtc.TrackLocalStaticSample
	silent atomic.Bool
}

// Levels of a packet of audio (RFC 6464): of speech, and of silence.
const (
	levelSpeech  = 30
	levelSilence = 127
)

// AudioLevel implements calls.Leveler.
func (t *track) AudioLevel() (level uint8, voice bool) {
	if t.silent.Load() {
		return levelSilence, false
	}
	return levelSpeech, true
}

// Tone is a test tone without an end, if it is played in a loop.
func Tone() (*Source, error) {
	return newSource(&opusFrames{in: bytes.NewReader(tone)}, opus(), "audio", func() error { return nil })
}

// OpenOgg opens an Ogg file with Opus.
func OpenOgg(path string) (*Source, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s, err := newSource(&opusFrames{in: f}, opus(), "audio", f.Close)
	return s, named(path, err)
}

// OpenIVF opens an IVF file with VP8.
func OpenIVF(path string) (*Source, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	in := &vp8Frames{in: f}
	s, err := newSource(in, vp8(), "video", f.Close)
	if err != nil {
		return nil, named(path, err)
	}
	s.pixels = in.pixels
	return s, nil
}

// rids name the layers of a picture, the smallest first.
var rids = [...]string{"q", "h", "f"}

// OpenLayers opens up to three IVF files with the same film in several sizes: layers of one picture, of which each receiver gets the one that fits. The
// sources are in the order of their sizes, the smallest first, whatever the order of the files. All are to be played, with the same loop.
func OpenLayers(paths ...string) (all []*Source, err error) {
	if len(paths) == 0 || len(paths) > len(rids) {
		return nil, fmt.Errorf("a picture has one to %d files, one for each size", len(rids))
	}
	defer func() {
		if err != nil {
			for _, s := range all {
				err = errors.Join(err, s.Close())
			}
			all = nil
		}
	}()
	for _, path := range paths {
		s, err := OpenIVF(path)
		if err != nil {
			return all, err
		}
		all = append(all, s)
	}
	if len(all) == 1 {
		return all, nil // no layers
	}
	slices.SortStableFunc(all, func(a, b *Source) int { return a.pixels - b.pixels })
	for i, s := range all {
		if s.track, err = newTrack(vp8(), "video", webrtc.WithRTPStreamID(rids[i])); err != nil {
			return all, err
		}
	}
	return all, nil
}

func named(path string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func opus() webrtc.RTPCodecCapability {
	return webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}
}

func vp8() webrtc.RTPCodecCapability {
	return webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}
}

func newTrack(c webrtc.RTPCodecCapability, kind string, options ...func(*webrtc.TrackLocalStaticRTP)) (*track, error) {
	t, err := webrtc.NewTrackLocalStaticSample(c, kind, "petrel", options...)
	return &track{TrackLocalStaticSample: t}, err
}

func newSource(in frames, c webrtc.RTPCodecCapability, kind string, end func() error) (*Source, error) {
	err := in.rewind()
	if err == nil {
		if _, err = in.next(); errors.Is(err, io.EOF) {
			err = errors.New("there is nothing in it")
		}
	}
	var t *track
	if err == nil {
		t, err = newTrack(c, kind)
	}
	if err != nil {
		return nil, errors.Join(err, end())
	}
	return &Source{track: t, in: in, close: end}, nil
}

// Track is what goes into calls.Local. It may be in several calls.
func (s *Source) Track() webrtc.TrackLocal { return s.track }

// keyPause is how long a receiver has to take a key frame before it is believed to need another one.
const keyPause = 300 * time.Millisecond

// KeyFrame has the next frame that is played be one that stands for itself, unless one was played just now. It does not block.
func (s *Source) KeyFrame() { s.wanted.Store(true) }

// Play plays from the beginning to the end, again and again if loop, until ctx ends. The end is no error, of ctx neither.
func (s *Source) Play(ctx context.Context, loop bool) error {
	if err := s.in.rewind(); err != nil {
		return err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	due, skipped := time.Now(), false
	var key time.Time // when the last one was played
	for {
		f, err := s.in.next()
		switch {
		case errors.Is(err, io.EOF) && (loop || s.wanted.Load() && !skipped):
			skipped = true // no key frame in a whole round: then there is none
			if err := s.in.rewind(); err != nil {
				return err
			}
			continue
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if s.wanted.Load() && !f.key && !skipped {
			if time.Since(key) > keyPause {
				continue
			}
			s.wanted.Store(false) // it is on its way
		}
		if f.key {
			s.wanted.Store(false)
			skipped, key = false, due
		}
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		s.track.silent.Store(f.silent)
		if err := s.track.WriteSample(media.Sample{Data: f.data, Duration: f.lasts}); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			return err
		}
		if due = due.Add(f.lasts); time.Since(due) > time.Second {
			due = time.Now() // the machine slept: not all at once
		}
		timer.Reset(time.Until(due))
	}
}

// Close closes the file. Play must have returned.
func (s *Source) Close() error { return s.close() }
