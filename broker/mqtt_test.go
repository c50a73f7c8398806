package broker_test

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/internal/mqttc"
)

// The tests of mqtt*_test.go hold the server to the MQTT standards where the suites of others do not look.

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestMQTTConnectRefused: what is answered to a CONNECT that is not as it must be, and that the connection ends.
func TestMQTTConnectRefused(t *testing.T) {
	s := serve(t)
	for name, tc := range map[string]struct {
		body, want string // want: the first bytes of the answer; "": none
		level      byte
	}{
		"protocol level 3":             {"00044d515454 03 02 0000 000161", "20 02 00 01", 4},
		"protocol level 6":             {"00044d515454 06 02 0000 00 000161", "20 .. 00 84", 5},
		"another protocol":             {"00044d515458 05 02 0000 00 000161", "", 0},
		"no client id, 3.1.1":          {"00044d515454 04 00 0000 0000", "20 02 00 02", 4},
		"reserved flag, 3.1.1":         {"00044d515454 04 03 0000 000161", "", 4},
		"reserved flag":                {"00044d515454 05 03 0000 00 000161", "20 .. 00 81", 5},
		"will QoS 3":                   {"00044d515454 05 1e 0000 00 000161 00 000177 0000", "20 .. 00 81", 5},
		"will QoS without will":        {"00044d515454 05 0a 0000 00 000161", "20 .. 00 82", 5},
		"will retained without will":   {"00044d515454 05 22 0000 00 000161", "20 .. 00 82", 5},
		"will to a filter":             {"00044d515454 05 06 0000 00 000161 00 00012b 0000", "20 .. 00 90", 5},
		"password without user, 3.1.1": {"00044d515454 04 42 0000 000161 000170", "", 4},
		"user name not UTF-8, 3.1.1":   {"00044d515454 04 82 0000 000161 0001ff", "20 02 00 04", 4},
		"user name with U+0000":        {"00044d515454 05 82 0000 00 000161 000100", "20 .. 00 81", 5},
		"client id not UTF-8":          {"00044d515454 05 02 0000 00 0001ff", "20 .. 00 85", 5},
		"trailing bytes":               {"00044d515454 05 02 0000 00 000161 00", "20 .. 00 81", 5},
		"shorter than it says":         {"00044d515454 05 82 0000 00 000161 0005 61", "20 .. 00 81", 5},
		"unknown authentication":       {"00044d515454 05 02 0000 04 15000178 000161", "20 .. 00 8c", 5},
		"authentication data alone":    {"00044d515454 05 02 0000 04 16000178 000161", "20 .. 00 82", 5},
		"Receive Maximum 0":            {"00044d515454 05 02 0000 03 210000 000161", "20 .. 00 82", 5},
		"Maximum Packet Size 0":        {"00044d515454 05 02 0000 05 2700000000 000161", "20 .. 00 82", 5},
		"a property twice":             {"00044d515454 05 02 0000 06 220001220001 000161", "20 .. 00 82", 5},
		"a property of PUBLISH":        {"00044d515454 05 02 0000 03 230001 000161", "20 .. 00 81", 5},
		"property past its list":       {"00044d515454 05 02 0000 02 2200 01 000161", "20 .. 00 81", 5},
		"Request Problem Info 2":       {"00044d515454 05 02 0000 02 1702 000161", "20 .. 00 82", 5},
	} {
		t.Run(name, func(t *testing.T) {
			c := s.dialTCP()
			if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write(frame(mqttc.CONNECT<<4, unhex(t, tc.body))); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(c) // ends: the server closes
			if err != nil {
				t.Fatal(err)
			}
			want := strings.Fields(tc.want)
			if len(want) == 0 && len(got) > 0 || len(got) < len(want) {
				t.Fatalf("answered % x, want %s", got, tc.want)
			}
			for i, w := range want {
				if w != ".." && w != fmt.Sprintf("%02x", got[i]) {
					t.Fatalf("answered % x, want %s", got, tc.want)
				}
			}
		})
	}
}

func TestMQTTClientIDs(t *testing.T) {
	s := serve(t)
	if c := s.dial("", device("")); c.ack.AssignedClientID != "" {
		t.Error("3.1.1 was told a client id")
	}
	one, two := s.dial("ana", v5, device("")), s.dial("ana", v5, device(""), keep)
	if a, b := one.ack.AssignedClientID, two.ack.AssignedClientID; a == "" || b == "" || a == b {
		t.Errorf("assigned %q and %q", a, b)
	}
	two.leave()
	if again := s.dial("ana", v5, device(two.ack.AssignedClientID), keep); !again.ack.SessionPresent {
		t.Error("the assigned id does not lead back to the session") // [MQTT-3.2.2-16]
	}
	one.quiet()
}

