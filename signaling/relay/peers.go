package relay

import (
	"net"
	"net/netip"
	"slices"

	"github.com/petrelchat/petrel/internal/egress"
)

// family is how this server relays one kind of address.
type family struct {
	bind   netip.Addr // of the relayed sockets; unspecified: the public address is not on this machine
	public netip.Addr // as clients and peers see them
	within netip.Addr // where one relayed socket reaches another
}

// familyOf finds where the relayed sockets of a public address have to be.
func familyOf(public netip.Addr, here map[netip.Addr]bool) *family {
	f := &family{bind: public, public: public, within: public}
	if !here[public] { // a router in front translates it
		f.bind, f.within = netip.IPv6Unspecified(), netip.IPv6Loopback()
		if public.Is4() {
			f.bind, f.within = netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
	}
	return f
}

// ownAddresses are those of this machine's interfaces.
func ownAddresses() (map[netip.Addr]bool, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	own := make(map[netip.Addr]bool)
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				own[ip.Unmap().WithZone("")] = true
			}
		}
	}
	return own, nil
}

// peerKind says what may be sent to an address.
type peerKind uint8

const (
	peerRefused peerKind = iota
	peerAnyPort
	peerOurs // only to the ports of our relayed sockets, since both sides of a call may be relayed here, and of services
)

// peer decides about an address. The machine's own are refused also if they are public: what listens there trusts
// them more than strangers, often.
func (r *Relay) peer(a netip.Addr) peerKind {
	a = a.Unmap().WithZone("")
	guard := egress.Guard{Allow: r.o.AllowPeers}
	for _, p := range r.o.AllowPeers {
		if p.Contains(a) && guard.Allows(a) {
			return peerAnyPort
		}
	}
	for _, f := range r.families {
		if f != nil && f.public == a {
			return peerOurs
		}
	}
	for _, s := range r.services() {
		if s.Addr() == a {
			return peerOurs
		}
	}
	if own := r.own.Load(); own != nil && (*own)[a] || !egress.Public(a) {
		return peerRefused
	}
	return peerAnyPort
}

func (r *Relay) services() []netip.AddrPort {
	if r.o.Services == nil {
		return nil
	}
	return r.o.Services()
}

// ours reports whether a socket of this server may be a peer.
func (r *Relay) ours(a netip.AddrPort) bool {
	return r.relayedAt(a) != nil || slices.Contains(r.services(), a)
}

// addrPort is the address of a packet in the form that all tables here have.
func addrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.UDPAddr:
		ap = a.AddrPort()
	case *net.TCPAddr:
		ap = a.AddrPort()
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
