package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
)

// Credentials say who the user is, once for each attempt to connect: a token may be fetched anew. See
// [Password], [Token] and [CredentialsFunc].
type Credentials interface {
	// Secret returns what goes into the password of CONNECT. It is called on a goroutine of the client's.
	Secret(ctx context.Context) (string, error)
}

// Password is a user's password.
type Password string

// Secret implements [Credentials].
func (p Password) Secret(context.Context) (string, error) { return string(p), nil }

// Token is an access token, which goes where a password goes.
type Token string

// Secret implements [Credentials].
func (t Token) Secret(context.Context) (string, error) { return string(t), nil }

// CredentialsFunc asks for the secret when it is needed.
type CredentialsFunc func(ctx context.Context) (string, error)

// Secret implements [Credentials].
func (f CredentialsFunc) Secret(ctx context.Context) (string, error) { return f(ctx) }

// Options say whom to connect as, where to, and where to keep what is known. Server and User must be set.
type Options struct {
	// Server is the address: mqtts://chat.example.org, mqtt://127.0.0.1:1883, wss://chat.example.org/mqtt,
	// unix:///run/petrel.sock. Without a scheme it is mqtts.
	Server string
	User   string
	// Device is the MQTT client id of this device, at most 64 bytes, 59 with JSON. Two programs that run at the same time must
	// not share it. "": one is made and kept in the store.
	Device      string
	Credentials Credentials // nil: an empty password, which a server in dev mode takes

	// Store keeps what is known; Close leaves it open. nil: an SQLite file at Path, which Close closes.
	Store store.Store
	Path  string // "": USER@HOST.db in the folder petrel of the user's configuration

	TLS  *tls.Config // nil: the system's roots
	JSON bool        // events and requests as JSON instead of CBOR: to look at what goes over the wire

	Calls    bool     // this device takes part in calls, and rings: see package client/calls
	Codec    Codec    // nil: events are sent as they are
	Uploader Uploader // nil: attachments are refused

	// SessionExpiry is how long the server remembers this device while it is away. 0: 30 days.
	SessionExpiry time.Duration
	// Catchup is how many events of each conversation are delivered at most after being away; what is older is loaded when
	// somebody scrolls there (Client.Earlier). 0: all.
	Catchup int
	// Invisible keeps the user offline in the eyes of others.
	Invisible bool

	Log *slog.Logger // nil: none. No bodies and no secrets are logged
	// Dial opens connections in place of the network. nil: by Server.
	Dial func(ctx context.Context) (net.Conn, error)
	Now  func() time.Time // nil: time.Now
}

const (
	defaultSessionExpiry = 30 * 24 * time.Hour
	maxDevice            = 64      // bytes of a client id that petrel servers take
	jsonSuffix           = "-json" // of a device that receives JSON: the session of the other encoding would get everything twice
)

// Validate names all faults at once; nil is none. Open does it too.
func (o *Options) Validate() error {
	var faults []error
	if _, err := parseServer(o.Server); err != nil {
		faults = append(faults, err)
	}
	if !chat.ValidUser(o.User) {
		faults = append(faults, errors.New("option User: letters, digits, dots, dashes and underscores, 1 to 64 of them"))
	}
	if err := o.checkDevice(o.Device); err != nil {
		faults = append(faults, err)
	}
	if o.Store != nil && o.Path != "" {
		faults = append(faults, errors.New("option Store and Path: give one of them"))
	}
	if o.SessionExpiry < 0 {
		faults = append(faults, errors.New("option SessionExpiry: not negative"))
	}
	if o.Catchup < 0 {
		faults = append(faults, errors.New("option Catchup: not negative"))
	}
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("client options: %w", errors.Join(faults...))
}

// checkDevice refuses what the server would not take for a client id.
func (o *Options) checkDevice(name string) error {
	most, why := maxDevice, ""
	if o.JSON {
		most, why = maxDevice-len(jsonSuffix), fmt.Sprintf(" with JSON, which adds %q", jsonSuffix)
	}
	if len(name) > most || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("option Device: at most %d bytes%s, without control characters", most, why)
	}
	return nil
}

// parseServer reads an address; without a scheme it is mqtts.
func parseServer(s string) (*url.URL, error) {
	if s == "" {
		return nil, errors.New("option Server: the address is missing, as in mqtts://chat.example.org")
	}
	if !strings.Contains(s, "://") {
		s = "mqtts://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("option Server: not an address: write it like mqtts://chat.example.org")
	}
	switch u.Scheme {
	case "mqtt", "mqtts", "tcp", "tls", "ssl", "ws", "wss":
		if u.Hostname() == "" {
			return nil, errors.New("option Server: the host is missing, as in mqtts://chat.example.org")
		}
	case "unix":
		if u.Path == "" {
			return nil, errors.New("option Server: the path of the socket is missing, as in unix:///run/petrel.sock")
		}
	default:
		return nil, fmt.Errorf("option Server: the scheme %q is unknown: use mqtts, mqtt, wss, ws or unix", u.Scheme)
	}
	if u.User != nil {
		return nil, errors.New("option Server: leave user and password out of the address: use User and Credentials")
	}
	return u, nil
}
