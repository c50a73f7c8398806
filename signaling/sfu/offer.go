package sfu

import (
	"slices"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"

	"github.com/petrelchat/petrel/chat"
)

const (
	sdpMax      = 128 << 10
	sectionsMax = 64
	midMax      = 16
	ridsMax     = 3
)

// URIs of header extensions that are agreed to. // RFC 6464, RFC 8843 §15.2, RFC 8852
const (
	levelURI = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
	midURI   = "urn:ietf:params:rtp-hdrext:sdes:mid"
	ridURI   = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
	turnURI  = "urn:3gpp:video-orientation"
)

// offer is what a client's SDP means here.
type offer struct {
	session     string // of the o= line: another one is another connection
	name        string // session id and version of the o= line
	ufrag, pwd  string
	fingerprint fingerprint
	sections    []section
	data        bool
}

type fingerprint struct{ hash, digest string }

// section is one m= line.
type section struct {
	mid      string
	media    string // audio, video or application
	off      bool   // rejected, or of a kind that is not known
	sends    bool   // the client sends
	takes    bool   // the client receives
	codecs   []payload
	exts     exts
	uris     []string // extensions that are agreed to, as id and URI, for the answer
	rids     []string
	ssrcs    []uint32
	protocol string
	formats  []string
	port     string // SCTP's
}

// payload is a payload type that is agreed to.
type payload struct {
	pt    uint8
	codec codec
	name  string // as in rtpmap
	fmtp  string
	nack  bool
	pli   bool
	fir   bool
	twcc  bool
}

// bad is the refusal of an offer.
func bad(format string, args ...any) error { return chat.Refuse(chat.BadRequest, format, args...) }

// parseOffer reads an offer, and refuses what does not fit one connection with everything bundled.
func parseOffer(text string) (*offer, error) {
	if len(text) > sdpMax {
		return nil, bad("an offer has at most %d bytes", sdpMax)
	}
	var d sdp.SessionDescription
	if err := d.UnmarshalString(text); err != nil {
		return nil, bad("the offer is not SDP")
	}
	if n := len(d.MediaDescriptions); n == 0 || n > sectionsMax {
		return nil, bad("an offer has 1 to %d sections", sectionsMax)
	}
	o := &offer{session: strconv.FormatUint(d.Origin.SessionID, 10)}
	o.name = o.session + " " + strconv.FormatUint(d.Origin.SessionVersion, 10)
	if _, lite := d.Attribute("ice-lite"); lite {
		return nil, bad("both sides can't be ice-lite: the client has to do the checks")
	}
	bundle := bundled(&d)
	seen := map[string]bool{}
	ids := map[uint8]string{}
	for _, m := range d.MediaDescriptions {
		s, err := parseSection(m, ids)
		if err != nil {
			return nil, err
		}
		if s.mid == "" || len(s.mid) > midMax || !token(s.mid) || seen[s.mid] {
			return nil, bad("each section needs a mid of its own, 1 to %d letters and digits", midMax)
		}
		seen[s.mid] = true
		if !s.off && !bundle[s.mid] {
			return nil, bad("section %s is not in the BUNDLE group: everything goes over one connection", s.mid)
		}
		if s.media == "application" && !s.off {
			o.data = true
		}
		if !s.off {
			if err := o.transport(&d, m); err != nil {
				return nil, err
			}
		}
		o.sections = append(o.sections, s)
	}
	if o.ufrag == "" {
		return nil, bad("the offer has no section that is in use")
	}
	return o, nil
}

// bundled are the mids of the BUNDLE group. // RFC 8843 §7
func bundled(d *sdp.SessionDescription) map[string]bool {
	in := map[string]bool{}
	for _, a := range d.Attributes {
		if f := strings.Fields(a.Value); a.Key == "group" && len(f) > 0 && f[0] == "BUNDLE" {
			for _, m := range f[1:] {
				in[m] = true
			}
		}
	}
	return in
}

