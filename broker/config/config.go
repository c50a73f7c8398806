// Package config is the configuration of a petrel server: one YAML file, environment variables above
// it, command-line flags above both.
//
// Start with [Load], which returns a complete and valid [Config] or [Faults], all of them at once, each
// with the line and what would be right. [Default] is what an empty file means; docs/petrel.yaml shows
// every setting with its default. The package keeps no state and changes nothing outside it; it reads
// the file, and looks whether the files exist that the settings name.
//
// Durations are written 300ms, 10s, 15m, 12h, 30d or joined (1d12h); sizes 512B, 64KiB, 1MiB, 2GiB.
// The variable of a setting is PETREL_ and its key path in capitals: limits.connect_timeout is
// PETREL_LIMITS_CONNECT_TIMEOUT, mqtt[1].addr is PETREL_MQTT_1_ADDR, and PETREL_MQTT_ADDR is the
// first listener's. Lists of words are separated by commas there. No setting holds a secret: keys and
// certificates are named by their files, so that a configuration can be shown to anybody.
package config

import (
	"strconv"
	"time"
)

// Size is a number of bytes.
type Size int64

// Sizes in bytes.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
)

const day = 24 * time.Hour

// Config is the whole file. The tag reload marks what a running server takes over on SIGHUP; see [Diff].
// A Config is a value: whoever holds one may read it from any goroutine, and nobody changes it.
type Config struct {
	Data        string     `yaml:"data"`                    // directory of everything that survives
	Dev         bool       `yaml:"dev"`                     // loopback only, any password; see Validate
	PublicURL   string     `yaml:"public_url" reload:"yes"` // where people reach this server with a browser; "": nowhere
	MQTT        []Listener `yaml:"mqtt"`                    // MQTT over TCP, TLS or a Unix socket
	HTTP        HTTP       `yaml:"http"`                    // WebSocket, health and metrics
	Metrics     Metrics    `yaml:"metrics"`
	Limits      Limits     `yaml:"limits" reload:"yes"`
	Retention   Retention  `yaml:"retention" reload:"yes"`
	Presence    Presence   `yaml:"presence" reload:"yes"`
	People      People     `yaml:"people" reload:"yes"`
	KeepAlive   KeepAlive  `yaml:"keep_alive" reload:"yes"`
	Auth        Auth       `yaml:"auth"`
	ACL         []Rule     `yaml:"acl" reload:"yes"`          // plain topics; without a rule that allows: refused
	DenyFilters []string   `yaml:"deny_filters" reload:"yes"` // subscriptions to exactly these filters are refused
	Admins      []string   `yaml:"admins" reload:"yes"`       // user ids that may call rpc/admin.* and read $SYS
	Webhooks    Webhooks   `yaml:"webhooks" reload:"yes"`
	Search      Search     `yaml:"search"`
	Notify      Notify     `yaml:"notify"`
	Calls       Calls      `yaml:"calls"`
	TURN        TURN       `yaml:"turn"`
	SFU         SFU        `yaml:"sfu"`
	Log         Log        `yaml:"log"`
	Storage     Storage    `yaml:"storage"`
}

// Listener is one MQTT listener: Addr or Unix, not both.
type Listener struct {
	Addr           string   `yaml:"addr"`      // host:port; port 0 takes a free one
	Unix           string   `yaml:"unix"`      // path of a Unix socket
	UnixMode       string   `yaml:"unix_mode"` // its permissions, octal; "" is 0600
	TLS            TLS      `yaml:"tls"`
	ProxyProtocol  bool     `yaml:"proxy_protocol"`  // a PROXY header (v1 or v2) opens every connection
	TrustedProxies []string `yaml:"trusted_proxies"` // addresses or prefixes that may send one
}

// TLS is switched on by Cert and Key, PEM files both.
type TLS struct {
	Cert       string `yaml:"cert"`
	Key        string `yaml:"key"`
	ClientCA   string `yaml:"client_ca"`   // who signs client certificates
	ClientAuth string `yaml:"client_auth"` // none, request or require; "" is none
}

// On says whether the listener speaks TLS.
func (t TLS) On() bool { return t.Cert != "" || t.Key != "" }

// HTTP is the listener for WebSocket, /healthz, /readyz and /metrics.
type HTTP struct {
	Addr           string   `yaml:"addr"` // host:port; "" for no HTTP at all
	TLS            TLS      `yaml:"tls"`
	Path           string   `yaml:"path"`                 // where MQTT over WebSocket is
	Origins        []string `yaml:"origins" reload:"yes"` // scheme://host[:port] that may connect beside the server's own host
	TrustedProxies []string `yaml:"trusted_proxies"`      // whose X-Forwarded-For is believed
}

