package vt

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// shown are sequences, and what a terminal of 10 by 4 shows then.
var shown = []struct{ name, in, want string }{
	{"text", "hello", "hello\n\n\n\n"},
	{"wrap", "hello world", "hello worl\nd\n\n\n"},
	{"last column", "0123456789\rx", "x123456789\n\n\n\n"},
	{"scroll", "1\r\n2\r\n3\r\n4\r\n5", "2\n3\n4\n5\n"},
	{"place", "\x1b[3;4Hx\x1b[1;1Hy", "y\n\n   x\n\n"},
	{"move", "\x1b[2;2Ha\x1b[Bb\x1b[Ac\x1b[4Dd", "\nda c\n  b\n\n"},
	{"tab back", "abcdefghi\x1b[Zx\x1b[2Zy", "ybcdefghx\n\n\n\n"},
	{"erase right", "hello\x1b[3D\x1b[K", "he\n\n\n\n"},
	{"erase left", "hello\x1b[3D\x1b[1K", "   lo\n\n\n\n"},
	{"erase some", "hello\x1b[1G\x1b[2X", "  llo\n\n\n\n"},
	{"erase below", "a\r\nb\r\nc\x1b[2;1H\x1b[J", "a\n\n\n\n"},
	{"delete", "hello\x1b[1G\x1b[2P", "llo\n\n\n\n"},
	{"insert", "hello\x1b[1G\x1b[2@", "  hello\n\n\n\n"},
	{"delete line", "a\r\nb\r\nc\x1b[1;1H\x1b[M", "b\nc\n\n\n"},
	{"insert line", "a\r\nb\r\nc\x1b[1;1H\x1b[L", "\na\nb\nc\n"},
	{"region", "a\r\nb\r\nc\r\nd\x1b[2;3r\x1b[3;1H\n", "a\nc\n\nd\n"},
	{"reverse index", "a\r\nb\x1b[1;1H\x1bM", "\na\nb\n\n"},
	{"repeat", "-\x1b[4b", "-----\n\n\n\n"},
	{"wide", "你好", "你好\n\n\n\n"},
	{"wide over half", "你好\x1b[2Gx", " x好\n\n\n\n"},
	{"wide at the end", "012345678你", "012345678\n你\n\n\n"},
	{"combining", "e\u0301x", "e\u0301x\n\n\n\n"},
	{"alternate", "a\x1b[?1049hb\x1b[?1049l", "a\n\n\n\n"},
	{"colours", "\x1b[31;1mred\x1b[m", "red\n\n\n\n"},
	{"title", "\x1b]2;hi\x07x", "x\n\n\n\n"},
	{"tab", "a\tb", "a       b\n\n\n\n"},
}

func TestScreen(t *testing.T) {
	for _, c := range shown {
		s := New(10, 4)
		s.Write([]byte(c.in))
		if got := s.String(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if len(s.Unknown) > 0 {
			t.Errorf("%s: not understood: %q", c.name, s.Unknown)
		}
	}
	s := New(10, 4)
	s.Write([]byte("\x1b[5y"))
	if len(s.Unknown) != 1 {
		t.Errorf("what is not known is not noted: %q", s.Unknown)
	}
}

// TestAgreesWithTmux: where tmux is installed, it shows the same.
func TestAgreesWithTmux(t *testing.T) {
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("tmux is not installed")
	}
	dir := t.TempDir()
	tmux := func(args ...string) (string, error) {
		cmd := exec.Command("tmux", append([]string{"-u", "-S", filepath.Join(dir, "sock"), "-f", "/dev/null"}, args...)...)
		cmd.Env = append(cmd.Environ(), "LC_ALL=C.UTF-8")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	t.Cleanup(func() { tmux("kill-server") })
	if out, err := tmux("new-session", "-d", "-s", "keep", "-x", "10", "-y", "4", "cat", ";", "set", "-g", "status", "off"); err != nil {
		t.Skipf("tmux does not start: %v: %s", err, out)
	}
	for i, c := range shown {
		if c.name == "wide over half" { // tmux 3.3 shows the half that is left, xterm does not
			continue
		}
		file, name := filepath.Join(dir, fmt.Sprint("in", i)), fmt.Sprint("s", i)
		if err := os.WriteFile(file, []byte(c.in), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := tmux("new-session", "-d", "-s", name, "-x", "10", "-y", "4", "cat "+file+"; cat"); err != nil {
			t.Fatal(err, out)
		}
		got := ""
		for deadline := time.Now().Add(5 * time.Second); got != c.want && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			got, _ = tmux("capture-pane", "-p", "-t", name)
		}
		if got != c.want {
			t.Errorf("%s: tmux shows %q, here %q", c.name, got, c.want)
		}
	}
}

// TestLooks: what is written looks as the sequences before it say, and erasing takes the look away.
func TestLooks(t *testing.T) {
	s := New(30, 2)
	s.Write([]byte("\x1b[1;36mbob\x1b[m \x1b[2mhh:mm\x1b[0m ok\x1b[7m bar \x1b[27m\x1b[92;48;5;9mx\x1b[39;49my\x1b[22m\r\nabc\x1b[31mdef\x1b[3D\x1b[K"))
	want := "‹bold cyan|bob› ‹faint|hh:mm› ok‹reverse| bar ›‹bright green on colour 9|x›y\nabc\n"
	if got := s.Styled(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if !s.Colours["36"] || !s.Colours["32"] || !s.Colours["48"] || s.Colours["39"] || len(s.Unknown) > 0 {
		t.Errorf("colours %v, unknown %v", s.Colours, s.Unknown)
	}
}
