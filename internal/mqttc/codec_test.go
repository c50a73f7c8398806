package mqttc

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func TestPublishRoundTrip(t *testing.T) {
	long := strings.Repeat("x", 70_000)
	for _, want := range []Publish{
		{Topic: "a"},
		{Topic: "a/b", Payload: []byte("hi"), QoS: 1, ID: 1},
		{Topic: "a/b", Payload: []byte(long), QoS: 2, ID: 65535, Dup: true, Retain: true},
		{Topic: "a/b", Payload: []byte(long[:100]), QoS: 1, ID: 7, Alias: 3, Props: AppendUserProperty(nil, "k", "v")},
		{Alias: 3, Payload: []byte("aliased"), QoS: 1, ID: 8},
	} {
		for _, version := range []byte{4, 5} {
			if version == 4 && (want.Alias != 0 || want.Props != nil) {
				continue
			}
			got, err := Decode(version, AppendPublish(nil, version, want))
			if err != nil {
				t.Fatalf("v%d %.40v: %v", version, want, err)
			}
			if string(got.Topic) != want.Topic || !bytes.Equal(got.Payload, want.Payload) || got.ID != want.ID ||
				got.QoS != want.QoS || got.Dup != want.Dup || got.Retain != want.Retain || got.Alias != want.Alias {
				t.Errorf("v%d: got %.80v, want %.80v", version, got, want)
			}
			if v, ok := got.Props.User("k"); ok != (want.Props != nil) || ok && v != "v" {
				t.Errorf("v%d: user property %q %v", version, v, ok)
			}
		}
	}
}

func TestAckRoundTrip(t *testing.T) {
	for _, kind := range []byte{PUBACK, PUBREC, PUBREL, PUBCOMP} {
		for _, version := range []byte{4, 5} {
			for _, code := range []byte{0, 0x97} {
				b := AppendAck(nil, version, kind, 0x1234, code)
				got, err := Decode(version, b)
				if err != nil {
					t.Fatal(err)
				}
				if version == 4 {
					code = 0 // MQTT 3.1.1 has no room for it
				}
				if got.Type != kind || got.ID != 0x1234 || got.Code != code || got.Size != len(b) {
					t.Errorf("type %d v%d: %+v", kind, version, got)
				}
			}
		}
	}
}

// TestBytesOnTheWire compares with bytes written down by hand from the standards.
func TestBytesOnTheWire(t *testing.T) {
	for _, tc := range []struct {
		name string
		got  []byte
		want string
	}{
		{"CONNECT 3.1.1", AppendConnect(nil, ConnectOptions{ClientID: "id", CleanStart: true, KeepAlive: 60}),
			"10 0e 00044d515454 04 02 003c 00026964"},
		{"CONNECT 3.1.1, will, user", AppendConnect(nil, ConnectOptions{ClientID: "i", Username: "u", Password: []byte{},
			Will: &Will{Topic: "w", Payload: []byte("x"), QoS: 1, Retain: true}}),
			"10 18 00044d515454 04 ec 0000 000169 000177 000178 000175 0000"},
		{"CONNECT 5", AppendConnect(nil, ConnectOptions{Version: 5, SessionExpiry: 1, ReceiveMaximum: 2,
			MaximumPacketSize: 3, TopicAliasMaximum: 4, UserProperties: []UserProperty{{"k", "v"}},
			Will: &Will{Topic: "w", Delay: 9}}),
			"10 2f 00044d515454 05 04 0000 17 1100000001 210002 2700000003 220004 2600016b000176 0000 05 1800000009 000177 0000"},
		{"SUBSCRIBE 3.1.1", AppendSubscribe(nil, 4, 1, []Filter{{Topic: "a", QoS: 1, NoLocal: true}}),
			"82 06 0001 000161 01"},
		{"SUBSCRIBE 5", AppendSubscribe(nil, 5, 1, []Filter{{Topic: "a", QoS: 1, NoLocal: true, RetainHandling: 2}}, UserProperty{"f", "1"}),
			"82 0e 0001 07 26000166000131 000161 25"},
		{"UNSUBSCRIBE 5", AppendUnsubscribe(nil, 5, 2, "a"), "a2 06 0002 00 000161"},
		{"PUBREL", AppendAck(nil, 4, PUBREL, 2, 0), "62 02 0002"},
		{"DISCONNECT 3.1.1", AppendDisconnect(nil, 4, 4), "e0 00"},
		{"DISCONNECT 5", AppendDisconnect(nil, 5, 4), "e0 01 04"},
	} {
		if got, want := hex.EncodeToString(tc.got), strings.ReplaceAll(tc.want, " ", ""); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", tc.name, got, want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"empty":                        "",
		"header only":                  "30",
		"length that never ends":       "30ffffffff01",
		"shorter than it says":         "300400016161",
		"longer than it says":          "3003000161616161",
		"QoS 3":                        "36050001610001",
		"DUP at QoS 0":                 "3803000161",
		"topic past the end":           "3003000961",
		"QoS 1 without id":             "3203000161",
		"packet id 0":                  "32050001610000",
		"empty topic without alias":    "3002 0000",
		"property length past the end": "3004 000161 05",
		"unknown property":             "3006 000161 02 7f00",
		"alias cut off":                "3006 000161 02 2300",
		"alias 0":                      "3007 000161 03 230000",
		"user property cut off":        "3009 000161 05 2600016b00",
		"ack too short":                "400101",
		"ack for id 0":                 "40020000",
		"PUBREL flags":                 "60020001",
		"PINGRESP with a body":         "d00100",
		"CONNACK flags":                "2003020000",
		"CONNACK trailing":             "200400000000",
		"SUBACK for id 0":              "9004 0000 00 00",
		"a client's packet":            "c000",
		"type 0":                       "0000",
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(in, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if p, err := Decode(5, b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

func TestProperties(t *testing.T) {
	var b []byte
	b = append(b, PropReceiveMaximum, 1, 2, PropSubscriptionID, 0x80, 1, PropMaximumQoS, 1)
	b = append(b, PropMaximumPacketSize, 0, 1, 0, 0)
	b = appendString(append(b, PropReason), "why")
	b = AppendUserProperty(b, "seq", "17")
	b = AppendUserProperty(b, "seq", "18")
	p := Properties(b)
	if !p.valid() {
		t.Fatal("not valid")
	}
	for id, want := range map[byte]uint32{PropReceiveMaximum: 258, PropSubscriptionID: 128, PropMaximumQoS: 1, PropMaximumPacketSize: 65536} {
		if got, ok := p.Uint(id); !ok || got != want {
			t.Errorf("property %#x: %d %v", id, got, ok)
		}
	}
	if s, ok := p.String(PropReason); !ok || s != "why" {
		t.Errorf("reason %q %v", s, ok)
	}
	if s, ok := p.User("seq"); !ok || s != "17" {
		t.Errorf("user property %q %v", s, ok)
	}
	if _, ok := p.Uint(PropTopicAlias); ok {
		t.Error("a property that is not there")
	}
	if _, ok := p.User("other"); ok {
		t.Error("a user property that is not there")
	}
	for n := 1; n < len(b); n++ {
		Properties(b[:n]).valid() // must not panic on any cut
	}
}
