package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/internal/mqttc"
	"github.com/petrelchat/petrel/internal/servertest"
)

// callServer is a server for tests of the typed calls. root is an administrator.
func callServer(t *testing.T, change ...func(*config.Config)) *broker.Server {
	t.Helper()
	root := func(c *config.Config) { c.Admins = []string{"root"} }
	return servertest.Serve(t, append([]func(*config.Config){servertest.Unpaced, root}, change...)...).Server
}

// strict is a Caller over a connection of its own that is stricter than a client should be: a field of a reply that the
// typed call does not have is an error. So replies cannot drift away from their types.
type strict struct {
	conn *mqttc.Conn
	user string
	json bool
	pid  uint16
}

var _ client.Caller = (*strict)(nil)

// caller connects a user with a device that is named like them.
func caller(t *testing.T, s *broker.Server, user string, asJSON bool) *strict {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), servertest.Patience)
	defer cancel()
	conn, _, err := mqttc.Dial(ctx, s.Addr("mqtt"), mqttc.ConnectOptions{
		Version: 5, ClientID: user, Username: user, CleanStart: true, SessionExpiry: 3600,
	})
	if err != nil {
		t.Fatalf("%s: %v", user, err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &strict{conn: conn, user: user, json: asJSON, pid: 1}
	if err := conn.WriteSubscribe(1, []mqttc.Filter{{Topic: "u/" + user + "/rpc"}}); err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.await(mqttc.SUBACK, nil); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *strict) await(kind byte, other func(mqttc.Packet) error) (mqttc.Packet, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(servertest.Patience)); err != nil {
		return mqttc.Packet{}, err
	}
	p, err := c.conn.Await(kind, other)
	if err == nil && p.Type != kind {
		err = fmt.Errorf("packet type %d, code 0x%02X", p.Type, p.Code)
	}
	return p, err
}

// publish sends a message at QoS 1 and waits until it is stored. other sees what comes before.
func (c *strict) publish(topic string, payload []byte, other func(mqttc.Packet) error) error {
	c.pid++
	if err := c.conn.WritePublish(mqttc.Publish{Topic: topic, Payload: payload, QoS: 1, ID: c.pid}); err != nil {
		return err
	}
	if err := c.conn.Flush(); err != nil {
		return err
	}
	p, err := c.await(mqttc.PUBACK, other)
	if err == nil && p.Code >= 0x80 {
		err = fmt.Errorf("PUBACK 0x%02X", p.Code)
	}
	return err
}

// Call implements client.Caller.
func (c *strict) Call(_ context.Context, method string, req, reply any) error {
	payload, err := c.encode(req)
	if err != nil {
		return err
	}
	var answer []byte
	note := func(p mqttc.Packet) error {
		if p.Type == mqttc.PUBLISH {
			answer = bytes.Clone(p.Payload)
		}
		return nil
	}
	if err := c.publish("rpc/"+method, payload, note); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	if answer == nil {
		p, err := c.await(mqttc.PUBLISH, nil)
		if err != nil {
			return fmt.Errorf("%s: %w", method, err)
		}
		answer = bytes.Clone(p.Payload)
	}
	return c.decode(method, answer, reply)
}

func (c *strict) encode(req any) ([]byte, error) {
	switch {
	case req == nil:
		return []byte{}, nil
	case c.json:
		return json.Marshal(req)
	}
	return cbor.Marshal(req)
}

type wireRefusal struct {
	Code   chat.Code `json:"code"`
	Reason string    `json:"reason"`
}

func (c *strict) decode(method string, answer []byte, reply any) error {
	var refused *wireRefusal
	var ok []byte
	if len(answer) > 0 && answer[0] == '{' { // a request without parameters is answered in JSON
		var env struct {
			OK    json.RawMessage `json:"ok"`
			Error *wireRefusal    `json:"error"`
		}
		if err := json.Unmarshal(answer, &env); err != nil {
			return err
		}
		refused, ok = env.Error, env.OK
	} else {
		var env struct {
			OK    cbor.RawMessage `json:"ok"`
			Error *wireRefusal    `json:"error"`
		}
		if err := cbor.Unmarshal(answer, &env); err != nil {
			return err
		}
		refused, ok = env.Error, env.OK
	}
	if refused != nil {
		return &chat.Refusal{Code: refused.Code, Reason: refused.Reason}
	}
	if reply == nil {
		return nil
	}
	if answer[0] == '{' {
		d := json.NewDecoder(bytes.NewReader(ok))
		d.DisallowUnknownFields()
		if err := d.Decode(reply); err != nil {
			return fmt.Errorf("reply of %s: %w in %s", method, err, ok)
		}
		return nil
	}
	mode, err := cbor.DecOptions{ExtraReturnErrors: cbor.ExtraDecErrorUnknownField}.DecMode()
	if err == nil {
		err = mode.Unmarshal(ok, reply)
	}
	if err != nil {
		return fmt.Errorf("reply of %s: %w", method, err)
	}
	return nil
}

// post appends an event and returns its seq.
func (c *strict) post(t *testing.T, conv, event string) uint64 {
	t.Helper()
	topic := "c/" + conv + "/json"
	if err := c.publish(topic, []byte(event), nil); err != nil {
		t.Fatalf("%s posts %s to %s: %v", c.user, event, conv, err)
	}
	p, err := client.HistoryCalls{Via: c}.Page(t.Context(), client.HistoryQuery{Conv: conv, Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	return p.Head
}

// all collects an iteration that must succeed.
func all[T any](t *testing.T, seq iter.Seq2[T, error]) []T {
	t.Helper()
	var items []T
	for v, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, v)
	}
	return items
}
