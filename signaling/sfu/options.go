package sfu

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"time"
)

// Options say where the forwarder listens and what it allows. The zero value of a limit is its default.
type Options struct {
	// Listen is host:port, for UDP and TCP; port 0 takes a free one. On a host with several addresses name the one
	// that packets leave from.
	Listen string
	// Public are the addresses to tell clients, as IP or IP:port; none: those that it listens on.
	Public []string
	// Send hands a signal to a party: kind answer with SDP as its body, and as re session id and version of the offer that it is for (RFC 8866 §5.2), or negotiate
	// with JSON. One goroutine calls it, in order; it may block.
	Send func(call, party, kind, re string, body []byte)
	// Conns takes the place of sockets: one reader for each. Nothing listens on TCP then.
	Conns []net.PacketConn
	// Log is told about connections, never about media.
	Log *slog.Logger

	Parties int           // of one call; 100
	Tracks  int           // that a party sends; 4
	Audio   int           // slots of a party; 20
	Video   int           // slots of a party, the N of last-N; 16
	Bitrate int           // that a party may send, bits per second; 8,000,000
	Silence time.Duration // without a packet from it a party's connection is given up; 30 s
}

func (o Options) withDefaults() Options {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	def(&o.Parties, 100)
	def(&o.Tracks, 4)
	def(&o.Audio, 20)
	def(&o.Video, 16)
	def(&o.Bitrate, 8_000_000)
	if o.Silence == 0 {
		o.Silence = 30 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Validate names all faults at once.
func (o Options) Validate() error {
	var faults []error
	if o.Send == nil {
		faults = append(faults, errors.New("sfu: Send is missing"))
	}
	if len(o.Conns) == 0 {
		if _, _, err := net.SplitHostPort(o.Listen); err != nil {
			faults = append(faults, fmt.Errorf("sfu: listen %q is no host:port", o.Listen))
		}
	}
	for _, p := range o.Public {
		if _, err := parsePublic(p, 1); err != nil {
			faults = append(faults, err)
		}
	}
	for name, n := range map[string]int{"parties": o.Parties, "tracks": o.Tracks, "audio": o.Audio, "video": o.Video, "bitrate": o.Bitrate} {
		if n < 0 {
			faults = append(faults, fmt.Errorf("sfu: %s must not be negative", name))
		}
	}
	return errors.Join(faults...)
}

// parsePublic reads an address of Options.Public; port is for those that name none.
func parsePublic(s string, port uint16) (netip.AddrPort, error) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("sfu: public address %q is neither an IP address nor one with a port", s)
	}
	return netip.AddrPortFrom(a, port), nil
}

// readers is how many goroutines read the port: the kernel spreads senders over as many sockets.
func readers() int { return max(1, runtime.GOMAXPROCS(0)) }
