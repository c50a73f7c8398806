// Package bench is `petrel bench`: call Run with Options (the command line embeds Cmd).
//
// It loads MQTT servers over loopback and reports throughput, latency to the receiver and to the
// PUBACK, the server's CPU and memory, and bytes on the wire. Every message carries a stream, a
// counter and its send time, so a run that loses, repeats or reorders one fails instead of printing a
// number. Servers (petrel itself, mosquitto, nats-server) are started by the bench on free loopback
// ports with an empty data directory, one at a time, a fresh one for each scenario and repeat, and
// take turns (A B C A B C …), so that a slow minute of the machine hits all of them. docs/benchmarks.md
// describes the method and its limits.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Options of a run; the tags are kong's. Zero values are not defaults: use Defaults, or kong.
type Options struct {
	Peers     []string `help:"Servers to measure, in this order: petrel, mosquitto, nats, nats-sync." default:"petrel"`
	Scenarios []string `help:"Scenarios or prefixes of their names: pairs, rate, fanout, offline, waiting, idle, sessions, storm, bytes, plain, group-cost, history, sync-1000, busy, receipts, search, indexing, sdk (sdk-send, sdk-open, sdk-bytes), calls (calls-setup, calls-bytes, calls-back, calls-silent, calls-switch, calls-ringing, calls-sfu); or all." default:"pairs,rate,fanout,offline,idle,bytes"`
	Repeat    int      `help:"Repeats of each scenario, peers taking turns; the table shows medians." default:"1"`

	Warmup   time.Duration `help:"Load before measuring starts." default:"2s"`
	Duration time.Duration `help:"Measured time of pairs, rate and fanout, and of each phase of storm." default:"8s"`
	Limit    time.Duration `help:"Longest time for a fill, a drain or the setup of sessions; what was done by then is reported." default:"90s"`

	Pairs        int `help:"Sender and receiver pairs." default:"10"`
	Window       int `help:"Unacknowledged messages per sender (closed loop)." default:"20"`
	Rate         int `help:"Messages per second in all for rate and storm (open loop)." default:"400"`
	Members      int `help:"Online members of the fan-out." default:"500"`
	FanoutWindow int `help:"Messages of the fan-out that have not reached every member yet." default:"32"`
	Offline      int `help:"Offline sessions of the offline scenario." default:"100"`
	Messages     int `help:"Messages of the offline scenario." default:"100000"`
	Waiting      int `help:"Messages waiting for the one device of waiting." default:"1000000"`
	Conns        int `help:"Connections of idle and devices of storm." default:"10000"`
	Sessions     int `help:"Offline sessions of sessions." default:"100000"`
	Group        int `help:"Members of the large group of group-cost and receipts." default:"5000"`
	Busy         int `help:"Members of the busy group." default:"1000"`
	Log          int `help:"Messages of the log that history and search read, and of the store that sdk-open opens." default:"1000000"`
	Convs        int `help:"Conversations of sync-1000." default:"1000"`
	SDKMessages  int `name:"sdk-messages" help:"Messages of sdk-send." default:"10000"`

	Calls       int             `help:"Calls that ring at the same time in calls-ringing." default:"10000"`
	CallDevices int             `help:"Devices of calls-back that were away, and calls of calls-silent." default:"100"`
	CallTimes   int             `help:"Calls of calls-setup for each delay, and half the changes of network of calls-switch." default:"9"`
	CallDelays  []time.Duration `help:"Delays each way of calls-setup." default:"50ms,150ms"`
	CallAway    []time.Duration `help:"For how long devices of calls-back are away." default:"5s,30s"`
	CallPickup  time.Duration   `help:"How long somebody takes to answer a call; five times that is between two changes of network." default:"1s"`
	Forwarder   bool            `hidden:"" help:"Be the plain forwarder that calls-sfu compares with."`

	Addr string `help:"Measure a server that runs already, at host:port, tls://host:port or unix:///path, instead of starting peers."`
	Kind string `help:"What runs at --addr: petrel (in dev mode), plain (any other broker) or plain-v4 (one without MQTT 5)." enum:"petrel,plain,plain-v4" default:"petrel"`
	PID  int    `help:"Process id of the server at --addr, for CPU and memory."`

	Petrel    string `help:"petrel binary to start (default: this one)." type:"path"`
	Mosquitto string `help:"mosquitto binary." default:"mosquitto"`
	NATSDir   string `help:"Source of the nats peer, a module of its own; built when needed." default:"bench/nats" type:"path"`
	Dir       string `help:"Directory for the servers' data, on the disk to measure (default: the system's temporary directory)." type:"path"`
	JSON      string `help:"Also write every single result to this file as JSON." type:"path"`
}

