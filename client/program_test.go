package client_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/client/store/sqlite"
	"github.com/petrelchat/petrel/internal/servertest"
)

// With these environment variables this test program is a client: ann's phone, with its store in that file, at that server, in that
// round of the test.
const (
	clientIn    = "PETREL_TEST_CLIENT_IN"
	clientAt    = "PETREL_TEST_CLIENT_AT"
	clientRound = "PETREL_TEST_CLIENT_ROUND"
)

// What a client does in a round, in each conversation; and the numbers of its messages begin at round × roundSize.
const (
	postsOfRound = 100
	roundSize    = 1000
)

// programConvs are the conversations in which the program and the others write.
func programConvs() []string { return []string{chat.DirectID("ann", "bob"), "boat", "crew"} }

// beClient writes, changes, reacts and reads until it is killed, or its parent is gone. What a call had returned for it
// says on standard output.
func beClient(path string) {
	ctx := context.Background()
	round, err := strconv.Atoi(os.Getenv(clientRound))
	orExit(err)
	st, err := sqlite.Open(path, sqlite.Options{})
	orExit(err)
	c, err := client.Open(ctx, client.Options{Server: os.Getenv(clientAt), User: "ann", Device: "phone", Store: st})
	orExit(err)
	go servertest.Hurry(c)
	say("open")
	for _, conv := range programConvs() {
		go writeRound(ctx, c, conv, round)
	}
	go readOn(ctx, c)
	_, _ = bufio.NewReader(os.Stdin).ReadString(0) // ends with the parent
}

// writeRound writes numbered messages to a conversation, some of which it changes, and reacts to those of others.
func writeRound(ctx context.Context, c *client.Client, conv string, round int) {
	var mine []client.Message
	for i := range postsOfRound {
		m, err := c.Send(ctx, conv, phoneText(round*roundSize+i))
		orExit(err)
		say("post", conv, m.ID, m.Text)
		mine = append(mine, m)
		switch {
		case i%5 == 4: // one that may be queued, on its way, or stored by now
			old := mine[i-i%4]
			_, err := c.Edit(ctx, conv, old.Target(), old.Text+"!")
			orExit(err)
			say("edit", conv, old.Text)
		case i%7 == 6:
			if seq := newestOfOthers(ctx, c, conv); seq > 0 {
				_, err := c.React(ctx, conv, client.At(seq), "👍")
				orExit(err)
				say("react", conv, strconv.FormatUint(seq, 10))
			}
		}
	}
}

func phoneText(n int) string { return "phone " + fmt.Sprintf("%07d", n) }

func newestOfOthers(ctx context.Context, c *client.Client, conv string) (seq uint64) {
	ms, err := c.Messages(ctx, conv, client.Page{Limit: 50})
	orExit(err)
	for _, m := range ms {
		if m.Kind == chat.KindPost && !m.Mine {
			seq = m.Seq
		}
	}
	return seq
}

// readOn reads what comes, as a user who looks at all of it.
func readOn(ctx context.Context, c *client.Client) {
	read := make(map[string]uint64)
	for u := range c.Updates(ctx) {
		if u.Kind != client.UpdateMessages {
			continue
		}
		row, err := c.Conversation(ctx, u.Conv)
		if err != nil || row.Head <= read[u.Conv] {
			continue // not known yet, or read
		}
		orExit(c.MarkRead(ctx, u.Conv, row.Head))
		read[u.Conv] = row.Head
		say("read", u.Conv, strconv.FormatUint(row.Head, 10))
	}
}

// say writes a line at once and in one piece: the kill may come at any moment.
func say(words ...string) { _, _ = os.Stdout.WriteString(strings.Join(words, "\t") + "\n") }

func orExit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "the client that is to be killed:", err)
		os.Exit(1)
	}
}

// program is a client in a process of its own, and what it said.
type program struct {
	t      *testing.T
	s      *server
	path   string
	cmd    *exec.Cmd
	says   chan string // complete lines; closed when it is dead
	posts  map[string][]string
	ids    map[string]string // of posts, by text
	edits  map[string]bool   // texts that were changed
	reacts map[string]map[uint64]bool
	read   map[string]uint64
}

func newProgram(t *testing.T, s *server, path string) *program {
	return &program{
		t: t, s: s, path: path, posts: make(map[string][]string), ids: make(map[string]string), edits: make(map[string]bool),
		reacts: make(map[string]map[uint64]bool), read: make(map[string]uint64),
	}
}

// start starts it and waits until its store is open.
func (p *program) start(round int) {
	p.t.Helper()
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), clientIn+"="+p.path, clientAt+"=mqtt://"+p.s.proxy.Addr(), clientRound+"="+strconv.Itoa(round))
	p.cmd.Stderr = os.Stderr
	_, err := p.cmd.StdinPipe()
	must(p.t, err)
	out, err := p.cmd.StdoutPipe()
	must(p.t, err)
	must(p.t, p.cmd.Start())
	says := make(chan string, 8192) // more than it says in a round: it never waits for who listens
	p.says = says
	go func() {
		defer close(says)
		for r := bufio.NewReader(out); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				return // a line that the kill cut off promises nothing
			}
			says <- strings.TrimSuffix(line, "\n")
		}
	}()
	p.hear(1)
}

// hear waits for n more lines.
func (p *program) hear(n int) {
	p.t.Helper()
	timeout := time.After(servertest.Patience)
	for range n {
		select {
		case line, ok := <-p.says:
			if !ok {
				p.t.Fatal("the client ended by itself")
			}
			p.note(line)
		case <-timeout:
			p.t.Fatal("the client says nothing")
		}
	}
}

// kill ends it with SIGKILL, wherever it is. What it had said before it died counts.
func (p *program) kill() {
	p.t.Helper()
	must(p.t, p.cmd.Process.Kill())
	for line := range p.says {
		p.note(line)
	}
	if err := p.cmd.Wait(); err == nil || p.cmd.ProcessState.Exited() {
		p.t.Fatalf("the client ended by itself: %v", err)
	}
}

// note keeps a promise.
func (p *program) note(line string) {
	p.t.Helper()
	w := strings.Split(line, "\t")
	switch {
	case w[0] == "open":
	case w[0] == "post" && len(w) == 4:
		p.posts[w[1]] = append(p.posts[w[1]], w[3])
		p.ids[w[3]+w[1]] = w[2]
	case w[0] == "edit" && len(w) == 3:
		p.edits[w[2]+w[1]] = true
	case (w[0] == "react" || w[0] == "read") && len(w) == 3:
		seq, err := strconv.ParseUint(w[2], 10, 64)
		must(p.t, err)
		if w[0] == "read" {
			p.read[w[1]] = max(p.read[w[1]], seq)
			return
		}
		if p.reacts[w[1]] == nil {
			p.reacts[w[1]] = make(map[uint64]bool)
		}
		p.reacts[w[1]][seq] = true
	default:
		p.t.Fatalf("the client says %q", line)
	}
}
