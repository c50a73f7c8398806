package sfu

import (
	"fmt"
	"net/netip"
	"strings"
)

// answer writes the SDP that answers the party's offer: who is shown in which slot as things stand.
func (p *party) answer(fingerprint string, addrs []netip.AddrPort, tcp bool, version int) string {
	var b strings.Builder
	o := p.desc
	fmt.Fprintf(&b, "v=0\r\no=- %d %d IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-lite\r\n", p.ssrc, version)
	b.WriteString("a=group:BUNDLE")
	for _, s := range o.sections {
		if !s.off {
			b.WriteString(" " + s.mid)
		}
	}
	b.WriteString("\r\na=msid-semantic: WMS *\r\n")
	for _, s := range o.sections {
		if s.off {
			fmt.Fprintf(&b, "m=%s 0 %s %s\r\nc=IN IP4 0.0.0.0\r\na=mid:%s\r\na=inactive\r\n", s.media, s.protocol, strings.Join(s.formats, " "), s.mid)
			continue
		}
		if s.media == "application" {
			fmt.Fprintf(&b, "m=application 9 %s %s\r\nc=IN IP4 0.0.0.0\r\na=mid:%s\r\n", s.protocol, strings.Join(s.formats, " "), s.mid)
			p.writeTransport(&b, fingerprint, addrs, tcp)
			fmt.Fprintf(&b, "a=sctp-port:5000\r\na=max-message-size:%d\r\n", messageMax)
			continue
		}
		p.writeMedia(&b, &s, fingerprint, addrs, tcp)
	}
	return b.String()
}

func (p *party) writeMedia(b *strings.Builder, s *section, fingerprint string, addrs []netip.AddrPort, tcp bool) {
	fmt.Fprintf(b, "m=%s 9 %s", s.media, s.protocol)
	for _, c := range s.codecs {
		fmt.Fprintf(b, " %d", c.pt)
	}
	fmt.Fprintf(b, "\r\nc=IN IP4 0.0.0.0\r\na=mid:%s\r\n", s.mid)
	p.writeTransport(b, fingerprint, addrs, tcp)
	b.WriteString("a=rtcp-mux\r\na=rtcp-rsize\r\n")
	track, slot := p.trackOf(s.mid), p.slotIn(s.mid)
	switch {
	case track != nil && slot != nil:
		b.WriteString("a=sendrecv\r\n")
	case track != nil:
		b.WriteString("a=recvonly\r\n")
	case slot != nil:
		b.WriteString("a=sendonly\r\n")
	default:
		b.WriteString("a=inactive\r\n")
	}
	for _, u := range s.uris {
		fmt.Fprintf(b, "a=extmap:%s\r\n", u)
	}
	for _, c := range s.codecs {
		fmt.Fprintf(b, "a=rtpmap:%d %s\r\n", c.pt, c.name)
		if c.fmtp != "" {
			fmt.Fprintf(b, "a=fmtp:%d %s\r\n", c.pt, c.fmtp)
		}
		for _, f := range []struct {
			on   bool
			name string
		}{{c.nack, "nack"}, {c.pli, "nack pli"}, {c.fir, "ccm fir"}, {c.twcc && s.exts.twcc != 0, "transport-cc"}} {
			if f.on {
				fmt.Fprintf(b, "a=rtcp-fb:%d %s\r\n", c.pt, f.name)
			}
		}
	}
	if track != nil && len(s.rids) > 0 {
		for _, r := range s.rids {
			fmt.Fprintf(b, "a=rid:%s recv\r\n", r)
		}
		fmt.Fprintf(b, "a=simulcast:recv %s\r\n", strings.Join(s.rids, ";"))
	}
	if slot != nil {
		who := sfuParty
		if slot.source != nil {
			who = slot.source.p.id
		}
		fmt.Fprintf(b, "a=msid:%s %s\r\na=ssrc:%d cname:%s\r\na=ssrc:%d msid:%s %s\r\n", who, s.mid, slot.ssrc, sfuParty, slot.ssrc, who, s.mid)
	}
}

// writeTransport writes ICE and DTLS, the same in each section.
func (p *party) writeTransport(b *strings.Builder, fingerprint string, addrs []netip.AddrPort, tcp bool) {
	fmt.Fprintf(b, "a=ice-ufrag:%s\r\na=ice-pwd:%s\r\na=fingerprint:sha-256 %s\r\na=setup:passive\r\n", p.creds.ufrag, p.creds.pwd, fingerprint)
	for i, a := range addrs {
		// RFC 8445 §5.1.2.1, with 126 for hosts; TCP below all UDP.
		fmt.Fprintf(b, "a=candidate:%d 1 udp %d %s %d typ host\r\n", i+1, 126<<24|(65535-i)<<8|255, a.Addr(), a.Port())
		if tcp {
			fmt.Fprintf(b, "a=candidate:%d 1 tcp %d %s %d typ host tcptype passive\r\n", i+101, 90<<24|(65535-i)<<8|255, a.Addr(), a.Port())
		}
	}
	b.WriteString("a=end-of-candidates\r\n")
}
