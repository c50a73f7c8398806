package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/logging"
	"github.com/pion/transport/v4/vnet"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"

	sdk "github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/client/calls"
	"github.com/petrelchat/petrel/client/store/memory"
	"github.com/petrelchat/petrel/internal/faultproxy"
	"github.com/petrelchat/petrel/internal/roam"
)

// callPatience bounds the wait for what must come in a call.
const callPatience = time.Minute

// handset is a device that calls: the Go client with its part in calls, and a store in memory.
type handset struct {
	*sdk.Client
	m     *calls.Manager
	st    *memory.Store
	clock clock
	addr  string
	up    atomic.Int64 // when the newest connection brought its first bytes, which are those of CONNACK; the run's clock
}

// handset makes one that connects through a proxy, and waits until it rings.
func (r *runner) handset(ctx context.Context, through *faultproxy.Proxy, user, device string, o calls.Options) (*handset, error) {
	h := &handset{st: memory.New(), clock: r.clock, addr: through.Addr()}
	var err error
	h.Client, err = sdk.Open(ctx, sdk.Options{
		Server: "mqtt://" + h.addr, User: user, Device: device, Credentials: sdk.Password("bench"), Store: h.st, Calls: true, Dial: h.dial,
	})
	if err != nil {
		return nil, errors.Join(err, h.st.Close())
	}
	if h.m, err = calls.New(h.Client, o); err == nil {
		err = h.Wait(ctx, func(st sdk.Status) bool { return st.State == sdk.UpToDate || st.Permanent })
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", user, err), h.off(ctx))
	}
	return h, nil
}

// dial connects, and notes when the server answers.
func (h *handset) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", h.addr)
	if err != nil {
		return nil, err
	}
	return &noting{Conn: c, first: func() { h.up.Store(h.clock.now()) }}, nil
}

// noting is a connection of which one wants to know when the first bytes came.
type noting struct {
	net.Conn
	once  sync.Once
	first func()
}

func (c *noting) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.once.Do(c.first)
	}
	return n, err
}

// off ends the device. When the run is being stopped it does not wait for the server.
func (h *handset) off(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callPatience)
	defer cancel()
	var errs []error
	if h.m != nil {
		errs = append(errs, h.m.Close(ctx))
	}
	return errors.Join(append(errs, h.Close(ctx), h.st.Close())...)
}

// rings waits for a call that rings.
func (h *handset) rings(ctx context.Context) (*calls.Call, error) {
	select {
	case c := <-h.m.Incoming():
		return c, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: nothing rings: %w", h.Me(), context.Cause(ctx))
	}
}

// ended waits for the end of a call, and returns what became of it.
func ended(ctx context.Context, c *calls.Call) (outcome string, err error) {
	err = c.Wait(ctx, func(s calls.Status) bool { outcome = s.Outcome; return s.State == calls.StateEnded })
	return outcome, err
}

// voice says a frame each 20 ms, as Opus does, that tells when it was said.
type voice struct{ *webrtc.TrackLocalStaticSample }

const voiceFrame = 64 // bytes

// voice speaks until the crew's end.
func (r *runner) voice(cr *crew, name string) (voice, error) {
	t, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}, "audio", name)
	if err != nil {
		return voice{}, err
	}
	cr.run(func() error {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				b := make([]byte, voiceFrame)
				binary.BigEndian.PutUint64(b, uint64(r.clock.now()))
				_ = t.WriteSample(media.Sample{Data: b, Duration: 20 * time.Millisecond}) // nobody may be connected
			case <-cr.ctx.Done():
				return nil
			}
		}
	})
	return voice{t}, nil
}

// ear waits for a frame that was said after a time.
type ear struct {
	clock clock
	after atomic.Int64 // MaxInt64: it does not wait
	heard chan int64
}

func (r *runner) ear() *ear {
	e := &ear{clock: r.clock, heard: make(chan int64, 1)}
	e.after.Store(math.MaxInt64)
	return e
}

// listen waits for the first frame that is said after t, in the run's clock. One goroutine listens and waits.
func (e *ear) listen(t int64) {
	select {
	case <-e.heard:
	default:
	}
	e.after.Store(t)
}

// wait returns when that frame came.
func (e *ear) wait(ctx context.Context) (int64, error) {
	select {
	case at := <-e.heard:
		return at, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("no media arrive: %w", context.Cause(ctx))
	}
}

