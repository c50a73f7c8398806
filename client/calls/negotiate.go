package calls

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"github.com/petrelchat/petrel/client"
)

// offer negotiates anew, with an ICE restart if need be. If an exchange runs, it comes after that.
func (p *peer) offer(restart bool) {
	p.afresh = p.afresh || restart
	if p.closed {
		return
	}
	if p.pc.SignalingState() != webrtc.SignalingStateStable {
		p.again = true
		return
	}
	var o *webrtc.OfferOptions
	if p.afresh && p.pc.RemoteDescription() != nil {
		o = &webrtc.OfferOptions{ICERestart: true}
		// Only what is new, and not while candidates are being gathered: pion reads and writes the servers without a lock then.
		if p.c.ice.ready && !p.given.Equal(p.c.ice.until) && p.pc.ICEGatheringState() == webrtc.ICEGatheringStateComplete {
			p.given = p.c.ice.until
			_ = p.pc.SetConfiguration(webrtc.Configuration{ICEServers: p.c.ice.conf.ICEServers, ICETransportPolicy: p.c.ice.conf.ICETransportPolicy,
				BundlePolicy: p.c.ice.conf.BundlePolicy})
		}
		p.restarted = time.Now()
	}
	p.again, p.afresh, p.gathered = false, false, false
	d, err := p.pc.CreateOffer(o)
	if err == nil {
		err = p.pc.SetLocalDescription(d)
	}
	if err != nil {
		p.broken("an offer", err)
		return
	}
	p.describe(d, "")
}

// describe tells a local description as soon as the first candidates are found. pion's own, with candidates, is not asked for: ICE gives it out when it has
// nothing else to do, which may be in a minute when a relay does not answer.
// re names the offer that an answer is for, "" otherwise.
func (p *peer) describe(d webrtc.SessionDescription, re string) {
	p.mine, p.re, p.local = d, re, nil
	p.speak()
}

// speak is describe of the newest description, with all candidates that were found since.
func (p *peer) speak() {
	p.unsaid, p.found = p.mine.Type, nil
	if p.pc.ICEGatheringState() == webrtc.ICEGatheringStateComplete {
		p.saySDP()
		return
	}
	if !p.saying {
		p.saying = true
		time.AfterFunc(gatherFor, func() {
			p.c.post(func() {
				p.saying = false
				p.saySDP()
			})
		})
	}
}

// repeat tells an offer again that nobody has answered.
func (p *peer) repeat() {
	if p.unsaid == 0 && p.pc.SignalingState() == webrtc.SignalingStateHaveLocalOffer {
		p.speak()
	}
}

func (p *peer) saySDP() {
	if p.unsaid == 0 || p.closed {
		return
	}
	p.unsaid, p.found = 0, nil
	p.dispatch(request{Type: p.mine.Type.String(), Re: p.re, Body: describe(withCandidates(p.mine.SDP, p.local))})
}

// withCandidates puts candidates into the first section of a description: there is one way for all of them (RFC 9143 §7.1).
func withCandidates(text string, local []string) string {
	var b strings.Builder
	for _, c := range local {
		b.WriteString("a=" + c + "\r\n")
	}
	first := strings.Index(text, "\r\nm=")
	if first < 0 {
		return text
	}
	at := len(text)
	if next := strings.Index(text[first+2:], "\r\nm="); next >= 0 {
		at = first + 2 + next + 2
	}
	return text[:at] + b.String() + text[at:]
}

// signal sends a signal to the other side.
func (p *peer) signal(kind string, body any) { p.dispatch(request{Type: kind, Body: body}) }

// dispatch sends one for as long as this connection is the one.
func (p *peer) dispatch(r request) {
	kind := r.Type
	r.To, r.Of = p.party, p.epoch
	p.c.sayWhile(func() bool { return !p.closed }, verbSignal, r, func(_ client.CallAck, err error) {
		switch {
		case p.closed || err == nil:
		case notFound(err), conflict(err): // it left, or this device did: the state that follows says which
		default:
			p.c.m.log.Warn("a signal was refused", "call", p.c.id, "party", p.party, "type", kind, "error", err)
			if kind == "offer" || kind == "answer" {
				p.c.rebuild() // nothing comes of this connection any more
			}
		}
	})
}

