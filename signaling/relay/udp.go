package relay

import (
	"errors"
	"net"
	"net/netip"
	"time"
)

// udpSocket is the socket that clients send to. pion has one goroutine that reads it.
type udpSocket struct {
	*net.UDPConn
	t *transport
}

var _ net.PacketConn = (*udpSocket)(nil)

func newUDP(r *Relay, c *net.UDPConn, local netip.AddrPort) *transport {
	const buffer = 1 << 20 // for bursts while pion is busy; the system may give less
	_, _ = c.SetReadBuffer(buffer), c.SetWriteBuffer(buffer)
	t := newTransport(r, local)
	t.udp = &udpSocket{c, t}
	return t
}

// ReadFrom returns the next packet that is worth pion's time. Only a closed socket is an error, since pion
// gives up at the first one.
func (u *udpSocket) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := u.ReadFromUDPAddrPort(p)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return 0, nil, err
			}
			time.Sleep(time.Millisecond) // out of memory, or the like: it passes
			continue
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if !isChannelData(p[:n]) {
			u.t.r.guests.earn(from.Addr(), n)
		}
		if ok, _ := u.t.accept(from, p[:n]); ok {
			return n, net.UDPAddrFromAddrPort(from), nil
		}
	}
}

// WriteTo sends what the client may get: anything over its allocation, else what mayAnswer lets it.
func (u *udpSocket) WriteTo(p []byte, to net.Addr) (int, error) {
	ap := addrPort(to)
	relays := isChannelData(p) || len(p) >= 2 && messageType(p) == typeData
	if !relays && u.t.allocated(ap) == nil && !u.t.r.mayAnswer(ap.Addr(), len(p)) {
		return len(p), nil
	}
	n, err := u.WriteToUDPAddrPort(p, ap)
	return n, err
}
