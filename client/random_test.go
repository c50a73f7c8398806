package client_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/internal/faultproxy"
)

// seed of a random run: PETREL_SEED repeats one.
func seed(t *testing.T) *rand.Rand {
	n := uint64(time.Now().UnixNano())
	if s := os.Getenv("PETREL_SEED"); s != "" {
		var err error
		n, err = strconv.ParseUint(s, 10, 64)
		must(t, err)
	}
	t.Logf("PETREL_SEED=%d", n)
	return rand.New(rand.NewPCG(n, 1))
}

// TestRandom lets everything happen in any order: three devices of two users write, edit, react and delete while connections are cut
// anywhere, hang, are slow, clients are closed or killed and opened again, and the server restarts. In the end every message is
// in every store once, in order, all stores are equal, and what the users see of it too.
func TestRandom(t *testing.T) {
	steps := 300
	if long() {
		steps = 6000
	}
	r := seed(t)
	s := serve(t)
	w := newWorld(t, s)
	for range steps {
		w.step(r)
	}
	w.settle()
	w.compare()
}

// world is what a random run plays with: two devices of ann, one of bob.
type world struct {
	t       *testing.T
	s       *server
	devices []*device
	conv    string
	sent    map[string]string // id to text
	reply   map[string]bool   // ids of replies: to what was deleted meanwhile they are refused
	n       int
}

func newWorld(t *testing.T, s *server) *world {
	w := &world{t: t, s: s, conv: chat.DirectID("ann", "bob"), sent: make(map[string]string), reply: make(map[string]bool)}
	w.devices = []*device{
		s.device("ann", "phone", inFile(t)).open(), s.device("ann", "laptop", inMemory(t)).open(), s.device("bob", "b", inFile(t)).open(),
	}
	for _, d := range w.devices {
		d.upToDate()
	}
	return w
}

// step does one thing.
func (w *world) step(r *rand.Rand) {
	d := w.devices[r.IntN(len(w.devices))]
	if d.Client == nil {
		d.open()
	}
	switch n := r.IntN(100); {
	case n < 45:
		w.write(d, r)
	case n < 60:
		w.act(d, r)
	case n < 65:
		if row, err := d.Conversation(soon(w.t), w.conv); err == nil {
			must(w.t, d.MarkRead(soon(w.t), w.conv, row.Head))
		}
	case n < 75:
		w.s.proxy.Cut()
	case n < 80:
		w.s.proxy.Next(faultproxy.Faults{CutUp: faultproxy.After(r.Int64N(600))}, faultproxy.Faults{CutDown: faultproxy.After(r.Int64N(900))})
		w.s.proxy.Cut()
	case n < 83:
		w.s.proxy.Next(faultproxy.Faults{DelayUp: time.Duration(r.IntN(40)) * time.Millisecond, DelayDown: time.Duration(r.IntN(40)) * time.Millisecond})
	case n < 85:
		w.s.proxy.Hole()
		d.NetworkChanged()
	case n < 90:
		d.kill()
	case n < 94:
		d.close()
	case n < 96:
		w.s.Restart()
	default:
		d.upToDateOr(200 * time.Millisecond)
	}
}

// upToDateOr waits for a while at most: it gives the others time.
func (d *device) upToDateOr(most time.Duration) {
	ctx, cancel := contextWithin(most)
	defer cancel()
	_ = d.Wait(ctx, func(s client.Status) bool { return s.State == client.UpToDate && s.Queued == 0 })
}

func (w *world) write(d *device, r *rand.Rand) {
	p := client.Post{Text: fmt.Sprintf("%s/%s %05d", d.o.User, d.o.Device, w.n)}
	w.n++
	if ms := w.targets(d); len(ms) > 0 && r.IntN(3) == 0 {
		p.Re = ms[r.IntN(len(ms))].Target()
	}
	m, err := d.Post(soon(w.t), w.conv, p)
	must(w.t, err)
	w.sent[m.ID] = p.Text
	w.reply[m.ID] = !p.Re.Zero()
}

// targets are the newest messages that are there.
func (w *world) targets(d *device) (out []client.Message) {
	ms, err := d.Messages(soon(w.t), w.conv, client.Page{Limit: 10})
	must(w.t, err)
	for _, m := range ms {
		if m.Kind == chat.KindPost && !m.Deleted && m.State != client.StateFailed {
			out = append(out, m)
		}
	}
	return out
}

