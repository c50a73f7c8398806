package calls

import (
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// Leveler may be implemented by a track of audio that knows how loud it is. Everybody learns from it who speaks (RFC 6464), the SFU too.
type Leveler interface {
	// AudioLevel is that of the packet that is being written: 0 is the loudest, 127 silence, in -dBov; and whether somebody speaks.
	AudioLevel() (level uint8, voice bool)
}

// Header extensions that a lane writes (RFC 6464, RFC 8843 §15.2, RFC 8852).
const (
	levelURI = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
	midURI   = "urn:ietf:params:rtp-hdrext:sdes:mid"
	ridURI   = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
)

// lane is a stream of packets to another side: a webrtc.TrackLocal before the tracks whose packets it passes on. Through the SFU each layer of a
// picture has a lane of its own; in a mesh one lane has all layers, of which it sends one: sequence numbers, timestamps and VP8's
// picture ids go on when that changes. What it drops leaves no gap, so that nobody counts it as lost.
type lane struct {
	layers []webrtc.TrackLocal // the smallest first
	rid    string              // through the SFU; "" otherwise

	mu     sync.Mutex
	place  *webrtc.RTPTransceiver // whose mid goes into packets; nil: none
	out    webrtc.TrackLocalWriter
	codec  webrtc.RTPCodecCapability
	level  uint8 // ids of header extensions; 0: not agreed to
	mid    uint8
	ridID  uint8
	shut   bool
	now    int  // the layer that goes out
	next   int  // the one that takes over with its next key frame
	cut    bool // something was left out: the next packet follows what went out last
	begun  bool
	seqOff uint16
	tsOff  uint32
	picOff uint16
	seq    uint16 // the last that went out
	ts     uint32
	pic    uint16
	at     time.Time
	bytes  []int // of each layer since the last count
}

var _ webrtc.TrackLocal = (*lane)(nil)

func newLane(rid string, layers ...webrtc.TrackLocal) *lane {
	return &lane{layers: layers, rid: rid, bytes: make([]int, len(layers))}
}

// ID implements webrtc.TrackLocal.
func (l *lane) ID() string { return l.layers[0].ID() }

// StreamID implements webrtc.TrackLocal.
func (l *lane) StreamID() string { return l.layers[0].StreamID() }

// RID implements webrtc.TrackLocal.
func (l *lane) RID() string { return l.rid }

// Kind implements webrtc.TrackLocal.
func (l *lane) Kind() webrtc.RTPCodecType { return l.layers[0].Kind() }

// Bind implements webrtc.TrackLocal.
func (l *lane) Bind(ctx webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	var codec webrtc.RTPCodecParameters
	for i, t := range l.layers {
		c, err := t.Bind(&laneContext{ctx, l, i})
		if err == nil && i > 0 && c.PayloadType != codec.PayloadType {
			err = errors.Join(errLayers, t.Unbind(&laneContext{ctx, l, i}))
		}
		if err != nil {
			for j := range i {
				_ = l.layers[j].Unbind(&laneContext{ctx, l, j})
			}
			return c, err
		}
		codec = c
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out, l.codec = ctx.WriteStream(), codec.RTPCodecCapability
	for _, e := range ctx.HeaderExtensions() {
		if e.ID <= 0 || e.ID > 14 { // RFC 8285 §4.2
			continue
		}
		switch e.URI {
		case levelURI:
			l.level = uint8(e.ID)
		case midURI:
			l.mid = uint8(e.ID)
		case ridURI:
			l.ridID = uint8(e.ID)
		}
	}
	return codec, nil
}

var errLayers = errors.New("calls: the layers of a picture must have the same codec")

// Unbind implements webrtc.TrackLocal.
func (l *lane) Unbind(ctx webrtc.TrackLocalContext) error {
	l.mu.Lock()
	l.out = nil
	l.mu.Unlock()
	var errs []error
	for i, t := range l.layers {
		errs = append(errs, t.Unbind(&laneContext{ctx, l, i}))
	}
	return errors.Join(errs...)
}

// laneContext is what a layer is bound to.
type laneContext struct {
	webrtc.TrackLocalContext
	l     *lane
	layer int
}

// ID implements webrtc.TrackLocalContext: a track may be in a lane once, and in many lanes.
func (c *laneContext) ID() string {
	return c.TrackLocalContext.ID() + "/" + c.l.rid + strconv.Itoa(c.layer)
}

// WriteStream implements webrtc.TrackLocalContext.
func (c *laneContext) WriteStream() webrtc.TrackLocalWriter { return laneWriter{c.l, c.layer} }

type laneWriter struct {
	l     *lane
	layer int
}

// WriteRTP implements webrtc.TrackLocalWriter.
func (w laneWriter) WriteRTP(h *rtp.Header, payload []byte) (int, error) {
	return w.l.write(w.layer, h, payload)
}

// Write implements webrtc.TrackLocalWriter.
func (w laneWriter) Write(b []byte) (int, error) {
	var p rtp.Packet
	if err := p.Unmarshal(b); err != nil {
		return 0, err
	}
	return w.l.write(w.layer, &p.Header, p.Payload)
}

// write passes a packet of a layer on. The header belongs to the track: it is the same one for all lanes.
func (l *lane) write(layer int, header *rtp.Header, payload []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bytes[layer] += len(payload) + header.MarshalSize()
	switch {
	case l.out == nil:
		return len(payload), nil
	case l.shut:
		l.cut = true
		return len(payload), nil
	case layer == l.now && !l.cut:
	case layer != l.now && layer != l.next || !keyFrame(l.codec.MimeType, payload):
		return len(payload), nil
	}
	h := header.Clone()
	payload = l.follow(layer, &h, payload)
	l.extend(layer, &h)
	return l.out.WriteRTP(&h, payload)
}

// follow makes a packet the one behind what went out last.
func (l *lane) follow(layer int, h *rtp.Header, payload []byte) []byte {
	now := time.Now()
	vp8 := l.codec.MimeType == webrtc.MimeTypeVP8
	if l.begun && (layer != l.now || l.cut) {
		l.seqOff = l.seq + 1 - h.SequenceNumber
		if layer != l.now {
			passed := max(1, now.Sub(l.at).Microseconds()*int64(l.codec.ClockRate)/1_000_000)
			l.tsOff = l.ts + uint32(passed) - h.Timestamp
		}
		if pic, ok := pictureVP8(payload); ok && vp8 {
			l.picOff = l.pic + 1 - pic
		}
	}
	l.now, l.cut = layer, false
	h.SequenceNumber += l.seqOff
	h.Timestamp += l.tsOff
	if vp8 {
		payload = withPicture(payload, l.picOff)
	}
	if !l.begun || int16(h.SequenceNumber-l.seq) > 0 {
		l.seq, l.ts, l.at = h.SequenceNumber, h.Timestamp, now
		if pic, ok := pictureVP8(payload); ok && vp8 {
			l.pic = pic
		}
	}
	l.begun = true
	return payload
}

// extend writes the header extensions.
func (l *lane) extend(layer int, h *rtp.Header) {
	if loud, ok := l.layers[layer].(Leveler); ok && l.level != 0 {
		level, voice := loud.AudioLevel()
		level = min(level, 127)
		if voice {
			level |= 0x80
		}
		_ = h.SetExtension(l.level, []byte{level}) // one byte always fits
	}
	if l.rid == "" || l.place == nil || l.mid == 0 || l.ridID == 0 {
		return
	}
	if mid := l.place.Mid(); mid != "" {
		_ = h.SetExtension(l.mid, []byte(mid)) // RFC 8852 §3: the receiver tells layers apart by them
		_ = h.SetExtension(l.ridID, []byte(l.rid))
	}
}

// gate lets packets through, or not. opened: they flow again, so a key frame is needed.
func (l *lane) gate(shut bool) (opened bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	opened = l.shut && !shut
	l.shut = shut
	return opened
}

// aim makes a layer the next one.
func (l *lane) aim(layer int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next = layer
	if !l.begun {
		l.now = layer
	}
}

// sends is the layer that goes out, and the one that is to.
func (l *lane) sends() (now, next int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now, l.next
}

// count returns how many bytes came of each layer since it was called last.
func (l *lane) count() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bytes
	l.bytes = make([]int, len(b))
	return b
}
