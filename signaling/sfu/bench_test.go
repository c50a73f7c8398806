package sfu

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The load comes from another process, so that the processor time of this one is the forwarder's alone: what the kernel needs to
// deliver on loopback is in it, on both sides alike. Figures are packets taken and sent by second of it, which is one busy core.
//
//	go test ./signaling/sfu -run '^$' -bench 'Forwarder|SFU' -benchtime 1x
const (
	benchParties = 5
	benchTime    = 3 * time.Second
	benchFrame   = 64 // bytes of payload, opaque
)

// benchRates are packets per second that all parties together send; each is forwarded to four.
var benchRates = []int{5_000, 20_000, 30_000}

// order is a line to the load process, and report what it says when it is done.
type order struct {
	To    string // address
	Plain bool   // no SRTP: datagrams of the size that SRTP's have
	Rate  int    // packets per second, all parties together
	Time  time.Duration
}

type report struct{ Sent, Received int }

// load runs the load process. offers answers its offers; measure is called when the load begins to flow and when it has ended.
func load(b *testing.B, o order, offers func(party, text string) string, measure func(begin bool)) report {
	b.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestLoadProcess$", "-test.v")
	cmd.Env = append(os.Environ(), "SFU_LOAD=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			b.Error("load:", err)
		}
	}()
	enc := json.NewEncoder(in)
	if err := enc.Encode(o); err != nil {
		b.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var v struct {
			Party, Offer string
			Begin        bool
			Done         *report
		}
		if json.Unmarshal(lines.Bytes(), &v) != nil {
			continue // the test binary's own lines
		}
		switch {
		case v.Offer != "":
			if err := enc.Encode(offers(v.Party, v.Offer)); err != nil {
				b.Fatal(err)
			}
		case v.Begin:
			measure(true)
		case v.Done != nil:
			measure(false)
			return *v.Done
		}
	}
	b.Fatal("the load process said nothing")
	return report{}
}

// processor is the processor time of this process.
func processor() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // of itself it is always known
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// meter counts between the two calls of measure.
type meter struct {
	packets func() uint64
	cpu     time.Duration
	at      time.Time
	from    uint64
}

func (m *meter) measure(begin bool) {
	if begin {
		m.cpu, m.at, m.from = processor(), time.Now(), m.packets()
		return
	}
	m.cpu, m.from = processor()-m.cpu, m.packets()-m.from
}

func (m *meter) report(b *testing.B, r report) {
	b.ReportMetric(float64(m.from)/m.cpu.Seconds(), "packets/s/core")
	b.ReportMetric(100*m.cpu.Seconds()/time.Since(m.at).Seconds(), "busy%")
	want := r.Sent * (benchParties - 1)
	b.ReportMetric(100*float64(want-r.Received)/float64(want), "lost%")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkForwarder is the physical minimum: a program that reads datagrams and writes each to the four others, with one call of the
// standard library for each. No encryption, no state.
func BenchmarkForwarder(b *testing.B) {
	for _, rate := range benchRates {
		b.Run(fmt.Sprintf("in=%d", rate), func(b *testing.B) {
			for b.Loop() {
				c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
				if err != nil {
					b.Fatal(err)
				}
				_ = c.SetReadBuffer(4 << 20)
				var packets atomic.Uint64
				done := make(chan struct{})
				go func() { defer close(done); plainForwarder(c, &packets) }()
				m := &meter{packets: packets.Load}
				r := load(b, order{To: c.LocalAddr().String(), Plain: true, Rate: rate, Time: benchTime}, nil, m.measure)
				m.report(b, r)
				_ = c.Close()
				<-done
			}
		})
	}
}

func plainForwarder(c *net.UDPConn, packets *atomic.Uint64) {
	var known []netip.AddrPort
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		packets.Add(1)
		var have bool
		for _, to := range known {
			if to == from {
				have = true
				continue
			}
			if _, err := c.WriteToUDPAddrPort(buf[:n], to); err == nil {
				packets.Add(1)
			}
		}
		if !have {
			known = append(known, from)
		}
	}
}

