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

func TestCleanTakesWhatBrowsersWrite(t *testing.T) {
	for name, s := range map[string]string{"chromium": chromium, "firefox": firefox, "bare line feeds": strings.ReplaceAll(chromium, "\r\n", "\n")} {
		if got, err := sdp.Clean([]byte(s), sdp.Peer()); err != nil || string(got) != s {
			t.Errorf("%s: %v %q", name, err, got)
		}
	}
}

func TestCleanRefuses(t *testing.T) {
	for name, c := range map[string]struct{ sdp, why string }{
		"nothing":            {"", "empty"},
		"long":               {chromium + strings.Repeat("a=sendrecv\r\n", 4000), "bytes"},
		"many lines":         {chromium + strings.Repeat("a=mid:1\r\n", 1000), "1000 lines"},
		"long line":          {chromium + "a=fmtp:1 " + strings.Repeat("x", 1100) + "\r\n", "1024"},
		"line separators":    {chromium + "a=mid:\u2028\r\n", "control"},
		"control characters": {chromium + "a=mid:\x00\r\n", "control"},
		"no letter":          {chromium + "hello\r\n", "letter=value"},
		"unknown attributes": {chromium + strings.Repeat("a=evil:1\r\n", 1000), "1000 lines"},
		"unknown and long":   {chromium + "a=evil:" + strings.Repeat("x", 1100) + "\r\n", "1024"},
		"unknown controls":   {chromium + "a=evil:\x00\r\n", "control"},
		"SDES":               {chromium + "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\r\n", "DTLS"},
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
		_, err := sdp.Clean([]byte(c.sdp), sdp.Peer())
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

// TestCleanLeavesOut: what is not known here goes, wherever it stands, and all else stays as it is, byte for byte.
func TestCleanLeavesOut(t *testing.T) {
	const new = "a=new\r\n"
	for name, text := range map[string]string{
		"in front":     strings.Replace(chromium, "a=group", "a=evil:1\r\na=group", 1),
		"in a section": strings.Replace(chromium, "a=sendrecv\r\n", "a=sendrecv\r\na=quic-pwd:x y\r\na=\r\na=:\r\na=Sendrecv\r\n", 1),
		"at the end":   chromium + "a=tomorrow:1",
		"all over":     head + new + strings.ReplaceAll(strings.TrimPrefix(chromium, head), "\r\n", "\r\n"+new),
		"bare":         chromium + "a=tomorrow:1\n",
	} {
		got, err := sdp.Clean([]byte(text), sdp.Peer())
		if err != nil || string(got) != chromium {
			t.Errorf("%s: %v %q", name, err, got)
		}
	}
	if got, err := sdp.Clean([]byte(chromium[:len(chromium)-2]+"\na=x"), sdp.Peer()); err != nil || string(got) != chromium[:len(chromium)-2]+"\n" {
		t.Errorf("%v %q", err, got)
	}
}

const relays = "a=candidate:3 1 udp 7 198.51.100.1 5000 typ relay raddr 203.0.113.7 rport 44323 generation 0\r\n" +
	"a=candidate:4 1 tcp 6 2001:db8::9 5001 typ relay raddr 2001:db8::1 rport 9 tcptype active\r\n"

// TestRelayed: what is told of somebody who gives away no addresses names those of relays, and no others.
func TestRelayed(t *testing.T) {
	text := strings.NewReplacer("IP4 127.0.0.1", "IP4 192.168.1.5", "c=IN IP4 0.0.0.0", "c=IN IP6 2001:db8::1", "m=audio 9", "m=audio 51472",
		"a=rtcp:9 IN IP4 0.0.0.0", "a=rtcp:51473 IN IP4 203.0.113.7", "a=sctp-port", "a=remote-candidates:1 203.0.113.8 5\r\na=new:1\r\na=sctp-port").Replace(chromium) +
		"a=candidate:1 1 udp 9 203.0.113.7 51472 typ host\r\na=candidate:2 1 udp 8 x.local 1 typ srflx raddr 10.0.0.1 rport 9\r\n" + relays +
		"a=end-of-candidates\r\nm=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:2\r\na=inactive\r\n"
	want := strings.NewReplacer("IP4 127.0.0.1", "IP4 0.0.0.0", "c=IN IP4 0.0.0.0", "c=IN IP6 ::", "a=rtcp:9 IN IP4 0.0.0.0", "a=rtcp:9").Replace(chromium) +
		strings.NewReplacer("203.0.113.7 rport 44323", "0.0.0.0 rport 9", "raddr 2001:db8::1", "raddr ::").Replace(relays) +
		"a=end-of-candidates\r\nm=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:2\r\na=inactive\r\n"
	got, err := sdp.Relayed([]byte(text), sdp.Peer())
	if err != nil || string(got) != want {
		t.Fatalf("%v\n%s\nwant\n%s", err, got, want)
	}
	if again, err := sdp.Relayed(got, sdp.Peer()); err != nil || string(again) != want {
		t.Fatalf("%v %s", err, again)
	}
	if _, err := sdp.Relayed([]byte("v=0\r\n"), sdp.Peer()); err == nil {
		t.Error("it passed")
	}
	if got, err := sdp.Relayed([]byte(strings.Replace(want, "c=IN IP6 ::\r\n", "c=x\r\n", 1)), sdp.Peer()); err != nil || bytes.Contains(got, []byte("c=x")) {
		t.Errorf("%v %s", err, got)
	}
	for line, want := range map[string]string{
		"": "", "a=": "a=", "candidate:1 1 udp 9 203.0.113.7 51472 typ host": "-", "candidate:2 1 udp 8 203.0.113.7 1 typ prflx raddr 10.0.0.1 rport 9": "-",
		"candidate:3 1 udp 7 198.51.100.1 5000 typ relay":                                  "candidate:3 1 udp 7 198.51.100.1 5000 typ relay",
		"a=candidate:3 1 udp 7 198.51.100.1 5000 typ relay raddr x.local rport 7 ufrag Es": "a=candidate:3 1 udp 7 198.51.100.1 5000 typ relay raddr 0.0.0.0 rport 9 ufrag Es",
		"candidate:3 1 udp 7 198.51.100.1 5000 typ relay raddr fe80::1%eth0 rport":         "candidate:3 1 udp 7 198.51.100.1 5000 typ relay raddr :: rport",
		"candidate:3 1 udp 7 198.51.100.1 5000 typ relay raddr x rport 7":                  "-",
	} {
		if err := sdp.CheckCandidate(line); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		got, ok := sdp.RelayedCandidate(line)
		if !ok {
			got = "-"
		}
		if got != want {
			t.Errorf("%q is told as %q", line, got)
		}
	}
}

// told fails if a description that was passed is not fit to be passed, or is another one when it is passed again.
func told(t *testing.T, pass func([]byte, sdp.Bounds) ([]byte, error), in []byte) []byte {
	t.Helper()
	before := bytes.Clone(in)
	out, err := pass(in, sdp.Peer())
	if !bytes.Equal(in, before) {
		t.Fatal("what was given was changed")
	}
	if err != nil {
		return nil
	}
	again, err := pass(out, sdp.Peer())
	if err != nil || !bytes.Equal(again, out) {
		t.Fatalf("%q is passed on as %q, and that as %q, %v", in, out, again, err)
	}
	lines := bytes.Split(bytes.TrimSuffix(out, []byte("\n")), []byte("\n"))
	if len(out) > sdp.Peer().Bytes || len(lines) > sdp.Peer().Lines || !bytes.HasPrefix(out, []byte("v=0")) {
		t.Fatalf("%d bytes in %d lines passed", len(out), len(lines))
	}
	for _, l := range lines {
		if len(l) > sdp.MaxLine+1 || bytes.ContainsAny(l, "\x00\x07") || bytes.HasPrefix(l, []byte("a=crypto")) || bytes.HasPrefix(l, []byte("a=evil")) {
			t.Fatalf("%q passed", l)
		}
	}
	return out
}

// FuzzClean: whatever passes is within the bounds, one line of it after the other, and passes again as it is. Of somebody who gives away no
// addresses nothing else passes.
func FuzzClean(f *testing.F) {
	f.Add([]byte(chromium))
	f.Add([]byte(firefox))
	f.Add([]byte(chromium + "a=evil:1\r\n" + relays))
	f.Add([]byte("v=0\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		clean := told(t, sdp.Clean, b)
		if len(clean) > len(b) {
			t.Fatal("it grew")
		}
		hidden := told(t, sdp.Relayed, b)
		if clean == nil && hidden != nil {
			t.Fatalf("%q is fit for those who hide their addresses alone", b)
		}
		for _, l := range bytes.Split(hidden, []byte("\n")) {
			if bytes.HasPrefix(l, []byte("a=candidate:")) && !bytes.Contains(l, []byte("typ relay")) || bytes.HasPrefix(l, []byte("a=remote-candidates")) {
				t.Fatalf("%q is told", l)
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
		if r, ok := sdp.RelayedCandidate(s); ok {
			if again, still := sdp.RelayedCandidate(r); sdp.CheckCandidate(r) != nil || len(r) > len(s) || !still || again != r {
				t.Fatalf("%q is told as %q, and that as %q", s, r, again)
			}
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
