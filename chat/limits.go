package chat

// Limits bounds what the rules let through. Start from [DefaultLimits]: a zero limit lets nothing
// through.
type Limits struct {
	GroupMembers int // most members of a group, its owner included
	TextBytes    int // Event.Text
	EventBytes   int // everything that the sender sets in an event, added up
	ExtBytes     int // Event.Ext
}

// DefaultLimits returns the limits that the protocol states (PROTOCOL: Limits).
func DefaultLimits() Limits {
	return Limits{GroupMembers: 5000, TextBytes: 64 << 10, EventBytes: 128 << 10, ExtBytes: 4 << 10}
}

// Bounds that the protocol or the storage layout fix; not configurable.
const (
	maxIDBytes    = 64
	maxEmojiBytes = 64
	maxTitleBytes = 128
	maxAboutBytes = 1024
	// As much as MQTT 5's Message Expiry Interval can say, [MQTT-3.3.2.3.3]; At + Expire in ms cannot
	// overflow below it.
	maxExpire = 1<<32 - 1
	// Ten years: what is longer was meant as no end, or as a point in time.
	maxSettingSeconds = 10 * 366 * 24 * 3600

	maxRequests    = 500 // requests to join a group that wait
	maxRequestText = 256 // bytes
	maxInvites     = 100 // invitations of a group that hold
	maxInviteUses  = 1_000_000
	maxCodeBytes   = 64
	// How long whoever was denied, or has withdrawn their request, waits until they may ask again, in ms.
	requestPause = 3_600_000
	// The latest point in time that a ban, a mute and an invitation may name: the year 10000, in ms.
	maxTime = 253_402_300_800_000
)
