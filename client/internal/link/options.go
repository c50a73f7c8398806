package link

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"time"
	"unicode/utf8"
)

// Options say where to connect, as whom, and how patiently. The zero value of everything but Server, User
// and ClientID is a good choice.
type Options struct {
	// Server is mqtt://host[:1883] (or tcp), mqtts://host[:8883] (or tls, ssl), ws://host[:80]/path or
	// wss://host[:443]/path (without a path: /mqtt), or unix:///path/to.sock. It has no user or password in it.
	Server *url.URL

	User     string // the MQTT user name; may be empty where the server lets guests in
	ClientID string // the device: it and the user name the session, so the same one must come back. Short ones save bytes

	// Credentials is asked for the password or token before each attempt, so that it may be renewed meanwhile. Its
	// error fails the attempt. nil: no password is sent. It may be called from any goroutine, never twice at once.
	Credentials func(context.Context) (password string, err error)

	TLS    *tls.Config // nil: the system's authorities. It is not changed; its session cache and server name are the link's
	Memory Memory      // keeps TLS session tickets and the learned keep-alive across restarts; nil: for this Link only

	SessionExpiry time.Duration // how long the server keeps the session without us; 0: it ends with the connection
	Properties    []Property    // user properties of CONNECT, such as {"meta", "seq"}
	CleanStart    bool          // ends what session there is, at the first connection of this Link only

	KeepAlive KeepAlive // how long a connection may be silent
	Patience  Patience  // how long to wait for what

	ReceiveMaximum uint16 // how many messages may wait for our Ack; 0: what the server likes (petrel: 256)
	MaxPacket      uint32 // longest packet, bytes, that the server may send; 0: no word to the server, and 16 MiB here
	Aliases        uint16 // topic aliases that the server may use; 0: 16

	// Dial replaces the transport of Server, for tests and tunnels. It must obey its context.
	Dial func(context.Context) (net.Conn, error)
	// Addresses are those that the device has at the moment, so that Poke knows a connection that can't live any more.
	// nil: net.InterfaceAddrs, or with Dial, whose addresses may be others, none.
	Addresses func() ([]net.Addr, error)
	// Rand returns a number in [0, 1) for the jitter; nil: math/rand/v2. Never called twice at once.
	Rand func() float64
	Log  *slog.Logger // nil: silent. Never gets passwords, topics or payloads
}

// KeepAlive bounds the time after which an idle connection is tested with a PINGREQ. The link starts with
// First, or what it has learned, and approaches Most as long as idle connections survive. A Server Keep Alive
// in CONNACK replaces it all. Whole seconds.
type KeepAlive struct {
	Least, First, Most time.Duration // 0: 30 s, 60 s, 240 s
}

// Patience has the time-outs of a link.
type Patience struct {
	Connect time.Duration // for one attempt: dial, TLS, CONNECT, CONNACK; 0: 20 s
	Write   time.Duration // for 16 KiB to leave for the network; 0: 20 s
	Answer  time.Duration // after what awaits an answer until the link asks whether anybody is there; 0: 3 s
	Probe   time.Duration // for the answer to PINGREQ; 0: 3 s
	Idle    time.Duration // silence after which the next thing to be sent takes a PINGREQ along; 0: 20 s

	BackoffFirst time.Duration // longest wait after the first failure; it doubles with each; 0: 500 ms
	BackoffMost  time.Duration // 0: 2 min
	Held         time.Duration // a connection that lasted so long begins the back-off anew; 0: 30 s
}

// Memory keeps small values under names across restarts of the program. They are secrets: a TLS ticket
// stands for a handshake. Put of a nil value deletes. Both may be called from any goroutine, and should not
// take long. A Memory that forgets costs bytes, nothing else.
type Memory interface {
	Get(name string) []byte
	Put(name string, value []byte)
}

// Property is a user property of MQTT 5.
type Property struct{ Key, Value string }

// Validate names everything that is wrong with o.
func (o *Options) Validate() error {
	var all []error
	fault := func(format string, args ...any) { all = append(all, fmt.Errorf(format, args...)) }
	if o.Server == nil && o.Dial == nil {
		fault("no server: give an address such as mqtts://chat.example.org")
	}
	if o.Server != nil && o.Dial == nil {
		if err := checkServer(o.Server); err != nil {
			all = append(all, err)
		}
	}
	for _, s := range []struct{ what, is string }{{"user name", o.User}, {"client id", o.ClientID}} {
		if len(s.is) > 0xFFFF || !utf8.ValidString(s.is) {
			fault("the %s must be UTF-8 of at most 65,535 bytes", s.what)
		}
	}
	if o.ClientID == "" {
		fault("no client id: a device needs one that stays the same")
	}
	for _, p := range o.Properties {
		if len(p.Key) > 0xFFFF || len(p.Value) > 0xFFFF || !utf8.ValidString(p.Key) || !utf8.ValidString(p.Value) {
			fault("user property %.40q must be UTF-8 of at most 65,535 bytes", p.Key)
		}
	}
	if o.SessionExpiry < 0 {
		fault("the session expiry is negative")
	}
	if o.MaxPacket != 0 && o.MaxPacket < 1024 {
		fault("a longest packet of %d bytes leaves no room for a message: allow at least 1024", o.MaxPacket)
	}
	k := o.KeepAlive.withDefaults()
	if k.Least < time.Second || k.First < k.Least || k.Most < k.First || k.Most > 0xFFFF*time.Second {
		fault("keep-alive %v, %v, %v: they must ascend, from 1 s to 65,535 s", k.Least, k.First, k.Most)
	}
	return errors.Join(all...)
}

func (k KeepAlive) withDefaults() KeepAlive {
	k.Least = cmp.Or(k.Least, 30*time.Second).Truncate(time.Second)
	k.First = cmp.Or(k.First, max(k.Least, 60*time.Second)).Truncate(time.Second)
	k.Most = cmp.Or(k.Most, max(k.First, 240*time.Second)).Truncate(time.Second)
	return k
}

func (p Patience) withDefaults() Patience {
	p.Connect = cmp.Or(p.Connect, 20*time.Second)
	p.Write = cmp.Or(p.Write, 20*time.Second)
	p.Answer = cmp.Or(p.Answer, 3*time.Second)
	p.Probe = cmp.Or(p.Probe, 3*time.Second)
	p.Idle = cmp.Or(p.Idle, 20*time.Second)
	p.BackoffFirst = cmp.Or(p.BackoffFirst, 500*time.Millisecond)
	p.BackoffMost = cmp.Or(p.BackoffMost, 2*time.Minute)
	p.Held = cmp.Or(p.Held, 30*time.Second)
	return p
}

func (o Options) withDefaults() Options {
	o.KeepAlive, o.Patience = o.KeepAlive.withDefaults(), o.Patience.withDefaults()
	o.Aliases = cmp.Or(o.Aliases, 16)
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	if o.Memory == nil {
		o.Memory = newForgetful()
	}
	if o.Addresses == nil && o.Dial == nil {
		o.Addresses = net.InterfaceAddrs
	}
	if o.Server == nil {
		o.Server = &url.URL{Scheme: "mqtt", Host: "dialled"}
	}
	return o
}
