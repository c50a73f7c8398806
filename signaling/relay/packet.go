package relay

import (
	"encoding/binary"
	"net/netip"
)

// What is read of a packet before pion reads it (RFC 8489 §5, RFC 8656 §12.4 and §18).
const (
	headerLen = 20
	cookie    = 0x2112A442

	typeBinding          = 0x0001
	typeAllocate         = 0x0003
	typeRefresh          = 0x0004
	typeCreatePermission = 0x0008
	typeChannelBind      = 0x0009
	typeSend             = 0x0016 // indication
	typeData             = 0x0017 // indication, to the client

	attrMessageIntegrity       = 0x0008
	attrChannelNumber          = 0x000C
	attrMessageIntegritySHA256 = 0x001C
)

// isChannelData reports whether the packet is no STUN but data on a channel.
func isChannelData(b []byte) bool { return len(b) >= 4 && b[0] >= 0x40 && b[0] <= 0x4F }

// isSTUN reports whether a packet is exactly one STUN message, of those with a magic cookie.
func isSTUN(b []byte) bool {
	return len(b) >= headerLen && b[0] < 0x40 && len(b)%4 == 0 &&
		int(binary.BigEndian.Uint16(b[2:])) == len(b)-headerLen && binary.BigEndian.Uint32(b[4:]) == cookie
}

func messageType(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

// channelOf is the CHANNEL-NUMBER of a message, the first as for pion; false: there is none, or it is cut short or not signed.
func channelOf(b []byte) (uint16, bool) {
	for b = b[headerLen:]; len(b) >= 4; {
		kind, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		padded := (n + 3) &^ 3
		if len(b) < 4+padded {
			return 0, false
		}
		if kind == attrMessageIntegrity || kind == attrMessageIntegritySHA256 {
			return 0, false // what follows does not count (RFC 8489 §14.5)
		}
		if kind == attrChannelNumber && n >= 2 {
			return binary.BigEndian.Uint16(b[4:]), true
		}
		b = b[4+padded:]
	}
	return 0, false
}

// accept decides whether pion gets to see a packet of a client. bad: whoever sends that is no client, or not to be
// heard now.
func (t *transport) accept(from netip.AddrPort, b []byte) (ok, bad bool) {
	conn := t.allocated(from)
	if isChannelData(b) {
		if conn == nil {
			t.r.stats.refuse(Stray)
		}
		return conn != nil, false
	}
	if !isSTUN(b) {
		t.r.stats.refuse(Malformed)
		return false, true
	}
	if conn == nil && t.r.guests.throttled(from.Addr(), t.r.o.Now()) {
		t.r.stats.refuse(Throttled)
		return false, true
	}
	switch messageType(b) {
	case typeSend:
		if conn == nil {
			t.r.stats.refuse(Stray)
		}
		return conn != nil, false
	case typeChannelBind:
		if n, found := channelOf(b); found && !t.mayBind(from, n) {
			t.r.stats.refuse(Channels)
			return false, false
		}
	case typeBinding, typeAllocate, typeRefresh, typeCreatePermission:
	default:
		t.r.stats.refuse(Unsupported)
		return false, false
	}
	return true, false
}
