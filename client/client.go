package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/internal/link"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/client/store/sqlite"
	"github.com/petrelchat/petrel/protocol"
)

// Client is one device of a user. All its methods may be called from any goroutine.
type Client struct {
	*core
	ctx    context.Context // of the goroutines; ends with Close
	cancel context.CancelFunc
	owned  bool // the store is closed by Close
	memory *memory
	in     *intake
	out    *sender
	subs   *subscriber
	chores *chores
	wg     sync.WaitGroup

	mu      sync.Mutex
	closing bool
	closed  chan struct{} // when Close is done
	err     error         // of Close
}

// Open opens the store and begins to connect. It works while there is no connection, from the first call on: what is known is
// there, and what is written waits. ctx bounds the opening only. Errors: those of Options.Validate, ErrBusy, ErrNewer,
// ErrDamaged, ErrFull; what is wrong with the connection is in Status.
func Open(ctx context.Context, o Options) (*Client, error) { return open(ctx, o, false) }

func open(ctx context.Context, o Options, thorough bool) (_ *Client, err error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	c, err := assemble(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && c.owned {
			_ = c.st.Close()
		}
	}()
	if err := c.identify(ctx, &o); err != nil {
		return nil, err
	}
	if err := c.count(ctx); err != nil {
		return nil, err
	}
	if c.memory, err = loadMemory(ctx, c.core); err != nil {
		return nil, err
	}
	c.subs = &subscriber{core: c.core}
	c.greet = c.subs.presences
	if err := c.subs.load(ctx); err != nil {
		return nil, err
	}
	if c.line, err = c.connection(o); err != nil {
		return nil, err
	}
	c.in, c.out, c.chores = newIntake(c.core), newSender(c.core, o.Uploader), &chores{c.core}
	c.start(
		c.in.run, c.out.run, c.chores.run, (&filler{c.core}).run,
		(&syncer{core: c.core, subs: c.subs, thorough: thorough}).run, (&janitor{c.core, c.memory}).run,
	)
	return c, nil
}