// Metrics says where /metrics is.
type Metrics struct {
	Addr string `yaml:"addr"` // "": on the http listener; otherwise on a listener of its own
}

// Limits bound what a client can make the server hold or do. 0 is unlimited only where it says so.
type Limits struct {
	ConnectTimeout        time.Duration `yaml:"connect_timeout"`         // from accept to a complete CONNECT, TLS and PROXY header included
	WriteTimeout          time.Duration `yaml:"write_timeout"`           // a client that takes nothing for so long is cut
	DrainTimeout          time.Duration `yaml:"drain_timeout"`           // for a shutdown
	Packet                Size          `yaml:"packet"`                  // longest MQTT packet
	PacketBeforeAuth      Size          `yaml:"packet_before_auth"`      // longest CONNECT
	Event                 Size          `yaml:"event"`                   // longest event of a conversation
	GroupMembers          int           `yaml:"group_members"`           // in one group
	RequestsPerSecond     int           `yaml:"requests_per_second"`     // rpc calls of a user; 0: unlimited
	EventsPerSecond       int           `yaml:"events_per_second"`       // publishes of a user; 0: unlimited
	Burst                 int           `yaml:"burst"`                   // seconds' worth of both that may come at once
	Connections           int           `yaml:"connections"`             // in all; 0: unlimited
	ConnectionsPerAddress int           `yaml:"connections_per_address"` // 0: unlimited
	Subscriptions         int           `yaml:"subscriptions"`           // of a session
	TopicLevels           int           `yaml:"topic_levels"`            // of a topic or filter
	Inflight              int           `yaml:"inflight"`                // unacknowledged messages to a client of MQTT 5
	InflightV3            int           `yaml:"inflight_v3"`             // and to one of MQTT 3.1.1
	ReceiveMaximum        int           `yaml:"receive_maximum"`         // unacknowledged messages from a client of MQTT 5; stated to it below 65535
	UserProperties        int           `yaml:"user_properties"`         // of a packet
	SessionsPerUser       int           `yaml:"sessions_per_user"`       // that outlive their connections
	Retained              int           `yaml:"retained"`                // retained messages on plain topics, in all
	Queue                 Queue         `yaml:"queue"`
}

// Queue bounds the plain messages that wait on disk for a session that is away or slow. Conversations
// need no such bound: nothing is queued for them.
type Queue struct {
	Messages     int  `yaml:"messages"`       // per session
	Bytes        Size `yaml:"bytes"`          // per session
	BytesPerUser Size `yaml:"bytes_per_user"` // for all sessions of a user together
}

// Retention says how long things are kept.
type Retention struct {
	LogLength        int           `yaml:"log_length"`         // events of a conversation; 0: all
	LogAge           time.Duration `yaml:"log_age"`            // 0: for ever
	SessionExpiryV3  time.Duration `yaml:"session_expiry_v3"`  // of MQTT 3.1.1 sessions, which can't say it themselves
	SessionExpiryMax time.Duration `yaml:"session_expiry_max"` // MQTT 5 sessions that ask for more get this
	RetryKeys        time.Duration `yaml:"retry_keys"`         // how long an event's id is remembered against retries
	Reads            time.Duration `yaml:"reads"`              // how long it is kept who moved which cursor when; 0: not at all
}

// Presence says how calm presence is.
type Presence struct {
	Coalesce time.Duration `yaml:"coalesce"` // changes within this time become one
}

// People says what users are to one another who have not said it themselves.
type People struct {
	// Messages is from whom direct messages are taken: anyone, requests (those of strangers wait until they are
	// accepted), shared (strangers are refused); "": anyone in dev mode, requests otherwise.
	Messages string `yaml:"messages"`
}

// KeepAlive bounds the clients' keep-alive. Whole seconds, as the protocol has them.
type KeepAlive struct {
	Server time.Duration `yaml:"server"` // Server Keep Alive for everybody [MQTT-3.1.2-21]; 0: the client's own
	Max    time.Duration `yaml:"max"`    // most that a client may ask for (0 asks for ever); 0: no bound
}

