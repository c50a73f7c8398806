package media

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media/ivfwriter"
	"github.com/pion/webrtc/v4/pkg/media/oggwriter"

	"github.com/petrelchat/petrel/chat"
)

// Track is what a recorder reads: calls.RemoteTrack is one.
type Track interface {
	ReadRTP() (*rtp.Packet, error)
	Codec() webrtc.RTPCodecParameters
	Party() string
	User() string // "": not known, any more or yet
	RequestKeyFrame()
}

// Recorder writes what others send into files of a folder: Opus into USER-N.ogg, VP8 into USER-N.ivf. A file is never written over.
// Its methods may be called from any goroutine.
type Recorder struct {
	dir string

	mu    sync.Mutex
	files []string
	err   error
}

// NewRecorder makes the folder if it is not there.
func NewRecorder(dir string) (*Recorder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &Recorder{dir: dir}, nil
}

// Files are those that were begun, and the first error.
func (r *Recorder) Files() ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.files...), r.err
}

// Take records a track until it ends. Other codecs than Opus and VP8 are left alone.
func (r *Recorder) Take(t Track) {
	codec := strings.ToLower(t.Codec().MimeType)
	audio := codec == strings.ToLower(webrtc.MimeTypeOpus)
	if !audio && codec != strings.ToLower(webrtc.MimeTypeVP8) {
		return
	}
	if !audio {
		t.RequestKeyFrame()
	}
	files := make(map[string]*file)
	defer func() {
		for _, f := range files {
			r.fail(f.close())
		}
	}()
	var line sorter
	last, whose := "", ""
	for {
		pkt, err := t.ReadRTP()
		if err != nil {
			return
		}
		if len(pkt.Payload) == 0 {
			continue // padding
		}
		party, user := t.Party(), t.User()
		switch {
		case chat.ValidUser(user):
		case last == "" || party != whose:
			continue // through the SFU media may be ahead of the news who has come
		default:
			user = last // who has just left
		}
		f := files[user]
		if f == nil {
			if f, err = r.create(user, audio); err != nil {
				r.fail(err)
				return
			}
			files[user] = f
		}
		if user != last && !audio && last != "" {
			t.RequestKeyFrame() // through the SFU: where one follows another, a file begins, or goes on, with a picture that stands for itself
		}
		last, whose = user, party
		for _, pkt := range line.push(pkt) {
			if err := f.WriteRTP(pkt); err != nil {
				r.fail(err)
				return
			}
		}
	}
}

func (r *Recorder) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
}

// file is a recording under way.
type file struct {
	writer
	f *os.File
}

type writer interface {
	WriteRTP(*rtp.Packet) error
	Close() error
}

func (f *file) close() error {
	err := f.Close()
	if e := f.f.Close(); !errors.Is(e, os.ErrClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// filesMost bounds the recordings of one user in a folder.
const filesMost = 10_000

func (r *Recorder) create(user string, audio bool) (*file, error) {
	ext := "ivf"
	if audio {
		ext = "ogg"
	}
	for n := 1; n <= filesMost; n++ {
		path := filepath.Join(r.dir, fmt.Sprintf("%s-%d.%s", user, n, ext))
		out, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var w writer
		if audio {
			w, err = oggwriter.NewWith(out, 48000, 2)
		} else {
			w, err = ivfwriter.NewWith(out, ivfwriter.WithCodec(webrtc.MimeTypeVP8))
		}
		if err != nil {
			return nil, errors.Join(err, out.Close())
		}
		r.mu.Lock()
		r.files = append(r.files, path)
		r.mu.Unlock()
		return &file{w, out}, nil
	}
	return nil, fmt.Errorf("%s: there are %d recordings of %s already", r.dir, filesMost, user)
}

// sortMost is how many packets are waited for one that was overtaken, or is sent again.
const sortMost = 64

// sorter brings packets into the order of their numbers, each once.
type sorter struct {
	began bool
	next  uint16
	held  map[uint16]*rtp.Packet
}

// push takes a packet and returns those whose turn it is.
func (s *sorter) push(p *rtp.Packet) []*rtp.Packet {
	n := p.SequenceNumber
	switch ahead := int16(n - s.next); {
	case !s.began:
		s.began, s.next, s.held = true, n, make(map[uint16]*rtp.Packet)
	case ahead < 0 && ahead > -1000:
		return nil // twice, or too late
	case ahead < 0 || ahead > 1000: // the stream began anew
		clear(s.held)
		s.next = n
	}
	s.held[n] = p
	var out []*rtp.Packet
	for len(s.held) > 0 {
		p := s.held[s.next]
		if p == nil && len(s.held) <= sortMost {
			break
		}
		if p != nil {
			out = append(out, p)
			delete(s.held, s.next)
		}
		s.next++
	}
	return out
}
