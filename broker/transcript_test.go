package broker_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/config"
)

var update = flag.Bool("update", false, "rewrite what the server says in testdata/transcripts")

// TestTranscripts plays the stories of testdata/transcripts over real connections and compares what the
// server says with what stands there; -update writes it anew.
//
// A line "ana> …" is what the connection ana sends, "ana< …" what it gets because of it, up to when
// everything is quiet. The user is the name up to a dot, and so is the client id unless client= says
// otherwise. Clients acknowledge by themselves, which is not shown, until "ana: no acks". Each line that
// does something happens one second after the one before, at 0:00:01 of 2026 the first, and the server's
// clock stands still meanwhile. <code> is the code of the last invitation that was made. Beside what clients send there are
//
//	!accounts ana bob         the server is not in dev mode and has these accounts (first line)
//	!know ana bob             accounts come into being, as a first connection in dev mode does
//	!call ana {method} {json} a request that is not the story's point
//	!token lamp bob {json}    a device token of bob's, for CONNECT pass=lamp
//	!restart                  the server stops and starts on the same data
//	!cut bob                  the connection ends without DISCONNECT
//	!clock +10s               time passes
//	!await bob {topic}        belongs to the line above: what comes when the server gets round to it
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/transcripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(b))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(b) {
				t.Error(difference(string(b), got))
			}
		})
	}
}

// difference shows the first line that differs, with what comes before it.
func difference(want, got string) string {
	w, g := strings.SplitAfter(want, "\n"), strings.SplitAfter(got, "\n")
	n := 0
	for n < len(w) && n < len(g) && w[n] == g[n] {
		n++
	}
	part := func(lines []string) string { return strings.Join(lines[min(n, len(lines)):min(n+4, len(lines))], "") }
	return fmt.Sprintf("line %d, after\n%s\n--- is\n%s\n--- should be\n%s", n+1, strings.Join(w[max(0, n-4):n], ""), part(g), part(w))
}

// story is a transcript that is being played.
type story struct {
	t      *testing.T
	s      *testServer
	now    atomic.Int64 // ms
	dev    bool
	actors []*actor // in the order of appearance
	tokens map[string]string
	code   string // of the newest invitation, which is random: it reads <code>
	line   int
}

var (
	heard  = regexp.MustCompile(`^[a-z0-9.]+< `)
	spoken = regexp.MustCompile(`^([a-z0-9.]+)> (.+)$`)
	coded  = regexp.MustCompile(`[a-z2-7]{26}`)
	manner = regexp.MustCompile(`^([a-z0-9.]+): (no acks|acks)$`)
)

// play carries out a script, whatever it says of the answers, and returns it with those that came.
func play(t *testing.T, script string) string {
	st := &story{t: t, tokens: make(map[string]string), dev: !strings.Contains("\n"+script, "\n!accounts ")}
	st.now.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli())
	change := []func(*config.Config){func(c *config.Config) { c.Presence.Coalesce = 20 * time.Millisecond }}
	if !st.dev {
		change = append(change, accounts)
	}
	st.s = serveTuned(t, func(o *broker.Options) {
		o.Now = func() time.Time { return time.UnixMilli(st.now.Load()) }
	}, change...)
	var out strings.Builder
	lines := strings.Split(strings.TrimSuffix(script, "\n"), "\n")
	for st.line = 0; st.line < len(lines); {
		line := lines[st.line]
		st.line++
		if heard.MatchString(line) {
			continue
		}
		fmt.Fprintln(&out, line)
		if line == "" || line[0] == '#' {
			continue
		}
		var awaits []string
		for st.line < len(lines) && strings.HasPrefix(lines[st.line], "!await ") {
			awaits = append(awaits, strings.TrimPrefix(lines[st.line], "!await "))
			fmt.Fprintln(&out, lines[st.line])
			st.line++
		}
		for _, answer := range st.step(line, awaits) {
			fmt.Fprintln(&out, answer)
		}
	}
	return out.String()
}

