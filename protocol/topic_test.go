package protocol

import (
	"errors"
	"strings"
	"testing"
	"testing/quick"

	"github.com/petrelchat/petrel/chat"
)

func TestParsePublish(t *testing.T) {
	const me = "bob"
	for _, c := range []struct {
		topic string
		want  Publish
	}{
		{"c/general/text", Publish{Kind: PubPost, Conv: "general", View: ViewText}},
		{"c/general/json", Publish{Kind: PubPost, Conv: "general", View: ViewJSON}},
		{"c/alice~bob/cbor", Publish{Kind: PubPost, Conv: "alice~bob", View: ViewCBOR}},
		{"c/bob~bob/text", Publish{Kind: PubPost, Conv: "bob~bob", View: ViewText}},
		{"u/alice/text", Publish{Kind: PubPost, Conv: "alice~bob", User: "alice", View: ViewText}},
		{"u/carol/json", Publish{Kind: PubPost, Conv: "bob~carol", User: "carol", View: ViewJSON}},
		{"u/bob/cbor", Publish{Kind: PubPost, Conv: "bob~bob", User: "bob", View: ViewCBOR}},
		{"c/general/typing", Publish{Kind: PubTyping, Conv: "general"}},
		{"c/general/read", Publish{Kind: PubRead, Conv: "general"}},
		{"c/general/call", Publish{Kind: PubCall, Conv: "general"}},
		{"c/alice~bob/call", Publish{Kind: PubCall, Conv: "alice~bob"}},
		{"u/alice/call", Publish{Kind: PubCall, Conv: "alice~bob", User: "alice"}},
		{"k/abcdefghijk27/ringing", Publish{Kind: PubCall, Call: "abcdefghijk27", Verb: "ringing"}},
		{"k/2345672345672/signal", Publish{Kind: PubCall, Call: "2345672345672", Verb: "signal"}},
		{"u/bob/status", Publish{Kind: PubStatus, User: "bob"}},
		{"rpc/group.create", Publish{Kind: PubRPC, Method: "group.create"}},
		{"rpc/sync", Publish{Kind: PubRPC, Method: "sync"}},
		{"bob/temp", Publish{Kind: PubPlain}},
		{"cc/x", Publish{Kind: PubPlain}},
		{"/c/x/json", Publish{Kind: PubPlain}},
		{"rpcs", Publish{Kind: PubPlain}},
	} {
		got, err := ParsePublish(c.topic, me)
		c.want.Topic = c.topic
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.topic, got, err, c.want)
		}
	}
	for topic, code := range map[string]byte{
		"":                         0x90,
		"a/+":                      0x90,
		"a/#":                      0x90,
		"a\x00b":                   0x90,
		"\xff":                     0x90,
		strings.Repeat("a", 65536): 0x90,
		"c":                        0x90,
		"c/":                       0x90,
		"c/general":                0x90,
		"c/general/":               0x90,
		"c/general/texts":          0x90,
		"c/general/text/bob":       0x90,
		"c/general/call/x":         0x90,
		"c/alice~carol/call":       0x87,
		"u/alice/call/x":           0x90,
		"u/bob/calls":              0x87,
		"u/bob/calls/abcdefgh":     0x87,
		"k/":                       0x90,
		"k/abcdefghijk27":          0x90,
		"k/abcdefghijk27/":         0x90,
		"k/abcdefghijk27/offer":    0x90,
		"k/abcdefghijk27/accept/x": 0x90,
		"k/abcdefghijk2/accept":    0x90,
		"k/abcdefghijk278/accept":  0x90,
		"k/Abcdefghijk27/accept":   0x90,
		"k/abcdefghijk18/accept":   0x90,
		"c/general/typing/bob":     0x90,
		"c/General/text":           0x90,
		"c/-a/text":                0x90,
		"c/bob~alice/text":         0x90,
		"c/alice~/text":            0x90,
		"c/alice~carol/text":       0x87,
		"c/general/info":           0x87,
		"c/general/receipts":       0x87,
		"u":                        0x90,
		"u/alice":                  0x90,
		"u/a b/text":               0x90,
		"u/alice/status":           0x87,
		"u/alice/presence":         0x87,
		"u/bob/events":             0x87,
		"u/bob/rpc/1":              0x87,
		"u/bob/nothing":            0x90,
		"rpc":                      0x90,
		"rpc/":                     0x90,
		"rpc/a..b":                 0x90,
		"rpc/a/b":                  0x90,
		"rpc/Group":                0x90,
		"$SYS/x":                   0x87,
		"$share/n/x":               0x87,
		"$x":                       0x87,
	} {
		p, err := ParsePublish(topic, me)
		if refusal(t, err) == nil || ReasonCode(err) != code || p != (Publish{}) {
			t.Errorf("%.20q: %+v, %v, %#x; want %#x", topic, p, err, ReasonCode(err), code)
		}
	}
	for _, topic := range []string{"c/general/text", "u/alice/text", "rpc/sync", "k/x", "u//status"} {
		if _, err := ParsePublish(topic, ""); !errors.Is(err, &chat.Refusal{Code: chat.NotAuthorized}) {
			t.Errorf("guest %s: %v", topic, err)
		}
	}
	if p, err := ParsePublish("public/x", ""); err != nil || p.Kind != PubPlain {
		t.Errorf("guest: %+v, %v", p, err)
	}
}

