package push

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"

	"github.com/petrelchat/petrel/broker/notify"
)

// The headers of a webhook call. The signature is "v1=" and the HMAC-SHA256 in hexadecimal digits, with the
// registration's secret, over the timestamp (seconds since 1970 in decimal), a full stop, and the body.
const (
	TimestampHeader = "Petrel-Timestamp"
	SignatureHeader = "Petrel-Signature"
	IDHeader        = "Petrel-Id" // the same when it is sent again
)

// Sign returns the value of SignatureHeader.
func Sign(secret, timestamp string, body []byte) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(timestamp))
	h.Write([]byte{'.'})
	h.Write(body)
	return "v1=" + hex.EncodeToString(h.Sum(nil))
}

// webhook posts to a user's own endpoint.
type webhook struct {
	client *http.Client
	now    func() time.Time
}

var _ notify.Sender = (*webhook)(nil)

// Send implements notify.Sender.
func (w *webhook) Send(ctx context.Context, r *notify.Registration, n *notify.Notification) error {
	p := payload(n)
	p.User, p.Device = r.User, r.Name
	if n.Private { // no names
		p.User = ""
	}
	body := p.encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.Endpoint, bytes.NewReader(body))
	if err != nil {
		return errRefused
	}
	at := strconv.FormatInt(w.now().Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "petrel")
	req.Header.Set(TimestampHeader, at)
	req.Header.Set(SignatureHeader, Sign(r.Secret, at, body))
	req.Header.Set(IDHeader, n.ID)
	res, err := w.client.Do(req)
	if err != nil {
		return failed(err)
	}
	return judge(res, w.now())
}