// TestMQTTMalformedPackets: each ends its connection with the right reason, also when more follows it, and
// nobody else notices.
func TestMQTTMalformedPackets(t *testing.T) {
	s := serve(t)
	bob := s.dial("bob")
	ok(t, bob.subscribe("x/#", "c/+/text/+"))
	for name, tc := range map[string]struct {
		bytes string
		want  byte
		both  bool // in MQTT 3.1.1 too
	}{
		"type 0":                       {"00 00", 0x81, true},
		"a second CONNECT":             {"10 0d 00044d515454 05 02 0000 00 0000", 0x82, false},
		"CONNACK":                      {"20 02 0000", 0x82, true},
		"SUBACK":                       {"90 03 000100", 0x82, true},
		"PINGRESP":                     {"d0 00", 0x82, true},
		"AUTH":                         {"f0 00", 0x82, false},
		"length of five bytes":         {"30 ffffffff01", 0x81, true},
		"length that never ends":       {"30 8080808080808080", 0x81, true},
		"beyond the packet limit":      {"30 ffffff7f", 0x95, true},
		"PUBLISH QoS 3":                {"36 05 000161 0001", 0x81, true},
		"PUBLISH DUP at QoS 0":         {"38 03 000161", 0x82, true},
		"PUBLISH topic past the end":   {"30 03 000561", 0x81, true},
		"PUBLISH without a packet id":  {"32 03 000161", 0x81, true},
		"PUBLISH packet id 0":          {"32 06 000161 0000 00", 0x82, false},
		"PUBLISH wildcard":             {"30 04 00012b 00", 0x82, false},
		"PUBLISH topic not UTF-8":      {"30 04 0001ff 00", 0x81, true},
		"PUBLISH U+0000 in the topic":  {"30 04 000100 00", 0x81, true},
		"PUBLISH without a topic":      {"30 03 0000 00", 0x82, false},
		"PUBLISH alias 0":              {"30 07 000178 03 230000", 0x94, false},
		"PUBLISH alias over maximum":   {"30 07 000178 03 23ffff", 0x94, false},
		"PUBLISH alias unknown":        {"30 06 0000 03 230001", 0x82, false},
		"PUBLISH alias twice":          {"30 0a 000178 06 230001230001", 0x82, false},
		"PUBLISH subscription id":      {"30 06 000178 02 0b01", 0x82, false},
		"PUBLISH payload format 2":     {"30 06 000178 02 0102", 0x82, false},
		"PUBLISH response to filter":   {"30 08 000178 04 0800012b", 0x82, false},
		"PUBLISH unknown property":     {"30 06 000178 02 7f01", 0x81, false},
		"PUBLISH properties too long":  {"30 04 000178 05", 0x81, false},
		"PUBLISH property cut off":     {"30 06 000178 02 2300", 0x81, false},
		"PUBACK too short":             {"40 01 00", 0x81, true},
		"PUBACK packet id 0":           {"40 02 0000", 0x82, true},
		"PUBACK flags":                 {"42 02 0001", 0x81, true},
		"PUBACK trailing bytes":        {"40 05 0001 00 00 00", 0x81, true},
		"PUBREL flags":                 {"60 02 0001", 0x81, true},
		"SUBSCRIBE flags":              {"80 06 0001 000161 00", 0x81, true},
		"SUBSCRIBE without a filter":   {"82 03 0001 00", 0x82, false},
		"SUBSCRIBE packet id 0":        {"82 07 0000 00 000161 00", 0x82, false},
		"SUBSCRIBE QoS 3":              {"82 07 0001 00 000161 03", 0x82, false},
		"SUBSCRIBE reserved bits":      {"82 07 0001 00 000161 40", 0x81, false},
		"SUBSCRIBE retain handling 3":  {"82 07 0001 00 000161 30", 0x82, false},
		"SUBSCRIBE without options":    {"82 06 0001 00 000161", 0x81, false},
		"SUBSCRIBE id 0":               {"82 09 0001 02 0b00 000161 00", 0x82, false},
		"SUBSCRIBE two ids":            {"82 0b 0001 04 0b010b02 000161 00", 0x82, false},
		"SUBSCRIBE shared, No Local":   {"82 10 0001 00 000a 2473686172652f6e2f78 04", 0x82, false},
		"UNSUBSCRIBE without a filter": {"a2 03 0001 00", 0x82, false},
		"UNSUBSCRIBE flags":            {"a0 05 0001 000161", 0x81, true},
		"PINGREQ with a body":          {"c0 01 00", 0x81, true},
		"DISCONNECT trailing bytes":    {"e0 03 00 00 00", 0x81, true},
		"DISCONNECT expiry from 0":     {"e0 07 00 05 1100000001", 0x82, false},
	} {
		t.Run(name, func(t *testing.T) {
			versions(t, func(t *testing.T, version opt) {
				c := s.dial("ana", version)
				if c.Version() != 5 && !tc.both {
					return
				}
				c.bytes(append(unhex(t, tc.bytes), make([]byte, 4096)...)...)
				c.t = t
				c.closedWith(tc.want)
			})
		})
	}
	bob.quiet()
	s.dial("ana").send("x/after", "all is well")
	bob.expect([2]string{"x/after", "all is well"})
}

