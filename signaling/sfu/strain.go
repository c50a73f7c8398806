package sfu

import "github.com/pion/rtcp"

const (
	strainRing  = 4096     // packets whose fate may be open
	strainLoss  = 0.1      // of what was reported on; more is strain
	strainLeast = 16 << 10 // bytes under way that are none
	strainBeats = 2        // in a row: a pause of the machine is no strain
)

// strain follows whether what a party is sent arrives. An estimate of what a path carries follows what was sent over it: where that is
// little it stays little, whatever there is room for. So what is known first hand counts too: whether packets are lost, or pile up.
// Whoever has it guards it.
type strain struct {
	sizes   [strainRing]uint16 // bytes by transport-wide number; 0: the packet's fate is known
	begun   bool
	next    uint16 // the first number that was not reported on
	pending int    // bytes that are under way

	sent, lost, came int // bytes since the last beat
	rate             int // bytes that were sent in a second, lately
	beats            int // with strain, in a row
}

// send notes a packet.
func (s *strain) send(seq uint16, size int) {
	if !s.begun {
		s.begun, s.next = true, seq
	}
	s.forget(seq) // what was never reported on
	s.sizes[seq%strainRing] = uint16(size)
	s.pending += size
	s.sent += size
}

// forget takes a packet away, and returns its size.
func (s *strain) forget(seq uint16) int {
	n := int(s.sizes[seq%strainRing])
	s.sizes[seq%strainRing] = 0
	s.pending -= n
	return n
}

// report takes what the party says of the packets that arrived. // draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1
func (s *strain) report(fb *rtcp.TransportLayerCC) {
	if !s.begun || uint16(fb.BaseSequenceNumber-s.next) > strainRing && uint16(s.next-fb.BaseSequenceNumber) > strainRing {
		return
	}
	for ; int16(fb.BaseSequenceNumber-s.next) > 0; s.next++ {
		s.forget(s.next) // the report on it was lost
	}
	seq, left := fb.BaseSequenceNumber, int(fb.PacketStatusCount)
	take := func(status uint16) {
		if n := s.forget(seq); status == rtcp.TypeTCCPacketNotReceived {
			s.lost += n
		} else {
			s.came += n
		}
		seq++
		left--
	}
	for _, c := range fb.PacketChunks {
		switch c := c.(type) {
		case *rtcp.RunLengthChunk:
			for range min(int(c.RunLength), left) {
				take(c.PacketStatusSymbol)
			}
		case *rtcp.StatusVectorChunk:
			for _, status := range c.SymbolList[:min(len(c.SymbolList), left)] {
				take(status)
			}
		}
	}
	if int16(seq-s.next) > 0 {
		s.next = seq
	}
}

// beat judges what was since the last one, every 500 ms.
func (s *strain) beat() {
	const perSecond = reportBeats / rateBeats
	s.rate = max(s.rate/2, s.sent*perSecond)
	if s.loses() || s.pending > max(strainLeast, s.rate) { // a second of it
		s.beats++
	} else {
		s.beats = 0
	}
	s.sent, s.lost, s.came = 0, 0, 0
}

func (s *strain) loses() bool {
	all := s.lost + s.came
	return all > packetSize && float64(s.lost) > strainLoss*float64(all)
}

// holds reports whether the path is strained.
func (s *strain) holds() bool { return s.beats >= strainBeats }
