package push

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sideshow/apns2"
	"github.com/sideshow/apns2/token"

	"github.com/petrelchat/petrel/broker/notify"
	"github.com/petrelchat/petrel/internal/egress"
)

// apns sends by the Apple Push Notification service, with a provider token.
type apns struct {
	client *apns2.Client
	topic  string
	now    func() time.Time
}

var _ notify.Sender = (*apns)(nil)

func newAPNs(c APNsConfig, key []byte, now func() time.Time) (*apns, error) {
	private, err := token.AuthKeyFromBytes(key)
	if err != nil {
		return nil, errors.New("the APNs key is no .p8 file with an EC private key")
	}
	client := apns2.NewTokenClient(&token.Token{AuthKey: private, KeyID: c.KeyID, TeamID: c.TeamID})
	client.Host = strings.TrimSuffix(c.Host, "/")
	transport := &http.Transport{
		ForceAttemptHTTP2: true, TLSHandshakeTimeout: dialTimeout, ResponseHeaderTimeout: headerTimeout,
		MaxResponseHeaderBytes: headerBytes, IdleConnTimeout: 10 * time.Minute,
		TLSClientConfig: &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12},
	}
	client.HTTPClient = &http.Client{
		Transport:     askedFor{transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &apns{client: client, topic: c.Topic, now: now}, nil
}

// askedFor notes how long the service asks to be left alone, which the library does not pass on.
type askedFor struct{ *http.Transport }

type askedKey struct{}

func (t askedFor) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := t.Transport.RoundTrip(req)
	if h, ok := req.Context().Value(askedKey{}).(*http.Header); ok && err == nil {
		*h = res.Header
	}
	return res, err
}

// aps is the part of the payload that the system reads; the rest is for the app.
type aps struct {
	Alert   apsAlert `json:"alert"`
	Badge   uint64   `json:"badge"`
	Sound   string   `json:"sound"`
	Thread  string   `json:"thread-id"`
	Mutable int      `json:"mutable-content"` // the app may replace what is shown: it can fetch and decrypt
}

type apsAlert struct {
	Title string `json:"title,omitempty"`
	Body  string `json:"body"`
}

// Send implements notify.Sender.
func (a *apns) Send(ctx context.Context, r *notify.Registration, n *notify.Notification) error {
	var header http.Header
	ctx = context.WithValue(ctx, askedKey{}, &header)
	rest := payload(n)
	rest.Title, rest.Body = "", "" // they are in the alert, and 4,096 bytes are all there is
	msg := &apns2.Notification{
		DeviceToken: r.Token, Topic: a.topic, CollapseID: n.Topic, PushType: apns2.PushTypeAlert,
		Expiration: a.now().Add(n.TTL), Priority: apns2.PriorityLow,
		Payload: map[string]any{
			"aps": aps{
				Alert: apsAlert{Title: n.Title, Body: n.Line()}, Badge: n.Badge, Sound: "default", Thread: n.Topic, Mutable: 1,
			},
			"petrel": rest,
		},
	}
	if n.Urgent {
		msg.Priority = apns2.PriorityHigh
	}
	res, err := a.client.PushWithContext(ctx, msg)
	switch {
	case err != nil && header == nil:
		return failed(err)
	case err != nil: // an answer that is no JSON: something in between
		return &notify.Later{After: egress.RetryAfter(header, a.now()), Err: errors.New("an answer that is not the service's")}
	case res.Sent():
		return nil
	}
	switch res.Reason {
	case apns2.ReasonUnregistered, apns2.ReasonExpiredToken, apns2.ReasonBadDeviceToken, apns2.ReasonDeviceTokenNotForTopic:
		return notify.ErrGone
	case apns2.ReasonExpiredProviderToken, apns2.ReasonTooManyProviderTokenUpdates:
		return &notify.Later{After: egress.RetryAfter(header, a.now()), Err: status(res.StatusCode)}
	}
	if res.StatusCode == http.StatusGone {
		return notify.ErrGone
	}
	if res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= 500 {
		return &notify.Later{After: egress.RetryAfter(header, a.now()), Err: status(res.StatusCode)}
	}
	return fmt.Errorf("%w: %w", errRefused, status(res.StatusCode))
}
