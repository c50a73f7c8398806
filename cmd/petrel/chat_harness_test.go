package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/client/store/memory"
	"github.com/petrelchat/petrel/cmd/petrel/internal/vt"
	"github.com/petrelchat/petrel/internal/servertest"
	"github.com/petrelchat/petrel/protocol"
)

var updateScreens = flag.Bool("update", false, "write the screens and transcripts of petrel chat anew")

// quiet is for how long nothing must change before it is taken for the end: of writing a golden, of the effect of a key.
const quiet = 700 * time.Millisecond

// chatServer is a real server on loopback, in dev mode or one that asks for passwords, which keeps its address when it starts again.
type chatServer struct {
	*servertest.Server
	t    *testing.T
	addr string
}

func chatServe(t *testing.T, change ...func(*config.Config)) *chatServer {
	t.Helper()
	s := &chatServer{Server: servertest.Serve(t, change...), t: t}
	s.addr = s.Addr("mqtt")
	s.Config.MQTT[0].Addr = s.addr
	return s
}

// user is another user, with the SDK, until the test ends.
func (s *chatServer) user(name string) *client.Client {
	s.t.Helper()
	c, leave := s.visit(name)
	s.t.Cleanup(leave)
	return c
}

// account lets a user come and go: the server knows them from then on.
func (s *chatServer) account(name string) {
	s.t.Helper()
	_, leave := s.visit(name)
	leave()
}

// visit lets a user come, and go when leave is called.
func (s *chatServer) visit(name string) (c *client.Client, leave func()) {
	s.t.Helper()
	st := memory.New()
	o := client.Options{Server: "mqtt://" + s.addr, User: name, Device: name + "-phone", Store: st}
	if !s.Config.Dev {
		o.Credentials = client.Password("pw-" + name)
	}
	c, err := client.Open(s.t.Context(), o)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), servertest.Patience)
	defer cancel()
	if err := c.Wait(ctx, func(st client.Status) bool { return st.State == client.UpToDate }); err != nil {
		s.t.Fatal(name, "does not get connected:", err)
	}
	for there := false; !there; { // changes of who is there are gathered: others see it a moment later
		me, err := c.Profiles().Get(ctx, name)
		if err != nil {
			s.t.Fatal(name, "does not come online:", err)
		}
		there = me.Presence != nil && me.Presence.State == protocol.StateOnline
	}
	return c, func() {
		ctx, cancel := context.WithTimeout(context.Background(), servertest.Patience)
		defer cancel()
		if err := errors.Join(c.Close(ctx), st.Close()); err != nil {
			s.t.Error(name, "does not close:", err)
		}
	}
}

// sent waits until what was sent is stored.
func (s *chatServer) sent(c *client.Client) func(m client.Message, err error) client.Message {
	return func(m client.Message, err error) client.Message {
		s.t.Helper()
		ctx, cancel := context.WithTimeout(s.t.Context(), servertest.Patience)
		defer cancel()
		if err == nil {
			m, err = c.Sent(ctx, m)
		}
		if err != nil {
			s.t.Fatal(err)
		}
		return m
	}
}

// arrives waits until a message with a text has come to a client, and returns it.
func (s *chatServer) arrives(c *client.Client, conv, text string) client.Message {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), servertest.Patience)
	defer cancel()
	look := func() (client.Message, bool) {
		all, _ := c.Messages(ctx, conv, client.Page{})
		i := slices.IndexFunc(all, func(m client.Message) bool { return m.Text == text })
		if i < 0 {
			return client.Message{}, false
		}
		return all[i], true
	}
	updates := c.Updates(ctx) // those between here and the first look are kept for whoever ranges
	if m, ok := look(); ok {
		return m
	}
	for range updates {
		if m, ok := look(); ok {
			return m
		}
	}
	s.t.Fatalf("%q does not come", text)
	return client.Message{}
}

// chatEnv is the environment of petrel chat for a user with a home of its own.
func (s *chatServer) chatEnv(user string, more ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(e string) bool {
		for _, name := range []string{"PETREL_", "NO_COLOR=", "TERM=", "COLORTERM=", "TERM_PROGRAM=", "HOME=", "XDG_", "TZ=", "TMUX=", "SSH_TTY=", "CLICOLOR"} {
			if strings.HasPrefix(e, name) {
				return true
			}
		}
		return false
	})
	home := s.t.TempDir()
	return append(append(env, "HOME="+home, "XDG_CONFIG_HOME="+filepath.Join(home, "config"), "TZ=UTC", "PETREL_USER="+user,
		"PETREL_SERVER=mqtt://"+s.addr), more...)
}

// screen is petrel chat in a terminal.
type screen struct {
	t    *testing.T
	tty  *os.File
	proc *exec.Cmd
	done chan struct{} // its output ended
	over bool

	mu  sync.Mutex
	vt  *vt.Screen
	raw []byte
	on  chan struct{} // rings after each write
}

func (s *chatServer) screen(w, h int, env []string, args ...string) *screen {
	s.t.Helper()
	p := &screen{t: s.t, vt: vt.New(w, h), on: make(chan struct{}, 1), done: make(chan struct{})}
	p.proc = exec.Command("petrel", append([]string{"chat"}, args...)...)
	p.proc.Env = env
	var err error
	if p.tty, err = pty.StartWithSize(p.proc, &pty.Winsize{Rows: uint16(h), Cols: uint16(w)}); err != nil {
		s.t.Fatal(err)
	}
	go p.watch()
	s.t.Cleanup(p.quit)
	return p
}

