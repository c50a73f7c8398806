package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/signaling/sfu/sfuload"
)

func TestHistogramIsAccurate(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var h, other histogram
	var all []int64
	for i := range 20_000 {
		v := int64(1) << rng.IntN(40)
		v += rng.Int64N(v)
		all = append(all, v)
		if i%2 == 0 {
			h.add(v)
		} else {
			other.add(v)
		}
	}
	h.merge(&other)
	slices.Sort(all)
	for _, q := range []float64{0.001, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[max(int(q*float64(len(all))+0.5), 1)-1]
		got := h.quantile(q)
		if got < want || float64(got-want) > float64(want)/64 {
			t.Errorf("quantile %v: got %d, want %d within 1/64 above", q, got, want)
		}
	}
	if h.top != all[len(all)-1] || h.n != uint64(len(all)) {
		t.Errorf("top %d, n %d", h.top, h.n)
	}
}

func TestHistogramBucketsCoverEverything(t *testing.T) {
	prev := int64(-1)
	for i := range len(histogram{}.counts) {
		if lo := prev + 1; bucket(lo) != i || bucket(upper(i)) != i {
			t.Fatalf("bucket %d: its bounds %d and %d are in %d and %d", i, lo, upper(i), bucket(lo), bucket(upper(i)))
		}
		if prev = upper(i); prev == 1<<63-1 {
			if i != len(histogram{}.counts)-1 {
				t.Fatalf("%d buckets are never used", len(histogram{}.counts)-1-i)
			}
			return
		}
	}
	t.Fatalf("the largest value that fits is %d", prev)
}

func TestEmptyHistogram(t *testing.T) {
	var h histogram
	if got := h.quantile(0.99); got != 0 {
		t.Fatalf("quantile of nothing: %d", got)
	}
}

func TestStampRoundTrip(t *testing.T) {
	for _, want := range []stamp{
		{}, {sent: 1, stream: 2, count: 3, last: true}, {sent: 1<<63 - 1, stream: 1<<16 - 1, count: 1<<40 - 1},
	} {
		b := newPayload(64)
		want.put(b)
		if got, ok := readStamp(b); !ok || got != want {
			t.Errorf("got %+v %v, want %+v", got, ok, want)
		}
	}
	for _, bad := range []string{"", "short", strings.Repeat("x", 64), strings.Repeat("g", 30) + "m"} {
		if _, ok := readStamp([]byte(bad)); ok {
			t.Errorf("%q was taken for a stamp", bad)
		}
	}
}

func TestSequence(t *testing.T) {
	for _, tc := range []struct {
		name          string
		in            []uint64
		skipped, back uint64
	}{
		{"in order", []uint64{0, 1, 2, 3}, 0, 0},
		{"lost", []uint64{0, 3}, 2, 0},
		{"lost at the start", []uint64{1}, 1, 0},
		{"repeated", []uint64{0, 1, 1}, 0, 1},
		{"swapped", []uint64{1, 0, 2}, 1, 1},
	} {
		var s sequence
		for _, n := range tc.in {
			s.see(n)
		}
		if s.skipped != tc.skipped || s.back != tc.back {
			t.Errorf("%s: %d skipped, %d back", tc.name, s.skipped, s.back)
		}
	}
}

func TestReportShowsMediansRatiosAndGoals(t *testing.T) {
	rep := &report{names: []string{"petrel", "mosquitto"}}
	for i, v := range []float64{30_000, 10_000, 26_000} {
		res := Result{Scenario: "pairs-64", Peer: "petrel", Repeat: i + 1}
		res.add("msg/s", "", v)
		rep.add(res)
	}
	res := Result{Scenario: "pairs-64", Peer: "mosquitto", Repeat: 1}
	res.add("msg/s", "", 52_000)
	rep.add(res)
	var out bytes.Buffer
	rep.write(&out)
	if want := "| pairs-64 | msg/s | **26000** | 52000 | 0.50 | ≥ 25000 reached |"; !strings.Contains(out.String(), want) {
		t.Errorf("no row\n%s\nin\n%s", want, out.String())
	}
	if err := rep.failure(); err != nil {
		t.Error(err)
	}
	rep.add(Result{Scenario: "pairs-64", Peer: "petrel", Repeat: 4, Faults: []string{"lost 3"}, Metrics: []Metric{{"msg/s", "", 1}}})
	out.Reset()
	rep.write(&out)
	if rep.failure() == nil || !strings.Contains(out.String(), "lost 3") || !strings.Contains(out.String(), "**26000**") {
		t.Errorf("a fault must fail the run, be shown, and not count:\n%s", out.String())
	}
}

func TestGoalsAreOfScenarios(t *testing.T) {
	seen := map[[2]string]bool{}
	for _, g := range goals() {
		if !slices.ContainsFunc(scenarios(), func(s scenario) bool { return s.name == g.scenario }) {
			t.Errorf("there is no scenario %q, whose %q has a goal", g.scenario, g.metric)
		}
		if key := [2]string{g.scenario, g.metric}; seen[key] {
			t.Errorf("%s: %s has two goals", g.scenario, g.metric)
		} else {
			seen[key] = true
		}
	}
	if g, ok := goalOf("calls-setup", "round trips until the first media packet, 50ms each way"); !ok || g.value != 6 || !g.most {
		t.Errorf("the goal of the setup is %+v", g)
	}
}