// take is what a call's tracks are given to.
func (e *ear) take(t *calls.RemoteTrack) {
	for {
		p, err := t.ReadRTP()
		if err != nil {
			return
		}
		now, after := e.clock.now(), e.after.Load()
		if len(p.Payload) == voiceFrame && int64(binary.BigEndian.Uint64(p.Payload)) >= after && e.after.CompareAndSwap(after, math.MaxInt64) {
			e.heard <- now
		}
	}
}

// country is a network of this process alone, in which each packet of media takes its time. It must be closed.
type country struct {
	router *vnet.Router
	gone   sync.Map // addresses as strings: what comes from there and goes there is lost
}

func newCountry(delay time.Duration) (*country, error) {
	router, err := vnet.NewRouter(&vnet.RouterConfig{
		CIDR: "10.7.0.0/16", MinDelay: delay, LoggerFactory: &logging.DefaultLoggerFactory{DefaultLogLevel: logging.LogLevelDisabled},
	})
	if err != nil {
		return nil, err
	}
	c := &country{router: router}
	router.AddChunkFilter(func(p vnet.Chunk) bool {
		_, from := c.gone.Load(addressOf(p.SourceAddr()))
		_, to := c.gone.Load(addressOf(p.DestinationAddr()))
		return !from && !to
	})
	return c, nil
}

func addressOf(a net.Addr) string {
	host, _, _ := net.SplitHostPort(a.String()) // of a packet: it has both
	return host
}

// card is a device's place in the network. All are made before start.
type card struct {
	*roam.Card
	of *country
	ip string
}

func (c *country) card(ip string) (*card, error) {
	n, err := roam.New(ip)
	if err == nil {
		err = c.router.AddNet(n)
	}
	return &card{n, c, ip}, err
}

// move gives the card another address. From now on nothing comes or goes over the old one.
func (c *card) move(ip string) error {
	c.of.gone.Store(c.ip, true)
	c.ip = ip
	return c.Move(ip)
}

// options put a device behind the card.
func (c *card) options() calls.Options {
	return calls.Options{
		Net: c.Card,
		Tune: func(se *webrtc.SettingEngine) {
			se.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
			se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
		},
	}
}

// apart measures with a server like s without TURN: devices in a country can't reach it, and would wait for it. At --addr s itself has to do.
func (r *runner) apart(ctx context.Context, s *server, measure func(*crew, *server) (Result, error)) (res Result, err error) {
	if !s.petrel {
		return conversationsOnly(), nil
	}
	if s.command != nil {
		if s, err = r.startIn(ctx, s.peer, place{conf: "turn:\n  enabled: false\n"}); err != nil {
			return res, err
		}
		defer func() { err = errors.Join(err, s.close()) }()
	}
	cr := newCrew(ctx)
	defer cr.close()
	return measure(cr, s)
}

// couple is two devices in a country of their own, each with its way to the server. It must be closed.
type couple struct {
	land     *country
	cards    [2]*card
	proxies  [2]*faultproxy.Proxy
	ann, ben *handset
	hear     [2]*ear
}

// couple makes two users' devices. delay is that of each way, to the server and to each other.
func (r *runner) couple(ctx context.Context, s *server, number int, delay time.Duration) (c *couple, err error) {
	c = &couple{}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.off(ctx))
		}
	}()
	if c.land, err = newCountry(delay); err != nil {
		return c, err
	}
	for i := range c.cards {
		if c.cards[i], err = c.land.card(fmt.Sprintf("10.7.0.%d", i+1)); err != nil {
			return c, err
		}
		if c.proxies[i], err = faultproxy.New(s.addr); err != nil {
			return c, err
		}
		c.proxies[i].Always(faultproxy.Faults{DelayUp: delay, DelayDown: delay})
		c.hear[i] = r.ear()
	}
	if err = c.land.router.Start(); err != nil {
		return c, err
	}
	if c.ann, err = r.handset(ctx, c.proxies[0], fmt.Sprintf("ann%d", number), "ann", c.cards[0].options()); err != nil {
		return c, err
	}
	c.ben, err = r.handset(ctx, c.proxies[1], fmt.Sprintf("ben%d", number), "ben", c.cards[1].options())
	return c, err
}

func (c *couple) off(ctx context.Context) (err error) {
	for _, h := range []*handset{c.ann, c.ben} {
		if h != nil {
			err = errors.Join(err, h.off(ctx))
		}
	}
	for _, p := range c.proxies {
		if p != nil {
			p.Close()
		}
	}
	if c.land != nil {
		_ = c.land.router.Stop() // it may not have been started
	}
	return err
}

// median of durations in the run's clock; 0: there are none.
func median(all []int64) int64 {
	if len(all) == 0 {
		return 0
	}
	all = slices.Sorted(slices.Values(all))
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}
