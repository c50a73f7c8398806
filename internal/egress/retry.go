package egress

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// RetryAfter is for how long an answer asks to be left alone: the seconds or the date of its Retry-After
// (RFC 9110 §10.2.3), 0 if it has neither or the date is past. It is the other side's wish: bound it.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, t.Sub(now))
	}
	return 0
}
