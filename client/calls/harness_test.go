package calls

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
	"go.uber.org/goleak"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/client/store/memory"
	"github.com/petrelchat/petrel/internal/faultproxy"
	"github.com/petrelchat/petrel/internal/servertest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		err := goleak.Find()
		for end := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(end); { // a relay that is gone is asked for 8 s to let go
			err = goleak.Find()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "goleak:", err)
			code = 1
		}
	}
	os.Exit(code)
}

func soon(t testing.TB) context.Context {
	t.Helper()
	return servertest.Soon(t)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// server is a real server in this process, and a proxy before it that breaks connections.
type server struct {
	*servertest.Server
	t     testing.TB
	proxy *faultproxy.Proxy
	past  bool // devices that are opened now go past the proxy
}

// way is where devices connect.
func (s *server) way() string {
	if s.past {
		return s.Addr("mqtt")
	}
	return s.proxy.Addr()
}

func serve(t testing.TB, change ...func(*config.Config)) *server {
	t.Helper()
	s := &server{Server: servertest.Serve(t, append([]func(*config.Config){servertest.Unpaced}, change...)...), t: t}
	s.proxy = s.Proxy()
	return s
}

func (s *server) start() { s.t.Helper(); s.Start() }
func (s *server) stop()  { s.t.Helper(); s.Stop() }

// device is a client that takes part in calls.
type device struct {
	*client.Client
	*Manager
	t testing.TB
}

// device opens a client and waits until it rings.
func (s *server) device(user, name string, change ...func(*Options)) *device {
	s.t.Helper()
	return s.deviceAt(s.way(), user, name, change...)
}

// deviceAt opens a client that connects to an address.
func (s *server) deviceAt(addr, user, name string, change ...func(*Options)) *device {
	s.t.Helper()
	return openDevice(s.t, s.Log, addr, user, name, change...)
}

// openDevice opens a client that has no patience with a server that is away.
func openDevice(t testing.TB, out io.Writer, addr, user, name string, change ...func(*Options)) *device {
	t.Helper()
	d := openPatient(t, out, addr, user, name, change...)
	go servertest.Hurry(d.Client)
	return d
}

// openPatient opens a client as programs have it.
func openPatient(t testing.TB, out io.Writer, addr, user, name string, change ...func(*Options)) *device {
	t.Helper()
	st := memory.New()
	log := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})).With("user", user, "device", name)
	c, err := client.Open(soon(t), client.Options{
		Server: "mqtt://" + addr, User: user, Device: name, Store: st, Calls: true, Log: log,
	})
	must(t, err)
	o := Options{Loopback: true, Log: log, Tune: func(se *webrtc.SettingEngine) {
		se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	}}
	for _, fn := range change {
		fn(&o)
	}
	m, err := New(c, o)
	must(t, err)
	d := &device{c, m, t}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = m.Close(ctx)
		must(t, c.Close(soon(t)))
		must(t, st.Close())
	})
	must(t, c.Wait(soon(t), func(s client.Status) bool { return s.State == client.UpToDate }))
	return d
}

// group makes a group of users.
func (d *device) group(id string, members ...string) string {
	d.t.Helper()
	var reply struct{ Conv string }
	must(d.t, d.Call(soon(d.t), "group.create", map[string]any{"id": id, "title": id, "members": members}, &reply))
	return id
}

// rings waits for a call that rings.
func (d *device) rings() *Call {
	d.t.Helper()
	select {
	case c := <-d.Incoming():
		return c
	case <-soon(d.t).Done():
		d.t.Fatalf("%s: nothing rings", d.Me())
		return nil
	}
}

func (d *device) start(conv string, l Local) *Call {
	d.t.Helper()
	c, err := d.Start(soon(d.t), conv, l)
	if err != nil {
		d.t.Fatalf("%s: %v", d.Me(), err)
	}
	return c
}

