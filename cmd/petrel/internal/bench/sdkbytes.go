package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"time"

	sdk "github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/internal/faultproxy"
)

// Names of the metrics of sdk-bytes that have goals.
const (
	sdkReconnect    = "reconnect"
	sdkReconnectTLS = "reconnect, TLS resumed by a new run"
	sdkDay          = "a day"
	sdkDayTLS       = "a day, TLS"
)

// A day of somebody who chats now and then. A connection that is open all day costs a PINGREQ and its answer each
// sdkPing.
const (
	daySessions = 20
	dayIn       = 100
	dayOut      = 40
	sdkPing     = 4 * time.Minute
	dayText     = "are you coming? I am at the station now" // 39 bytes
)

// clientBytes counts on the wire what the Go client costs: coming back when there is nothing new, each time as a
// program that was started anew, and a day of typical use.
func (r *runner) clientBytes(ctx context.Context, s *server) (res Result, err error) {
	if !s.petrel {
		return conversationsOnly(), nil
	}
	if err := r.countDay(ctx, s, &res, sdkReconnect, sdkDay, nil); err != nil {
		return res, err
	}
	if s.command == nil {
		res.note("TLS is not counted at --addr")
		return res, nil
	}
	cert, key, err := writeCertificate(r.dir)
	if err != nil {
		return res, err
	}
	secure, err := r.startIn(ctx, s.peer, place{cert: cert, key: key})
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, secure.close()) }()
	return res, r.countDay(ctx, secure, &res, sdkReconnectTLS, sdkDayTLS, clientTLS())
}

// day is two people who chat; only what alice's phone exchanges with the server is counted.
type day struct {
	t            *faultproxy.Proxy
	alice, bobby *phone
	conv         string
	said         uint64 // the seq of the newest event
}

// countDay measures one kind of connection.
func (r *runner) countDay(ctx context.Context, s *server, res *Result, reconnect, whole string, conf *tls.Config) (err error) {
	target := strings.TrimPrefix(s.addr, "tls://")
	t, err := faultproxy.New(target)
	if err != nil {
		return err
	}
	defer t.Close()
	aside, err := faultproxy.New(target)
	if err != nil {
		return err
	}
	defer aside.Close()
	d := &day{t: t, alice: r.phone("alice", t), bobby: r.phone("bobby", aside)}
	for _, p := range []*phone{d.bobby, d.alice} {
		if conf != nil {
			p.opt.Server, p.opt.TLS = strings.Replace(p.opt.Server, "mqtt:", "mqtts:", 1), conf
		}
		if err := p.on(ctx); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.off(ctx)) }()
	}
	d.conv = d.alice.Direct("bobby")
	if err := d.chat(ctx, 2, 2); err != nil { // so that the day is not the first one
		return err
	}
	if err := d.told(ctx); err != nil {
		return err
	}
	if err := d.alice.off(ctx); err != nil {
		return err
	}
	// What the other one read meanwhile is news: a reconnect without any is the second one.
	var empty int64
	for range 2 {
		if empty, err = d.session(ctx, 0, 0); err != nil {
			return err
		}
	}
	res.add(reconnect, "bytes", float64(empty))
	var sum int64
	for range daySessions {
		n, err := d.session(ctx, dayIn/daySessions, dayOut/daySessions)
		if err != nil {
			return err
		}
		sum += n
	}
	probe, err := d.probe(ctx)
	if err != nil {
		return err
	}
	res.add(whole+", PINGREQ and its answer", "bytes", float64(probe))
	res.add(whole, "KB", float64(sum+probe*int64(24*time.Hour/sdkPing))/1e3)
	return nil
}

// session is one time that alice takes her phone out: the program starts, she reads, writes, and it ends. It returns
// the bytes of it.
func (d *day) session(ctx context.Context, in, out int) (int64, error) {
	for range in {
		if err := d.say(ctx, d.bobby); err != nil {
			return 0, err
		}
	}
	before, err := d.quiet(ctx)
	if err != nil {
		return 0, err
	}
	if err := d.alice.on(ctx); err != nil {
		return 0, err
	}
	if err := d.chat(ctx, 0, out); err != nil {
		return 0, err
	}
	if err := d.alice.off(ctx); err != nil {
		return 0, err
	}
	after, err := d.quiet(ctx)
	return after - before, err
}

// quiet waits until alice's phone is off and nothing is on its way, and returns the bytes so far.
func (d *day) quiet(ctx context.Context) (int64, error) {
	err := d.t.Wait(ctx, func(s faultproxy.Stats) bool { return s.Open == 0 })
	return bytesOf(d.t.Stats()), err
}

// bytesOf adds up both directions.
func bytesOf(s faultproxy.Stats) int64 { return s.Up + s.Down }

// chat lets bobby and alice say something; each reads what the other said.
func (d *day) chat(ctx context.Context, in, out int) error {
	for range in {
		if err := d.say(ctx, d.bobby); err != nil {
			return err
		}
	}
	if err := d.reads(ctx, d.alice); err != nil {
		return err
	}
	for range out {
		if err := d.say(ctx, d.alice); err != nil {
			return err
		}
	}
	if out == 0 {
		return nil
	}
	return d.reads(ctx, d.bobby)
}

func (d *day) say(ctx context.Context, p *phone) error {
	m, err := p.Send(ctx, d.conv, dayText)
	if err == nil {
		m, err = p.Sent(ctx, m)
	}
	if err != nil {
		return err
	}
	d.said = m.Seq
	return p.settled(ctx)
}

// reads has somebody read all there is, and waits until the server knows.
func (d *day) reads(ctx context.Context, p *phone) error {
	if d.said == 0 {
		return nil
	}
	if err := p.has(ctx, d.conv, d.said); err != nil {
		return err
	}
	if err := p.MarkRead(ctx, d.conv, d.said); err != nil {
		return err
	}
	return p.settled(ctx)
}

// told waits until alice's phone shows that her last message was read: then nothing new is on its way to it.
func (d *day) told(ctx context.Context) error {
	if err := d.alice.has(ctx, d.conv, d.said); err != nil {
		return err
	}
	return d.alice.until(ctx, func() (bool, error) {
		m, err := d.alice.Message(ctx, d.conv, sdk.At(d.said))
		return m.State == sdk.StateRead, err
	})
}

// probe is what asking whether anybody is there costs.
func (d *day) probe(ctx context.Context) (int64, error) {
	if err := d.alice.on(ctx); err != nil {
		return 0, err
	}
	before := d.t.Stats()
	d.alice.NetworkChanged()
	// Both ways have got something, so the question and its answer are through [MQTT-3.12], [MQTT-3.13].
	err := d.t.Wait(ctx, func(s faultproxy.Stats) bool { return s.Up > before.Up && s.Down > before.Down })
	if err != nil {
		return 0, err
	}
	n := bytesOf(d.t.Stats()) - bytesOf(before)
	return n, d.alice.off(ctx)
}
