// Package egress decides where the server may connect when somebody else named the place: the endpoint of
// a notification, the URL of a webhook. Put [Guard.Control] into a net.Dialer.
//
// The decision falls on the address that is really dialled, so that no name, and no change of one after it
// was looked at, leads into the network that the server stands in.
package egress

import (
	"errors"
	"net/netip"
	"slices"
	"syscall"
)

// ErrForbidden says that a name led to an address that is not allowed.
var ErrForbidden = errors.New("egress: the address is not allowed")

// Guard says which addresses are allowed beside the public ones. The zero value is the strictest. It is not
// changed by its methods, which any goroutine may call.
type Guard struct {
	Allow []netip.Prefix
	All   bool // every address of one machine
}

// special returns the addresses that do not stand for one machine in the internet, beside those that netip
// names itself: IANA's registries of special-purpose addresses (RFC 6890 and its updates). The ranges that
// wrap IPv4 addresses are among them, since they would be a way around the others.
func special() [19]netip.Prefix {
	return [...]netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),       // this network, RFC 791 §3.2
		netip.MustParsePrefix("100.64.0.0/10"),   // shared, RFC 6598
		netip.MustParsePrefix("192.0.0.0/24"),    // RFC 6890 §2.1
		netip.MustParsePrefix("192.0.2.0/24"),    // documentation, RFC 5737
		netip.MustParsePrefix("192.88.99.0/24"),  // 6to4 relays, RFC 7526
		netip.MustParsePrefix("198.18.0.0/15"),   // benchmarks, RFC 2544
		netip.MustParsePrefix("198.51.100.0/24"), // documentation
		netip.MustParsePrefix("203.0.113.0/24"),  // documentation
		netip.MustParsePrefix("240.0.0.0/4"),     // reserved, and broadcast
		netip.MustParsePrefix("::/8"),            // IPv4-compatible and more, RFC 4291 §2.4
		netip.MustParsePrefix("64:ff9b::/96"),    // NAT64, RFC 6052
		netip.MustParsePrefix("64:ff9b:1::/48"),  // NAT64, RFC 8215
		netip.MustParsePrefix("100::/64"),        // discard, RFC 6666
		netip.MustParsePrefix("2001::/23"),       // protocol assignments, Teredo among them, RFC 2928
		netip.MustParsePrefix("2001:db8::/32"),   // documentation, RFC 3849
		netip.MustParsePrefix("2002::/16"),       // 6to4, RFC 3056
		netip.MustParsePrefix("3fff::/20"),       // documentation, RFC 9637
		netip.MustParsePrefix("5f00::/16"),       // segment routing, RFC 9602
		netip.MustParsePrefix("fec0::/10"),       // site-local, RFC 3879
	}
}

// Public reports whether anybody in the internet could reach the address.
func Public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return false
	}
	for _, p := range special() {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// Allows reports whether the address may be connected to.
func (g Guard) Allows(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	switch {
	case !a.IsValid() || a.IsUnspecified() || a.IsMulticast():
		return false
	case g.All:
		return true
	}
	return slices.ContainsFunc(g.Allow, func(p netip.Prefix) bool { return p.Contains(a) }) || Public(a)
}

// Control is a net.Dialer's Control: it sees the address after the name was resolved. Its error is
// ErrForbidden.
func (g Guard) Control(network, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || network != "tcp4" && network != "tcp6" || !g.Allows(to.Addr()) {
		return ErrForbidden
	}
	return nil
}