func TestParseFilter(t *testing.T) {
	const me = "bob"
	for _, c := range []struct {
		filter string
		want   Filter
	}{
		{"c/+/text/+", Filter{Kind: FilterEvents, All: true, View: ViewText}},
		{"c/general/text/+", Filter{Kind: FilterEvents, Conv: "general", View: ViewText}},
		{"c/+/json", Filter{Kind: FilterEvents, All: true, View: ViewJSON}},
		{"c/alice~bob/cbor", Filter{Kind: FilterEvents, Conv: "alice~bob", View: ViewCBOR}},
		{"c/+/typing/+", Filter{Kind: FilterTyping, All: true}},
		{"c/g/typing/+", Filter{Kind: FilterTyping, Conv: "g"}},
		{"c/g/receipts", Filter{Kind: FilterReceipts, Conv: "g"}},
		{"c/+/info", Filter{Kind: FilterInfo, All: true}},
		{"c/g/call", Filter{Kind: FilterCall, Conv: "g"}},
		{"u/+/presence", Filter{Kind: FilterPresence, All: true}},
		{"u/alice/presence", Filter{Kind: FilterPresence, User: "alice"}},
		{"u/bob/events", Filter{Kind: FilterOwnEvents}},
		{"u/bob/errors", Filter{Kind: FilterErrors}},
		{"u/bob/rpc", Filter{Kind: FilterRPC}},
		{"u/bob/rpc/+", Filter{Kind: FilterRPC, RPCSub: true}},
		{"u/bob/rpc/7f", Filter{Kind: FilterRPC, RPCSub: true}},
		{"u/bob/calls", Filter{Kind: FilterCalls}},
		{"u/bob/calls/+", Filter{Kind: FilterCalls, RPCSub: true}},
		{"u/bob/calls/abcdef27", Filter{Kind: FilterCalls, RPCSub: true}},
		{"c/+/call", Filter{Kind: FilterCall, All: true}},
		{"$share/w/c/+/json", Filter{Kind: FilterEvents, All: true, View: ViewJSON, Share: "w", Filter: "c/+/json"}},
		{"$share/w/a/#", Filter{Kind: FilterPlain, Share: "w", Filter: "a/#"}},
		{"$share/w//", Filter{Kind: FilterPlain, Share: "w", Filter: "/"}},
		{"#", Filter{Kind: FilterPlain}},
		{"+/x/json", Filter{Kind: FilterPlain}},
		{"+", Filter{Kind: FilterPlain}},
		{"bob/#", Filter{Kind: FilterPlain}},
		{"$SYS/#", Filter{Kind: FilterSys}},
		{"$SYS/broker/uptime", Filter{Kind: FilterSys}},
	} {
		got, err := ParseFilter(c.filter, me)
		if c.want.Filter == "" {
			c.want.Filter = c.filter
		}
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.filter, got, err, c.want)
		}
	}
	for filter, code := range map[string]byte{
		"":                          0x8F,
		"a#":                        0x8F,
		"a+/b":                      0x8F,
		"a/+b":                      0x8F,
		"#/a":                       0x8F,
		"a/#/b":                     0x8F,
		"a\x00":                     0x8F,
		"$share":                    0x8F,
		"$share/":                   0x8F,
		"$share/n":                  0x8F,
		"$share/n/":                 0x8F,
		"$share//a":                 0x8F,
		"$share/+/a":                0x8F,
		"$share/n#/a":               0x8F,
		"$share/n/a#":               0x8F,
		"$share/n/$share/m/a":       0x8F,
		"$share/n/c/+/typing/+":     0x8F,
		"$share/n/u/bob/events":     0x8F,
		"$share/n/$SYS/#":           0x8F,
		"c":                         0x8F,
		"c/#":                       0x8F,
		"c/+":                       0x8F,
		"c/+/#":                     0x8F,
		"c/+/+":                     0x8F,
		"c/g/#":                     0x8F,
		"c/g/text":                  0x8F,
		"c/g/text/alice":            0x8F,
		"c/g/text/#":                0x8F,
		"c/g/typing":                0x8F,
		"c/g/json/+":                0x8F,
		"c/G/json":                  0x8F,
		"c/bob~alice/json":          0x8F,
		"c/alice~carol/json":        0x87,
		"u/#":                       0x8F,
		"u/bob":                     0x8F,
		"u/bob/#":                   0x8F,
		"u/bob/+":                   0x8F,
		"u/+/events":                0x8F,
		"u/alice/events":            0x87,
		"u/alice/rpc/+":             0x87,
		"u/bob/rpc/#":               0x8F,
		"u/bob/rpc/":                0x8F,
		"u/bob/rpc/+/+":             0x8F,
		"u/bob/status":              0x8F,
		"u/bob/text":                0x8F,
		"u/a b/presence":            0x8F,
		"k/+":                       0x8F,
		"rpc/+":                     0x8F,
		"$SYS":                      0x87,
		"$other/#":                  0x87,
		"\xc3\x28":                  0x8F,
		strings.Repeat("a/", 40000): 0x8F,
	} {
		f, err := ParseFilter(filter, me)
		if refusal(t, err) == nil || SubackCode(err, true) != code || SubackCode(err, false) != 0x80 || f != (Filter{}) {
			t.Errorf("%.20q: %+v, %v, %#x; want %#x", filter, f, err, SubackCode(err, true), code)
		}
	}
	for filter, ok := range map[string]bool{"public/#": true, "#": true, "$share/a/b": true, "c/+/json": false, "u//events": false, "$SYS/#": false} {
		if _, err := ParseFilter(filter, ""); ok != (err == nil) {
			t.Errorf("guest %s: %v", filter, err)
		}
	}
}

