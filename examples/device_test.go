package examples_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/internal/petreltest"
)

// buildDevice compiles the sketch for this computer, with all that the compiler knows to look for.
func buildDevice(t *testing.T, defines ...string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "greenhouse")
	args := append([]string{"-std=c99", "-O1", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror",
		"-fsanitize=address,undefined", "-fno-sanitize-recover=all"}, defines...)
	out, err := exec.Command(petreltest.Tool(t, "cc"), append(args, "-o", program, "device/greenhouse.c", "device/host.c")...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

func startDevice(t *testing.T, program, address, user, token, conv, seconds string) *process {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	must(t, err)
	cmd := exec.Command(program, host, port, user, conv, seconds)
	cmd.Env = append(os.Environ(), "PETREL_TOKEN="+token, "ASAN_OPTIONS=detect_leaks=0") // it allocates nothing, and leaks can't be looked for under a debugger
	return launch(t, "greenhouse", cmd)
}

// TestDevice: the device measures and obeys, over a crash of the server and an absence of its own, with a token that can be
// taken from it.
func TestDevice(t *testing.T) {
	program := buildDevice(t, "-DMQTT_QUEUE=250", "-DMQTT_RETRY_FIRST=50u", "-DMQTT_RETRY_MOST=1000u")
	s := petreltest.Serve(t, petrel)
	const password = "correct horse battery"
	s.Admin(password+"\n", "user", "add", "ann")
	s.Admin("", "user", "add", "greenhouse", "--no-password")
	token := s.Admin("", "token", "add", "greenhouse", "--name", "greenhouse-1", "--conv", "garden", "--read", "--write")
	ann := person{t: t, address: s.MQTT, user: "ann", password: password, name: "watch"}
	var made struct{ Conv string }
	ann.ask("group.create", `{"id":"garden","title":"Garden","visibility":"private","join":"invite","history":"all","members":["greenhouse"]}`, &made)
	if made.Conv != "garden" {
		t.Fatalf("the group is not made: %+v", made)
	}
	watch := ann.listen("-100")
	const said = "c/garden/text/greenhouse "

	device := startDevice(t, program, s.MQTT, "greenhouse", token, "garden", "0.1")
	device.line("connected")
	watch.line(said + "#3 ")
	ann.say("c/garden/text", "lamp on")
	device.line("lamp on")
	watch.line(said + "the lamp is on")

	s.Kill()
	device.line("not connected")
	s.Start()
	device.line("connected")
	const enough = 30
	watch.line(said + fmt.Sprintf("#%d ", enough))
	measured := slices.DeleteFunc(ann.posted("garden", "greenhouse"), func(text string) bool { return text[0] != '#' })
	for i, text := range measured {
		if !strings.HasPrefix(text, fmt.Sprintf("#%d ", i+1)) {
			t.Fatalf("measurement %d is %q: one is lost, or there twice: %q", i+1, text, measured)
		}
	}
	if len(measured) < enough {
		t.Fatalf("only %d measurements: %q", len(measured), measured)
	}

	// What it is told while it is away it does when it is back; what is longer than its memory it leaves alone.
	device.Kill()
	ann.say("c/garden/text", strings.Repeat("lamp off ", 1000))
	ann.say("c/garden/text", "lamp off")
	device = startDevice(t, program, s.MQTT, "greenhouse", token, "garden", "3600")
	device.line("lamp off")
	watch.line(said + "the lamp is off")

	id := strings.Fields(strings.Split(s.Admin("", "token", "list", "greenhouse"), "\n")[1])[0]
	s.Admin("", "token", "revoke", id)
	device.line("refused: ")
}

// TestDeviceSendsAgain: what was not acknowledged comes again over the next connection, as a duplicate with the same packet
// id, by which the server knows it.
func TestDeviceSendsAgain(t *testing.T) {
	program := buildDevice(t, "-DMQTT_RETRY_FIRST=1u", "-DMQTT_RETRY_MOST=2u")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	device := startDevice(t, program, l.Addr().String(), "greenhouse", "token", "garden", "0.02")
	const topic = "\x00\x0dc/garden/text"
	session := func(present byte) (net.Conn, []byte) {
		c := answer(t, l, device)
		_, err := c.Write([]byte{0x20, 2, present, 0})
		must(t, err)
		if head, body := packet(t, c); head != 0x82 || !bytes.HasSuffix(body, []byte("c/+/text/+\x01")) {
			t.Fatalf("no SUBSCRIBE: %x %q", head, body)
		}
		head, body := packet(t, c)
		return c, append([]byte{head}, body...)
	}
	c, first := session(0)
	c.Close()
	if !bytes.HasPrefix(first, []byte("\x32"+topic)) || !bytes.Contains(first, []byte("#1 ")) {
		t.Fatalf("no PUBLISH: %q", first)
	}
	for range 2 {
		c, again := session(1)
		if again[0] != 0x3a || !bytes.Equal(again[1:], first[1:]) {
			t.Fatalf("%q comes again as %q", first, again)
		}
		c.Close()
	}
	c, again := session(1)
	defer c.Close()
	id := 1 + len(topic)
	_, err = c.Write([]byte{0x40, 2, again[id], again[id+1]})
	must(t, err)
	head, next := packet(t, c)
	if head != 0x32 || bytes.Equal(next[id-1:id+1], again[id:id+2]) || !bytes.Contains(next, []byte("#2 ")) {
		t.Fatalf("after %q was acknowledged: %x %q", again, head, next)
	}
}

// packet reads one packet that is shorter than 128 bytes.
func packet(t *testing.T, c net.Conn) (head byte, body []byte) {
	t.Helper()
	b := make([]byte, 2)
	_, err := io.ReadFull(c, b)
	must(t, err)
	body = make([]byte, b[1])
	_, err = io.ReadFull(c, body)
	must(t, err)
	return b[0], body
}

// TestDeviceHostile: no server can break the device, whatever bytes it sends. The sanitizers end it at the first
// access to what is not its own.
func TestDeviceHostile(t *testing.T) {
	program := buildDevice(t, "-DMQTT_RETRY_FIRST=1u", "-DMQTT_RETRY_MOST=2u")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	device := startDevice(t, program, l.Addr().String(), "greenhouse", "token", "garden", "0.002")
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		c := answer(t, l, device)
		evil := hostile(rnd)
		// It may hang up in the middle: it is told nonsense. Whether it is still there, the next connection tells.
		if _, err := c.Write(evil); err == nil && c.(*net.TCPConn).CloseWrite() == nil {
			_, _ = io.Copy(io.Discard, c)
		}
		c.Close()
	}

	// It is still what it was.
	c := answer(t, l, device)
	defer c.Close()
	_, err = c.Write([]byte("\x20\x02\x00\x00\x32\x1c\x00\x11c/garden/text/ann\x12\x34lamp on"))
	must(t, err)
	device.line("lamp on")
	var seen []byte
	for !bytes.Contains(seen, []byte("\x40\x02\x12\x34")) {
		b := make([]byte, 512)
		n, err := c.Read(b)
		if err != nil {
			t.Fatalf("%v, and no PUBACK in %x", err, seen)
		}
		seen = append(seen, b[:n]...)
	}
}

