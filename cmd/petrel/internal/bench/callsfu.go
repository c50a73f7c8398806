package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/petrelchat/petrel/signaling/sfu/sfuload"
)

// sfuParties take part; what one sends is forwarded to all others.
const sfuParties = 5

// sfuRates are packets a second that come in and go out.
func sfuRates() []int { return []int{25_000, 75_000, 150_000} }

func sfuMetric(what string, rate int) string { return fmt.Sprintf("%s, at %d/s", what, rate) }

const (
	sfuCore  = "packets/s and core"
	sfuRatio = "packets/s and core ÷ forwarder"
	sfuLost  = "lost"
)

// sfu sends frames of 64 bytes through the server's SFU, and in turns through a program that writes each datagram to all others: the physical
// minimum. The load is the same, and what the kernel needs for loopback is in both processes' processor time.
func (r *runner) sfu(ctx context.Context, s *server) (res Result, err error) {
	switch {
	case !s.petrel:
		return conversationsOnly(), nil
	case s.pid == 0 || s.ready == "":
		return res, errors.New("calls-sfu measures a process and reads its metrics: it can't be used with --addr")
	}
	for i, rate := range sfuRates() {
		plain, err := r.plainly(ctx, rate)
		if err != nil {
			return res, fmt.Errorf("forwarder: %w", err)
		}
		served, err := r.throughSFU(ctx, s, i, rate)
		if err != nil {
			return res, err
		}
		res.add(sfuMetric("forwarder: "+sfuCore, rate), "", plain.perCore())
		res.add(sfuMetric("forwarder: "+sfuLost, rate), "%", plain.lost())
		res.add(sfuMetric(sfuCore, rate), "", served.perCore())
		res.add(sfuMetric(sfuRatio, rate), "", served.perCore()/plain.perCore())
		res.add(sfuMetric(sfuLost, rate), "%", served.lost())
	}
	return res, nil
}

// forwarded is what came of a load.
type forwarded struct {
	sent, received int
	packets        float64 // that the process took and sent
	cpu            time.Duration
}

func (f forwarded) perCore() float64 { return f.packets / max(f.cpu, tick).Seconds() }

// lost is the share of packets that did not arrive, in percent.
func (f forwarded) lost() float64 {
	want := f.sent * (sfuParties - 1)
	return 100 * float64(max(0, want-f.received)) / float64(max(want, 1))
}

// load lets clients send, and measures the process that forwards. rate is of packets in and out.
func (r *runner) load(cr *crew, all []*sfuload.Client, rate, pid int, packets func() (float64, error)) (f forwarded, err error) {
	var received atomic.Int64
	for _, c := range all {
		cr.run(func() error { c.Count(&received); return nil })
	}
	from, err := packets()
	if err != nil {
		return f, err
	}
	before := usageOf(pid)
	f.sent = sfuload.Flood(all, rate/sfuParties, r.opt.Duration)
	for last, quiet := int64(-1), 0; quiet < 20; quiet++ { // what is under way arrives
		if n := received.Load(); n != last {
			last, quiet = n, 0
		}
		if err := cr.sleep(10 * time.Millisecond); err != nil {
			return f, err
		}
	}
	f.cpu = usageOf(pid).cpu - before.cpu
	to, err := packets()
	f.packets, f.received = to-from, int(received.Load())
	return f, err
}

// sfuClients makes the parties; they are closed with the crew.
func sfuClients(cr *crew) ([]*sfuload.Client, error) {
	all := make([]*sfuload.Client, sfuParties)
	for i := range all {
		c, err := sfuload.New()
		if err != nil {
			return nil, err
		}
		all[i] = c
	}
	context.AfterFunc(cr.ctx, func() {
		for _, c := range all {
			c.Close()
		}
	})
	return all, nil
}

// plainly loads the plain forwarder, which is this program once more.
func (r *runner) plainly(ctx context.Context, rate int) (f forwarded, err error) {
	self, err := os.Executable()
	if err != nil {
		return f, err
	}
	cmd := exec.CommandContext(ctx, self, "bench", "--forwarder")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return f, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return f, err
	}
	if err := cmd.Start(); err != nil {
		return f, err
	}
	defer func() {
		in.Close()
		err = errors.Join(err, cmd.Wait())
	}()
	lines := bufio.NewReader(out)
	addr, err := lines.ReadString('\n')
	if err != nil {
		return f, err
	}
	cr := newCrew(ctx)
	defer cr.close()
	all, err := sfuClients(cr)
	if err != nil {
		return f, err
	}
	for _, c := range all {
		if err := c.Dial(strings.TrimSpace(addr)); err != nil {
			return f, err
		}
	}
	return r.load(cr, all, rate, cmd.Process.Pid, func() (float64, error) {
		if _, err := io.WriteString(in, "\n"); err != nil {
			return 0, err
		}
		n, err := lines.ReadString('\n')
		if err != nil {
			return 0, err
		}
		return strconv.ParseFloat(strings.TrimSpace(n), 64)
	})
}

// forward is the process that plainly starts. It says where it listens and then, for each line that it is given, how many packets it took and
// sent; it ends with its input.
func forward(in io.Reader, out io.Writer) error {
	f, err := sfuload.NewForwarder()
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { f.Run(); close(ended) }() // ends with Close
	fmt.Fprintln(out, f.Addr())
	for lines := bufio.NewScanner(in); lines.Scan(); {
		fmt.Fprintln(out, f.Packets())
	}
	err = f.Close()
	<-ended
	return err
}

// throughSFU loads the SFU with a call of its own, the n-th.
func (r *runner) throughSFU(ctx context.Context, s *server, n, rate int) (f forwarded, err error) {
	cr := newCrew(ctx)
	defer cr.close()
	all, err := sfuClients(cr)
	if err != nil {
		return f, err
	}
	if err := r.meet(cr, s, fmt.Sprint("sfu", n), all); err != nil {
		return f, err
	}
	return r.load(cr, all, rate, s.pid, func() (float64, error) {
		m, err := s.metrics(ctx)
		return m["petrel_sfu_received_packets_total"] + m["petrel_sfu_sent_packets_total"], err
	})
}

// meet makes a group of parties and has them call: the fifth makes an SFU's call of it, to which all connect.
func (r *runner) meet(cr *crew, s *server, group string, all []*sfuload.Client) error {
	lines, users := make([]*line, len(all)), make([]string, len(all))
	for i := range lines {
		users[i] = fmt.Sprintf("%suser%d", group, i)
		l, err := cr.line(s, i, users[i], users[i])
		if err != nil {
			return err
		}
		lines[i] = l
	}
	ask, err := cr.asking(s, users[0], users[0]+"-asks")
	if err != nil {
		return err
	}
	if _, err := ask.ask("group.create", map[string]any{"id": group, "title": group, "members": users[1:]}, nil); err != nil {
		return err
	}
	var call string
	for _, l := range lines { // to start where a call runs is to join it
		a, err := l.publish(r.clock, "c/"+group+"/call", `{"media":["audio"]}`)
		if err != nil {
			return err
		}
		call = a.call
	}
	for i, l := range lines {
		if err := l.send("k/"+call+"/signal", signal("sfu", "offer", all[i].Offer(sfuParties-1))); err != nil {
			return err
		}
		t, _, err := l.hears(r.clock, "the SFU's answer", func(t *told) bool { return t.Kind == "signal" && t.Type == "answer" })
		if err != nil {
			return err
		}
		answer, err := t.description()
		if err != nil {
			return err
		}
		if err := all[i].Connect(answer); err != nil {
			return fmt.Errorf("%s: %w", l.user, err)
		}
	}
	return nil
}