// candidate takes a local candidate; nil: there are no more.
func (p *peer) candidate(i *webrtc.ICECandidate) {
	switch {
	case i == nil:
		p.gathered = true
		p.saySDP()
		p.tell()
		return
	}
	init := i.ToJSON()
	if strings.Contains(p.mine.SDP, "a="+init.Candidate+"\r\n") {
		return // found while the description was written
	}
	if p.local = append(p.local, init.Candidate); p.unsaid != 0 {
		return // it will be in the description
	}
	p.found = append(p.found, candidate{C: init.Candidate, Mid: init.SDPMid})
	if !p.telling {
		p.telling = true
		time.AfterFunc(gatherFor, func() {
			p.c.post(func() {
				p.telling = false
				p.tell()
			})
		})
	}
}

// tell sends the candidates that have gathered. The SFU has no use for them: it answers where it is asked from.
func (p *peer) tell() {
	if p.closed || p.unsaid != 0 || p.sfu {
		return
	}
	for len(p.found) > 0 {
		n := min(len(p.found), candsMost)
		p.signal("candidates", p.found[:n:n])
		p.found = p.found[n:]
	}
	p.found = nil
}

// take takes a signal of the other side.
func (p *peer) take(t *told) {
	switch t.Type {
	case "offer", "answer":
		text, err := description(t.Body)
		if err != nil {
			p.c.m.log.Warn("a description can't be read", "call", p.c.id, "party", p.party)
			return
		}
		if t.Type == "offer" {
			p.offered(text)
		} else {
			p.answered(text, t.Re)
		}
	case "candidates":
		p.candidates(t.Body)
	case "negotiate":
		var n negotiation
		switch {
		case json.Unmarshal(t.Body, &n) != nil || n.Want == nil:
		case p.sfu:
			p.useful = *n.Want
			p.slotsFor(p.useful)
		case n.Want.Through:
			p.let = true
		default:
			p.wants = *n.Want
			p.gate()
		}
	}
}

// offered answers an offer. Of two that cross, the polite one's falls (W3C WebRTC §10.7).
func (p *peer) offered(text string) {
	if p.sfu {
		return
	}
	if p.pc.SignalingState() != webrtc.SignalingStateStable {
		if p.ignored = !p.polite; p.ignored {
			return
		}
		if err := p.takeBack(); err != nil {
			p.broken("taking an offer back", err)
			return
		}
	}
	p.ignored = false
	if last := p.pc.CurrentRemoteDescription(); last != nil && session(last.SDP) != session(text) { // RFC 8866 §5.2
		p.forsake() // the other side has begun anew
		if err := p.begin(); err != nil {
			p.broken("another connection", err)
			return
		}
	}
	if last := p.pc.CurrentRemoteDescription(); last != nil && fragment(last.SDP) != fragment(text) {
		p.restarted = time.Now() // by the other side: this one need not
	}
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: text}); err != nil {
		p.broken("the other side's offer", err)
		return
	}
	p.flush()
	p.gathered = false
	d, err := p.pc.CreateAnswer(nil)
	if err == nil {
		err = p.pc.SetLocalDescription(d)
	}
	if err != nil {
		p.broken("an answer", err)
		return
	}
	p.describe(d, name(text))
	p.settled()
}

// session is what tells apart the connections that descriptions are of.
func session(text string) string { return origin(text, 1) }

// origin is a field of the o= line (RFC 8866 §5.2): 1 is the session's id, 2 the description's version.
func origin(text string, field int) string {
	_, rest, _ := strings.Cut(text, "\no=")
	f := strings.Fields(rest[:min(len(rest), 256)])
	if len(f) <= field {
		return ""
	}
	return f[field]
}

// name tells a description from all others of a call.
func name(text string) string { return origin(text, 1) + " " + origin(text, 2) }

// fragment is the user name of ICE in a description: it changes when ICE begins anew (RFC 8839 §4.4.1.1.1).
func fragment(text string) string {
	_, rest, _ := strings.Cut(text, "a=ice-ufrag:")
	ufrag, _, _ := strings.Cut(rest, "\r\n")
	return ufrag
}

// takeBack gives up the offer that this side has made, in favour of one that crossed it. pion has no rollback (RFC 8829 §4.1.8.2): what was never
// connected begins anew, and else the offer is answered here, in the other side's place, with what is agreed on already.
func (p *peer) takeBack() error {
	p.unsaid = 0
	theirs := p.pc.CurrentRemoteDescription()
	if theirs == nil {
		p.forsake()
		return p.begin()
	}
	p.again = true
	answer, err := unchanged(p.mine.SDP, theirs.SDP)
	if err != nil {
		return err
	}
	return p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer})
}