// Auth says how users prove who they are.
type Auth struct {
	Argon2       Argon2       `yaml:"argon2"`
	JWT          JWT          `yaml:"jwt" reload:"yes"`
	Certificates Certificates `yaml:"certificates"`
	Throttle     Throttle     `yaml:"throttle"`
}

// Argon2 is the cost of new password hashes (argon2id, RFC 9106). Old ones keep theirs until the
// password is set again.
type Argon2 struct {
	Memory  Size `yaml:"memory"`
	Time    int  `yaml:"time"`
	Threads int  `yaml:"threads"`
}

// JWT says which tokens are accepted as passwords. Without keys, none.
type JWT struct {
	Keys     []JWTKey      `yaml:"keys"`
	Issuer   string        `yaml:"issuer"`   // required iss; "" for any
	Audience string        `yaml:"audience"` // required aud; "" for any
	Leeway   time.Duration `yaml:"leeway"`   // for clocks that differ
	Create   bool          `yaml:"create"`   // the account comes into being with its first token
	Admin    bool          `yaml:"admin"`    // the claim "admin": true makes an administrator
}

// JWTKey is one key that verifies tokens.
type JWTKey struct {
	File string `yaml:"file"` // the secret itself for HS256, a PEM public key otherwise
	Alg  string `yaml:"alg"`  // HS256, RS256, ES256 or EdDSA
	KID  string `yaml:"kid"`  // for tokens with this kid; "" for those without a matching one
}

// Certificates is about users who show a client certificate (mqtt[].tls.client_auth).
type Certificates struct {
	Create bool `yaml:"create"` // the account comes into being with its first connection
}

// Throttle slows guessing: after Failures wrong passwords within Window the address and the user wait
// Delay, doubled with each further one up to Max.
type Throttle struct {
	Failures int           `yaml:"failures"`
	Window   time.Duration `yaml:"window"` // a quiet one is forgiven after it, too
	Delay    time.Duration `yaml:"delay"`
	Max      time.Duration `yaml:"max"`
}

// Rule lets users read or write plain topics, or with Deny forbids it. What no rule lets is forbidden, and
// a rule with Deny wins over all others, wherever it stands.
type Rule struct {
	Users  []string `yaml:"users"`  // user ids; * is every authenticated user, guest whoever gave no name
	Filter string   `yaml:"filter"` // topic filter; %u is the user, %c the client id
	Read   bool     `yaml:"read"`
	Write  bool     `yaml:"write"`
	Deny   bool     `yaml:"deny"`
}

// Search is about the index that messages and public groups are found by.
type Search struct {
	Enabled bool `yaml:"enabled"`
	Share   int  `yaml:"share"` // percent of one processor that indexing takes while messages flow
	Cache   Size `yaml:"cache"` // memory of each of its three connections to its file
}

// Webhooks says what webhooks may do.
type Webhooks struct {
	PerSecond    int           `yaml:"per_second"`    // posts to an incoming one, and twice that from one address; 0: unlimited
	Timeout      time.Duration `yaml:"timeout"`       // of one delivery of an outgoing one
	AllowPrivate bool          `yaml:"allow_private"` // outgoing ones may go into private networks, and to http://
}

// Notify is about telling those who are away.
type Notify struct {
	Window  time.Duration `yaml:"window" reload:"yes"`   // what comes within it is one notification
	PerHour int           `yaml:"per_hour" reload:"yes"` // for a conversation of a user; mentions and calls may be as many again
	TTL     time.Duration `yaml:"ttl" reload:"yes"`      // how long one is tried, and kept by a push service
	Private bool          `yaml:"private" reload:"yes"`  // no text and no names in any
	Workers int           `yaml:"workers" reload:"yes"`  // users that are told at a time
	Contact string        `yaml:"contact"`               // of the operator, for push services: mailto: or https:
	Allow   []string      `yaml:"allow"`                 // addresses that are not public where endpoints may be all the same
	FCM     FCM           `yaml:"fcm"`
	APNs    APNs          `yaml:"apns"`
}

// Calls are audio and video calls.
type Calls struct {
	Enabled       bool `yaml:"enabled"`
	PerUser       int  `yaml:"per_user" reload:"yes"`        // live ones that a user takes part in
	Parties       int  `yaml:"parties"`                      // of one; the SFU makes room for them when it starts
	Rung          int  `yaml:"rung" reload:"yes"`            // members of a group that are rung by a call which names nobody
	StartsPerPair int  `yaml:"starts_per_pair" reload:"yes"` // that a user starts in a conversation, a minute
	StartsPerUser int  `yaml:"starts_per_user" reload:"yes"` // that a user starts, a minute
	Signals       int  `yaml:"signals" reload:"yes"`         // that a user sends, a minute
}