func (st *story) fatal(args ...any) {
	st.t.Helper()
	st.t.Fatalf("line %d: %s", st.line, fmt.Sprint(args...))
}

// step carries out one line and returns what all connections got because of it: first whoever acted, then
// the others as they appeared.
func (st *story) step(line string, awaits []string) (answers []string) {
	st.now.Add(1000)
	var acting *actor
	if m := manner.FindStringSubmatch(line); m != nil {
		acting = st.actor(m[1])
		acting.silent = m[2] == "no acks"
	} else if m := spoken.FindStringSubmatch(line); m != nil {
		acting = st.actor(m[1])
		acting.say(m[2])
	} else if verb, rest, _ := strings.Cut(line, " "); strings.HasPrefix(verb, "!") {
		st.happen(verb, rest)
	} else {
		st.fatal("what is ", line)
	}
	st.settle() // what is awaited may follow from an acknowledgement
	for _, w := range awaits {
		who, topic, _ := strings.Cut(w, " ")
		st.actor(who).hears(topic)
		st.settle()
	}
	order := slices.Clone(st.actors)
	slices.SortStableFunc(order, func(a, b *actor) int {
		switch {
		case a == acting && b != acting:
			return -1
		case b == acting && a != acting:
			return 1
		}
		return 0
	})
	for _, a := range order {
		for _, l := range a.got {
			answers = append(answers, a.name+"< "+l)
		}
		a.got, a.topics = nil, nil
	}
	return answers
}

// happen is what no client says.
func (st *story) happen(verb, rest string) {
	words := strings.Fields(rest)
	switch verb {
	case "!accounts":
		st.s.addUsers(words...)
	case "!know":
		st.s.know(words...)
	case "!call":
		call := strings.SplitN(rest, " ", 3)
		st.s.call(call[0], call[1], call[2])
	case "!token":
		spec := strings.SplitN(rest, " ", 3)
		st.tokens[spec[0]] = st.s.addToken(spec[1], object(st.t, spec[2]))
	case "!restart":
		st.s.Restart()
		for _, a := range st.actors {
			a.toTheEnd()
		}
	case "!cut":
		a := st.actor(rest)
		if err := a.wire.CloseWrite(); err != nil { // and the server closes when it has put the session away
			st.fatal(err)
		}
		a.toTheEnd()
		a.got = nil
	case "!clock":
		d, err := time.ParseDuration(strings.TrimPrefix(rest, "+"))
		if err != nil {
			st.fatal(err)
		}
		st.now.Add(d.Milliseconds())
		st.s.know("passer-by") // a connection makes the server look at what is due
	default:
		st.fatal("what is ", verb)
	}
}

// settle returns when everything that was acknowledged has been stored and delivered, and nothing more
// comes to any connection: what was sent before a PINGREQ comes before its answer.
func (st *story) settle() {
	for more := true; more; {
		before := st.count()
		st.ping() // the server has read what clients sent
		st.barrier()
		st.ping() // and they have what followed from it
		more = st.count() > before
	}
}

func (st *story) ping() {
	for _, a := range st.actors {
		a.ping()
	}
}

func (st *story) count() (n int) {
	for _, a := range st.actors {
		n += len(a.got)
	}
	return n
}

const barrierTopic = "barrier"

// barrier returns when what was on its way to the disk has been stored and handed out: the server carries
// out one plain message after the other. This one is retained, or it would not go there, and no transcript shows it.
func (st *story) barrier() {
	stored := make(chan error, 1)
	err := st.s.Publish(barrierTopic, []byte{'x'}, 1, true, func(err error) { stored <- err })
	if err == nil {
		select {
		case err = <-stored:
		case <-time.After(patience):
			err = errors.New("the store does not answer")
		}
	}
	if err != nil {
		st.fatal(err)
	}
}
