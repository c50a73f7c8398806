package client_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/client/store/sqlite"
)

// TestProgramKilled kills a program that sends with SIGKILL, at any moment, again and again, with the server there, away, or coming
// back, while another device of the same user and another user write too. Everything for which a call had returned before
// the kill has happened once: messages in the order in which they were written, their changes, reactions, what was read.
func TestProgramKilled(t *testing.T) {
	rounds := 8
	if long() {
		rounds = 150
	}
	r := seed(t)
	s := serve(t)
	laptop := s.device("ann", "laptop", inMemory(t)).open()
	bob := s.device("bob", "b", inFile(t)).open()
	laptop.upToDate()
	bob.upToDate()
	for _, conv := range programConvs()[1:] {
		_, err := bob.Groups().Create(soon(t), client.NewGroup{ID: conv, Members: []string{"ann"}, GroupSettings: client.GroupSettings{Title: &conv}})
		must(t, err)
	}
	k := &killing{t: t, s: s, r: r, others: []*device{laptop, bob}, ann: newProgram(t, s, filepath.Join(t.TempDir(), "phone.db"))}
	for round := range rounds {
		k.round(round)
	}
	st, err := sqlite.Open(k.ann.path, sqlite.Options{})
	must(t, err)
	must(t, st.Check(t.Context()))
	phone := s.device("ann", "phone", st).open()
	k.settle(phone)
	for _, conv := range programConvs() {
		k.compare(conv, phone)
	}
}

// killing is a run of TestProgramKilled.
type killing struct {
	t      *testing.T
	s      *server
	r      *rand.Rand
	ann    *program
	others []*device
	n      int // messages of each of the others in each conversation
}

// round starts the program, lets everybody write, and kills it: right after the start, while it writes, or while it sends, which is
// when messages of its come to somebody else.
func (k *killing) round(n int) {
	k.t.Helper()
	away := n%4 == 2 // the server is not there
	if away {
		k.s.Stop()
	}
	k.ann.start(n)
	k.write()
	bob, conv := k.others[1], programConvs()[k.r.IntN(3)]
	switch how := k.r.IntN(5); {
	case how == 0:
	case away || how < 3:
		k.ann.hear(k.r.IntN(150))
	default:
		want := 1 + k.r.IntN(postsOfRound/2) + phones(bob, conv)
		bob.until(fmt.Sprint(want, " of the program's in ", conv), func() bool { return phones(bob, conv) >= want })
	}
	switch {
	case n%4 == 0:
		k.s.Restart()
	case n%4 == 3:
		k.s.proxy.Cut()
	}
	k.ann.kill()
	if away {
		k.s.Start()
	}
}

// phones counts the messages of the program that a device has.
func phones(d *device, conv string) (n int) {
	for _, text := range d.posts(conv) {
		if strings.HasPrefix(text, "phone ") {
			n++
		}
	}
	return n
}

// write lets the others write.
func (k *killing) write() {
	k.t.Helper()
	for range 3 {
		for _, d := range k.others {
			for _, conv := range programConvs() {
				d.send(conv, d.o.Device+" "+fmt.Sprintf("%07d", k.n))
			}
		}
		k.n++
	}
}

// settle waits until everybody has everything.
func (k *killing) settle(phone *device) {
	k.t.Helper()
	all := append([]*device{phone}, k.others...)
	for _, d := range all {
		d.NetworkChanged()
		d.upToDate()
		d.until("an empty outbox", func() bool { return d.waiting() == 0 })
	}
	for _, conv := range programConvs() {
		head := uint64(0)
		for _, d := range all {
			row, err := d.Conversation(soon(k.t), conv)
			must(k.t, err)
			head = max(head, row.Head)
		}
		for _, d := range all {
			d.until(fmt.Sprint(conv, " up to ", head), func() bool {
				row, err := d.Conversation(soon(k.t), conv)
				return err == nil && row.Head >= head
			})
			d.upToDate()
			for more := true; more; {
				var err error
				more, err = d.Earlier(soon(k.t), conv, 500)
				must(k.t, err)
			}
		}
	}
}

