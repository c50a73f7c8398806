package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/internal/link"
	"github.com/petrelchat/petrel/protocol"
)

// Call carries out a request of the contract (docs/protocol.md, RPC); there is a typed method for each, see [Caller]. req is a value with json tags,
// nil for none; reply points to one, nil if it is of no interest. While there is no connection it waits for one,
// until ctx ends: then the error is ErrOffline and that of ctx. What the server declines is a *chat.Refusal. ErrOffline alone means that the
// connection ended before the reply came: whether the request was carried out is not known.
func (c *Client) Call(ctx context.Context, method string, req, reply any) error {
	if err := c.alive(); err != nil {
		return err
	}
	ctx, cancel := c.within(ctx)
	defer cancel()
	for {
		if err := c.sess.await(ctx); err != nil {
			return c.offline(ctx)
		}
		err := c.roundTrip(ctx, method, req, reply)
		switch {
		case errors.Is(err, link.ErrDown): // nothing was sent
			continue
		case errors.Is(err, link.ErrLost):
			return fmt.Errorf("%w: it ended before %s was answered", ErrOffline, method)
		case errors.Is(err, link.ErrClosed), c.ctx.Err() != nil && err != nil:
			return ErrClosed
		}
		return err
	}
}

// offline is the error of who waited for a connection in vain.
func (c *Client) offline(ctx context.Context) error {
	if c.ctx.Err() != nil {
		return ErrClosed
	}
	if s := c.board.status(); s.Err != nil {
		return fmt.Errorf("%w: %w (%w)", ErrOffline, ctx.Err(), s.Err)
	}
	return fmt.Errorf("%w: %w", ErrOffline, ctx.Err())
}

// within is ctx, which the client's end ends too.
func (c *Client) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// call is a request of the client's own, which does not wait for long.
func (c *core) call(ctx context.Context, method string, req, reply any) error {
	ctx, cancel := context.WithTimeout(ctx, internalMax)
	defer cancel()
	return c.roundTrip(ctx, method, req, reply)
}

// roundTrip sends a request on the connection of the moment.
func (c *core) roundTrip(ctx context.Context, method string, req, reply any) error {
	body, err := c.request(req)
	if err != nil {
		return fmt.Errorf("client: the request %s can't be encoded: %w", method, err)
	}
	out, err := c.line.Call(ctx, method, body)
	if errors.Is(err, link.ErrTooLarge) {
		return chat.Refuse(chat.TooLarge, "the request is longer than the server takes")
	}
	if err != nil {
		return err
	}
	return parseReply(out, reply)
}

func (c *core) request(req any) ([]byte, error) {
	switch {
	case c.view == protocol.ViewJSON && req == nil:
		return []byte("{}"), nil
	case c.view == protocol.ViewJSON:
		return json.Marshal(req)
	case req == nil:
		return []byte{0xa0}, nil // an empty map, so that the reply is in CBOR
	}
	return cbor.Marshal(req)
}

// parseReply reads {"ok":…} or {"error":…}. The encoding is told by the first byte.
func parseReply(b []byte, reply any) error {
	type refusal struct {
		Code   chat.Code `json:"code"`
		Reason string    `json:"reason"`
	}
	var no *refusal
	var err error
	if len(b) > 0 && b[0] >= 0xa0 && b[0] <= 0xbf {
		var r struct {
			OK    cbor.RawMessage `json:"ok"`
			Error *refusal        `json:"error"`
		}
		if err = cbor.Unmarshal(b, &r); err == nil && r.Error == nil && reply != nil {
			err = cbor.Unmarshal(r.OK, reply)
		}
		no = r.Error
	} else {
		var r struct {
			OK    json.RawMessage `json:"ok"`
			Error *refusal        `json:"error"`
		}
		if err = json.Unmarshal(b, &r); err == nil && r.Error == nil && reply != nil {
			err = json.Unmarshal(r.OK, reply)
		}
		no = r.Error
	}
	switch {
	case err != nil:
		// Without the error itself, which may quote the reply at any length.
		return fmt.Errorf("client: the reply can't be read, the server may be newer: %s", link.Printable(err.Error()))
	case no != nil:
		return &chat.Refusal{Code: chat.Code(link.Printable(string(no.Code))), Reason: link.Printable(no.Reason)}
	}
	return nil
}
