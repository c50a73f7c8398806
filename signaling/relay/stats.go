package relay

import "sync/atomic"

// Reason says why something was refused or dropped. It is a label of metrics.
type Reason uint8

// The reasons.
const (
	Forged      Reason = iota // a password or user name that this server did not give out
	Expired                   // credentials that are too old
	Ended                     // credentials of a call that is over
	Throttled                 // an address with too many forged passwords, or too many questions
	Withheld                  // an answer that would have been larger than what came from an unproved address
	Malformed                 // no STUN
	Stray                     // data for an allocation that there is not
	Unsupported               // a method or transport that is not offered here
	Peer                      // an address that may not be a peer
	PerUser                   // the user has as many allocations as may be
	PerAddress                // the address has
	Full                      // all have, or no port is free
	Permissions               // the allocation has as many
	Channels                  // the allocation has as many
	Bandwidth                 // a packet beyond the bandwidth
	Unsolicited               // a packet from whom the client gave no permission
	Connections               // TCP connections beyond the limit
	reasons
)

func names() [reasons]string {
	return [...]string{
		"forged", "expired", "ended", "throttled", "withheld", "malformed", "stray", "unsupported", "peer", "user", "address",
		"full", "permissions", "channels", "bandwidth", "unsolicited", "connections",
	}
}

// String is the name in metrics.
func (r Reason) String() string { return names()[r] }

// Reasons returns all there are.
func Reasons() []Reason {
	all := make([]Reason, reasons)
	for i := range all {
		all[i] = Reason(i)
	}
	return all
}

// Stats are counters; any goroutine may read them.
type Stats struct {
	Allocated   atomic.Int64 // allocations made
	Allocations atomic.Int64 // allocations now
	Connections atomic.Int64 // TCP and TLS connections now
	BytesOut    atomic.Int64 // of payload, from clients to peers
	BytesIn     atomic.Int64 // of payload, from peers to clients
	refused     [reasons]atomic.Int64
}

// Refused returns how often that was the reason.
func (s *Stats) Refused(r Reason) int64 { return s.refused[r].Load() }

func (s *Stats) refuse(r Reason) { s.refused[r].Add(1) }