// watch takes what the program writes until it ends.
func (p *screen) watch() {
	defer close(p.done)
	buf := make([]byte, 32<<10)
	for {
		n, err := p.tty.Read(buf)
		p.mu.Lock()
		p.vt.Write(buf[:n])
		p.raw = append(p.raw, buf[:n]...)
		p.mu.Unlock()
		select {
		case p.on <- struct{}{}:
		default:
		}
		if err != nil { // a pty whose program ended gives EIO
			return
		}
	}
}

// quit ends the program as its user does, once.
func (p *screen) quit() {
	if p.over {
		return
	}
	p.over = true
	p.keys("\x03")
	select {
	case <-p.done:
	case <-time.After(servertest.Patience):
		p.t.Error("petrel chat does not end")
		p.proc.Process.Kill()
	}
	if err := p.proc.Wait(); err != nil {
		p.t.Error("petrel chat:", err)
	}
	p.tty.Close()
}

// keys types.
func (p *screen) keys(keys ...string) {
	p.t.Helper()
	for _, k := range keys {
		if _, err := io.WriteString(p.tty, k); err != nil {
			select {
			case <-p.done: // the program has ended
			default:
				p.t.Error(err)
			}
		}
	}
}

// Keys as a terminal sends them.
const (
	keyEsc, keyEnter, keyTab = "\x1b", "\r", "\t"
	keyUp, keyDown           = "\x1b[A", "\x1b[B"
	keyPgUp, keyPgDown       = "\x1b[5~", "\x1b[6~"
	keyEnd, keyF1            = "\x1b[F", "\x1bOP"
	keyCtrlF, keyCtrlG       = "\x06", "\x07"
	keyCtrlN                 = "\x0e"
)

func (p *screen) resize(w, h int) {
	p.t.Helper()
	p.mu.Lock()
	p.vt.Resize(w, h)
	p.mu.Unlock()
	if err := pty.Setsize(p.tty, &pty.Winsize{Rows: uint16(h), Cols: uint16(w)}); err != nil {
		p.t.Fatal(err)
	}
}

var masks = []struct {
	re *regexp.Regexp
	by string
}{
	{regexp.MustCompile(`\b\d\d:\d\d\b`), "hh:mm"},
	{regexp.MustCompile(`retry in \d+ s`), "retry in n s"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "127.0.0.1:port"},
	{regexp.MustCompile(`\b[a-z0-9]{26}\b`), "code"},
}

func masked(text string) string {
	for _, m := range masks {
		text = m.re.ReplaceAllString(text, m.by)
	}
	return text
}

// look is what is seen now.
func (p *screen) look() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return masked(p.vt.String())
}

// until waits until the screen satisfies.
func (p *screen) until(what string, ok func(screen string) bool) {
	p.t.Helper()
	timeout := time.After(servertest.Patience)
	for !ok(p.look()) {
		select {
		case <-p.on:
		case <-timeout:
			p.t.Fatalf("%s: it does not come; the screen is\n%s", what, p.look())
		}
	}
}

func (p *screen) shows(text string) {
	p.t.Helper()
	p.until(text, func(s string) bool { return strings.Contains(s, text) })
}

// press types a key again and again until something is seen: how often it takes depends on what has been loaded.
func (p *screen) press(key, text string) {
	p.t.Helper()
	p.pressUntil(key, text, func(s string) bool { return strings.Contains(s, text) })
}

// pressUntil is press until the screen satisfies. A key that is late, on a busy machine, has another one follow, so it must not matter if they go too far.
func (p *screen) pressUntil(key, what string, ok func(screen string) bool) {
	p.t.Helper()
	timeout := time.After(servertest.Patience)
	for !ok(p.look()) {
		p.keys(key)
		for rest := quiet; rest > 0; { // for something to happen, and then for the end of that
			select {
			case <-p.on:
				rest = quiet / 10
				if ok(p.look()) {
					return
				}
			case <-time.After(rest):
				rest = 0
			case <-timeout:
				p.t.Fatalf("%s: it does not come; the screen is\n%s", what, p.look())
			}
		}
	}
}

// showsLine waits for a line with all of these texts.
func (p *screen) showsLine(texts ...string) {
	p.t.Helper()
	p.until(strings.Join(texts, " … "), func(s string) bool {
		for line := range strings.SplitSeq(s, "\n") {
			if !slices.ContainsFunc(texts, func(t string) bool { return !strings.Contains(line, t) }) {
				return true
			}
		}
		return false
	})
}

// looks is what is seen now, and how it looks.
func (p *screen) looks() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return masked(p.vt.Styled())
}

// golden waits until the screen is the one in the file. again, if given, is done from time to time: for what does not last.
func (p *screen) golden(name string, again ...func()) {
	p.t.Helper()
	p.same(name+".screen", p.look, again...)
}

// goldenLooks is golden with colours and the like.
func (p *screen) goldenLooks(name string) {
	p.t.Helper()
	p.same(name+".looks", p.looks)
}

func (p *screen) same(name string, look func() string, again ...func()) {
	p.t.Helper()
	file := filepath.Join("testdata", "chat", name)
	if *updateScreens {
		p.settle()
		writeGolden(p.t, file, look())
		return
	}
	want := readGolden(p.t, file)
	timeout := time.After(servertest.Patience)
	for look() != want {
		select {
		case <-p.on:
		case <-time.After(quiet):
			for _, f := range again {
				f()
			}
		case <-timeout:
			p.t.Fatalf("%s (-want +got):\n%s", name, cmp.Diff(want, look()))
		}
	}
}

// settle waits until nothing changes any more: only for writing goldens, which are looked at by people.
func (p *screen) settle() {
	for {
		select {
		case <-p.on:
		case <-time.After(quiet):
			return
		}
	}
}

func writeGolden(t *testing.T, file, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func readGolden(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v: write it with go test ./cmd/petrel -run Chat -update, and look at it", err)
	}
	return string(text)
}