// assemble opens the store and puts the parts together.
func assemble(ctx context.Context, o Options) (*Client, error) {
	c := &Client{core: &core{
		me: o.User, view: protocol.ViewCBOR, codec: o.Codec, catchup: o.Catchup > 0, st: o.Store, log: o.Log, now: o.Now,
		news: newFanout(), sess: newSession(), wake: newWakes(),
	}, closed: make(chan struct{})}
	c.calls.wanted = o.Calls
	if o.JSON {
		c.view = protocol.ViewJSON
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.now == nil {
		c.now = time.Now
	}
	c.board, c.live = newBoard(c.news), newLive(c.news, c.now)
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if c.st != nil {
		return c, nil
	}
	path := o.Path
	if path == "" {
		dir, err := os.UserConfigDir()
		if err != nil {
			return nil, fmt.Errorf("client options: Path: where programs keep their files is not known, so give it: %w", err)
		}
		u, err := parseServer(o.Server)
		if err != nil {
			return nil, err
		}
		host := u.Hostname()
		if host == "" {
			host = "local"
		}
		path = filepath.Join(dir, "petrel", o.User+"@"+host+".db")
	}
	st, err := sqlite.Open(path, sqlite.Options{})
	if err != nil {
		return nil, err
	}
	c.st, c.owned = st, true
	return c, nil
}

// identify sees that the store is this user's, and finds or makes the device's name.
func (c *Client) identify(ctx context.Context, o *Options) error {
	var user, known []byte
	err := c.read(ctx, func(r store.Reader) (err error) {
		if user, err = r.Meta(metaUser); err != nil {
			return err
		}
		known, err = r.Meta(metaDevice)
		return err
	})
	if err != nil {
		return err
	}
	if user != nil && string(user) != c.me {
		return fmt.Errorf("client: the store is of the user %q: give each user a Path of their own", user)
	}
	if c.device = o.Device; c.device == "" {
		if c.device = string(known); known == nil {
			c.device = newID()[:8] // short: it is in every CONNECT
		}
	}
	if err := o.checkDevice(c.device); err != nil { // one that the store knows from other options
		return fmt.Errorf("client options: %w", err)
	}
	if user == nil || string(known) != c.device {
		err = c.core.update(ctx, func(ch *change) error {
			if err := ch.tx.PutMeta(metaUser, []byte(c.me)); err != nil {
				return err
			}
			return ch.tx.PutMeta(metaDevice, []byte(c.device))
		})
	}
	if c.view == protocol.ViewJSON {
		c.device += jsonSuffix
	}
	return err
}

// count begins the counts of the status.
func (c *Client) count(ctx context.Context) error {
	queued, failed := 0, 0
	err := c.read(ctx, func(r store.Reader) error {
		counts, err := r.OutboxCounts()
		if err != nil {
			return err
		}
		all := 0
		for _, n := range counts {
			all += n
		}
		aside := func(s store.OutState) (n int, err error) {
			for after := int64(0); all > 0; {
				page, err := r.Outbox(store.OutboxQuery{States: []store.OutState{s}, After: after, Limit: 500})
				if n += len(page); err != nil || len(page) < 500 {
					return n, err
				}
				after = page[len(page)-1].N
			}
			return n, nil
		}
		if failed, err = aside(store.Failed); err != nil {
			return err
		}
		sent, err := aside(store.Sent)
		queued = all - failed - sent
		return err
	})
	c.board.begin(queued, failed)
	return err
}

// connection prepares the connection; nothing happens before start.
func (c *Client) connection(o Options) (*link.Link, error) {
	u, err := parseServer(o.Server)
	if err != nil {
		return nil, err
	}
	lo := link.Options{
		Server: u, User: o.User, ClientID: c.device, TLS: o.TLS, Memory: c.memory, SessionExpiry: o.SessionExpiry,
		Properties: []link.Property{{Key: "meta", Value: "seq"}}, Dial: o.Dial, Log: c.log,
	}
	if lo.SessionExpiry == 0 {
		lo.SessionExpiry = defaultSessionExpiry
	}
	if o.Catchup > 0 {
		lo.Properties = append(lo.Properties, link.Property{Key: "catchup", Value: fmt.Sprint(o.Catchup)})
	}
	if o.Invisible {
		lo.Properties = append(lo.Properties, link.Property{Key: "presence", Value: "no"})
	}
	if o.Credentials != nil {
		lo.Credentials = o.Credentials.Secret
	}
	l, err := link.New(lo, handler{c})
	if err != nil {
		return nil, fmt.Errorf("client options: %w", err)
	}
	return l, nil
}

// start starts the goroutines; Close ends them.
func (c *Client) start(runs ...func(context.Context)) {
	runs = append(runs, func(ctx context.Context) {
		if err := c.line.Run(ctx); err != nil && !errors.Is(err, link.ErrClosed) {
			c.log.Error("the connection can't be kept", "error", err)
		}
	})
	for _, run := range runs {
		c.wg.Add(1)
		go func() {
			defer c.wg.Done()
			run(c.ctx)
		}()
	}
}

// Me is the user.
func (c *Client) Me() string { return c.me }

// Device is the MQTT client id of this device.
func (c *Client) Device() string { return c.device }

// Direct is the id of the direct conversation with a user.
func (c *Client) Direct(user string) string { return chat.DirectID(c.me, user) }

// Status returns what an indicator shows.
func (c *Client) Status() Status { return c.board.status() }

// Wait waits until ok says so of the status.
//
//	err := c.Wait(ctx, func(s client.Status) bool { return s.State == client.UpToDate })
func (c *Client) Wait(ctx context.Context, ok func(Status) bool) error { return c.board.wait(ctx, ok) }

// NetworkChanged says that the device is in another network, or woke up: the next attempt is made at once, and a connection is
// tested.
func (c *Client) NetworkChanged() { c.line.Poke() }

// RetryNow makes the next attempt to connect at once, every two seconds at most: somebody needs the connection now. An attempt under way, a
// connection, and a wait that the server has asked for are left alone. After a permanent refusal nothing happens.
func (c *Client) RetryNow() { c.line.Hurry() }

// Renew says that there are new credentials, or that what the server complained of was put right: after a refusal that is permanent
// nothing else makes the client try again.
func (c *Client) Renew() { c.line.Renew() }

// alive returns ErrClosed once Close was called.
func (c *Client) alive() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return ErrClosed
	}
	return nil
}

// update is the core's, for those who use the client.
func (c *Client) update(ctx context.Context, fn func(*change) error) error {
	if err := c.alive(); err != nil {
		return err
	}
	return c.core.update(ctx, fn)
}

// Close waits until what can be sent now is sent (an attempt to connect that is under way included), or ctx ends; takes leave of the server; ends all goroutines; and
// closes the store if Open opened it. What is still queued then is sent the next time. It may be called more than once.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	first := !c.closing
	c.closing = true
	c.mu.Unlock()
	if !first {
		select {
		case <-c.closed:
			return c.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if ctx.Err() == nil {
		wait, idle := context.WithCancel(ctx)
		c.out.whenIdle(idle)
		_ = c.board.wait(wait, func(s Status) bool { return s.Queued == 0 || s.State == Offline || storeFault(s.Err) != nil })
		idle()
		if _, up, conn := c.sess.now(); up && storeFault(c.Status().Err) == nil {
			short, stop := context.WithCancel(ctx)
			end := context.AfterFunc(conn, stop)
			if err := c.chores.last(short); err != nil {
				c.log.Debug("some wishes wait for the next time", "error", err)
			}
			end()
			stop()
		}
	}
	err := c.line.Close(ctx)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		err = nil // without a farewell, then
	}
	c.cancel()
	c.wg.Wait()
	bg := context.WithoutCancel(ctx)
	if ferr := c.memory.flush(bg, c.core); ferr != nil && storeFault(ferr) == nil {
		err = errors.Join(err, ferr)
	}
	c.news.close()
	c.board.close()
	if c.owned {
		err = errors.Join(err, c.st.Close())
	}
	c.err = err
	close(c.closed)
	return err
}