// FCM is Firebase Cloud Messaging, on with Credentials.
type FCM struct {
	Credentials string `yaml:"credentials"` // a service account's JSON file
	Endpoint    string `yaml:"endpoint"`
}

// APNs is the Apple Push Notification service, on with Key.
type APNs struct {
	Key    string `yaml:"key"` // the .p8 file of a signing key
	KeyID  string `yaml:"key_id"`
	TeamID string `yaml:"team_id"`
	Topic  string `yaml:"topic"` // the app's bundle id
	Host   string `yaml:"host"`
}

// Log says what is written to stderr.
type Log struct {
	Level  string `yaml:"level" reload:"yes"` // trace, debug, info, warn or error
	Format string `yaml:"format"`             // text or json
}

// Storage is the store's part.
type Storage struct {
	Cache    Size `yaml:"cache"`    // memory for blocks that were read
	Memtable Size `yaml:"memtable"` // memory for writes before they become a table
	MinFree  Size `yaml:"min_free"` // below so much free disk, publishers are refused
	Reserve  Size `yaml:"reserve"`  // ballast file that is given up when the disk is full all the same
}

// Default returns what an empty file means.
func Default() Config {
	return Config{
		Data: "petrel-data",
		MQTT: []Listener{{Addr: "127.0.0.1:1883"}},
		HTTP: HTTP{Addr: "127.0.0.1:8080", Path: "/mqtt"},
		Limits: Limits{
			ConnectTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, DrainTimeout: 10 * time.Second,
			Packet: MiB, PacketBeforeAuth: 64 * KiB, Event: 128 * KiB,
			GroupMembers:      5000,
			RequestsPerSecond: 100, EventsPerSecond: 200, Burst: 2,
			Connections: 100_000, ConnectionsPerAddress: 1000,
			Subscriptions: 1000, TopicLevels: 32,
			Inflight: 256, InflightV3: 20, ReceiveMaximum: 65_535,
			UserProperties: 32, SessionsPerUser: 64, Retained: 1_000_000,
			Queue: Queue{Messages: 100_000, Bytes: 64 * MiB, BytesPerUser: 256 * MiB},
		},
		Retention: Retention{SessionExpiryV3: 30 * day, SessionExpiryMax: 365 * day, RetryKeys: 30 * day, Reads: 30 * day},
		Presence:  Presence{Coalesce: 3 * time.Second},
		Auth: Auth{
			// OWASP's recommendation: a storm of reconnects must not need 64 MiB each.
			Argon2:       Argon2{Memory: 19 * MiB, Time: 2, Threads: 1},
			JWT:          JWT{Leeway: 30 * time.Second, Create: true},
			Certificates: Certificates{Create: true},
			Throttle:     Throttle{Failures: 5, Window: 10 * time.Minute, Delay: time.Second, Max: 5 * time.Minute},
		},
		ACL: []Rule{
			{Users: []string{"*"}, Filter: "%u/#", Read: true, Write: true},
			{Users: []string{"*"}, Filter: "public/#", Read: true, Write: true},
		},
		Webhooks: Webhooks{PerSecond: 10, Timeout: 10 * time.Second},
		Search:   Search{Enabled: true, Share: 15, Cache: 8 * MiB},

		Notify: Notify{
			Window: 5 * time.Second, PerHour: 10, TTL: day, Workers: 32,
			FCM: FCM{Endpoint: "https://fcm.googleapis.com"}, APNs: APNs{Host: "https://api.push.apple.com"},
		},
		TURN:    defaultTURN(),
		SFU:     defaultSFU(),
		Calls:   Calls{Enabled: true, PerUser: 4, Parties: 100, Rung: 32, StartsPerPair: 10, StartsPerUser: 30, Signals: 1500},
		Log:     Log{Level: "info", Format: "text"},
		Storage: Storage{Cache: 8 * MiB, Memtable: 4 * MiB, MinFree: 256 * MiB, Reserve: 64 * MiB},
	}
}

// ListenerName is the id of the i-th MQTT listener in logs and metrics: mqtt, mqtt-1, mqtt-2 …
func ListenerName(i int) string {
	if i == 0 {
		return "mqtt"
	}
	return "mqtt-" + strconv.Itoa(i)
}
