package relay

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"
)

// Options of a Relay. Nobody changes them after New.
type Options struct {
	// Listen are host:port pairs, each for UDP and TCP. Port 0 takes a free one. Empty: no server of our own, only External.
	Listen []string
	// Public are the addresses under which others reach Listen, and the relayed addresses: the first of each family.
	// Needed if Listen names no address; without it those of Listen are public.
	Public []netip.Addr
	// Name stands in URLs instead of the addresses, and must be what the certificate is for.
	Name string
	// TLS switches TLS on, on the same port.
	TLS *tls.Config
	// FirstPort and LastPort bound the ports of relayed addresses.
	FirstPort, LastPort uint16
	Realm               string
	// Secret makes and checks passwords; at least 16 bytes.
	Secret []byte
	// AllowPeers are addresses that may be peers though they are not public.
	AllowPeers []netip.Prefix
	External   []External
	// Credentials is how long new ones can be used to allocate. Those of a call that lives go on refreshing.
	Credentials time.Duration
	Limits      Limits

	// Live reports whether the user takes part in the call, or is being called. It must not block. Call "" stands for
	// what was given out before there was a call. nil: every call lives.
	Live func(user, call string) bool
	// Known reports whether a connection stands with the address, which proves that it is no forged one. It must not
	// block. Those that are not known get answers only for as many bytes as came from them. nil: nobody is known.
	Known func(netip.Addr) bool
	// Services returns the sockets of this server that may be peers though its own addresses may not: the SFU's. It must
	// not block. nil: none.
	Services func() []netip.AddrPort

	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // nil: none. Addresses are told at debug only, passwords never

	guestTime time.Duration // for tests; 0: guestTime
}

// External is a server of somebody else.
type External struct {
	URLs   []string
	Secret []byte // shared with it for credentials by the same scheme; empty: it needs none, as for STUN
}

// Limits bound what strangers and users can make the server hold or do. All must be above 0, but where it says so.
type Limits struct {
	Allocations           int           // in all
	AllocationsPerUser    int           // of all devices of a user
	AllocationsPerAddress int           // of an IPv4 address, or of a /64 of IPv6
	Bandwidth             int           // bytes a second of an allocation in each direction
	TotalBandwidth        int           // bytes a second of all in both directions; 0: unlimited
	Lifetime              time.Duration // of an allocation in all, however often it is refreshed
	Permissions           int           // addresses of peers of an allocation at a time
	Channels              int           // of an allocation at a time
	Connections           int           // TCP and TLS, in all
	ConnectionsPerAddress int
	Failures              int // wrong passwords from an address in a minute; more are not answered
}

// DefaultLimits suit a small server.
func DefaultLimits() Limits {
	return Limits{
		Allocations: 1000, AllocationsPerUser: 40, AllocationsPerAddress: 200,
		Bandwidth: 2 << 20, TotalBandwidth: 128 << 20, Lifetime: 12 * time.Hour,
		Permissions: 64, Channels: 64, Connections: 2000, ConnectionsPerAddress: 200, Failures: 30,
	}
}

// validate names all faults at once.
func (o *Options) validate() error {
	var errs []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("relay: "+format, args...))
		}
	}
	fault(o.Credentials <= 0, "credentials must have a life")
	for _, e := range o.External {
		fault(len(e.URLs) == 0, "an external server has no URL")
	}
	if len(o.Listen) == 0 {
		return errors.Join(errs...)
	}
	fault(len(o.Secret) < 16, "the secret must have at least 16 bytes")
	fault(o.Realm == "" || len(o.Realm) > 127, "the realm must have from 1 to 127 bytes")
	fault(o.FirstPort == 0 || o.LastPort < o.FirstPort, "the ports for relayed addresses are no range")
	for _, a := range o.Public {
		fault(!a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "", "%s can't be a public address", a)
	}
	return errors.Join(append(errs, o.Limits.validate())...)
}

// validate names all faults at once.
func (l *Limits) validate() error {
	var errs []error
	fault := func(bad bool, what string) {
		if bad {
			errs = append(errs, errors.New("relay: "+what))
		}
	}
	for _, n := range []int{l.Allocations, l.AllocationsPerUser, l.AllocationsPerAddress, l.Permissions, l.Channels, l.Connections, l.ConnectionsPerAddress, l.Failures} {
		fault(n <= 0, "a limit is missing")
	}
	fault(l.Bandwidth < mtu, "the bandwidth of an allocation must have room for a packet in a second")
	fault(l.TotalBandwidth != 0 && l.TotalBandwidth < l.Bandwidth, "the bandwidth of all is below that of one allocation")
	fault(l.Lifetime <= 0, "an allocation must have a life")
	return errors.Join(errs...)
}
