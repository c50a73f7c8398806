package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// TURN is the TURN and STUN server for calls, and others that calls may use.
type TURN struct {
	Enabled     string        `yaml:"enabled"`             // true or false; "": with dev only, on a free port of 127.0.0.1
	Listen      []string      `yaml:"listen"`              // host:port, each for UDP, TCP and TLS; the same port in all
	Public      []string      `yaml:"public"`              // addresses under which others reach it; none: those of Listen
	Name        string        `yaml:"name"`                // stands in URLs instead of them; what the certificate is for
	TLS         KeyPair       `yaml:"tls"`                 // switched on by cert and key
	RelayPorts  string        `yaml:"relay_ports"`         // first-last, of relayed addresses
	Realm       string        `yaml:"realm"`               // of passwords
	SecretFile  string        `yaml:"secret_file"`         // what passwords are made of; "": one is made, below data
	AllowPeers  []string      `yaml:"allow_peers"`         // addresses that are not public where media may go all the same
	Credentials time.Duration `yaml:"credentials"`         // how long new ones can be used
	Limits      TURNLimits    `yaml:"limits" reload:"yes"` // of our own server
	External    []TURNServer  `yaml:"external"`            // of somebody else
}

// KeyPair is a certificate with its key, PEM files both.
type KeyPair struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// TURNLimits bound what users can take of the TURN server.
type TURNLimits struct {
	Allocations           int           `yaml:"allocations"`             // in all
	AllocationsPerUser    int           `yaml:"allocations_per_user"`    // of all devices of a user
	AllocationsPerAddress int           `yaml:"allocations_per_address"` // of an IPv4 address, or a /64
	Bandwidth             Size          `yaml:"bandwidth"`               // a second, of an allocation in each direction
	TotalBandwidth        Size          `yaml:"total_bandwidth"`         // a second, of all; 0: unlimited
	Lifetime              time.Duration `yaml:"lifetime"`                // of an allocation, however often it is refreshed
	Permissions           int           `yaml:"permissions"`             // addresses of peers of an allocation, and channels to them
	Connections           int           `yaml:"connections"`             // TCP and TLS, in all
	ConnectionsPerAddress int           `yaml:"connections_per_address"`
	Failures              int           `yaml:"failures"` // wrong passwords from an address in a minute; then it is not heard
}

// TURNServer is a server of somebody else, such as coturn.
type TURNServer struct {
	URLs       []string `yaml:"urls"`        // stun:host:port, turn:host:port?transport=udp, turns:host:port
	SecretFile string   `yaml:"secret_file"` // coturn's static-auth-secret; "": it needs no credentials
}

func defaultTURN() TURN {
	return TURN{
		Listen: []string{"127.0.0.1:3478"}, RelayPorts: "49160-50159", Realm: "petrel", Credentials: 10 * time.Minute,
		Limits: TURNLimits{
			Allocations: 1000, AllocationsPerUser: 40, AllocationsPerAddress: 200,
			Bandwidth: 2 * MiB, TotalBandwidth: 128 * MiB, Lifetime: 12 * time.Hour,
			Permissions: 64, Connections: 2000, ConnectionsPerAddress: 200, Failures: 30,
		},
	}
}

// On reports whether there is a TURN server of our own.
func (t TURN) On(dev bool) bool { return t.Enabled == "true" || t.Enabled == "" && dev }

// ParsePorts reads 49160-50159.
func ParsePorts(s string) (first, last uint16, err error) {
	low, high, _ := strings.Cut(s, "-")
	a, errA := strconv.ParseUint(low, 10, 16)
	b, errB := strconv.ParseUint(high, 10, 16)
	if errA != nil || errB != nil || a < 1024 || b < a {
		return 0, 0, fmt.Errorf("%q must be two ports from 1024 on, like 49160-50159", s)
	}
	return uint16(a), uint16(b), nil
}
