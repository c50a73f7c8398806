package client_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/broker/auth"
	"github.com/petrelchat/petrel/broker/notify"
	"github.com/petrelchat/petrel/broker/rpc"
	"github.com/petrelchat/petrel/broker/search"
	"github.com/petrelchat/petrel/broker/webhook"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/signaling"
)

// The typed calls against the server and the document: no method is missing, no parameter of one, and nothing is asked
// that the server does not know.

// handles are the groups of calls over a Caller.
func handles(via client.Caller) []any {
	return []any{
		client.GroupCalls{Via: via}, client.MemberCalls{Via: via}, client.InviteCalls{Via: via}, client.JoinRequestCalls{Via: via},
		client.HistoryCalls{Via: via}, client.ConvCalls{Via: via}, client.SettingCalls{Via: via}, client.PeopleCalls{Via: via},
		client.ProfileCalls{Via: via}, client.DeviceCalls{Via: via}, client.PushCalls{Via: via}, client.BotCalls{Via: via},
		client.WebhookCalls{Via: via}, client.AdminCalls{Via: via}, client.CallingCalls{Via: via},
	}
}

// Every group of calls can be had from a Client, and stands in the table that says so.
func TestEveryHandleIsListed(t *testing.T) {
	text, err := os.ReadFile("calls.go")
	if err != nil {
		t.Fatal(err)
	}
	known := map[reflect.Type]bool{}
	for _, h := range handles(nil) {
		known[reflect.TypeOf(h)] = true
	}
	typ := reflect.TypeFor[*client.Client]()
	for i := range typ.NumMethod() {
		m := typ.Method(i)
		if m.Type.NumOut() != 1 || !strings.HasSuffix(m.Type.Out(0).Name(), "Calls") {
			continue
		}
		out := m.Type.Out(0)
		if !known[out] {
			t.Errorf("Client.%s returns %s, which handles does not know, or twice", m.Name, out)
		}
		delete(known, out)
		if !regexp.MustCompile(`(?m)^//\tc\.` + m.Name + `\(\) +` + out.Name() + ` `).Match(text) {
			t.Errorf("c.%s() is missing in the table of Caller", m.Name)
		}
	}
	for out := range known {
		t.Errorf("no method of Client returns %s", out)
	}
}

// recorder is a Caller that notes what is asked.
type recorder struct {
	calls []recorded
}

type recorded struct {
	by     string // GroupCalls.Create
	method string
	req    any
}

func (r *recorder) Call(_ context.Context, method string, req, reply any) error {
	r.calls = append(r.calls, recorded{method: method, req: req})
	return errRecorded
}

var errRecorded = errors.New("recorded")

// everyCall makes every typed call once, with every field of its request set.
func everyCall(t *testing.T) []recorded {
	t.Helper()
	var all []recorded
	for i := range handles(nil) {
		r := new(recorder)
		h := reflect.ValueOf(handles(r)[i])
		for j := range h.NumMethod() {
			m := h.Type().Method(j)
			name := h.Type().Name() + "." + m.Name
			before := len(r.calls)
			args := []reflect.Value{reflect.ValueOf(t.Context())}
			for k := 2; k < m.Type.NumIn(); k++ {
				args = append(args, filled(t, m.Type.In(k)))
			}
			out := h.Method(j).Call(args)
			if f := out[0]; f.Kind() == reflect.Func { // an iterator
				f.Call([]reflect.Value{reflect.MakeFunc(f.Type().In(0), func(pair []reflect.Value) []reflect.Value {
					if err, _ := pair[1].Interface().(error); !errors.Is(err, errRecorded) {
						t.Errorf("%s yields %v, not the refusal", name, pair)
					}
					return []reflect.Value{reflect.ValueOf(true)}
				})})
			} else if err, _ := out[len(out)-1].Interface().(error); !errors.Is(err, errRecorded) {
				t.Errorf("%s returns %v, not the refusal", name, err)
			}
			if len(r.calls) != before+1 {
				t.Fatalf("%s made %d requests", name, len(r.calls)-before)
			}
			r.calls[before].by = name
		}
		all = append(all, r.calls...)
	}
	return all
}

// filled returns a value of a type in which nothing is zero. A text is a number, which does for the place in a list too.
func filled(t *testing.T, typ reflect.Type) reflect.Value {
	t.Helper()
	v := reflect.New(typ).Elem()
	switch typ.Kind() {
	case reflect.String:
		v.SetString("1")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	case reflect.Interface: // the value of a setting
		v.Set(reflect.ValueOf("1"))
	case reflect.Pointer:
		v.Set(reflect.New(typ.Elem()))
		v.Elem().Set(filled(t, typ.Elem()))
	case reflect.Slice:
		v = reflect.Append(v, filled(t, typ.Elem()))
	case reflect.Map:
		v.Set(reflect.MakeMap(typ))
		v.SetMapIndex(reflect.ValueOf("post"), reflect.ValueOf("member"))
	case reflect.Struct:
		for i := range typ.NumField() {
			v.Field(i).Set(filled(t, typ.Field(i).Type))
		}
	default:
		t.Fatalf("a request has a %s: say what fills it", typ)
	}
	return v
}