// until waits for a status.
func until(t testing.TB, c *Call, what string, ok func(Status) bool) Status {
	t.Helper()
	var last Status
	err := c.Wait(soon(t), func(s Status) bool { last = s; return ok(s) })
	if err != nil {
		t.Fatalf("%s waits for %q: %v; status %+v", c.m.c.Me()+"/"+c.m.c.Device(), what, err, last)
	}
	return last
}

// over waits for the end of a call, and says what became of it.
func over(t testing.TB, c *Call) string {
	t.Helper()
	return until(t, c, "the end", func(s Status) bool { return s.State == StateEnded }).Outcome
}

// farewell ends a call in which both have talked: one hangs up, and the other is told so.
func farewell(t testing.TB, by, other *Call) {
	t.Helper()
	must(t, by.Hangup(soon(t)))
	if got := over(t, other); got != Answered {
		t.Errorf("the call was %s", got)
	}
}

// voice is a source of frames that are told apart, and a sink that checks them.
type voice struct {
	t     testing.TB
	name  string
	track *webrtc.TrackLocalStaticSample
	stop  chan struct{}
	done  sync.WaitGroup

	mu    sync.Mutex
	heard map[string]uint64 // by who spoke: the last frame
	count map[string]int
	log   map[string][]uint64 // their numbers, as they came
	bell  chan struct{}
}

// frame is the n-th frame of somebody: 64 bytes.
func frame(name string, n uint64) []byte {
	b := make([]byte, 64)
	copy(b, name)
	binary.BigEndian.PutUint64(b[24:], n)
	for i := 32; i < len(b); i++ {
		b[i] = byte(n*31 + uint64(i))
	}
	return b
}

// newVoice speaks until the test ends.
func newVoice(t testing.TB, name string) *voice {
	t.Helper()
	track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}, "audio", name)
	must(t, err)
	v := &voice{t: t, name: name, track: track, stop: make(chan struct{}), heard: map[string]uint64{}, count: map[string]int{}, log: map[string][]uint64{}, bell: make(chan struct{}, 1)}
	v.done.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := uint64(1); ; n++ {
			select {
			case <-tick.C:
				_ = track.WriteSample(media.Sample{Data: frame(name, n), Duration: 20 * time.Millisecond})
			case <-v.stop:
				return
			}
		}
	})
	t.Cleanup(func() {
		close(v.stop)
		v.done.Wait()
	})
	return v
}

func (v *voice) local() Local {
	return Local{Tracks: []webrtc.TrackLocal{v.track}, OnTrack: v.listen}
}

// listen checks every frame, byte for byte.
func (v *voice) listen(rt *RemoteTrack) {
	for {
		pkt, err := rt.ReadRTP()
		if err != nil {
			return
		}
		if len(pkt.Payload) == 0 {
			continue // padding
		}
		if len(pkt.Payload) != 64 {
			v.t.Errorf("%s: a frame of %d bytes", v.name, len(pkt.Payload))
			return
		}
		who := strings.TrimRight(string(pkt.Payload[:24]), "\x00")
		n := binary.BigEndian.Uint64(pkt.Payload[24:])
		if !bytes.Equal(pkt.Payload, frame(who, n)) {
			v.t.Errorf("%s: a frame was changed on its way", v.name)
		}
		v.mu.Lock()
		v.heard[who] = n
		v.count[who]++
		v.log[who] = append(v.log[who], n)
		v.mu.Unlock()
		select {
		case v.bell <- struct{}{}:
		default:
		}
	}
}

// hears waits for so many more frames of each of some.
func (v *voice) hears(n int, who ...string) {
	v.t.Helper()
	v.mu.Lock()
	want := map[string]int{}
	for _, w := range who {
		want[w] = v.count[w] + n
	}
	v.mu.Unlock()
	ctx := soon(v.t)
	for {
		v.mu.Lock()
		missing := ""
		for w, n := range want {
			if v.count[w] < n {
				missing = w
			}
		}
		v.mu.Unlock()
		if missing == "" {
			return
		}
		select {
		case <-v.bell:
		case <-ctx.Done():
			v.t.Fatalf("%s does not hear %s", v.name, missing)
		}
	}
}
