package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/internal/egress"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// Bounds of one delivery, and of one look into a log.
const (
	batchEvents = 100
	batchBytes  = 256 << 10
	scanMax     = 2000
)

// The headers of a delivery, beside those of its signature.
const (
	headerID       = "Petrel-Webhook"  // which one
	headerDelivery = "Petrel-Delivery" // first and last seq: 17-21
)

// batch is what one delivery has.
type batch struct {
	first, last uint64 // of the events in it; 0: there are none
	seen        uint64 // the log was looked at up to here
	body        []byte
}

// step delivers the next events of a webhook.
func (h *Hooks) step(o *out) outcome {
	k, ok := h.get(o.id)
	if !ok || k.Off != 0 {
		return outcome{}
	}
	g, why, err := h.ended(k.record)
	if err != nil { // the store, or the server, is not in the mood
		h.o.Log.Warn("whether a webhook may go on is not known; it is tried again", "id", o.id, "error", err)
		return outcome{wait: h.o.Backoff.First}
	}
	if why != "" {
		h.turnOff(o.id, why)
		return outcome{}
	}
	pos := h.position(o)
	b, head, err := h.gather(k.record, max(pos.Next, g.since)) // nothing from before the creator's joining
	if err != nil {
		h.o.Log.Error("reading a log for a webhook failed; it is tried again", "id", o.id, "error", err)
		return outcome{wait: h.o.Backoff.Most}
	}
	pos = position{Next: b.seen + 1}
	if b.body == nil {
		h.move(o, pos, "")
		return outcome{more: pos.Next <= head}
	}
	asked, err := h.send(k.record, &b)
	if err == nil {
		h.stats.Delivered.Add(1)
		h.store(&k, pos)
		h.move(o, pos, "")
		return outcome{more: pos.Next <= head}
	}
	return h.failed(o, &k, err, asked)
}

// gather reads events from seq next on, as many as one delivery takes. head is the durable end of the log.
func (h *Hooks) gather(r *record, next uint64) (b batch, head uint64, err error) {
	b.seen = next - 1
	if head, _, err = h.o.Hub.Head(r.Conv); err != nil || next > head {
		return b, head, err
	}
	n, now, full := 0, h.o.Now().UnixMilli(), false
	to := min(head, next+scanMax-1)
	var bad error
	err = h.o.Store.Read(r.Conv, next, to, func(e storage.Entry) bool {
		var ev chat.Event
		if ev, bad = protocol.DecodeStored(e.Data); bad != nil {
			return false
		}
		if ev.Seq = e.Seq; !r.wants(ev.Kind) || ev.Expired(now) {
			b.seen = e.Seq
			return true
		}
		item := protocol.AppendEvent(nil, protocol.ViewJSON, &ev, false)
		if full = n == batchEvents || n > 0 && len(b.body)+len(item) > batchBytes; full {
			return false
		}
		if n == 0 {
			b.first = e.Seq
			b.body = fmt.Appendf(b.body, `{"webhook":%q,"conv":%q,"events":[`, r.ID, r.Conv)
		} else {
			b.body = append(b.body, ',')
		}
		b.body = append(b.body, item...)
		b.last, b.seen = e.Seq, e.Seq
		n++
		return true
	})
	if err = errors.Join(err, bad); err != nil {
		return b, head, err
	}
	if !full {
		b.seen = to // there may be nothing: retention cuts off what nobody fetched in time
	}
	if n > 0 {
		b.body = append(b.body, `]}`...)
	}
	return b, head, nil
}

// errGone says that the endpoint wants no more.
var errGone = errors.New("the endpoint answered 410 Gone")

// send posts a batch. asked is how long the endpoint wants not to be asked again.
func (h *Hooks) send(r *record, b *batch) (asked time.Duration, err error) {
	ctx, cancel := context.WithTimeout(h.sched.ctx, h.settings.Load().Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL, bytes.NewReader(b.body))
	if err != nil {
		return 0, err
	}
	stamp := strconv.FormatInt(h.o.Now().Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "petrel-webhook")
	req.Header.Set(headerID, r.ID)
	req.Header.Set(headerDelivery, fmt.Sprintf("%d-%d", b.first, b.last))
	req.Header.Set(egress.TimestampHeader, stamp)
	req.Header.Set(egress.SignatureHeader, egress.Sign(r.Secret, stamp, b.body))
	resp, err := h.client.Load().Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer) // so that the connection can be used again
	switch {
	case resp.StatusCode >= 200 && resp.StatusCode < 300:
		return 0, nil
	case resp.StatusCode == http.StatusGone:
		return 0, errGone
	}
	return egress.RetryAfter(resp.Header, h.o.Now()), statusError(resp.StatusCode)
}

// statusError is an answer that is none of the good ones.
type statusError int

func (s statusError) Error() string {
	if s >= 300 && s < 400 {
		return fmt.Sprintf("the endpoint answered %d: redirects are not followed, give the webhook the new url", int(s))
	}
	return fmt.Sprintf("the endpoint answered %d", int(s))
}

// describe says what went wrong, without addresses or names: those of the server's own network are not the
// owner's business.
func describe(err error) string {
	var status statusError
	var timeout net.Error
	var name *net.DNSError
	var cert *tls.CertificateVerificationError
	switch {
	case errors.Is(err, errGone), errors.As(err, &status):
		return unwrapURL(err).Error()
	case errors.Is(err, egress.ErrForbidden):
		return "the url leads to an address that webhooks may not go to"
	case errors.As(err, &name):
		return "the name in the url is not known"
	case errors.As(err, &cert):
		return "the certificate of the endpoint is not good"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "the endpoint did not answer in time"
	}
	return "no connection to the endpoint"
}

func unwrapURL(err error) error {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err
}

// failed counts a failure, and gives up after too many.
func (h *Hooks) failed(o *out, k *hook, err error, asked time.Duration) outcome {
	if h.sched.ctx.Err() != nil { // we hung up
		return outcome{}
	}
	h.stats.Failed.Add(1)
	what, now := describe(err), h.o.Now().UnixMilli()
	pos := h.position(o)
	if pos.Failed++; pos.Since == 0 {
		pos.Since = now
	}
	h.store(k, pos)
	h.move(o, pos, what)
	h.o.Log.Debug("delivering to a webhook failed", "id", o.id, "failed", pos.Failed, "cause", what)
	switch {
	case errors.Is(err, errGone):
		h.turnOff(o.id, what)
	case pos.Failed >= h.o.Backoff.Times || now-pos.Since >= h.o.Backoff.Age.Milliseconds():
		h.turnOff(o.id, fmt.Sprintf("delivering failed %d times, lately because %s", pos.Failed, what))
	default:
		return outcome{wait: h.backoff(pos.Failed, asked)}
	}
	return outcome{}
}

func (h *Hooks) position(o *out) position {
	h.mu.Lock()
	defer h.mu.Unlock()
	return o.pos
}

// move takes over a position.
func (h *Hooks) move(o *out, pos position, last string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o.pos, o.last = pos, last
}

// store writes a position, unless the webhook was removed meanwhile. What is not stored is delivered again
// after a restart.
func (h *Hooks) store(k *hook, pos position) {
	h.making.Lock()
	defer h.making.Unlock()
	if _, ok := h.get(k.ID); !ok {
		return
	}
	b := &storage.Batch{Vital: true}
	b.Set(nextKey(k.ID, k.Conv), storage.Marshal(&pos))
	if err := h.o.Commit(b); err != nil {
		h.o.Log.Warn("the position of a webhook was not stored; some is delivered again", "id", k.ID, "error", err)
	}
}
