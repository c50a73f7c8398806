package push

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/petrelchat/petrel/broker/notify"
	"github.com/petrelchat/petrel/internal/egress"
)

// IDHeader names the notification of a webhook call: the same when it is sent again.
const IDHeader = "Petrel-Id"

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
	req.Header.Set(egress.TimestampHeader, at)
	req.Header.Set(egress.SignatureHeader, egress.Sign(r.Secret, at, body))
	req.Header.Set(IDHeader, n.ID)
	res, err := w.client.Do(req)
	if err != nil {
		return failed(err)
	}
	return judge(res, w.now())
}
