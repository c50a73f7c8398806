package link

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
)

// attempt is one try to connect.
type attempt struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	secret string // the password that it uses: for advice when it is refused

	mu     sync.Mutex
	w      *wire // once there is one
	hurry  *time.Timer
	reason error
}

// abort ends the attempt, whatever it is at.
func (a *attempt) abort(why error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.reason == nil {
		a.reason = why
	}
	a.cancel(why)
	if a.w != nil {
		_ = a.w.fail(why)
	}
}

// within aborts the attempt unless it comes to an end in time.
func (a *attempt) within(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.hurry == nil {
		a.hurry = time.AfterFunc(d, func() { a.abort(errPoked) })
	}
}

// connected hands the wire over, or refuses it when the attempt was aborted meanwhile.
func (a *attempt) connected(w *wire) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.reason != nil {
		return a.reason
	}
	a.w = w
	return nil
}

// finish frees what the attempt holds and returns why it was aborted, if it was.
func (a *attempt) finish() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.hurry != nil {
		a.hurry.Stop()
	}
	a.cancel(nil)
	return a.reason
}

// pokeWait is what an attempt under way is given after the network changed, and the distance
// between two attempts that pokes begin.
const pokeWait = 2 * time.Second

// Poke tells that the network changed: a wait for the next attempt ends, an attempt that does not come
// to an end within two seconds begins anew, and a connection is probed; one from an address that the device has no
// more is ended. If it turns out dead the next attempt begins at once. After a permanent refusal nothing happens.
func (l *Link) Poke() {
	l.mu.Lock()
	l.keep.moved()
	l.hurry()
	a, c := l.attempt, l.conn
	up := l.state == stateUp
	if up {
		l.moved = time.Now()
	}
	l.mu.Unlock()
	signal(l.wake)
	switch {
	case a != nil:
		a.within(pokeWait)
	case up && l.stranded(c.w):
		_ = c.w.fail(errPoked)
	case up:
		c.ask(nil)
	}
}

// Hurry ends a wait for the next attempt: somebody needs the connection now. It begins one every two seconds at most,
// and leaves one that is under way alone, and a wait that the server has asked for. After a permanent refusal nothing happens.
func (l *Link) Hurry() {
	l.mu.Lock()
	if !l.bidden {
		l.hurry()
	}
	l.mu.Unlock()
	signal(l.wake)
}

// hurry has the next attempt begin as soon as may be. The caller holds mu.
func (l *Link) hurry() {
	next := later(time.Now(), l.poked.Add(pokeWait))
	if l.state == stateDown && next.Before(l.next) {
		l.next, l.poked = next, next
	}
}

// stranded reports whether a connection comes from an address that the device has no more: nothing arrives there, and
// nobody says so.
func (l *Link) stranded(w *wire) bool {
	if l.o.Addresses == nil {
		return false
	}
	at, ok := w.LocalAddr().(*net.TCPAddr)
	if !ok {
		return false
	}
	all, err := l.o.Addresses()
	return err == nil && !slices.ContainsFunc(all, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(at.IP)
	})
}

// Renew tells that there are new credentials, or that what a permanent refusal complained of was put right: the next
// attempt begins now.
func (l *Link) Renew() {
	l.mu.Lock()
	l.parked, l.next = false, time.Time{}
	l.back.reset()
	l.mu.Unlock()
	signal(l.wake)
}

// wait returns when the next attempt may begin, and its context; an error if there will be none.
func (l *Link) wait() (*attempt, error) {
	timer := time.NewTimer(math.MaxInt64)
	defer timer.Stop()
	for {
		l.mu.Lock()
		if l.closing {
			l.mu.Unlock()
			<-l.gone // autopaho would ask again at once
			return nil, ErrClosed
		}
		wait := time.Until(l.next)
		if !l.parked && wait <= 0 {
			a := &attempt{}
			a.ctx, a.cancel = context.WithCancelCause(context.Background())
			l.attempt, l.state = a, stateConnecting
			l.mu.Unlock()
			return a, nil
		}
		if l.parked {
			wait = math.MaxInt64
		}
		l.mu.Unlock()
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-l.wake:
		case <-l.leaving:
		case <-l.gone:
		}
	}
}

// prepareConnect waits for its time, then makes the CONNECT packet.
func (l *Link) prepareConnect(cp *paho.Connect, _ *url.URL) (*paho.Connect, error) {
	a, err := l.wait()
	if err != nil {
		return nil, err
	}
	l.h.Connecting()
	if l.o.Credentials != nil {
		ctx, cancel := context.WithTimeout(a.ctx, l.o.Patience.Connect)
		defer cancel()
		if a.secret, err = l.o.Credentials(ctx); err != nil {
			return nil, &credentialsError{err}
		}
		if len(a.secret) > math.MaxUint16 {
			return nil, &credentialsError{errors.New("the password is longer than MQTT can carry")}
		}
	}
	l.mu.Lock()
	cp.KeepAlive = uint16(l.keep.promise() / time.Second)
	l.mu.Unlock()
	if l.o.User != "" {
		cp.UsernameFlag, cp.Username = true, l.o.User
	}
	if a.secret != "" {
		cp.PasswordFlag, cp.Password = true, []byte(a.secret)
	}
	aliases := l.o.Aliases
	cp.Properties = &paho.ConnectProperties{RequestProblemInfo: true, TopicAliasMaximum: &aliases}
	if s := expirySeconds(l.o.SessionExpiry); s > 0 {
		cp.Properties.SessionExpiryInterval = &s
	}
	if m := l.o.ReceiveMaximum; m > 0 {
		cp.Properties.ReceiveMaximum = &m
	}
	if m := l.o.MaxPacket; m > 0 {
		cp.Properties.MaximumPacketSize = &m
	}
	for _, p := range l.o.Properties {
		cp.Properties.User.Add(p.Key, p.Value)
	}
	return cp, nil
}

