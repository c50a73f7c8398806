package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/petrelchat/petrel/internal/mqttc"
)

// asker is a connection that makes requests, one at a time.
type asker struct {
	c    *client
	user string
	id   uint16
}

// conversationsOnly is the result of a peer that has no conversations.
func conversationsOnly() (res Result) {
	res.note("this scenario is about conversations, which only petrel has")
	return res
}

// asking connects a user for requests.
func (cr *crew) asking(s *server, user, device string) (*asker, error) {
	o := s.options(user, device)
	o.CleanStart = true
	c, err := cr.dial(s, o)
	if err != nil {
		return nil, err
	}
	return &asker{c: c, user: user}, c.subscribe(mqttc.Filter{Topic: "u/" + user + "/rpc"})
}

// ask makes a request and waits for its reply; it returns how many bytes the payload had.
func (a *asker) ask(method string, params map[string]any, into any) (size int, err error) {
	if params == nil {
		params = map[string]any{}
	}
	if a.id++; a.id == 0 {
		a.id = 1
	}
	tag := strconv.Itoa(int(a.id))
	params["tag"] = tag
	payload, err := json.Marshal(params)
	if err != nil {
		return 0, err
	}
	if err := a.c.WritePublish(mqttc.Publish{Topic: "rpc/" + method, Payload: payload, QoS: 1, ID: a.id}); err != nil {
		return 0, err
	}
	if err := a.c.Flush(); err != nil {
		return 0, err
	}
	for {
		p, err := a.c.ReadPacket()
		if err != nil {
			return 0, fmt.Errorf("%s: %w", method, err)
		}
		if p.Type != mqttc.PUBLISH {
			continue
		}
		var reply struct {
			OK    json.RawMessage
			Error *struct{ Code, Reason string }
			Tag   string
		}
		if err := json.Unmarshal(p.Payload, &reply); err != nil || reply.Tag != tag {
			continue // something else that this user gets
		}
		if reply.Error != nil {
			return 0, fmt.Errorf("%s: %s: %s", method, reply.Error.Code, reply.Error.Reason)
		}
		if into != nil {
			err = json.Unmarshal(reply.OK, into)
		}
		return len(p.Payload), err
	}
}

// metrics reads the server's metrics, each by its name with its labels.
func (s *server) metrics(ctx context.Context) (map[string]float64, error) {
	if s.ready == "" {
		return nil, errors.New("a server at --addr does not show its metrics here, which have the time in the server")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(s.ready, "/readyz")+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	values := make(map[string]float64)
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); ok && err == nil {
			values[name] = v
		}
	}
	return values, lines.Err()
}

// inServer makes n requests of a method and returns the mean time that the server took for one, in ms.
func (s *server) inServer(ctx context.Context, method string, n int, ask func(i int) error) (float64, error) {
	sum, count := `petrel_rpc_seconds_sum{method="`+method+`"}`, `petrel_rpc_seconds_count{method="`+method+`"}`
	before, err := s.metrics(ctx)
	if err != nil {
		return 0, err
	}
	for i := range n {
		if err := ask(i); err != nil {
			return 0, err
		}
	}
	after, err := s.metrics(ctx)
	if err != nil {
		return 0, err
	}
	if got := after[count] - before[count]; got != float64(n) {
		return 0, fmt.Errorf("the server counted %.0f requests, not %d", got, n)
	}
	return (after[sum] - before[sum]) / float64(n) * 1e3, nil
}

// timed makes n requests and reports the round trip, the time in the server, and the bytes of the longest reply.
func (r *runner) timed(ctx context.Context, s *server, a *asker, res *Result, method string, n int, params func(i int) map[string]any) error {
	var trips histogram
	most := 0
	took, err := s.inServer(ctx, method, n, func(i int) error {
		began := r.clock.now()
		size, err := a.ask(method, params(i), nil)
		trips.add(r.clock.now() - began)
		most = max(most, size)
		return err
	})
	if err != nil {
		return err
	}
	res.add("in the server", "ms", took)
	res.latency("round trip", &trips)
	res.add("longest reply", "KB", float64(most)/1e3)
	return nil
}
