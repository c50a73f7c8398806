package calls

import (
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/webrtc/v4"
)

// api makes what connections come from.
func (o *Options) api(n network) (*webrtc.API, error) {
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
	if err := webrtc.RegisterDefaultInterceptorsWithOptions(media, chain, webrtc.WithInterceptorLoggerFactory(silence{})); err != nil {
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
	return webrtc.NewAPI(webrtc.WithMediaEngine(media), webrtc.WithInterceptorRegistry(chain), webrtc.WithSettingEngine(s)), nil
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