// credentialsError is an attempt that failed for lack of credentials.
type credentialsError struct{ err error }

func (c *credentialsError) Error() string { return c.err.Error() }
func (c *credentialsError) Unwrap() error { return c.err }

// expirySeconds is d for the wire: rounded up, the most there is for more than fits, 0 for none.
func expirySeconds(d time.Duration) uint32 {
	if d <= 0 {
		return 0
	}
	return uint32(min((d+time.Second-1)/time.Second, math.MaxUint32))
}

// dial makes the network connection of the attempt under way.
func (l *Link) dial(ctx context.Context, _ autopaho.ClientConfig, _ *url.URL) (net.Conn, error) {
	l.mu.Lock()
	a := l.attempt
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, l.o.Patience.Connect)
	defer cancel()
	stop := context.AfterFunc(a.ctx, cancel)
	defer stop()
	conn, err := l.connect(ctx)
	if err != nil {
		return nil, err
	}
	w := newWire(conn, &l.o)
	if err := a.connected(w); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return w, nil
}

// attemptFailed is called by autopaho when there is no connection.
func (l *Link) attemptFailed(err error) {
	l.mu.Lock()
	a := l.attempt
	if a == nil || l.closing {
		l.attempt, l.state = nil, stateDown
		l.mu.Unlock()
		return // nothing was begun, or Run says the last word
	}
	aborted := a.finish()
	var why error
	if a.w != nil {
		why = a.w.why()
	}
	err = l.explain(err, why, aborted, a.secret)
	retry := l.schedule(err)
	l.attempt, l.state = nil, stateDown
	l.mu.Unlock()
	l.o.Log.Info("no connection", "server", l.o.Server.Redacted(), "error", err, "retry", retry)
	l.h.Down(err, retry)
}

// explain makes of what paho says what a person can use.
func (l *Link) explain(err, why, aborted error, secret string) error {
	var denied *autopaho.ConnackError
	var creds *credentialsError
	var refused *Refused
	switch {
	case aborted != nil:
		return aborted
	case errors.As(err, &refused):
		return refused
	case errors.As(err, &denied) && denied.ReasonCode >= 0x80:
		return refusedConnect(denied.ReasonCode, denied.Reason, secret, time.Now().UnixMilli())
	case errors.As(err, &creds):
		return &Refused{cause: creds.err, Advice: "the password or token could not be had: it is asked for again"}
	case why != nil && !errors.Is(why, net.ErrClosed):
		return unreachable(l.o.Server, why)
	case errors.Is(err, context.DeadlineExceeded):
		return unreachable(l.o.Server, errNoReply)
	}
	return unreachable(l.o.Server, err)
}

// connectionEnded is called by autopaho when a connection that was up has ended and nothing of it runs any more. It
// tells whether to go on.
func (l *Link) connectionEnded() bool {
	l.mu.Lock()
	c := l.conn
	l.state = stateDown
	if l.closing {
		l.mu.Unlock()
		return false
	}
	cause := c.w.why()
	var r *Refused
	refused := errors.As(cause, &r)
	if !refused && !errors.Is(cause, errSilent) {
		cause = fmt.Errorf("the connection was lost: %w", readable(cause))
	}
	held := time.Since(c.begun) >= l.o.Patience.Held
	if held {
		l.back.reset()
	}
	retry := l.schedule(cause)
	if !refused && time.Since(l.moved) <= l.o.Patience.Probe+pokeWait { // it ended with the network that is no more
		l.hurry()
		retry = l.next
	}
	l.moved = time.Time{}
	l.mu.Unlock()
	l.o.Log.Info("the connection has ended", "server", l.o.Server.Redacted(), "error", cause, "retry", retry)
	l.h.Down(cause, retry)
	return true
}

// schedule says when the next attempt begins; zero: not by itself. The caller holds mu.
func (l *Link) schedule(err error) time.Time {
	var refused *Refused
	wait := time.Duration(0)
	l.bidden = false
	switch isRefusal := errors.As(err, &refused); {
	case isRefusal && refused.Permanent:
		l.parked = true
		return time.Time{}
	case isRefusal && (refused.Code == rcTakenOver || refused.Code == rcConnectionRate):
		l.bidden, wait = true, l.back.atLeast(30*time.Second)
	case isRefusal && refused.Code == rcQuota:
		l.bidden, wait = true, l.back.atLeast(l.o.Patience.BackoffMost)
	case errors.Is(err, errPoked):
		wait = 0
	default:
		wait = l.back.next()
	}
	l.next = time.Now().Add(wait)
	return l.next
}

// fellSilent notes that a connection turned out dead after an idle time.
func (l *Link) fellSilent(idle time.Duration) {
	l.silent.Add(1)
	l.mu.Lock()
	changed := idle > 0 && l.keep.lost(idle)
	value := l.keep.learned()
	l.mu.Unlock()
	if changed {
		l.o.Memory.Put(memoryKeepAlive, value)
	}
}

// answered notes that a PINGREQ was answered that went out after an idle time.
func (l *Link) answered(idle time.Duration) {
	l.silent.Store(0)
	l.mu.Lock()
	changed := l.keep.survived(idle)
	value := l.keep.learned()
	l.mu.Unlock()
	if changed {
		l.o.Memory.Put(memoryKeepAlive, value)
	}
}

// interval is how long a connection may be silent to which a Keep Alive was promised; 0: none was.
func (l *Link) interval(promised time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if promised > 0 {
		return min(l.keep.current, promised)
	}
	return l.keep.current
}
