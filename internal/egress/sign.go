package egress

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
)

// The headers by which a receiver knows that a request is the server's.
const (
	TimestampHeader = "Petrel-Timestamp" // seconds since 1970 in decimal
	SignatureHeader = "Petrel-Signature" // see Sign
)

// Sign returns the value of SignatureHeader: "v1=" and, in hexadecimal digits, the HMAC-SHA256 (RFC 2104) under the
// secret of the timestamp, a full stop, and the body.
func Sign(secret, timestamp string, body []byte) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(timestamp + "."))
	m.Write(body)
	return "v1=" + hex.EncodeToString(m.Sum(nil))
}
