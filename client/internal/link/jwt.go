package link

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
)

// expiryOf reads when a JWT says that it expires (RFC 7519 §4.1.4), in ms since 1970. Nothing is verified: it is for
// telling a person what is probably wrong.
func expiryOf(secret string) (ms int64, ok bool) {
	parts := strings.Split(secret, ".")
	if len(parts) != 3 || len(secret) > 16<<10 {
		return 0, false
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || !bytes.HasPrefix(text, []byte("{")) {
		return 0, false
	}
	var claims struct {
		Exp float64 `json:"exp"`
	}
	if json.Unmarshal(text, &claims) != nil || claims.Exp <= 0 || claims.Exp > 1e12 {
		return 0, false
	}
	return int64(claims.Exp * 1000), true
}
