package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// The kinds of registrations.
const (
	WebPush     = "webpush"
	UnifiedPush = "unifiedpush"
	FCM         = "fcm"
	APNs        = "apns"
	Webhook     = "webhook"
)

const kinds = 5

// Kinds returns all kinds of registrations, in the order of their indexes.
func Kinds() []string { return []string{WebPush, UnifiedPush, FCM, APNs, Webhook} }

// KindIndex is where a kind stands in the arrays of [Stats]; -1 for what is no kind.
func KindIndex(kind string) int { return slices.Index(Kinds(), kind) }

// Offers returns the kinds that this server has a sender for.
func (s *Service) Offers() []string {
	return slices.DeleteFunc(Kinds(), func(kind string) bool { return s.o.Senders[kind] == nil })
}

// What a notification is about.
const (
	AboutMessages = "messages"
	AboutMention  = "mention" // one of the messages mentions the user
	AboutCall     = "call"
	AboutDigest   = "digest" // several conversations, after quiet hours
	AboutTest     = "test"
)

// Notification is what a device is told. In a private one Conv, Seq, Title and Text are empty, and Body
// says how many messages there are at most.
type Notification struct {
	ID      string // opaque; the same when it is sent again
	Topic   string // opaque name of the conversation, 32 characters: a newer one replaces an older
	About   string
	Call    string // about a call that rings
	Exp     int64  // ms since 1970: it rings until then
	Conv    string
	Seq     uint64 // newest event that it tells of
	Count   int    // messages
	Title   string // the group's title, or the other user's name
	Body    string // the summary: Ana: 3 messages in Climbing
	Text    string // beginning of the newest message
	Badge   uint64 // the user's unread messages in conversations that are not muted
	At      int64  // ms since 1970, of the newest event
	Private bool
	Urgent  bool
	TTL     time.Duration // for the push service to keep it
}

// Line is what to show of it in one line under the title.
func (n *Notification) Line() string {
	if n.Text != "" && n.Count == 1 {
		return n.Text
	}
	return n.Body
}

// Sender brings notifications to devices by one kind of push service. Send may be called from many
// goroutines. It returns nil when the service has taken it, [ErrGone], a [*Later], or any other error: then it is not
// tried again. Its errors name no endpoint, token or text.
type Sender interface {
	Send(ctx context.Context, r *Registration, n *Notification) error
}

// ErrGone says that the service does not know the registration any more; it is removed.
var ErrGone = errors.New("the push service does not know this registration any more")

// Later says that sending failed in a way that may pass.
type Later struct {
	After time.Duration // as the service said; 0: it did not
	Err   error
}

func (l *Later) Error() string { return fmt.Sprintf("for now: %v", l.Err) }
func (l *Later) Unwrap() error { return l.Err }