// BenchmarkSFU is the whole forwarder with five parties that came in by ICE and DTLS: SRTP on both sides (AES-128-GCM), every
// packet decrypted once and encrypted for each receiver.
func BenchmarkSFU(b *testing.B) {
	for _, rate := range benchRates {
		b.Run(fmt.Sprintf("in=%d", rate), func(b *testing.B) {
			for b.Loop() {
				benchSFU(b, rate)
			}
		})
	}
}

func benchSFU(b *testing.B, rate int) {
	var mu sync.Mutex
	answers := map[string]chan string{}
	s, err := New(Options{Listen: "127.0.0.1:0", Bitrate: 1 << 30, Send: func(_, party, kind string, body []byte) {
		mu.Lock()
		defer mu.Unlock()
		if kind == "answer" {
			answers[party] <- string(body)
		}
	}})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	offers := func(party, text string) string {
		ch := make(chan string, 4)
		mu.Lock()
		answers[party] = ch
		mu.Unlock()
		if err := s.Signal("bench", party, party, "offer", []byte(text)); err != nil {
			b.Fatal(err)
		}
		return <-ch
	}
	m := &meter{packets: func() uint64 { st := s.Stats(); return st.In + st.Out }}
	r := load(b, order{To: s.Addrs()[0].String(), Rate: rate, Time: benchTime}, offers, m.measure)
	m.report(b, r)
}

// TestLoadProcess is the load process of the benchmarks; by itself it does nothing.
func TestLoadProcess(t *testing.T) {
	if os.Getenv("SFU_LOAD") == "" {
		t.Skip("only the benchmarks start it")
	}
	in := json.NewDecoder(os.Stdin)
	var o order
	if err := in.Decode(&o); err != nil {
		t.Fatal(err)
	}
	say := func(v any) {
		line, _ := json.Marshal(v)
		_, _ = os.Stdout.Write(append(bytes.TrimSpace(append([]byte("\n"), line...)), '\n'))
	}
	var all []*lean
	for i := range benchParties {
		id := fmt.Sprintf("party%d", i)
		l, err := newLean(o.To)
		if err != nil {
			t.Fatal(err)
		}
		defer l.conn.Close()
		if !o.Plain {
			say(map[string]any{"Party": id, "Offer": l.offer(benchParties - 1)})
			var answer string
			if err := in.Decode(&answer); err != nil {
				t.Fatal(err)
			}
			if err := l.connect(answer); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, l)
	}
	if o.Plain {
		for _, l := range all {
			if _, err := l.conn.Write([]byte("here")); err != nil {
				t.Fatal(err)
			}
		}
	}
	var received atomic.Int64
	var wg sync.WaitGroup
	for _, l := range all {
		wg.Go(func() { l.count(&received) })
	}
	say(map[string]any{"Begin": true})
	sent := flood(all, o)
	// What is under way arrives, or the time without news is over.
	for last, quiet := int64(-1), 0; quiet < 20; {
		if n := received.Load(); n != last {
			last, quiet = n, 0
		} else {
			quiet++
		}
		<-time.After(10 * time.Millisecond)
	}
	got := received.Load()
	say(map[string]any{"Done": report{Sent: sent, Received: int(got)}})
	for _, l := range all {
		l.conn.Close()
	}
	wg.Wait()
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// flood sends at the rate of the order, each party in turn, in bursts of a millisecond.
func flood(all []*lean, o order) (sent int) {
	began := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		<-tick.C
		passed := time.Since(began)
		if passed > o.Time {
			return sent
		}
		due := int(passed.Seconds()*float64(o.Rate)) - sent
		for i := range due {
			all[i%len(all)].frame(o.Plain)
		}
		for _, l := range all {
			l.flush()
		}
		sent += due
	}
}