// forsake closes the connection, to have another one take its place.
func (p *peer) forsake() {
	old := p.pc
	p.c.m.closing.Go(func() { _ = old.GracefulClose() })
	p.data, p.control, p.tracks, p.found, p.gathered, p.shown, p.speakers = nil, nil, nil, nil, false, nil, nil
	p.mine, p.re, p.local = webrtc.SessionDescription{}, "", nil
}

// unchanged answers an offer with what the other side said last: sections that it does not know are refused.
func unchanged(offer, last string) (string, error) {
	var o, l sdp.SessionDescription
	if err := errors.Join(o.UnmarshalString(offer), l.UnmarshalString(last)); err != nil {
		return "", err
	}
	for i, m := range o.MediaDescriptions {
		if i < len(l.MediaDescriptions) {
			for j, a := range l.MediaDescriptions[i].Attributes {
				if a.Key == "setup" && a.Value == "actpass" {
					l.MediaDescriptions[i].Attributes[j].Value = "passive" // RFC 8842 §5.3
				}
			}
			continue
		}
		mid, _ := m.Attribute("mid")
		refused := &sdp.MediaDescription{MediaName: m.MediaName, ConnectionInformation: m.ConnectionInformation}
		refused.MediaName.Port.Value = 0
		l.MediaDescriptions = append(l.MediaDescriptions, refused.WithValueAttribute("mid", mid).WithPropertyAttribute("inactive"))
	}
	b, err := l.Marshal()
	return string(b), err
}

// settled is called when an exchange is over: what did not fit into it needs another one.
func (p *peer) settled() {
	if p.again || slices.ContainsFunc(p.pc.GetTransceivers(), func(t *webrtc.RTPTransceiver) bool { return t.Mid() == "" }) {
		p.saySDP()
		p.offer(false)
	}
}

// mistakenMost bounds connections that are made because an answer does not fit: somebody may send any number.
const mistakenMost = 8

// foreign reports whether an answer is for another offer than the last one. Offers are told again, so answers come twice, and the second one when there is
// another offer: what that asked for would never come.
func (p *peer) foreign(text, re string) bool {
	if re == "" { // the other side does not say
		return strings.Count(text, "\nm=") != strings.Count(p.mine.SDP, "\nm=") // RFC 3264 §6
	}
	return re != name(p.mine.SDP)
}

func (p *peer) answered(text, re string) {
	if re != "" && p.foreign(text, re) {
		return
	}
	if p.pc.SignalingState() != webrtc.SignalingStateHaveLocalOffer {
		last := p.pc.CurrentRemoteDescription()
		if !p.ever && !p.sfu && p.mistaken < mistakenMost && last != nil && session(last.SDP) != session(text) {
			p.mistaken++
			p.anew() // what was taken for the answer was one to an offer before
		}
		return // it came twice
	}
	if p.foreign(text, re) {
		return
	}
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: text}); err != nil {
		p.broken("the other side's answer", err)
		return
	}
	p.flush()
	if p.sfu {
		p.has(text)
	}
	p.settled()
}

// queueCands bounds candidates that came before a description.
const queueCands = 256

func (p *peer) candidates(body json.RawMessage) {
	var all []candidate
	if json.Unmarshal(body, &all) != nil {
		return
	}
	for i := range all[:min(len(all), candsMost)] {
		init := all[i].init()
		if p.pc.RemoteDescription() == nil {
			if len(p.queue) < queueCands {
				p.queue = append(p.queue, init)
			}
			continue
		}
		if err := p.pc.AddICECandidate(init); err != nil && !p.ignored {
			p.c.m.log.Debug("a candidate is of no use", "call", p.c.id, "party", p.party)
		}
	}
}

func (p *peer) flush() {
	for _, i := range p.queue {
		_ = p.pc.AddICECandidate(i)
	}
	p.queue = nil
}

// broken repairs what negotiation can't: all media begin anew.
func (p *peer) broken(what string, err error) {
	p.c.m.log.Warn("negotiation failed", "call", p.c.id, "party", p.party, "with", what, "error", err)
	p.c.rebuild()
}
