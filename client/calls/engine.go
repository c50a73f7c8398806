package calls

import (
	"errors"
	"sync"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/interceptor/pkg/report"
	"github.com/pion/interceptor/pkg/stats"
	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/webrtc/v4"
)

// engine makes connections. All methods may be called from any goroutine.
type engine struct {
	api *webrtc.API

	mu     sync.Mutex   // one connection at a time
	counts stats.Getter // of the one that was made last
}

// newEngine is o's. Figures of streams are asked for here and not of the connection, which reads which codec a track has without a lock
// while the track's first packet says so.
func newEngine(o *Options, n network) (*engine, error) {
	media := &webrtc.MediaEngine{}
	codecs := o.Codecs
	if codecs == nil {
		codecs = fewCodecs
	}
	if err := codecs(media); err != nil {
		return nil, err
	}
	level := webrtc.RTPHeaderExtensionCapability{URI: "urn:ietf:params:rtp-hdrext:ssrc-audio-level"} // RFC 6464: who speaks, for the SFU
	if err := media.RegisterHeaderExtension(level, webrtc.RTPCodecTypeAudio); err != nil {
		return nil, err
	}
	chain := &interceptor.Registry{}
	e := &engine{}
	if err := e.intercept(media, chain); err != nil {
		return nil, err
	}
	var s webrtc.SettingEngine
	// The goroutine of the call closes connections, nobody else: pion closing one by itself, when the other side did, races with
	// reading its figures.
	s.DisableCloseByDTLS(true)
	s.LoggerFactory = silence{}
	s.SetICETimeouts(disconnectedAfter, failedAfter, keepAlive)
	s.SetDTLSInsecureSkipHelloVerify(true) // a round trip: ICE has proved the address already, by a secret that a cookie (RFC 6347 §4.2.1) does not have
	s.SetSrflxAcceptanceMinWait(reflexiveWait)
	s.SetPrflxAcceptanceMinWait(peerReflexiveWait)
	s.SetRelayAcceptanceMinWait(relayWait)
	s.SetIncludeLoopbackCandidate(o.Loopback)
	if o.Tune != nil {
		o.Tune(&s)
	}
	s.SetNet(n)
	e.api = webrtc.NewAPI(webrtc.WithMediaEngine(media), webrtc.WithInterceptorRegistry(chain), webrtc.WithSettingEngine(s))
	return e, nil
}

// intercept registers pion's usual interceptors, with counters that tell the engine.
func (e *engine) intercept(media *webrtc.MediaEngine, chain *interceptor.Registry) error {
	counters, err := stats.NewInterceptor(stats.WithLoggerFactory(silence{}))
	if err != nil {
		return err
	}
	counters.OnNewPeerConnection(func(_ string, counts stats.Getter) { e.counts = counts }) // within api.NewPeerConnection
	err = errors.Join(
		webrtc.ConfigureNackWithOptions(media, chain, []nack.GeneratorOption{nack.WithGeneratorLoggerFactory(silence{})}, nack.WithResponderLoggerFactory(silence{})),
		webrtc.ConfigureRTCPReportsWithOptions(chain, []report.ReceiverOption{report.WithReceiverLoggerFactory(silence{})}, report.WithSenderLoggerFactory(silence{})),
		webrtc.ConfigureSimulcastExtensionHeaders(media))
	chain.Add(counters)
	return errors.Join(err, webrtc.ConfigureTWCCSenderWithOptions(media, chain, twcc.WithLoggerFactory(silence{})))
}

// connect makes a connection, and what counts its streams.
func (e *engine) connect(conf webrtc.Configuration) (*webrtc.PeerConnection, stats.Getter, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	pc, err := e.api.NewPeerConnection(conf)
	return pc, e.counts, err
}

// Times of ICE: nothing heard for that long.
const (
	disconnectedAfter = 3 * time.Second
	failedAfter       = 15 * time.Second
	keepAlive         = time.Second
)

// How long a better pair of addresses has to turn up before one of that kind is taken. pion's own (0.5, 1 and 2 s) are most of the time
// that a call behind a NAT takes to be heard.
const (
	reflexiveWait     = 200 * time.Millisecond
	peerReflexiveWait = 400 * time.Millisecond
	relayWait         = time.Second
)

// fewCodecs keeps descriptions short: what everybody has.
func fewCodecs(m *webrtc.MediaEngine) error {
	feedback := []webrtc.RTCPFeedback{{Type: "goog-remb"}, {Type: "ccm", Parameter: "fir"}, {Type: "nack"}, {Type: "nack", Parameter: "pli"}}
	for _, c := range []struct {
		kind webrtc.RTPCodecType
		of   webrtc.RTPCodecParameters
	}{
		{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecParameters{PayloadType: 111, RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2, SDPFmtpLine: "minptime=10;useinbandfec=1"}}},
		{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecParameters{PayloadType: 96, RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: webrtc.MimeTypeVP8, ClockRate: 90000, RTCPFeedback: feedback}}},
		{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecParameters{PayloadType: 97, RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: webrtc.MimeTypeRTX, ClockRate: 90000, SDPFmtpLine: "apt=96"}}},
		{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecParameters{PayloadType: 125, RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: webrtc.MimeTypeH264, ClockRate: 90000, RTCPFeedback: feedback,
			SDPFmtpLine: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"}}},
		{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecParameters{PayloadType: 107, RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: webrtc.MimeTypeRTX, ClockRate: 90000, SDPFmtpLine: "apt=125"}}},
	} {
		if err := m.RegisterCodec(c.of, c.kind); err != nil {
			return err
		}
	}
	return nil
}