// params returns the names of the parameters that a recorded request sends.
func (r recorded) params(t *testing.T) []string {
	t.Helper()
	if r.req == nil {
		return nil
	}
	b, err := json.Marshal(r.req)
	if err != nil {
		t.Fatal(r.by, err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(r.by, err)
	}
	return slices.Collect(maps.Keys(m))
}

// documented returns the methods of the tables in docs/protocol.md.
func documented(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile("`([a-z]+(?:\\.[a-z]+)*)`")
	var names []string
	inTable := false
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		line := s.Text()
		switch {
		case !strings.HasPrefix(line, "|"):
			inTable = false
		case strings.HasPrefix(line, "| method |"):
			inTable = true
		case inTable:
			first := strings.Split(line, "|")[1]
			for _, m := range name.FindAllStringSubmatch(first, -1) {
				names = append(names, m[1])
			}
		}
	}
	if len(names) < 60 {
		t.Fatalf("only %d methods were found in the document: have its tables changed?", len(names))
	}
	return names
}

// served returns the methods that a server has which offers everything. Nothing is called.
func served() []string {
	return rpc.New(rpc.Options{
		Admin: auth.NewAdmin(nil), Webhooks: (*webhook.Hooks)(nil), Bots: (*auth.Service)(nil),
		Search: (*search.Index)(nil), Push: (*notify.Service)(nil), Calls: (*signaling.Service)(nil),
	}).Methods()
}

func TestEveryMethodHasATypedCall(t *testing.T) {
	have := map[string]bool{}
	for _, c := range everyCall(t) {
		have[c.method] = true
	}
	known := map[string]bool{}
	for _, m := range served() {
		known[m] = true
	}
	for _, m := range documented(t) {
		if !have[m] {
			t.Errorf("docs/protocol.md has the method %s, which has no typed call", m)
		}
	}
	for m := range known {
		if !have[m] {
			t.Errorf("the server has the method %s, which has no typed call", m)
		}
	}
	for m := range have {
		if !known[m] {
			t.Errorf("a typed call asks for %s, which the server does not have", m)
		}
	}
}

// Each typed call with every field set goes to a real server: that may refuse it for many reasons, but not because it
// does not know a method or a field, or wants another type.
func TestServerKnowsEveryField(t *testing.T) {
	s := callServer(t)
	for _, encoding := range []string{"cbor", "json"} {
		root := caller(t, s, "root", encoding == "json")
		for _, c := range everyCall(t) {
			err := root.Call(t.Context(), c.method, c.req, nil)
			var refused *chat.Refusal
			switch {
			case err == nil:
			case !errors.As(err, &refused):
				t.Fatalf("%s %s %s: %v", encoding, c.by, c.method, err)
			case refused.Code == chat.BadRequest && regexp.MustCompile("knows no field|does not know|wrong type|do not fit|can't be decoded").MatchString(refused.Reason),
				refused.Code == chat.NotFound && strings.HasPrefix(refused.Reason, "unknown method"),
				refused.Code == chat.NotAuthorized && strings.HasPrefix(c.method, "admin."):
				t.Errorf("%s %s sends %+v to %s: %v", encoding, c.by, c.req, c.method, err)
			}
		}
	}
}

// notParams are parameters that a type of the server has, and its method refuses.
var notParams = map[string][]string{
	"conv.archive":      {"pinned"},
	"conv.pin":          {"archived"},
	"group.recommend":   {"q"},
	"admin.user.add":    {"disabled"},
	"admin.user.passwd": {"admin", "disabled"},
	"admin.user.update": {"password"},
	"admin.user.del":    {"password", "admin", "disabled"},
	"admin.user.list":   {"user"},
}

// The parameters of the server's methods, read from its source, are those that the typed calls of a method send together.
func TestEveryParameterIsOffered(t *testing.T) {
	offered := map[string]map[string]bool{}
	for _, c := range everyCall(t) {
		if offered[c.method] == nil {
			offered[c.method] = map[string]bool{}
		}
		for _, p := range c.params(t) {
			offered[c.method][p] = true
		}
	}
	taken := paramsInSource(t, "../broker/rpc")
	maps.Copy(taken, paramsInSource(t, "../broker/auth"))
	if len(taken) != len(served()) {
		t.Fatalf("the source has the parameters of %d methods, the server %d methods: how are they registered now?", len(taken), len(served()))
	}
	for method, params := range taken {
		for _, p := range params {
			if refused := slices.Contains(notParams[method], p); !refused && !offered[method][p] {
				t.Errorf("%s takes %s, which no typed call offers", method, p)
			} else if refused && offered[method][p] {
				t.Errorf("%s refuses %s, which a typed call sends", method, p)
			}
		}
		for p := range offered[method] {
			if !slices.Contains(params, p) {
				t.Errorf("a typed call sends %s to %s, which does not take it", p, method)
			}
		}
	}
}
