package push

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/petrelchat/petrel/broker/notify"
	"github.com/petrelchat/petrel/internal/egress"
)

// Payload is what Web Push, UnifiedPush and webhooks carry, and FCM and APNs beside what they show.
type Payload struct {
	V       int    `json:"v"` // 1
	ID      string `json:"id"`
	Topic   string `json:"topic"`
	About   string `json:"about"`
	Conv    string `json:"conv,omitempty"`
	Seq     uint64 `json:"seq,omitempty"`
	Count   int    `json:"count,omitempty"`
	Title   string `json:"title,omitempty"`
	Body    string `json:"body,omitempty"`
	Text    string `json:"text,omitempty"`
	Badge   uint64 `json:"badge"`
	At      int64  `json:"at"`
	Private bool   `json:"private,omitempty"`
	User    string `json:"user,omitempty"` // webhooks: whose notification it is
	Device  string `json:"device,omitempty"`
	Call    string `json:"call,omitempty"` // it rings
	Exp     int64  `json:"exp,omitempty"`  // until then, ms
}

// payload is what one notification says.
func payload(n *notify.Notification) Payload {
	return Payload{
		V: 1, ID: n.ID, Topic: n.Topic, About: n.About, Conv: n.Conv, Seq: n.Seq, Count: n.Count,
		Title: n.Title, Body: n.Body, Text: n.Text, Badge: n.Badge, At: n.At, Private: n.Private,
		Call: n.Call, Exp: n.Exp,
	}
}

func (p Payload) encode() []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(p); err != nil { // it has strings and numbers only
		panic("push: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// replyMax is how much of an answer is read.
const replyMax = 16 << 10

// errRefused is a final refusal.
var errRefused = errors.New("the service refused the notification")

// judge says what an answer means, as push services use the codes of HTTP (RFC 8030 §5, §6). It reads and closes the body.
func judge(res *http.Response, now time.Time) error {
	drain(res)
	switch code := res.StatusCode; {
	case code >= 200 && code < 300:
		return nil
	case code == http.StatusNotFound || code == http.StatusGone: // RFC 8030 §7.3
		return notify.ErrGone
	case code == http.StatusTooManyRequests || code == http.StatusRequestTimeout || code == http.StatusTooEarly || code >= 500:
		return &notify.Later{After: egress.RetryAfter(res.Header, now), Err: status(code)}
	default:
		return fmt.Errorf("%w: %w", errRefused, status(code))
	}
}

func status(code int) error { return fmt.Errorf("HTTP status %d", code) }

// drain lets the connection be used again.
func drain(res *http.Response) {
	_, _ = io.CopyN(io.Discard, res.Body, replyMax)
	_ = res.Body.Close()
}

// failed says what it means that there was no answer. An address that must not be called stays so.
func failed(err error) error {
	if errors.Is(err, egress.ErrForbidden) {
		return egress.ErrForbidden
	}
	return &notify.Later{Err: bare(err)}
}
