package broker

import (
	"log/slog"
	"math"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/petrelchat/petrel/broker/auth"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/broker/delivery"
	"github.com/petrelchat/petrel/broker/plain"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/hooks"
)

// inboundAliases is our Topic Alias Maximum.
const inboundAliases = 64

func chatLimits(c *config.Config) chat.Limits {
	l := chat.DefaultLimits()
	l.GroupMembers = c.Limits.GroupMembers
	l.EventBytes = int(c.Limits.Event)
	return l
}

func deliveryLimits(c *config.Config) delivery.Limits {
	l := &c.Limits
	return delivery.Limits{
		Timeout: l.WriteTimeout, Window: l.Inflight, Window3: l.InflightV3, Retained: int64(l.Retained),
		Queue: plain.Limits{Messages: int64(l.Queue.Messages), Bytes: int64(l.Queue.Bytes), UserBytes: int64(l.Queue.BytesPerUser)},
	}
}

func settings(c *config.Config) hooks.Settings {
	l := &c.Limits
	return hooks.Settings{
		Dev: c.Dev, ConnectTimeout: l.ConnectTimeout, WriteTimeout: l.WriteTimeout,
		Packet: uint32(l.Packet), PacketBeforeAuth: uint32(l.PacketBeforeAuth), Event: int(l.Event),
		EventsPerSecond: l.EventsPerSecond, RequestsPerSecond: l.RequestsPerSecond, Burst: l.Burst,
		Connections: l.Connections, PerAddress: l.ConnectionsPerAddress, Subscriptions: l.Subscriptions,
		TopicLevels: l.TopicLevels, UserProperties: l.UserProperties, SessionsPerUser: l.SessionsPerUser,
		SessionExpiryV3: c.Retention.SessionExpiryV3, SessionExpiryMax: c.Retention.SessionExpiryMax,
		KeepAlive: c.KeepAlive.Server, KeepAliveMax: c.KeepAlive.Max, Aliases: inboundAliases,
		ReceiveMaximum: uint16(l.ReceiveMaximum), DenyFilters: c.DenyFilters, Admins: c.Admins, General: General,
	}
}

// mochiOptions reduces the library to what it is used for: codec, hook points, $SYS.
func mochiOptions(c *config.Config, log *slog.Logger) *mqtt.Options {
	caps := mqtt.NewDefaultServerCapabilities()
	caps.MaximumPacketSize = uint32(c.Limits.Packet)
	caps.MaximumClientWritesPending = 1 // its queue is used for $SYS only
	caps.MaximumSessionExpiryInterval = math.MaxUint32
	caps.MaximumMessageExpiryInterval = 0
	caps.TopicAliasMaximum = inboundAliases
	caps.ReceiveMaximum = delivery.InboundMax
	caps.MaximumInflight = delivery.InboundMax
	return &mqtt.Options{
		Capabilities: caps, InlineClient: true, SysTopicResendInterval: 10,
		ClientNetReadBufferSize: 16, ClientNetWriteBufferSize: 1 << 10,
		Logger: slog.New(quiet{log.Handler()}),
	}
}

func jwtOptions(c *config.Config) auth.JWTOptions {
	j := c.Auth.JWT
	o := auth.JWTOptions{Issuer: j.Issuer, Audience: j.Audience, Leeway: j.Leeway, NoCreate: !j.Create, Admin: j.Admin}
	if o.Leeway == 0 { // which is the package's default there, and none here
		o.Leeway = time.Nanosecond
	}
	for _, k := range j.Keys {
		o.Keys = append(o.Keys, auth.JWTKey{ID: k.KID, Algorithm: k.Alg, File: k.File})
	}
	return o
}

func acl(c *config.Config) []auth.Rule {
	rules := make([]auth.Rule, 0, len(c.ACL))
	for _, r := range c.ACL {
		rules = append(rules, auth.Rule{Users: r.Users, Filter: r.Filter, Read: r.Read, Write: r.Write, Deny: r.Deny})
	}
	return rules
}
