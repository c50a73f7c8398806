package sdp_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/signaling/sdp"
)

const head = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"

const fingerprint = "a=fingerprint:sha-256 12:34:56:78:9A:BC:DE:F0:12:34:56:78:9A:BC:DE:F0:12:34:56:78:9A:BC:DE:F0:12:34:56:78:9A:BC:DE:F0\r\n"

const ice = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n"

// chromium and firefox are cut down from what these browsers write.
const chromium = head + "a=group:BUNDLE 0 1\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n" +
	"m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n" + ice + "a=ice-options:trickle\r\n" + fingerprint +
	"a=setup:actpass\r\na=mid:0\r\na=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=sendrecv\r\na=msid:- 3a1b\r\na=rtcp-mux\r\na=rtcp-rsize\r\n" +
	"a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=ssrc:3510681183 cname:loqPWNg7JMmrFUnr\r\n" +
	"m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=sctp-port:5000\r\na=max-message-size:262144\r\n"

const firefox = "v=0\r\no=mozilla...THIS_IS_SDPARTA-99.0 7184999189641197 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=sendrecv\r\n" + fingerprint +
	"a=group:BUNDLE 0\r\na=ice-options:trickle\r\na=msid-semantic:WMS *\r\nm=video 9 UDP/TLS/RTP/SAVPF 120\r\nc=IN IP4 0.0.0.0\r\n" +
	"a=candidate:0 1 UDP 2122252543 6c8d2f2e-1c7a-4e0e-9a83-7d1a2c3b4d5e.local 51472 typ host\r\na=sendrecv\r\na=end-of-candidates\r\n" + ice +
	"a=mid:0\r\na=rid:hi send\r\na=simulcast:send hi\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=rtpmap:120 VP8/90000\r\na=setup:active\r\na=ssrc:1 cname:{x}\r\n"

