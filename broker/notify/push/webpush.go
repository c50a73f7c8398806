package push

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	webpush "github.com/SherClockHolmes/webpush-go"

	"github.com/petrelchat/petrel/broker/notify"
)

// webPush sends by Web Push: RFC 8030, encrypted as RFC 8291 says, in the name of the server as RFC 8292 says.
type webPush struct {
	client  *http.Client
	keys    notify.Keys
	contact string
	now     func() time.Time
}

var _ notify.Sender = (*webPush)(nil)

// Send implements notify.Sender.
func (w *webPush) Send(ctx context.Context, r *notify.Registration, n *notify.Notification) error {
	urgency := webpush.UrgencyNormal
	if n.Urgent {
		urgency = webpush.UrgencyHigh
	}
	res, err := webpush.SendNotificationWithContext(ctx, payload(n).encode(),
		&webpush.Subscription{Endpoint: r.Endpoint, Keys: webpush.Keys{Auth: r.Auth, P256dh: r.P256dh}},
		&webpush.Options{
			HTTPClient: w.client, Subscriber: strings.TrimPrefix(w.contact, "mailto:"), Topic: n.Topic,
			TTL: int(n.TTL / time.Second), Urgency: urgency,
			VAPIDPublicKey: w.keys.VAPIDPublic, VAPIDPrivateKey: w.keys.VAPIDPrivate,
		})
	if err != nil {
		return failed(err)
	}
	return judge(res, w.now())
}

// unifiedPush posts to a UnifiedPush endpoint. With keys the message is a Web Push one, as the specification of
// UnifiedPush wants it since its version 3; without, the distributor gets it as it is.
type unifiedPush struct {
	client *http.Client
	web    *webPush
	now    func() time.Time
}

var _ notify.Sender = (*unifiedPush)(nil)

// Send implements notify.Sender.
func (u *unifiedPush) Send(ctx context.Context, r *notify.Registration, n *notify.Notification) error {
	if r.P256dh != "" {
		return u.web.Send(ctx, r, n)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.Endpoint, bytes.NewReader(payload(n).encode()))
	if err != nil {
		return errRefused
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("TTL", strconv.Itoa(int(n.TTL/time.Second)))
	req.Header.Set("Topic", n.Topic)
	req.Header.Set("Urgency", "normal")
	if n.Urgent {
		req.Header.Set("Urgency", "high")
	}
	res, err := u.client.Do(req)
	if err != nil {
		return failed(err)
	}
	return judge(res, u.now())
}
