package client

import "context"

// PushCalls are the calls about notifications to devices that are away: see [Caller]. A server that has none knows no such
// method (not-found).
type PushCalls struct{ Via Caller }

// PushKey is what a server offers.
type PushKey struct {
	Key   string   `json:"key"`   // what browsers subscribe with: applicationServerKey, RFC 8292
	Kinds []string `json:"kinds"` // webpush, unifiedpush, fcm, apns, webhook: as far as it has them
}

// Key returns what the server offers.
func (p PushCalls) Key(ctx context.Context) (PushKey, error) {
	return call[PushKey](ctx, p.Via, "push.key", nil)
}

// PushKeys are those of a browser's PushSubscription, base64url.
type PushKeys struct {
	P256dh string `json:"p256dh"`
	Auth   string `json:"auth"`
}

// NewPush is where notifications are to go.
type NewPush struct {
	Name     string    `json:"name,omitempty"`     // the device's, at most 128 bytes; "": the client id that asks
	Kind     string    `json:"kind"`               // webpush, unifiedpush, fcm, apns, webhook
	Endpoint string    `json:"endpoint,omitempty"` // webpush, unifiedpush, webhook: https://…
	Token    string    `json:"token,omitempty"`    // fcm, apns
	Keys     *PushKeys `json:"keys,omitempty"`     // webpush; unifiedpush, if the app decrypts
	Secret   string    `json:"secret,omitempty"`   // webhook: 16 to 256 bytes; "": the server makes one
	Private  bool      `json:"private,omitempty"`  // no text and no names
	Lang     string    `json:"lang,omitempty"`     // of the summary: en, de, fr, es
}

// PushRegistration is where notifications go.
type PushRegistration struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Host    string `json:"host,omitempty"` // of the endpoint
	Private bool   `json:"private,omitempty"`
	Lang    string `json:"lang,omitempty"`
	Created Millis `json:"created"`
	Secret  string `json:"secret,omitempty"` // of a webhook, if the server made it: this once
}

// Register has notifications sent to a device, in place of what its name had before. A user has at most 20 (conflict).
func (p PushCalls) Register(ctx context.Context, r NewPush) (PushRegistration, error) {
	return call[PushRegistration](ctx, p.Via, "push.register", &r)
}

// List returns all registrations.
func (p PushCalls) List(ctx context.Context) ([]PushRegistration, error) {
	type list struct {
		Pushes []PushRegistration `json:"pushes"`
	}
	reply, err := call[list](ctx, p.Via, "push.list", nil)
	return reply.Pushes, err
}

type wireName struct {
	Name string `json:"name,omitempty"`
}

// Remove ends a registration; name "": that of the client id that asks. There is none: not-found.
func (p PushCalls) Remove(ctx context.Context, name string) error {
	return p.Via.Call(ctx, "push.remove", wireName{name}, nil)
}

// Test sends a notification and returns when the push service took it; name "": to the client id that asks. Once in 10 s
// (rate-limited).
func (p PushCalls) Test(ctx context.Context, name string) error {
	return p.Via.Call(ctx, "push.test", wireName{name}, nil)
}

// PushSettings are what a user wants of notifications. In a change, nil leaves a field as it is; a reply has all that is
// set.
type PushSettings struct {
	Private  *bool       `json:"private,omitempty"`  // no text and no names, on no device
	Mentions *string     `json:"mentions,omitempty"` // of muted conversations: all (told) or muted (silent too)
	Quiet    *QuietHours `json:"quiet,omitempty"`    // nil in a reply: none
}

// QuietHours are when nothing is told; at their end all of it is, in one.
type QuietHours struct {
	From int    `json:"from"` // minutes since midnight
	To   int    `json:"to"`   // the same; before From: over midnight; From: none
	Zone string `json:"zone"` // IANA name: Europe/Berlin
}

// Settings returns what the user wants of notifications.
func (p PushCalls) Settings(ctx context.Context) (PushSettings, error) {
	return p.SetSettings(ctx, PushSettings{})
}

// SetSettings changes what is not nil and returns all settings.
func (p PushCalls) SetSettings(ctx context.Context, change PushSettings) (PushSettings, error) {
	return call[PushSettings](ctx, p.Via, "push.settings", &change)
}
