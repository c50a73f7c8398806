package link

import (
	"strconv"
	"time"
)

// keepAlive learns how long a connection may be idle before something between us and the server forgets it. Longer
// is cheaper: each PINGREQ wakes a phone's radio. It does no I/O; the Link guards it.
type keepAlive struct {
	KeepAlive
	current time.Duration
	bound   time.Duration // silence that was too long in this network; 0: not met yet
	streak  int           // idle times of current that were survived one after the other
}

// memoryKeepAlive is where the learned value is kept.
const memoryKeepAlive = "keepalive"

func newKeepAlive(k KeepAlive, learned []byte) keepAlive {
	out := keepAlive{KeepAlive: k, current: k.First}
	if s, err := strconv.Atoi(string(learned)); err == nil {
		out.current = min(max(time.Duration(s)*time.Second, k.Least), k.Most)
	}
	return out
}

// learned is what to remember.
func (k *keepAlive) learned() []byte {
	return strconv.AppendInt(nil, int64(k.current/time.Second), 10)
}

// promise is the Keep Alive for CONNECT: this connection may grow up to it.
func (k *keepAlive) promise() time.Duration {
	return min(2*k.current, k.Most).Truncate(time.Second)
}

// survived notes that a PINGREQ after an idle time was answered, and tells whether current has changed. It grows
// by half when it happened twice.
func (k *keepAlive) survived(idle time.Duration) bool {
	if idle < k.current {
		return false
	}
	if k.streak++; k.streak < 2 {
		return false
	}
	k.streak = 0
	grown := min(k.current+k.current/2, k.Most)
	if k.bound > 0 {
		grown = min(grown, k.bound*9/10)
	}
	grown = grown.Truncate(time.Second)
	if grown <= k.current {
		return false
	}
	k.current = grown
	return true
}

// lost notes that a connection turned out dead after an idle time, and tells whether current has changed.
func (k *keepAlive) lost(idle time.Duration) bool {
	k.streak = 0
	if idle < k.Least {
		return false // that was no forgetful router
	}
	if k.bound == 0 || idle < k.bound {
		k.bound = idle
	}
	shrunk := max(min(k.current, idle)*2/3, k.Least).Truncate(time.Second)
	if shrunk >= k.current {
		return false
	}
	k.current = shrunk
	return true
}

// moved forgets what was too long in the last network.
func (k *keepAlive) moved() { k.bound, k.streak = 0, 0 }
