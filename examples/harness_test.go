package examples_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/internal/petreltest"
)

// petrel is the server, built by TestMain.
var petrel string

func TestMain(m *testing.M) { os.Exit(petreltest.Main(m, &petrel)) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// process is a running program of which lines are expected by what they begin with.
type process struct {
	*petreltest.Process
	t *testing.T
}

func launch(t *testing.T, name string, cmd *exec.Cmd) *process {
	t.Helper()
	return &process{petreltest.Launch(t, name, cmd), t}
}

// line returns the next line that begins with prefix, and passes over others.
func (p *process) line(prefix string) string {
	p.t.Helper()
	return p.Line(begins(prefix))
}

// expect takes the next lines; prefix as in line.
func (p *process) expect(prefix string, want ...string) {
	p.t.Helper()
	p.Expect(begins(prefix), want...)
}

func begins(prefix string) func(string) bool {
	return func(l string) bool { return strings.HasPrefix(l, prefix) }
}

// person is somebody who uses mosquitto's clients.
type person struct {
	t                    *testing.T
	address              string // of MQTT
	user, password, name string // name: of the session that listen keeps
}

func (a person) command(program string, args ...string) *exec.Cmd {
	a.t.Helper()
	host, port, _ := strings.Cut(a.address, ":")
	args = append([]string{"-h", host, "-p", port, "-V", "mqttv5", "-u", a.user, "-q", "1"}, args...)
	if a.password != "" {
		args = append(args, "-P", a.password)
	}
	return exec.Command(petreltest.Tool(a.t, program), args...)
}

func (a person) say(topic, text string) {
	a.t.Helper()
	must(a.t, a.command("mosquitto_pub", "-t", topic, "-m", text).Run())
}

// listen shows messages as "topic text", from a seq on or, like "-1", the newest.
func (a person) listen(from string) *process {
	a.t.Helper()
	return launch(a.t, "mosquitto_sub", a.command("mosquitto_sub", "-i", a.name, "-c", "-t", "c/+/text/+", "-F", "%t %p",
		"-D", "subscribe", "user-property", "from", from))
}

// ask makes a request.
func (a person) ask(method, params string, reply any) {
	a.t.Helper()
	out, err := a.command("mosquitto_rr", "-t", "rpc/"+method, "-e", "u/"+a.user+"/rpc", "-m", params).Output()
	must(a.t, err)
	must(a.t, json.Unmarshal(out, &struct{ OK any }{reply}))
}

// posted is what a user posted in a conversation, as the log has it.
func (a person) posted(conv, user string) (texts []string) {
	a.t.Helper()
	var page struct{ Events []struct{ From, Text string } }
	a.ask("history", fmt.Sprintf(`{"conv":%q,"limit":500}`, conv), &page)
	for _, e := range page.Events {
		if e.From == user && e.Text != "" {
			texts = append(texts, e.Text)
		}
	}
	return texts
}
