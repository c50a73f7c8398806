package client

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/internal/link"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/protocol"
)

// seqOf is the seq that a PUBACK tells; 0: none.
func seqOf(a link.Ack) uint64 {
	seq, _ := strconv.ParseUint(a.Property("seq"), 10, 64)
	return seq
}

// encodeAll passes entries through the codec that are sent for the first time. What it made of one is kept: a retry must be
// the same to the byte, or the server takes it for another event with the same id.
func (s *sender) encodeAll(ctx context.Context, picks []pick) []pick {
	if s.codec == nil {
		return picks
	}
	for i := range picks {
		p := &picks[i]
		if p.no != nil {
			continue
		}
		err := s.read(ctx, func(r store.Reader) (err error) {
			p.wire, err = r.Meta(metaWire + p.out.ID)
			return err
		})
		if err != nil {
			return picks[:i]
		}
		if len(p.wire) > 0 {
			continue
		}
		ev := p.out.Event
		if err := s.codec.Out(ctx, p.out.Conv, &ev); err != nil {
			p.no = chat.Refuse(chat.BadRequest, "the message could not be encrypted: %v", err)
			errors.As(err, &p.no)
			continue
		}
		ev.ID, ev.Re, ev.Kind = p.out.Event.ID, p.out.Event.Re, p.out.Event.Kind
		if err := validEvent(&ev); err != nil {
			p.no = chat.Refuse(chat.BadRequest, "what the codec made of the message can't be sent: %v", err)
			errors.As(err, &p.no)
			continue
		}
		p.wire = protocol.AppendEvent(nil, protocol.ViewCBOR, &ev, true)
	}
	return picks
}

// payload is an entry as it goes over the wire.
func (s *sender) payload(out *store.Outgoing, wire []byte) ([]byte, error) {
	if len(wire) == 0 {
		return protocol.AppendEvent(nil, s.view, &out.Event, true), nil
	}
	ev, err := protocol.DecodeEvent(protocol.ViewCBOR, wire)
	if err != nil {
		return nil, err
	}
	ev.Re = out.Event.Re
	return protocol.AppendEvent(nil, s.view, &ev, true), nil
}

// needsUpload reports whether an attachment has not been uploaded yet.
func needsUpload(out *store.Outgoing) bool {
	for i := range out.Attachments {
		if len(out.Attachments[i].Media) == 0 {
			return true
		}
	}
	return false
}

// upload brings the attachments of an entry to where they belong, in a goroutine of its own that ends with the
// connection; one message is uploaded at a time.
func (s *sender) upload(ctx context.Context, out *store.Outgoing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.loads) > 0 {
		return
	}
	s.loads[out.ID] = true
	one := *out
	one.Attachments = append([]store.Attachment(nil), out.Attachments...)
	s.loading.Add(1)
	go func() {
		defer s.loading.Done()
		err := s.uploadAll(ctx, &one)
		if err != nil && ctx.Err() == nil {
			s.log.Warn("an attachment could not be stored", "error", err)
		}
		s.mu.Lock()
		delete(s.loads, one.ID)
		s.mu.Unlock()
		ring(s.wake.outbox)
	}()
}

// uploadAll uploads what is left to upload. Each attachment that is finished stands on disk before the next one begins, so that the end of
// the connection costs one of them at most.
func (s *sender) uploadAll(ctx context.Context, out *store.Outgoing) error {
	var failed error
	for i := range out.Attachments {
		a := &out.Attachments[i]
		if len(a.Media) > 0 {
			continue
		}
		if a.Media, failed = s.uploader.Upload(ctx, out.Conv, *a); failed == nil && len(a.Media) == 0 {
			failed = chat.Refuse(chat.BadRequest, "the Uploader said nothing of the attachment")
		}
		if failed != nil {
			a.Media = nil
			break
		}
		if !needsUpload(out) {
			break // is kept together with what follows from it
		}
		if err := s.keep(ctx, func(ch *change) error { return ch.uploaded(out) }); err != nil {
			return err
		}
	}
	if failed != nil && ctx.Err() != nil {
		return ctx.Err() // the connection ended: that is no failure of the upload
	}
	return s.keep(ctx, func(ch *change) error { return s.uploadEnded(ch, out, failed) })
}

// keep stores what an upload came to, also when its connection has just ended.
func (s *sender) keep(ctx context.Context, fn func(*change) error) error {
	err := s.persist(ctx, fn)
	if err != nil && ctx.Err() != nil {
		return s.update(context.WithoutCancel(ctx), fn)
	}
	return err
}

// uploaded notes which attachments have been uploaded.
func (ch *change) uploaded(out *store.Outgoing) error {
	now, err := ch.tx.Outgoing(out.ID)
	if err != nil || now.State != store.Queued && now.State != store.Sending {
		return ignoreNotFound(err) // cancelled meanwhile
	}
	now.Attachments = slices.Clone(out.Attachments)
	return ch.tx.PutOutgoing(now)
}

// uploadEnded stores how the uploads of an entry ended.
func (s *sender) uploadEnded(ch *change, out *store.Outgoing, failed error) error {
	now, err := ch.tx.Outgoing(out.ID)
	if err != nil || now.State != store.Queued && now.State != store.Sending {
		return ignoreNotFound(err) // cancelled meanwhile
	}
	no := new(chat.Refusal)
	if errors.As(failed, &no) {
		return ch.failedAs(out.ID, no)
	}
	now.Attachments = out.Attachments
	if failed != nil {
		now.Attempts++
		now.Next = ch.millis() + s.backoff(now.Attempts).Milliseconds()
		now.Reason = failed.Error()
		ch.toldOut(&now)
		return ch.tx.PutOutgoing(now)
	}
	now.Event.Media, now.Reason = mediaOf(out.Attachments), ""
	if err := validEvent(&now.Event); err != nil {
		errors.As(err, &no)
		return ch.failedAs(out.ID, no)
	}
	return ch.tx.PutOutgoing(now)
}

// mediaOf is the CBOR array of what the uploader said of each attachment, RFC 8949 §3.
func mediaOf(list []store.Attachment) []byte {
	var out []byte
	if n := len(list); n < 24 {
		out = []byte{0x80 | byte(n)}
	} else {
		out = []byte{0x98, byte(min(n, 255))}
	}
	for i := range list {
		out = append(out, list[i].Media...)
	}
	return out
}

// validEvent returns the refusal that the server would answer with, as far as that can be told without it.
func validEvent(ev *chat.Event) error {
	_, err := protocol.DecodeEvent(protocol.ViewCBOR, protocol.AppendEvent(nil, protocol.ViewCBOR, ev, true))
	return err
}

func ignoreNotFound(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}