// transport notes ICE and DTLS of a section, or of the session; all sections must have the same.
func (o *offer) transport(d *sdp.SessionDescription, m *sdp.MediaDescription) error {
	get := func(key string) string {
		if v, ok := m.Attribute(key); ok {
			return v
		}
		v, _ := d.Attribute(key)
		return v
	}
	ufrag, pwd := get("ice-ufrag"), get("ice-pwd")
	// RFC 8839 §5.4
	if len(ufrag) < 4 || len(ufrag) > 256 || len(pwd) < 22 || len(pwd) > 256 || !iceChars(ufrag) || !iceChars(pwd) {
		return bad("ice-ufrag needs 4 and ice-pwd 22 to 256 letters, digits, + and /")
	}
	hash, digest, _ := strings.Cut(get("fingerprint"), " ")
	f := fingerprint{strings.ToLower(hash), strings.ToUpper(digest)}
	if want := len(fingerprintOf(f.hash, nil)); want == 0 || len(f.digest) != want {
		return bad("the offer needs a fingerprint with sha-256, sha-384 or sha-512")
	}
	if s := get("setup"); s != "actpass" && s != "active" {
		return bad("setup must be actpass or active: the client begins the handshake")
	}
	if o.ufrag == "" {
		o.ufrag, o.pwd, o.fingerprint = ufrag, pwd, f
	} else if o.ufrag != ufrag || o.pwd != pwd || o.fingerprint != f {
		return bad("all sections must have the same ice-ufrag, ice-pwd and fingerprint")
	}
	return nil
}

func parseSection(m *sdp.MediaDescription, ids map[uint8]string) (section, error) {
	s := section{media: m.MediaName.Media, protocol: strings.Join(m.MediaName.Protos, "/"), formats: m.MediaName.Formats}
	s.mid, _ = m.Attribute("mid")
	_, only := m.Attribute("bundle-only")
	// A port of 0 is a section that is not used, but for bundle-only. // RFC 8843 §6
	s.off = m.MediaName.Port.Value == 0 && !only
	switch s.media {
	case "application":
		s.port, _ = m.Attribute("sctp-port")
		s.off = s.off || !strings.Contains(s.protocol, "DTLS/SCTP")
		return s, nil
	case "audio", "video":
	default:
		s.off = true
		return s, nil
	}
	if s.off {
		return s, nil
	}
	if s.protocol != "UDP/TLS/RTP/SAVPF" {
		return s, bad("section %s must use UDP/TLS/RTP/SAVPF", s.mid)
	}
	if _, ok := m.Attribute("rtcp-mux"); !ok {
		return s, bad("section %s needs rtcp-mux", s.mid)
	}
	s.sends, s.takes = true, true
	for _, a := range m.Attributes {
		switch a.Key {
		case "sendonly":
			s.takes = false
		case "recvonly":
			s.sends = false
		case "inactive":
			s.sends, s.takes = false, false
		case "ssrc":
			n, _, _ := strings.Cut(a.Value, " ")
			if v, err := strconv.ParseUint(n, 10, 32); err == nil && len(s.ssrcs) < 8 && !slices.Contains(s.ssrcs, uint32(v)) {
				s.ssrcs = append(s.ssrcs, uint32(v))
			}
		case "extmap":
			if err := s.extension(a.Value, ids); err != nil {
				return s, err
			}
		case "simulcast":
			if err := s.simulcast(a.Value); err != nil {
				return s, err
			}
		}
	}
	s.payloads(m)
	return s, nil
}