// TestForward is the process that calls-sfu compares with.
func TestForward(t *testing.T) {
	in, orders := io.Pipe()
	said, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- forward(in, out) }()
	lines := bufio.NewScanner(said)
	line := func() string {
		t.Helper()
		if !lines.Scan() {
			t.Fatal("it says nothing more")
		}
		return lines.Text()
	}
	addr := line()
	var all []*sfuload.Client
	for range 3 {
		c, err := sfuload.New()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Dial(addr); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	sent := sfuload.Flood(all, 1000, 50*time.Millisecond)
	// Each of the three packets by which it learns of the parties goes to those that it knows, each frame to the other two.
	want := strconv.Itoa(3 + 3 + 3*sent)
	for last := ""; last != want; {
		fmt.Fprintln(orders)
		if last = line(); len(last) > len(want) || len(last) == len(want) && last > want {
			t.Fatalf("%s packets of %s", last, want)
		}
	}
	orders.Close()
	if err := <-ended; err != nil || sent == 0 {
		t.Fatalf("%v; %d packets were sent", err, sent)
	}
}

func TestSignalIsReadAgain(t *testing.T) {
	const sdp = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\n"
	for _, body := range []string{signal("p", "offer", sdp), `{"type":"offer","body":"v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\n"}`} {
		var m told
		if err := json.Unmarshal([]byte(body), &m); err != nil {
			t.Fatal(err)
		}
		if got, err := m.description(); err != nil || got != sdp {
			t.Errorf("%s: %q, %v", body, got, err)
		}
	}
	var m told
	if err := json.Unmarshal([]byte(`{"body":{"z":"AAAA"}}`), &m); err != nil {
		t.Fatal(err)
	}
	if got, err := m.description(); err == nil {
		t.Errorf("rubbish is read as %q", got)
	}
}

func TestMedianOfTimes(t *testing.T) {
	for _, tc := range []struct {
		in   []int64
		want int64
	}{{nil, 0}, {[]int64{3}, 3}, {[]int64{9, 1, 4}, 4}, {[]int64{8, 2, 4, 6}, 5}} {
		if got := median(tc.in); got != tc.want {
			t.Errorf("of %v: %d, want %d", tc.in, got, tc.want)
		}
	}
}

func TestValidateNamesAllFaults(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Fatalf("the defaults: %v", err)
	}
	o := Defaults()
	o.Pairs, o.Peers, o.Scenarios = 0, []string{"rabbit"}, []string{"nothing"}
	o.Calls, o.CallAway = 0, []time.Duration{-time.Second}
	err := o.Validate()
	for _, want := range []string{"--pairs", `"rabbit"`, `"nothing"`, "--calls", "--call-away"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

// small is a run of moments.
func small() Options {
	o := Defaults()
	o.Warmup, o.Duration, o.Limit = 100*time.Millisecond, 300*time.Millisecond, 20*time.Second
	o.Pairs, o.Members, o.Offline, o.Messages, o.Waiting, o.Conns, o.Sessions = 3, 20, 10, 500, 300, 300, 200
	return o
}

// TestAgainstMosquitto runs every scenario end to end against a real broker.
func TestAgainstMosquitto(t *testing.T) {
	o := small()
	if _, err := exec.LookPath(o.Mosquitto); err != nil {
		o.Mosquitto = "/usr/sbin/mosquitto"
		if _, err := os.Stat(o.Mosquitto); err != nil {
			t.Skip("mosquitto is not installed: Debian's package mosquitto makes this test run")
		}
	}
	o.Peers, o.Scenarios, o.Dir = []string{"mosquitto"}, []string{"all"}, t.TempDir()
	o.JSON = filepath.Join(o.Dir, "out.json")
	var out bytes.Buffer
	if err := Run(t.Context(), o, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	b, err := os.ReadFile(o.JSON)
	if err != nil {
		t.Fatal(err)
	}
	var rep report
	if err := json.Unmarshal(b, &rep); err != nil {
		t.Fatal(err)
	}
	if len(rep.Results) != len(scenarios()) {
		t.Fatalf("%d results of %d scenarios", len(rep.Results), len(scenarios()))
	}
	for _, res := range rep.Results {
		for _, name := range []string{"msg/s", "deliveries/s", "drain msg/s", textV4} {
			if v, ok := res.value(name); ok && v <= 0 {
				t.Errorf("%s: %s is %v", res.Scenario, name, v)
			}
		}
	}
	// A 12-byte text on the 10-byte topic is 28 bytes of PUBLISH and 4 of PUBACK, on both legs.
	if v, _ := rep.Results[len(rep.Results)-1].value(textV4); v != 64 {
		t.Errorf("a text over mosquitto takes %v bytes, not 64", v)
	}
	left, err := filepath.Glob(filepath.Join(o.Dir, "petrel-bench-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestStopsWithItsContext makes sure that a cancelled run ends soon and leaves no server behind.
func TestStopsWithItsContext(t *testing.T) {
	o := small()
	bin, err := exec.LookPath("mosquitto")
	if err != nil {
		if bin = "/usr/sbin/mosquitto"; !exists(bin) {
			t.Skip("mosquitto is not installed: Debian's package mosquitto makes this test run")
		}
	}
	o.Mosquitto, o.Peers, o.Scenarios, o.Duration, o.Dir = bin, []string{"mosquitto"}, []string{"pairs"}, time.Hour, t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	r := &runner{opt: o, clock: newClock(), dir: o.Dir}
	peers, err := r.peers(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.start(ctx, peers[0])
	if err != nil {
		t.Fatal(err)
	}
	exited := s.exited
	go func() {
		_, err := r.pairs(ctx, s, pairLoad{size: 64})
		s.close()
		stopped <- err
	}()
	cancel()
	if err := <-stopped; err == nil {
		t.Error("a cancelled scenario must not report success")
	}
	<-exited
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}
