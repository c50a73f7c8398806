package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/petrelchat/petrel/broker/listen"
)

// doorman lets ann in with her password, and refuses what is published to "closed".
type doorman struct {
	mqtt.HookBase
	subscribed chan string
}

func (*doorman) ID() string { return "doorman" }
func (*doorman) Provides(b byte) bool {
	return bytes.Contains([]byte{mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnPublish, mqtt.OnSubscribed}, []byte{b})
}
func (*doorman) OnConnectAuthenticate(_ *mqtt.Client, pk packets.Packet) bool {
	return string(pk.Connect.Username) == "ann" && string(pk.Connect.Password) == "s3cret"
}
func (*doorman) OnACLCheck(*mqtt.Client, string, bool) bool { return true }
func (*doorman) OnPublish(_ *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if pk.TopicName == "closed" {
		return pk, packets.ErrNotAuthorized
	}
	return pk, nil
}
func (d *doorman) OnSubscribed(_ *mqtt.Client, pk packets.Packet, _ []byte) {
	d.subscribed <- pk.Filters[0].Filter
}

// broker is mochi behind our listeners.
type testBroker struct {
	*doorman
	tcp, ws, unix string
}

func startBroker(t *testing.T) *testBroker {
	t.Helper()
	s := mqtt.New(&mqtt.Options{Logger: slog.New(slog.DiscardHandler)})
	d := &doorman{subscribed: make(chan string, 8)}
	path := filepath.Join(t.TempDir(), "s")
	tcp := listen.NewStream(listen.StreamOptions{ID: "mqtt", Addr: "127.0.0.1:0"})
	unix := listen.NewStream(listen.StreamOptions{ID: "unix", Unix: path})
	web := listen.NewHTTP(listen.HTTPOptions{ID: "http", Addr: "127.0.0.1:0", Path: "/mqtt"}, nil)
	for _, err := range []error{s.AddHook(d, nil), s.AddListener(tcp), s.AddListener(unix), s.AddListener(web), s.Serve()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		_ = s.Close()
		tcp.Wait()
		unix.Wait()
		web.Wait()
	})
	return &testBroker{d, "mqtt://" + tcp.Address(), "ws://" + web.Address() + "/mqtt", "unix://" + path}
}

// petrel runs a command line as ann.
func petrel(ctx context.Context, stdin string, args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = run(ctx, args, console{in: strings.NewReader(stdin), out: &o, err: &e, env: []string{"PETREL_PASSWORD=s3cret"}})
	return code, o.String(), e.String()
}

func TestPubReachesSubOverEveryTransport(t *testing.T) {
	b := startBroker(t)
	for _, url := range []string{b.tcp, b.ws, b.unix} {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		var wg sync.WaitGroup
		wg.Go(func() {
			code, out, errs := petrel(ctx, "", "sub", "--url", url, "-u", "ann", "-t", "news/+", "-c", "2", "--json")
			want := `{"topic":"news/a","payload":"first\nline","qos":1}` + "\n" + `{"topic":"news/b","base64":"/w==","qos":1}` + "\n"
			if code != 0 || out != want {
				t.Errorf("%s: sub exits with %d: %q %q", url, code, out, errs)
			}
		})
		<-b.subscribed
		if code, _, errs := petrel(ctx, "", "pub", "--url", url, "-u", "ann", "-t", "news/a", "-m", "first\nline", "--user-property", "k=v,w"); code != 0 {
			t.Errorf("%s: pub exits with %d: %s", url, code, errs)
		}
		if code, _, errs := petrel(ctx, "\xff", "pub", "--url", url, "-u", "ann", "-t", "news/b", "-q", "2"); code != 0 {
			t.Errorf("%s: pub of standard input exits with %d: %s", url, code, errs)
		}
		wg.Wait()
		cancel()
	}
}

func TestSubKeepsItsSession(t *testing.T) {
	b := startBroker(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	sub := []string{"sub", "--url", b.tcp, "-u", "ann", "-i", "phone", "-t", "news", "-c", "1"}
	pub := func(text string) {
		t.Helper()
		if code, _, errs := petrel(ctx, "", "pub", "--url", b.tcp, "-u", "ann", "-t", "news", "-m", text); code != 0 {
			t.Fatal(errs)
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if code, out, errs := petrel(ctx, "", sub...); code != 0 || out != "one\n" {
			t.Errorf("%d, %q, %s", code, out, errs)
		}
	})
	<-b.subscribed
	pub("one")
	wg.Wait()
	pub("two") // while sub is away
	if code, out, errs := petrel(ctx, "", sub...); code != 0 || out != "two\n" {
		t.Errorf("back again: %d, %q, %s", code, out, errs)
	}
}

func TestRefusalsArePrinted(t *testing.T) {
	b := startBroker(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	code, _, errs := petrel(ctx, "", "pub", "--url", b.tcp, "-u", "ann", "-t", "closed", "-m", "x")
	if code != exitFailed || !strings.Contains(errs, "not stored: not authorized (0x87)") {
		t.Errorf("pub: %d, %s", code, errs)
	}
	code, _, errs = petrel(ctx, "", "sub", "--url", b.tcp, "-u", "eve", "-t", "news")
	if code != exitFailed || !strings.Contains(errs, "the server refused the connection") {
		t.Errorf("sub as eve: %d, %s", code, errs)
	}
	if strings.Contains(errs, "s3cret") {
		t.Error("the error shows the password")
	}
}

func TestSubEndsWithItsContext(t *testing.T) {
	b := startBroker(t)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-b.subscribed; cancel() }()
	if code, _, errs := petrel(ctx, "", "sub", "--url", b.tcp, "-u", "ann", "-t", "news"); code != 0 {
		t.Errorf("%d, %s", code, errs)
	}
}

func TestPasswordFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("from file\r\nsecond line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := connFlags{PasswordFile: file}.password([]string{"PETREL_PASSWORD=from env"})
	if err != nil || got != "from file" {
		t.Errorf("%q, %v", got, err)
	}
	got, err = newPassword(console{in: strings.NewReader("piped\nmore"), err: io.Discard})
	if err != nil || got != "piped" {
		t.Errorf("%q, %v", got, err)
	}
}
