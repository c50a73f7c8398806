package bench

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/petrelchat/petrel/internal/mqttc"
)

// crew is the connections and goroutines of one scenario. The first error, or the end of the context,
// closes every connection, which ends every goroutine; wait then returns that error.
type crew struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
}

func newCrew(ctx context.Context) *crew {
	ctx, cancel := context.WithCancelCause(ctx)
	return &crew{ctx: ctx, cancel: cancel}
}

var errDone = errors.New("scenario ended")

// run starts a goroutine of the crew.
func (c *crew) run(f func() error) {
	c.wg.Go(func() {
		if err := f(); err != nil {
			c.cancel(err) // only the first counts
		}
	})
}

// wait returns when all goroutines have, with the first error.
func (c *crew) wait() error {
	c.wg.Wait()
	return context.Cause(c.ctx)
}

// close closes what is open and waits; call it deferred.
func (c *crew) close() {
	c.cancel(errDone)
	c.wg.Wait()
}

// dial connects and closes the connection with the crew. drop closes it earlier.
func (c *crew) dial(s *server, o mqttc.ConnectOptions) (conn *client, err error) {
	ctx, cancel := context.WithTimeout(c.ctx, 30*time.Second)
	defer cancel()
	if o.TLS == nil {
		o.TLS = s.tls
	}
	mc, ack, err := mqttc.Dial(ctx, s.addr, o)
	if err != nil {
		return nil, err
	}
	return &client{Conn: mc, ack: ack, stop: context.AfterFunc(c.ctx, func() { mc.Close() })}, nil
}

// client is a connection that its crew closes.
type client struct {
	*mqttc.Conn
	ack  mqttc.Connack
	stop func() bool
}

// drop closes without DISCONNECT.
func (c *client) drop() {
	c.stop()
	c.Close()
}

// leave disconnects in order and waits for the server to have closed.
func (c *client) leave() error {
	c.stop()
	return c.Disconnect(30 * time.Second)
}

// subscribe subscribes and waits for SUBACK. Deliveries that come before it are an error: the bench
// subscribes before anybody sends.
func (c *client) subscribe(filters ...mqttc.Filter) error {
	if err := c.WriteSubscribe(1, filters); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return err
	}
	p, err := c.Await(mqttc.SUBACK, nil)
	if err != nil {
		return err
	}
	for _, code := range p.Codes {
		if code >= 0x80 {
			return &mqttc.RefusedError{Code: code, Reason: "subscription to " + filters[0].Topic}
		}
	}
	if p.Type != mqttc.SUBACK {
		return &mqttc.RefusedError{Code: p.Code, Reason: "disconnected instead of SUBACK"}
	}
	return nil
}

// each calls f for 0 … n-1, some at a time, and returns the first error.
func (c *crew) each(n, parallel int, f func(i int) error) error {
	ctx, cancel := context.WithCancelCause(c.ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for w := range min(n, parallel) {
		wg.Go(func() {
			for i := w; i < n && ctx.Err() == nil; i += parallel {
				if err := f(i); err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// sleep waits for d or the crew's end.
func (c *crew) sleep(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
}

// source spreads connections over loopback addresses, since one address has about 28,000 ports.
func (s *server) source(i int) net.Addr {
	if !s.loopback {
		return nil
	}
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%200))}
}
