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
)