// Defaults returns the options that the command line has without flags.
func Defaults() Options {
	return Options{
		Peers: []string{"petrel"}, Scenarios: []string{"pairs", "rate", "fanout", "offline", "idle", "bytes"},
		Repeat: 1, Warmup: 2 * time.Second, Duration: 8 * time.Second, Limit: 90 * time.Second,
		Pairs: 10, Window: 20, Rate: 400, Members: 500, FanoutWindow: 32, Offline: 100, Messages: 100_000,
		Waiting: 1_000_000, Conns: 10_000, Sessions: 100_000,
		Group: 5000, Busy: 1000, Log: 1_000_000, Convs: 1000, SDKMessages: 10_000,
		Calls: 10_000, CallDevices: 100, CallTimes: 9, CallDelays: []time.Duration{50 * time.Millisecond, 150 * time.Millisecond},
		CallAway: []time.Duration{5 * time.Second, 30 * time.Second}, CallPickup: time.Second,
		Kind: "petrel", Mosquitto: "mosquitto", NATSDir: "bench/nats",
	}
}

// Validate names all that is wrong with the options.
func (o Options) Validate() error {
	var errs []error
	positive := func(name string, n int) {
		if n <= 0 {
			errs = append(errs, fmt.Errorf("--%s must be at least 1, not %d", name, n))
		}
	}
	positive("repeat", o.Repeat)
	positive("pairs", o.Pairs)
	positive("window", o.Window)
	positive("rate", o.Rate)
	positive("members", o.Members)
	positive("fanout-window", o.FanoutWindow)
	positive("offline", o.Offline)
	positive("messages", o.Messages)
	positive("waiting", o.Waiting)
	positive("conns", o.Conns)
	positive("sessions", o.Sessions)
	positive("busy", o.Busy)
	positive("convs", o.Convs)
	positive("sdk-messages", o.SDKMessages)
	positive("calls", o.Calls)
	positive("call-devices", o.CallDevices)
	positive("call-times", o.CallTimes)
	if len(o.CallAway) == 0 || slices.Min(append(slices.Clone(o.CallDelays), o.CallAway...)) <= 0 {
		errs = append(errs, errors.New("--call-delays and --call-away must be positive, and name at least one time to be away"))
	}
	if o.Group < 100 || o.Log < 200 {
		errs = append(errs, errors.New("--group must be at least 100, --log at least 200"))
	}
	if o.Window > maxInFlight/4 {
		errs = append(errs, fmt.Errorf("--window must be at most %d", maxInFlight/4))
	}
	if o.Duration <= 0 || o.Warmup < 0 || o.Limit <= 0 || o.CallPickup < 0 {
		errs = append(errs, errors.New("--duration and --limit must be positive, --warmup and --call-pickup not negative"))
	}
	if o.Addr == "" && len(o.Peers) == 0 {
		errs = append(errs, errors.New("--peers names no server"))
	}
	if o.Addr != "" && !slices.Contains([]string{"petrel", "plain", "plain-v4"}, o.Kind) {
		errs = append(errs, fmt.Errorf("--kind %q is not petrel, plain or plain-v4", o.Kind))
	}
	for _, name := range o.Peers {
		if !slices.Contains(peerNames, name) {
			errs = append(errs, fmt.Errorf("--peers: %q is not one of %s", name, strings.Join(peerNames, ", ")))
		}
	}
	if _, err := pick(o.Scenarios); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Cmd is the subcommand for kong. Bind a context.Context that ends on SIGINT and SIGTERM, so that the
// servers that were started are stopped, and an io.Writer for the report.
type Cmd struct {
	Options
}

// Run runs the bench.
func (c *Cmd) Run(ctx context.Context, stdout io.Writer) error {
	if c.Forwarder {
		return forward(os.Stdin, stdout)
	}
	return Run(ctx, c.Options, stdout)
}

// scenario is one kind of load. It is given a server that has just been started.
type scenario struct {
	name string
	run  func(r *runner, ctx context.Context, s *server) (Result, error)
}

// scenarios in the order in which they run.
func scenarios() []scenario {
	pairs := func(size int, plain bool) func(*runner, context.Context, *server) (Result, error) {
		return func(r *runner, ctx context.Context, s *server) (Result, error) {
			return r.pairs(ctx, s, pairLoad{size: size, plain: plain})
		}
	}
	fanout := func(size int) func(*runner, context.Context, *server) (Result, error) {
		return func(r *runner, ctx context.Context, s *server) (Result, error) { return r.fanout(ctx, s, size) }
	}
	return []scenario{
		{"pairs-64", pairs(64, false)},
		{"pairs-1k", pairs(1024, false)},
		{"plain-64", pairs(64, true)},
		{"plain-1k", pairs(1024, true)},
		{"rate", func(r *runner, ctx context.Context, s *server) (Result, error) {
			return r.pairs(ctx, s, pairLoad{size: 64, rate: r.opt.Rate})
		}},
		{"fanout-64", fanout(64)},
		{"fanout-1k", fanout(1024)},
		{"offline", func(r *runner, ctx context.Context, s *server) (Result, error) {
			return r.offline(ctx, s, offlineLoad{sessions: r.opt.Offline, messages: r.opt.Messages})
		}},
		{"offline-group", func(r *runner, ctx context.Context, s *server) (Result, error) {
			return r.offline(ctx, s, offlineLoad{sessions: r.opt.Offline, messages: max(1, r.opt.Messages/10), group: true})
		}},
		{"waiting", func(r *runner, ctx context.Context, s *server) (Result, error) {
			return r.offline(ctx, s, offlineLoad{sessions: 1, messages: r.opt.Waiting})
		}},
		{"idle", (*runner).idle},
		{"sessions", (*runner).sessions},
		{"storm", (*runner).storm},
		{"group-cost", (*runner).groupCost},
		{"history", (*runner).history},
		{"sync-1000", (*runner).syncing},
		{"busy", (*runner).busy},
		{"receipts", (*runner).receipts},
		{"search", (*runner).searching},
		{"indexing", (*runner).indexing},
		{"sdk-send", (*runner).sending},
		{"sdk-open", (*runner).opening},
		{"sdk-bytes", (*runner).clientBytes},
		{"calls-setup", (*runner).setup},
		{"calls-bytes", (*runner).callBytes},
		{"calls-back", (*runner).comingBack},
		{"calls-silent", (*runner).silencing},
		{"calls-switch", (*runner).switching},
		{"calls-ringing", (*runner).ringing},
		{"calls-sfu", (*runner).sfu},
		{"bytes", (*runner).bytes},
	}
}

// pick resolves names, prefixes ("pairs" means pairs-64 and pairs-1k) and "all".
func pick(names []string) ([]scenario, error) {
	var out []scenario
	for _, name := range names {
		if !slices.ContainsFunc(scenarios(), func(s scenario) bool { return matches(s.name, name) }) {
			return nil, fmt.Errorf("--scenarios: there is no %q", name)
		}
	}
	for _, s := range scenarios() {
		if slices.ContainsFunc(names, func(name string) bool { return matches(s.name, name) }) {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("--scenarios names none")
	}
	return out, nil
}

func matches(scenario, name string) bool {
	return name == "all" || scenario == name || strings.HasPrefix(scenario, name+"-")
}

// runner holds what the scenarios of a run share. One goroutine runs them, one after the other.
type runner struct {
	opt   Options
	clock clock
	dir   string // scratch, removed at the end
	nats  string // built binary of the nats peer
}

// Run measures and writes a markdown report to stdout. It returns an error if a server lost, repeated
// or reordered a message, refused one, or couldn't be run; the report is complete then, too. When ctx
// ends the servers that were started are killed and what was measured until then is printed.
func Run(ctx context.Context, o Options, stdout io.Writer) (err error) {
	if err := o.Validate(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.Dir, "petrel-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r := &runner{opt: o, clock: newClock(), dir: dir}
	peers, err := r.peers(ctx)
	if err != nil {
		return err
	}
	list, err := pick(o.Scenarios)
	if err != nil {
		return err
	}
	sync, err := fsyncMedian(dir)
	if err != nil {
		return fmt.Errorf("measuring fsync in %s: %w", dir, err)
	}
	fmt.Fprintf(stdout, "%s/%s, %d CPUs shared with this load generator, Go %s; write + fsync of 4 KiB: %.2f ms (median of 100)\n",
		runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), strings.TrimPrefix(runtime.Version(), "go"), sync.Seconds()*1e3)
	rep := &report{FsyncMS: sync.Seconds() * 1e3, CPUs: runtime.NumCPU(), names: namesOf(peers)}
	for _, sc := range list {
		for n := range o.Repeat {
			for _, p := range peers {
				if ctx.Err() != nil {
					break
				}
				res := r.once(ctx, sc, p)
				res.Repeat = n + 1
				rep.add(res)
				fmt.Fprintln(stdout, res.line())
			}
		}
	}
	rep.write(stdout)
	if o.JSON != "" {
		err = rep.save(o.JSON)
	}
	return errors.Join(err, rep.failure(), context.Cause(ctx))
}

// once starts a server, runs one scenario against it and stops it.
func (r *runner) once(ctx context.Context, sc scenario, p peer) Result {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute+3*r.opt.Limit)
	defer cancel()
	s, err := r.start(ctx, p)
	var res Result
	if err == nil {
		res, err = sc.run(r, ctx, s)
		if said := s.log.String(); err != nil && said != "" {
			res.note("the end of %s's log:\n%s", p.name, said)
		}
		err = errors.Join(err, s.close())
	}
	res.Scenario, res.Peer = sc.name, p.name
	if err != nil {
		res.Faults = append(res.Faults, err.Error())
	}
	return res
}
