package sfu

import (
	"sync"

	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/gcc"
	"github.com/pion/logging"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

const (
	firstEstimate = 1_000_000 // bits per second
	leastEstimate = 50_000
	mostEstimate  = 50_000_000
)

// estimator says how much video a party can take: by Google's congestion control over transport-wide feedback, or by the loss that it reports if it
// has none. Any goroutine may call it.
type estimator struct {
	mu    sync.Mutex
	gcc   *gcc.SendSideBWE // nil: by loss
	note  interceptor.RTPWriter
	attrs interceptor.Attributes
	rate  float64
	empty []byte // stands for a payload: only its length counts
	path  strain
}

func newEstimator() *estimator { return &estimator{rate: firstEstimate} }

const twccURI = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"

// begin makes it listen to transport-wide feedback about packets with the SSRCs.
func (e *estimator) begin(id uint8, ssrcs []uint32, log logging.LoggerFactory) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gcc == nil {
		g, err := gcc.NewSendSideBWE(gcc.SendSideBWEInitialBitrate(firstEstimate), gcc.SendSideBWEMinBitrate(leastEstimate),
			gcc.SendSideBWEMaxBitrate(mostEstimate), gcc.SendSideBWEPacer(gcc.NewNoOpPacer()), gcc.WithLoggerFactory(log))
		if err != nil {
			return err
		}
		e.gcc, e.attrs, e.empty = g, interceptor.Attributes{}, make([]byte, packetSize)
	}
	nothing := interceptor.RTPWriterFunc(func(*rtp.Header, []byte, interceptor.Attributes) (int, error) { return 0, nil })
	for _, ssrc := range ssrcs {
		e.note = e.gcc.AddStream(&interceptor.StreamInfo{SSRC: ssrc,
			RTPHeaderExtensions: []interceptor.RTPHeaderExtension{{URI: twccURI, ID: int(id)}}}, nothing)
	}
	return nil
}

// sent notes a packet of so many bytes that went out with the header and the transport-wide number.
func (e *estimator) sent(h *rtp.Header, seq uint16, size int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.note != nil {
		e.path.send(seq, size)
		_, _ = e.note.Write(h, e.empty[:max(0, min(size, len(e.empty))-h.MarshalSize())], e.attrs)
	}
}

// feedback takes a report about packets that arrived.
func (e *estimator) feedback(fb *rtcp.TransportLayerCC) {
	e.mu.Lock()
	g := e.gcc
	e.path.report(fb)
	e.mu.Unlock()
	if g != nil {
		_ = g.WriteRTCP([]rtcp.Packet{fb}, nil) // feedback that makes no sense says nothing
	}
}

// lost takes the fraction of packets that was lost, where there is nothing better. // RFC 8698 has the idea, GCC §6 the numbers
func (e *estimator) lost(f float64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gcc == nil {
		e.path.beats = 0
		if f > strainLoss {
			e.path.beats = strainBeats // a report is about a second
		}
	}
	switch {
	case f > strainLoss:
		e.rate = max(leastEstimate, e.rate*(1-0.5*f))
	case f < 0.02:
		e.rate = min(mostEstimate, e.rate*1.05)
	}
}

// now returns the estimate in bits per second.
func (e *estimator) now() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gcc != nil {
		return e.gcc.GetTargetBitrate()
	}
	return int(e.rate)
}

// strained reports whether packets are lost or pile up on the way to the party.
func (e *estimator) strained() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.path.holds()
}

// beat is to be called every 500 ms.
func (e *estimator) beat() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gcc != nil {
		e.path.beat()
	}
}

// close ends its goroutines.
func (e *estimator) close() {
	e.mu.Lock()
	g := e.gcc
	e.gcc, e.note = nil, nil
	e.mu.Unlock()
	if g != nil {
		_ = g.Close()
	}
}