func TestCheckTakesWhatBrowsersWrite(t *testing.T) {
	for name, s := range map[string]string{"chromium": chromium, "firefox": firefox, "bare line feeds": strings.ReplaceAll(chromium, "\r\n", "\n")} {
		if err := sdp.Check([]byte(s), sdp.Peer()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	for name, c := range map[string]struct{ sdp, why string }{
		"nothing":            {"", "empty"},
		"long":               {chromium + strings.Repeat("a=sendrecv\r\n", 2000), "bytes"},
		"many lines":         {chromium + strings.Repeat("a=mid:1\r\n", 400), "400 lines"},
		"long line":          {chromium + "a=fmtp:1 " + strings.Repeat("x", 1100) + "\r\n", "1024"},
		"control characters": {chromium + "a=mid:\x00\r\n", "control"},
		"no letter":          {chromium + "hello\r\n", "letter=value"},
		"unknown attribute":  {chromium + "a=evil:1\r\n", "attribute"},
		"SDES":               {chromium + "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\r\n", "attribute"},
		"unknown line":       {chromium + "k=clear:x\r\n", "no such line"},
		"another version":    {"v=1\r\n" + chromium, "v=0"},
		"plain RTP":          {strings.Replace(chromium, "UDP/TLS/RTP/SAVPF", "RTP/AVP", 1), "encrypted"},
		"text":               {strings.Replace(chromium, "m=audio", "m=text", 1), "audio"},
		"no fingerprint":     {strings.Replace(chromium, fingerprint, "", 1), "fingerprint"},
		"no ICE":             {strings.Replace(chromium, ice, "", 1), "ice-ufrag"},
		"short password":     {strings.Replace(chromium, "P2uYro0UCOQ4zxjKXaWCBui1", "short", 1), "ice-pwd"},
		"no media":           {head + fingerprint + ice, "media section"},
		"many sections":      {chromium + strings.Repeat("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n", 63), "64 media"},
		"two origins":        {strings.Replace(chromium, "s=-", "o=- 1 1 IN IP4 0.0.0.0", 1), "o= comes once"},
		"late head":          {chromium + "t=0 0\r\n", "before the first"},
		"candidate by name":  {chromium + "a=candidate:1 1 udp 1 evil.example.org 1 typ host\r\n", "address"},
	} {
		err := sdp.Check([]byte(c.sdp), sdp.Peer())
		if err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want something of %q", name, err, c.why)
		}
	}
}

func TestCandidates(t *testing.T) {
	for _, s := range []string{
		"", "candidate:842163049 1 udp 1677729535 203.0.113.7 44323 typ srflx raddr 10.0.0.1 rport 44323 generation 0 ufrag EsAw network-cost 999",
		"a=candidate:1 2 TCP 2105524479 2001:db8::1 9 typ host tcptype active",
		"candidate:0 1 UDP 2122252543 6c8d2f2e-1c7a-4e0e-9a83-7d1a2c3b4d5e.local 51472 typ host",
		"candidate:3 1 udp 1 198.51.100.1 5000 typ relay raddr 0.0.0.0 rport 0",
	} {
		if err := sdp.CheckCandidate(s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, s := range []string{
		"candidate:", "candidate:1 1 udp 1 10.0.0.1 1 typ", "candidate:1 1 udp 1 10.0.0.1 1 typ evil", "candidate:1 0 udp 1 10.0.0.1 1 typ host",
		"candidate:1 1 sctp 1 10.0.0.1 1 typ host", "candidate:1 1 udp x 10.0.0.1 1 typ host", "candidate:1 1 udp 1 10.0.0.1 65536 typ host",
		"candidate:1 1 udp 1 example.org 1 typ host", "candidate:1 1 udp 1 .local 1 typ host", "candidate:1 1 udp 1 10.0.0.1 1 typ host\r\na=x",
		"candidate:! 1 udp 1 10.0.0.1 1 typ host", "candidate:1 1 udp 1 10.0.0.1 1 typ host " + strings.Repeat("x", 600), "10.0.0.1",
	} {
		if err := sdp.CheckCandidate(s); err == nil {
			t.Errorf("%q passed", s)
		}
	}
}

func TestInflate(t *testing.T) {
	z := sdp.Deflate([]byte(chromium))
	if len(z) == 0 || len(z) >= len(chromium) {
		t.Fatalf("%d of %d bytes", len(z), len(chromium))
	}
	if got, err := sdp.Inflate(z, len(chromium)); err != nil || string(got) != chromium {
		t.Errorf("%q %v", got, err)
	}
	if _, err := sdp.Inflate(z, len(chromium)-1); err == nil {
		t.Error("more than the limit")
	}
	if _, err := sdp.Inflate(z[:len(z)/2], 1<<14); err == nil {
		t.Error("half of it")
	}
	bomb := sdp.Deflate(make([]byte, 4<<20))
	if _, err := sdp.Inflate(bomb, 16<<10); err == nil {
		t.Error("a bomb went off")
	}
}

// FuzzCheck: whatever passes is within the bounds, one line of it after the other.
func FuzzCheck(f *testing.F) {
	f.Add([]byte(chromium))
	f.Add([]byte(firefox))
	f.Add([]byte("v=0\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		err := sdp.Check(b, sdp.Peer())
		if again := sdp.Check(b, sdp.Peer()); (err == nil) != (again == nil) {
			t.Fatal("not the same twice")
		}
		if err != nil {
			return
		}
		lines := bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
		if len(b) > sdp.Peer().Bytes || len(lines) > sdp.Peer().Lines || !bytes.HasPrefix(b, []byte("v=0")) {
			t.Fatalf("%d bytes in %d lines passed", len(b), len(lines))
		}
		for _, l := range lines {
			if len(l) > sdp.MaxLine+1 || bytes.ContainsAny(l, "\x00\x07") || bytes.HasPrefix(l, []byte("a=crypto")) {
				t.Fatalf("%q passed", l)
			}
		}
	})
}

// FuzzCandidate: what passes stays one line and leads to no name that a resolver is asked for.
func FuzzCandidate(f *testing.F) {
	f.Add("candidate:1 1 udp 1 10.0.0.1 1 typ host")
	f.Add("a=candidate:1 1 udp 1 x.local 1 typ relay raddr 0.0.0.0 rport 0")
	f.Fuzz(func(t *testing.T, s string) {
		if sdp.CheckCandidate(s) != nil {
			return
		}
		if strings.ContainsAny(s, "\r\n\x00") || len(s) > sdp.MaxCandidate+2 {
			t.Fatalf("%q passed", s)
		}
	})
}

// FuzzInflate never gives more than its limit.
func FuzzInflate(f *testing.F) {
	f.Add(sdp.Deflate([]byte(chromium)))
	f.Fuzz(func(t *testing.T, z []byte) {
		if out, err := sdp.Inflate(z, 100); err == nil && len(out) > 100 {
			t.Fatalf("%d bytes", len(out))
		}
	})
}