func TestMQTTKeepAlive(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*config.Config)
		asked  uint16
		want   uint16 // Server Keep Alive
	}{
		{"the client's own", func(*config.Config) {}, 120, 0},
		{"the server's", func(c *config.Config) { c.KeepAlive.Server = time.Minute }, 120, 60},
		{"the same", func(c *config.Config) { c.KeepAlive.Server = time.Minute }, 60, 0},
		{"at most", func(c *config.Config) { c.KeepAlive.Max = time.Minute }, 120, 60},
		{"at most, asked for none", func(c *config.Config) { c.KeepAlive.Max = time.Minute }, 0, 60},
		{"at most, asked for less", func(c *config.Config) { c.KeepAlive.Max = time.Minute }, 10, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := serve(t, tc.change)
			c := s.dial("ana", v5, func(o *mqttc.ConnectOptions) { o.KeepAlive = tc.asked })
			if c.ack.ServerKeepAlive != tc.want {
				t.Errorf("Server Keep Alive %d, want %d", c.ack.ServerKeepAlive, tc.want)
			}
		})
	}
	t.Run("silence", func(t *testing.T) {
		s := serve(t)
		ana := s.dial("ana", v5, func(o *mqttc.ConnectOptions) { o.KeepAlive = 1 })
		old := s.dial("old", func(o *mqttc.ConnectOptions) { o.KeepAlive = 1 })
		start := time.Now()
		ana.closedWith(0x8D)
		old.closedWith(0)
		if took := time.Since(start); took < time.Second {
			t.Errorf("after %v, which is less than the keep-alive", took)
		}
	})
}

func TestMQTTSessionEnds(t *testing.T) {
	s := serve(t)
	t.Run("takeover", func(t *testing.T) {
		for _, version := range []opt{v5, func(*mqttc.ConnectOptions) {}} {
			old := s.dial("ana", version)
			s.dial("ana", version).quiet()
			old.closedWith(0x8E)
		}
		one, two := s.dial("ana", device("d")), s.dial("bob", device("d"))
		one.quiet() // another user's device of the same name
		two.quiet()
	})
	t.Run("expiry in DISCONNECT", func(t *testing.T) {
		c := s.dial("cas", v5, keep)
		c.bytes(unhex(t, "e0 07 00 05 1100000000")...)
		c.closedWith(0)
		if s.dial("cas", v5, keep).ack.SessionPresent {
			t.Error("the session outlived its DISCONNECT")
		}
	})
	t.Run("clean start", func(t *testing.T) {
		c := s.dial("dan", v5, keep)
		ok(t, c.subscribe("x/y"))
		c.leave()
		c = s.dial("dan", v5, clean)
		if c.ack.SessionPresent {
			t.Error("a clean start found a session")
		}
		s.dial("ana").send("x/y", "for nobody")
		c.quiet()
	})
	t.Run("UNSUBSCRIBE", func(t *testing.T) {
		c := s.dial("eve", v5)
		ok(t, c.subscribe("x/y"))
		if err := c.WriteUnsubscribe(9, "x/y", "never/had"); err != nil {
			t.Fatal(err)
		}
		c.flush()
		code(t, c.await(mqttc.UNSUBACK).Codes, 0, 0x11)
		s.dial("ana").send("x/y", "for nobody")
		c.quiet()
	})
}