// compare asserts that all stores have the same of a conversation, and all that was promised.
func (k *killing) compare(conv string, phone *device) {
	t, laptop, bob := k.t, k.others[0], k.others[1]
	if a, b := phone.log(conv, true), laptop.log(conv, true); a != b {
		t.Errorf("%s: the logs of ann's devices differ:\n%s", conv, differ(a, b))
	}
	if a, b := phone.log(conv, false), bob.log(conv, false); a != b {
		t.Errorf("%s: the logs of ann and bob differ:\n%s", conv, differ(a, b))
	}
	if a, b := phone.show(conv), laptop.show(conv); a != b {
		t.Errorf("%s: ann sees different things:\n%s", conv, differ(a, b))
	}
	for _, d := range []*device{phone, laptop, bob} {
		d.intact(conv)
		k.inOrder(d, conv)
		if n := d.waiting(); n != 0 {
			t.Errorf("%s: %d wait in the outbox", d.o.Device, n)
		}
		for _, m := range d.messages(conv) {
			if m.Mine && m.Kind == chat.KindPost && (m.State < client.StateSent || m.State == client.StateFailed) {
				t.Errorf("%s: %s: %q is %v", d.o.Device, conv, m.Text, m.State)
			}
		}
	}
	k.kept(conv, phone)
}

// inOrder asserts that what each device wrote is there once, in the order in which it was written: the numbers ascend; and that all is there
// that was promised.
func (k *killing) inOrder(d *device, conv string) {
	k.t.Helper()
	newest := make(map[string]string)
	there := make(map[string]bool)
	for _, text := range d.posts(conv) {
		text = strings.TrimSuffix(text, "!") // changed while it was queued
		from, n, _ := strings.Cut(text, " ")
		if n <= newest[from] {
			k.t.Errorf("%s: %s: %s comes after %s", d.o.Device, conv, text, newest[from])
		}
		newest[from], there[text] = n, true
	}
	want := slices.Clone(k.ann.posts[conv])
	for _, o := range k.others {
		for i := range k.n {
			want = append(want, o.o.Device+" "+fmt.Sprintf("%07d", i))
		}
	}
	for _, text := range want {
		if !there[text] {
			k.t.Errorf("%s: %s: %q, for which Send had returned, is not there", d.o.Device, conv, text)
		}
	}
}

// kept asserts the other promises: ids, changes, reactions, what was read.
func (k *killing) kept(conv string, phone *device) {
	t := k.t
	t.Helper()
	if len(k.ann.posts[conv]) == 0 {
		t.Errorf("%s: the program was never heard of: the test proves nothing", conv)
	}
	liked := 0
	for _, m := range phone.messages(conv) {
		base := strings.TrimSuffix(m.Text, "!")
		if id := k.ann.ids[base+conv]; id != "" && id != m.ID {
			t.Errorf("%s: %q has the id %s, Send had returned %s", conv, base, m.ID, id)
		}
		if k.ann.edits[base+conv] && m.Text == base {
			t.Errorf("%s: %q, for which Edit had returned, is not changed", conv, base)
		}
		if k.ann.reacts[conv][m.Seq] {
			liked++
			if len(m.Reactions) != 1 || !m.Reactions[0].Mine {
				t.Errorf("%s: a reaction to %q, for which React had returned, is not there: %v", conv, m.Text, m.Reactions)
			}
		}
	}
	if liked != len(k.ann.reacts[conv]) {
		t.Errorf("%s: %d messages with reactions, promised were %d", conv, liked, len(k.ann.reacts[conv]))
	}
	must(t, phone.store.View(soon(t), func(r store.Reader) error {
		row, err := r.Conversation(conv)
		if err == nil && max(row.Read, row.ReadWanted) < k.ann.read[conv] {
			t.Errorf("%s: read to %d, MarkRead had returned for %d", conv, row.Read, k.ann.read[conv])
		}
		return err
	}))
}