// refusal fails unless err is directly a *chat.Refusal with a code and a reason.
func refusal(t *testing.T, err error) *chat.Refusal {
	t.Helper()
	r, ok := err.(*chat.Refusal)
	if !ok || r.Code == "" || r.Reason == "" {
		t.Errorf("not a refusal: %v", err)
		return nil
	}
	return r
}

func TestMatchTopic(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"a", "a", true}, {"a", "b", false}, {"a", "a/", false}, {"a/", "a/", true}, {"a/", "a", false},
		{"a/#", "a", true}, {"a/#", "a/b/c", true}, {"a/#", "ab", false}, {"+/#", "a", true},
		{"+", "a", true}, {"+", "/a", false}, {"/+", "/a", true}, {"+/+", "/a", true}, {"+/a", "/a", true},
		{"#", "a/b", true}, {"#", "/", true}, {"#", "$SYS/a", false}, {"+/a", "$SYS/a", false},
		{"$SYS/#", "$SYS/a", true}, {"$SYS/+", "$SYS/a", true}, {"$SYS/#", "$SYS", true},
		{"a/+/c", "a//c", true}, {"a/+/c", "a/c", false}, {"a/+", "a", false}, {"a/+/#", "a", false},
		{"a/+/#", "a/b", true},
	} {
		if MatchTopic(c.filter, c.topic) != c.want {
			t.Errorf("%q on %q: want %v", c.filter, c.topic, c.want)
		}
	}
}

func TestValidResponseTopic(t *testing.T) {
	for topic, want := range map[string]bool{
		"u/bob/rpc": true, "u/bob/rpc/1": true, "u/bob/rpc/": false, "u/bob/rpc/1/2": false, "u/bob/rpc/+": false,
		"u/bobby/rpc": false, "u/alice/rpc": false, "u/bob/events": false, "bob": false, "u/bob": false,
	} {
		if ValidResponseTopic(topic, "bob") != want {
			t.Errorf("%q: want %v", topic, want)
		}
	}
}

// What the server delivers on must be what a subscription to it says.
func TestTopicsMeetFilters(t *testing.T) {
	for filter, topic := range map[string]string{
		"c/g/text/+":       EventTopic("g", ViewText, "alice"),
		"c/g/json":         EventTopic("g", ViewJSON, "alice"),
		"c/g/cbor":         EventTopic("g", ViewCBOR, "alice"),
		"c/+/typing/+":     TypingTopic("g", "alice"),
		"c/+/receipts":     ReceiptsTopic("g"),
		"c/+/info":         InfoTopic("g"),
		"u/alice/presence": PresenceTopic("alice"),
		"u/bob/events":     OwnEventsTopic("bob"),
		"u/bob/errors":     ErrorsTopic("bob"),
		"u/bob/rpc":        RPCTopic("bob"),
	} {
		if _, err := ParseFilter(filter, "bob"); err != nil || !MatchTopic(filter, topic) || ValidTopic(topic) != nil {
			t.Errorf("%s, %s: %v", filter, topic, err)
		}
	}
}

func TestDirectID(t *testing.T) {
	if DirectID("b", "a") != "a~b" || DirectID("a", "B") != "B~a" || DirectID("a", "a") != "a~a" {
		t.Error("order")
	}
	same := func(i, j uint8) bool {
		users := []string{"a", "A", "b", "z-9", "Z.", "_"}
		a, b := users[int(i)%len(users)], users[int(j)%len(users)]
		x, y, ok := DirectPeers(DirectID(a, b))
		return ok && x <= y && DirectID(a, b) == DirectID(b, a) && (x == a && y == b || x == b && y == a) && ValidConv(DirectID(a, b))
	}
	if err := quick.Check(same, nil); err != nil {
		t.Error(err)
	}
}

func TestParsingAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() {
		_, _ = ParsePublish("c/alice~bob/text", "bob")
		_, _ = ParseFilter("c/+/json", "bob")
		_, _ = ParsePublish("$SYS/x", "bob")
		MatchTopic("a/+/#", "a/b/c")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