// act does something to a message; what it refuses, because it is gone meanwhile, is no fault.
func (w *world) act(d *device, r *rand.Rand) {
	ms := w.targets(d)
	if len(ms) == 0 {
		return
	}
	m := ms[r.IntN(len(ms))]
	var err error
	switch n := r.IntN(10); {
	case n < 5:
		_, err = d.React(soon(w.t), w.conv, m.Target(), []string{"👍", "🎉", "❤️"}[r.IntN(3)])
	case n < 7:
		_, err = d.Unreact(soon(w.t), w.conv, m.Target(), "👍")
	case n < 9 && m.Mine:
		_, err = d.Edit(soon(w.t), w.conv, m.Target(), m.Text+"!")
	case m.Mine && m.Seq > 0:
		_, err = d.Delete(soon(w.t), w.conv, m.Target())
		delete(w.sent, m.ID)
	}
	if err != nil && !declined(err) {
		w.t.Fatal(err)
	}
}

// settle ends all faults and waits until everybody has everything.
func (w *world) settle() {
	w.s.proxy.Next()
	w.s.proxy.Always(faultproxy.Faults{})
	w.s.proxy.Cut()
	for _, d := range w.devices {
		if d.Client == nil {
			d.open()
		}
		d.NetworkChanged()
	}
	for _, d := range w.devices {
		d.upToDate()
		d.until("what was acknowledged", func() bool { return d.underWay() == 0 })
	}
	head := uint64(0)
	for _, d := range w.devices { // the devices that were up to date first hear of what the others sent
		if row, err := d.Conversation(soon(w.t), w.conv); err == nil {
			head = max(head, row.Head)
		}
	}
	for _, d := range w.devices {
		d.until(fmt.Sprint("seq ", head), func() bool {
			row, err := d.Conversation(soon(w.t), w.conv)
			return head == 0 || err == nil && row.Head >= head
		})
		d.upToDate()
		for more := head > 0; more; {
			var err error
			more, err = d.Earlier(soon(w.t), w.conv, 500)
			must(w.t, err)
		}
	}
}

// compare asserts that all have the same, and all that was written.
func (w *world) compare() {
	for _, d := range w.devices {
		d.intact(w.conv)
	}
	phone, laptop, bob := w.devices[0], w.devices[1], w.devices[2]
	if a, b := phone.log(w.conv, true), laptop.log(w.conv, true); a != b {
		w.t.Errorf("the logs of ann's devices differ:\n%s", differ(a, b))
	}
	if a, b := phone.log(w.conv, false), bob.log(w.conv, false); a != b {
		w.t.Errorf("the logs of ann and bob differ:\n%s", differ(a, b))
	}
	if a, b := phone.show(w.conv), laptop.show(w.conv); a != b {
		w.t.Errorf("ann sees different things:\n%s", differ(a, b))
	}
	once := make(map[string]int)
	for _, line := range phone.posts(w.conv) {
		once[strings.TrimRight(line, "!")]++ // one that was edited while it was queued has its last text
	}
	newest := make(map[string]string)
	for _, line := range phone.posts(w.conv) {
		device, n, _ := strings.Cut(strings.TrimRight(line, "!"), " ")
		if n <= newest[device] {
			w.t.Errorf("%s wrote %s before %s", device, n, newest[device])
		}
		newest[device] = n
	}
	failed := make(map[string]bool)
	for _, d := range w.devices {
		out, err := d.Outbox(soon(w.t), w.conv)
		must(w.t, err)
		for _, m := range out {
			failed[m.ID] = m.State == client.StateFailed && m.Reason != ""
		}
	}
	for id, text := range w.sent {
		if n := once[text]; n != 1 && (n != 0 || !w.reply[id] || !failed[id]) {
			w.t.Errorf("%q (%s) is there %d times", text, id, n)
		}
	}
	for _, d := range w.devices {
		for _, m := range d.messages(w.conv) {
			if m.Mine && m.Kind == chat.KindPost && m.State < client.StateSent && !m.Deleted {
				w.t.Errorf("%s: %q is %v", d.o.Device, m.Text, m.State)
			}
		}
	}
}
