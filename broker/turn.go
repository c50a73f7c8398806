package broker

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/broker/rpc"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/signaling/relay"
)

// startRelay makes the TURN server and the list of ICE servers. It is there before any connection is.
func (s *Server) startRelay(c *config.Config) error {
	o, err := s.relayOptions(c)
	if err != nil {
		return err
	}
	o.Live, o.Known, o.Now, o.Log = s.callLives, s.adapter.Connected, s.now, s.log
	if s.sfu != nil {
		o.Services = s.sfu.Addrs
	}
	if s.relay, err = relay.New(o); err != nil {
		return err
	}
	return s.relay.Start()
}

// callLives reports whether credentials for a user in a call are good. Before a call has an id, they are: their
// life is short then.
func (s *Server) callLives(user, call string) bool {
	return call == "" || s.calls != nil && s.calls.Takes(user, call)
}

// ice is who names ICE servers.
func (s *Server) ice() rpc.ICE { return iceServers{s} }

type iceServers struct{ s *Server }

// Servers implements rpc.ICE. Run makes the relay; before it, only an embedder can ask.
func (i iceServers) Servers(user, call string) ([]rpc.ICEServer, time.Duration, error) {
	if i.s.relay == nil {
		return nil, 0, chat.Refuse(chat.Unavailable, "the server is not running yet")
	}
	list, ttl, err := i.s.relay.Servers(user, call)
	servers := make([]rpc.ICEServer, len(list))
	for n, s := range list {
		servers[n] = rpc.ICEServer(s)
	}
	return servers, ttl, err
}

func (s *Server) relayOptions(c *config.Config) (o relay.Options, err error) {
	t := &c.TURN
	o = relay.Options{Name: t.Name, Realm: t.Realm, Credentials: t.Credentials, Limits: relayLimits(c)}
	for _, e := range t.External {
		external := relay.External{URLs: e.URLs}
		if e.SecretFile != "" {
			if external.Secret, err = readSecret(e.SecretFile); err != nil {
				return o, err
			}
		}
		o.External = append(o.External, external)
	}
	if !t.On(c.Dev) {
		return o, nil
	}
	o.Listen = t.Listen
	if c.Dev && t.Enabled == "" { // several on one machine must not meet
		o.Listen = []string{"127.0.0.1:0"}
	}
	if o.FirstPort, o.LastPort, err = config.ParsePorts(t.RelayPorts); err != nil {
		return o, err
	}
	for _, p := range t.Public {
		a, err := netip.ParseAddr(p)
		if err != nil {
			return o, err
		}
		o.Public = append(o.Public, a)
	}
	if o.AllowPeers, err = config.ParsePrefixes(t.AllowPeers); err != nil {
		return o, err
	}
	if c.Dev { // all there is to call is on this machine
		o.AllowPeers = append(o.AllowPeers, netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
	}
	certs, err := s.certificates(&config.TLS{Cert: t.TLS.Cert, Key: t.TLS.Key}, nil)
	if err != nil {
		return o, fmt.Errorf("turn: %w", err)
	}
	if certs != nil {
		o.TLS = certs.Config()
	}
	o.Secret, err = turnSecret(t.SecretFile, c.Data)
	return o, err
}

func relayLimits(c *config.Config) relay.Limits {
	l := &c.TURN.Limits
	return relay.Limits{
		Allocations: l.Allocations, AllocationsPerUser: l.AllocationsPerUser, AllocationsPerAddress: l.AllocationsPerAddress,
		Bandwidth: int(l.Bandwidth), TotalBandwidth: int(l.TotalBandwidth), Lifetime: l.Lifetime,
		Permissions: l.Permissions, Channels: l.Permissions, Connections: l.Connections, ConnectionsPerAddress: l.ConnectionsPerAddress,
		Failures: l.Failures,
	}
}

// reloadRelay takes over the limits of the TURN server.
func (s *Server) reloadRelay(c *config.Config) error {
	if s.relay == nil {
		return nil
	}
	return s.relay.SetLimits(relayLimits(c))
}

func readSecret(name string) ([]byte, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("turn: %w", err)
	}
	secret := strings.TrimSpace(string(b))
	if len(secret) < 16 {
		return nil, fmt.Errorf("turn: the secret in %s is too short: write at least 16 characters, like those of openssl rand -base64 32", name)
	}
	return []byte(secret), nil
}

// turnSecret reads the secret, or the one that an earlier run made, or makes one: credentials that were given out are
// good after a restart.
func turnSecret(file, data string) ([]byte, error) {
	if file != "" {
		return readSecret(file)
	}
	name := filepath.Join(data, "turn.secret")
	secret, err := readSecret(name)
	if !errors.Is(err, os.ErrNotExist) {
		return secret, err
	}
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails
	text := base64.StdEncoding.EncodeToString(random) + "\n"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("turn: the secret cannot be stored: %w", err)
	}
	return readSecret(name)
}

// relayMetrics are those of TURN.
func (s *Server) relayMetrics(m meters) {
	st := s.relay.Stats()
	m.counter("petrel_turn_allocations_total", "Allocations of the TURN server that were made.", number(st.Allocated.Load))
	m.counter("petrel_turn_sent_bytes_total", "Bytes of media that were relayed from clients to peers.", number(st.BytesOut.Load))
	m.counter("petrel_turn_received_bytes_total", "Bytes of media that were relayed from peers to clients.", number(st.BytesIn.Load))
	m.gauge("petrel_turn_allocations", "Allocations of the TURN server now.", number(st.Allocations.Load))
	m.gauge("petrel_turn_connections", "TCP and TLS connections to the TURN server now.", number(st.Connections.Load))
	for _, why := range relay.Reasons() {
		m.counter("petrel_turn_refused_total", "What the TURN server refused or dropped, by reason.", number(func() int64 { return st.Refused(why) }), "reason", why.String())
	}
}