// answer accepts a connection and reads its CONNECT.
func answer(t *testing.T, l net.Listener, device *process) net.Conn {
	t.Helper()
	must(t, l.(*net.TCPListener).SetDeadline(time.Now().Add(petreltest.Patience)))
	c, err := l.Accept()
	if err != nil {
		t.Fatalf("%v; the device says\n%s", err, device.Output())
	}
	must(t, c.SetDeadline(time.Now().Add(petreltest.Patience)))
	if head, body := packet(t, c); head != 0x10 {
		t.Fatalf("the device begins with %x %q", head, body)
	}
	return c
}

// hostile is what a server might send that is out of order: usually a good CONNACK, then packets that are spoilt.
func hostile(rnd *rand.Rand) []byte {
	good := [][]byte{
		[]byte("\x30\x18\x00\x11c/garden/text/annhello"),
		[]byte("\x32\x1c\x00\x11c/garden/text/ann\x12\x34lamp on"),
		{0x90, 3, 0xff, 0xff, 1}, {0x40, 2, 0, 1}, {0xd0, 0}, {0x20, 2, 0, 0},
		binary.AppendUvarint([]byte{0x30}, 100_000), // and what follows is its body
		append(binary.AppendUvarint([]byte{0x32}, 400), "\x01\x80"...),
		{0x30, 0xff, 0xff, 0xff, 0xff, 0x01}, {0x32, 2, 0xff, 0xff}, {0x32, 3, 0, 0, 1}, {0x30, 0}, {0x34, 5, 0, 1, 'x', 0, 1},
	}
	var all []byte
	if rnd.IntN(8) > 0 {
		all = append(all, 0x20, 2, 0, 0)
	}
	for range rnd.IntN(12) {
		p := bytes.Clone(good[rnd.IntN(len(good))])
		for range rnd.IntN(3) {
			p[rnd.IntN(len(p))] = byte(rnd.Uint32())
		}
		all = append(all, p[:len(p)-rnd.IntN(2)]...)
	}
	for range rnd.IntN(600) {
		all = append(all, byte(rnd.Uint32()))
	}
	return all
}
