package broker_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/config"
)

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// found asks for hits until there are as many as expected, which the index takes a moment for, or patience ends. It
// compares them as conv:seq, in any order: what comes within one millisecond has none.
func (c *client) found(request string, want ...string) {
	c.t.Helper()
	var got []string
	for end := time.Now().Add(patience); time.Now().Before(end); {
		got = nil
		hits, _ := c.want("search", request)["hits"].([]any)
		for _, h := range hits {
			hit := h.(map[string]any)
			got = append(got, fmt.Sprintf("%v:%v", hit["conv"], hit["seq"]))
		}
		slices.Sort(got)
		if slices.Equal(got, slices.Sorted(slices.Values(want))) {
			return
		}
	}
	c.t.Fatalf("%s finds %s by %v, want %v", request, c.name, got, want)
}

// What was posted is found by those who may see it, also after a restart, without the index, and not by others.
func TestSearchOverTheWire(t *testing.T) {
	s := serve(t)
	ana, bob, eve := s.dial("ana"), s.dial("bob"), s.dial("eve")
	ana.want("group.create", `{"id":"trip","title":"A trip","history":"joined","members":["bob"]}`)
	ana.publish("c/trip/text", "Shall we go to Oslo?") // after create and add
	bob.publish("u/ana/text", "Oslo, always")
	head := func() int { return int(ana.head("trip")) }
	first := head()
	eve.found(`{"q":"oslo"}`)
	ana.found(`{"q":"oslo","order":"newest"}`, "ana~bob:1", fmt.Sprintf("trip:%d", first))
	eve.denied("search", `{"q":"oslo","conv":"trip"}`, "not-found")
	ana.want("member.add", `{"conv":"trip","user":"eve"}`)
	ana.publish("c/trip/json", `{"text":"東京 or oslo"}`)
	second := head()
	eve.found(`{"q":"oslo"}`, fmt.Sprintf("trip:%d", second))
	eve.found(`{"q":"京"}`, fmt.Sprintf("trip:%d", second))
	ana.publish("c/trip/json", fmt.Sprintf(`{"kind":"edit","re":%d,"text":"rather 大阪"}`, second))
	eve.found(`{"q":"oslo"}`)
	eve.found(`{"q":"大阪"}`, fmt.Sprintf("trip:%d", second))
	for _, damage := range []func(){
		func() {},
		func() { mustDo(t, os.RemoveAll(broker.SearchDir(s.Config.Data))) },
		func() {
			mustDo(t, os.WriteFile(filepath.Join(broker.SearchDir(s.Config.Data), "index.db"), []byte("this is no database, and it is long enough to be taken for one"), 0o600))
		},
	} {
		s.Stop()
		damage()
		s.Start()
		ana, eve = s.dial("ana"), s.dial("eve")
		ana.found(`{"q":"oslo"}`, "ana~bob:1", fmt.Sprintf("trip:%d", first))
		eve.found(`{"q":"大阪"}`, fmt.Sprintf("trip:%d", second))
	}
	ana.publish("c/trip/json", fmt.Sprintf(`{"kind":"delete","re":%d}`, second))
	eve.found(`{"q":"大阪"}`)
	ana.want("member.remove", `{"conv":"trip","user":"eve"}`)
	eve.denied("search", `{"q":"oslo","conv":"trip"}`, "not-found")
}

// A server whose index cannot be opened, or that is told to have none, serves without.
func TestWithoutSearch(t *testing.T) {
	dir := t.TempDir()
	mustDo(t, os.WriteFile(broker.SearchDir(dir), []byte("a file in the way"), 0o600))
	s := serve(t, in(dir))
	ana := s.dial("ana")
	ana.publish("u/bob/text", "hello")
	ana.denied("search", `{"q":"hello"}`, "not-found")
	none := serve(t, func(c *config.Config) { c.Search.Enabled = false })
	none.dial("ana").denied("search", `{"q":"hello"}`, "not-found")
}
