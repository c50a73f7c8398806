package push

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/petrelchat/petrel/broker/notify"
)

// Options say which push services there are.
type Options struct {
	Guard   Guard
	Keys    notify.Keys
	Contact string // of the operator, for push services: mailto: or https:
	FCM     FCMConfig
	APNs    APNsConfig
	Now     func() time.Time // nil: time.Now
}

// FCMConfig is on with Credentials.
type FCMConfig struct {
	Credentials string // file: a service account's JSON
	Endpoint    string // https://fcm.googleapis.com
}

// APNsConfig is on with Key.
type APNsConfig struct {
	Key    string // file: the .p8 of a token signing key
	KeyID  string
	TeamID string
	Topic  string         // the app's bundle id
	Host   string         // https://api.push.apple.com
	Roots  *x509.CertPool // whose certificates are trusted; nil: the system's
}

// Senders are the push services of a server.
type Senders struct {
	ByKind map[string]notify.Sender
	idle   []func()
}

// New makes the senders. Errors name the file that cannot be used.
func New(o Options) (*Senders, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Contact == "" {
		o.Contact = "mailto:postmaster@localhost"
	}
	guarded := o.Guard.Client()
	web := &webPush{client: guarded, keys: o.Keys, contact: o.Contact, now: o.Now}
	s := &Senders{idle: []func(){guarded.CloseIdleConnections}, ByKind: map[string]notify.Sender{
		notify.WebPush:     web,
		notify.UnifiedPush: &unifiedPush{client: guarded, web: web, now: o.Now},
		notify.Webhook:     &webhook{client: guarded, now: o.Now},
	}}
	if o.FCM.Credentials != "" {
		b, err := os.ReadFile(o.FCM.Credentials)
		if err != nil {
			return nil, fmt.Errorf("notify.fcm.credentials: %w", err)
		}
		c := client((&net.Dialer{Timeout: dialTimeout}).DialContext)
		c.Transport.(*http.Transport).Proxy = http.ProxyFromEnvironment
		f, err := newFCM(b, o.FCM.Endpoint, c, o.Now)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.FCM.Credentials, err)
		}
		s.ByKind[notify.FCM], s.idle = f, append(s.idle, c.CloseIdleConnections)
	}
	if o.APNs.Key != "" {
		b, err := os.ReadFile(o.APNs.Key)
		if err != nil {
			return nil, fmt.Errorf("notify.apns.key: %w", err)
		}
		a, err := newAPNs(o.APNs, b, o.Now)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.APNs.Key, err)
		}
		s.ByKind[notify.APNs], s.idle = a, append(s.idle, a.client.HTTPClient.CloseIdleConnections)
	}
	return s, nil
}

// Close gives idle connections back. Nothing may be sent any more.
func (s *Senders) Close() {
	for _, fn := range s.idle {
		fn()
	}
}
