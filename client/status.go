package client

import (
	"strconv"
	"time"
)

// SyncState is how this device stands to the server.
type SyncState uint8

// The states of a device.
const (
	Offline SyncState = iota
	Connecting
	CatchingUp
	UpToDate
)

// String returns what an indicator may say: "offline", "connecting", "catching up", "up to date".
func (s SyncState) String() string {
	names := [...]string{"offline", "connecting", "catching up", "up to date"}
	if int(s) < len(names) {
		return names[s]
	}
	return "state " + strconv.Itoa(int(s))
}

// Status is what an indicator shows.
type Status struct {
	State SyncState
	// Done and Total are events while catching up: "catching up 120 of 4,000". Total grows as more becomes known.
	Done, Total int
	// Err is why there is no connection, or why nothing can be stored; nil: nothing is wrong. Its text says what to do.
	Err error
	// Permanent: it will not get better by itself: the password is wrong, say. See Client.Renew.
	Permanent bool
	Retry     time.Time // when the next attempt is; zero: none is planned
	Queued    int       // in the outbox, on their way
	Failed    int       // in the outbox, refused
}
