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

// spent is how long the server has taken for requests of a method so far, and for how many.
type spent struct{ seconds, count float64 }

// spentOn reads that from the server's metrics.
func (s *server) spentOn(ctx context.Context, method string) (t spent, err error) {
	if s.ready == "" {
		return t, errors.New("the time in the server is in its metrics, which a server at --addr does not show here")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(s.ready, "/readyz")+"/metrics", nil)
	if err != nil {
		return t, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return t, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		switch name {
		case `petrel_rpc_seconds_sum{method="` + method + `"}`:
			t.seconds, err = strconv.ParseFloat(value, 64)
		case `petrel_rpc_seconds_count{method="` + method + `"}`:
			t.count, err = strconv.ParseFloat(value, 64)
		}
		if err != nil {
			return t, err
		}
	}
	return t, lines.Err()
}

// timed makes the same request n times and reports the round trip, the time in the server, and the bytes of the reply.
func (r *runner) timed(ctx context.Context, s *server, a *asker, res *Result, method string, n int, params func(i int) map[string]any) error {
	before, err := s.spentOn(ctx, method)
	if err != nil {
		return err
	}
	var trips histogram
	most := 0
	for i := range n {
		began := r.clock.now()
		size, err := a.ask(method, params(i), nil)
		if err != nil {
			return err
		}
		trips.add(r.clock.now() - began)
		most = max(most, size)
	}
	after, err := s.spentOn(ctx, method)
	if err != nil {
		return err
	}
	if after.count-before.count != float64(n) {
		return fmt.Errorf("the server counted %.0f requests, not %d", after.count-before.count, n)
	}
	res.add("in the server", "ms", (after.seconds-before.seconds)/float64(n)*1e3)
	res.latency("round trip", &trips)
	res.add("longest reply", "KB", float64(most)/1e3)
	return nil
}