// extension agrees to a header extension that is known. An id means the same in all sections. // RFC 8843 §9.1
func (s *section) extension(v string, ids map[uint8]string) error {
	f := strings.Fields(v)
	if len(f) < 2 {
		return bad("section %s has an extmap that can't be read", s.mid)
	}
	idText, dir, _ := strings.Cut(f[0], "/")
	n, err := strconv.ParseUint(idText, 10, 16)
	if err != nil || n == 0 {
		return bad("section %s has an extmap that can't be read", s.mid)
	}
	if n > 14 || dir != "" && dir != "sendrecv" || len(f) > 2 && f[1] != levelURI {
		return nil // two-byte ids and half-way extensions are not used
	}
	id := uint8(n)
	isAudio := s.media == "audio"
	var to *uint8
	switch uri := f[1]; {
	case uri == levelURI && isAudio:
		to = &s.exts.level
	case uri == twccURI && !isAudio:
		to = &s.exts.twcc
	case uri == turnURI && !isAudio:
		to = &s.exts.turn
	case uri == midURI:
		to = &s.exts.mid
	case uri == ridURI && !isAudio:
		to = &s.exts.rid
	default:
		return nil
	}
	if old, ok := ids[id]; ok && old != f[1] {
		return bad("extension id %d has two meanings", id)
	}
	ids[id] = f[1]
	*to = id
	s.uris = append(s.uris, f[0]+" "+f[1])
	return nil
}

// simulcast reads the RIDs that the client sends. // RFC 8853 §5.1
func (s *section) simulcast(v string) error {
	f := strings.Fields(v)
	for i := 0; i+1 < len(f); i += 2 {
		if f[i] != "send" {
			continue
		}
		for alt := range strings.SplitSeq(f[i+1], ";") {
			rid, _, _ := strings.Cut(strings.TrimPrefix(alt, "~"), ",")
			rid = strings.TrimPrefix(rid, "~")
			if rid == "" || len(rid) > 16 || !token(rid) || slices.Contains(s.rids, rid) {
				return bad("section %s has a RID that can't be used", s.mid)
			}
			s.rids = append(s.rids, rid)
		}
	}
	if len(s.rids) > ridsMax || s.media != "video" {
		return bad("section %s has more than %d layers, or is no video", s.mid, ridsMax)
	}
	return nil
}

// payloads agrees to codecs that are known, in the client's order.
func (s *section) payloads(m *sdp.MediaDescription) {
	names, fmtps, fbs := map[string]string{}, map[string]string{}, map[string][]string{}
	for _, a := range m.Attributes {
		pt, rest, _ := strings.Cut(a.Value, " ")
		switch a.Key {
		case "rtpmap":
			names[pt] = rest
		case "fmtp":
			fmtps[pt] = rest
		case "rtcp-fb":
			fbs[pt] = append(fbs[pt], rest)
		}
	}
	for _, f := range m.MediaName.Formats {
		n, err := strconv.ParseUint(f, 10, 8)
		// 64 to 95 look like RTCP on a shared port. // RFC 5761 §4
		if err != nil || n > 127 || n >= 64 && n <= 95 {
			continue
		}
		p := payload{pt: uint8(n), name: names[f], fmtp: fmtps[f]}
		switch name := strings.ToLower(p.name); {
		case s.media == "audio" && name == "opus/48000/2":
			p.codec = opus
		case s.media == "video" && name == "vp8/90000":
			p.codec = vp8
		case s.media == "video" && name == "h264/90000" && strings.Contains(p.fmtp, "packetization-mode=1") && constrained(p.fmtp):
			p.codec = h264
		}
		if p.codec == noCodec || slices.ContainsFunc(s.codecs, func(q payload) bool { return q.codec == p.codec }) {
			continue
		}
		has := func(v string) bool { return slices.Contains(fbs[f], v) || slices.Contains(fbs["*"], v) }
		p.nack, p.pli, p.fir, p.twcc = has("nack"), has("nack pli"), has("ccm fir"), has("transport-cc")
		s.codecs = append(s.codecs, p)
	}
	s.off = s.off || len(s.codecs) == 0
}

// constrained: the baseline profiles, which every receiver of H.264 decodes. // RFC 7742 §6.2
func constrained(fmtp string) bool {
	_, level, ok := strings.Cut(strings.ToLower(fmtp), "profile-level-id=42")
	return ok && level != ""
}

// token: letters, digits, and what is harmless in SDP.
func token(s string) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

// iceChars are those of ufrag and password. // RFC 8839 §5.4
func iceChars(s string) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '+' && c != '/' {
			return false
		}
	}
	return true
}
