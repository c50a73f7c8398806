package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"unicode/utf8"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	pahosession "github.com/eclipse/paho.golang/paho/session"
	"github.com/eclipse/paho.golang/paho/session/state"
)

type subCmd struct {
	connFlags
	Topic  []string `short:"t" required:"" help:"Topic filters: c/+/text/+ is every conversation of yours as text." sep:"none"`
	QoS    byte     `name:"qos" short:"q" help:"0: live only; 1 and 2: nothing is lost while you are away (with -i)." default:"1"`
	Clean  bool     `help:"Begin a new session, and leave none behind. Without -i it is always so."`
	From   string   `help:"Where a new subscription starts: a seq, or -N for the last N." placeholder:"SEQ|-N"`
	Expiry uint32   `help:"Seconds that the session outlives the connection." default:"2592000"`
	JSON   bool     `name:"json" help:"One JSON object per message: topic, payload (or base64), qos, retain."`
	Count  int      `short:"c" help:"Leave after so many messages; 0: never."`
}

func (c subCmd) Run(ctx context.Context, con console) error {
	if c.QoS > 2 || c.Count < 0 {
		return usagef("--qos must be 0, 1 or 2, --count 0 or more")
	}
	p := newPrinter(con.out, c.JSON, c.Count)
	s, err := c.connect(ctx, con.env, func(cfg *paho.ClientConfig, connect *paho.Connect) {
		cfg.Session = p
		cfg.OnPublishReceived = []func(paho.PublishReceived) (bool, error){p.print}
		if c.ClientID != "" && !c.Clean {
			connect.CleanStart = false
			connect.Properties.SessionExpiryInterval = &c.Expiry
		}
	})
	if err != nil {
		return err
	}
	defer s.close()
	sub := &paho.Subscribe{Properties: &paho.SubscribeProperties{}}
	for _, filter := range c.Topic {
		sub.Subscriptions = append(sub.Subscriptions, paho.SubscribeOptions{Topic: filter, QoS: c.QoS})
	}
	if c.From != "" {
		sub.Properties.User.Add("from", c.From)
	}
	ack, err := s.Subscribe(ctx, sub)
	if ctx.Err() != nil {
		return nil // ^C is how one leaves
	}
	if err != nil {
		return subscribed(c.Topic, ack, err)
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.lost:
		return err
	case err := <-p.done:
		return err
	}
}

// subscribed names the filters that were refused.
func subscribed(filters []string, ack *paho.Suback, err error) error {
	if ack == nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	reason := ""
	if ack.Properties != nil {
		reason = ack.Properties.ReasonString
	}
	var errs []error
	for i, code := range ack.Reasons {
		if code >= 0x80 && i < len(filters) {
			errs = append(errs, refusal(filters[i]+" is refused", code, reason))
		}
	}
	return errors.Join(errs...)
}

// printer writes messages and lets each be acknowledged only after it was written: what this program did
// not print comes again. It is the client's session, to know when an acknowledgement is out.
type printer struct {
	pahosession.SessionManager
	out  io.Writer
	json bool
	want int
	seen int // by the client's one goroutine that handles messages
	full atomic.Bool
	done chan error // holds one at most
}

func newPrinter(out io.Writer, asJSON bool, want int) *printer {
	return &printer{SessionManager: state.NewInMemory(), out: out, json: asJSON, want: want, done: make(chan error, 1)}
}

func (p *printer) print(m paho.PublishReceived) (bool, error) {
	if p.full.Load() {
		return true, nil
	}
	if err := p.write(m.Packet); err != nil {
		p.finish(err)
		return true, nil
	}
	p.seen++
	return true, nil
}

// Ack is called after print, for each message in turn.
func (p *printer) Ack(pb *packets.Publish) error {
	if p.full.Load() {
		return nil // not printed, so it shall come again
	}
	err := p.SessionManager.Ack(pb)
	if p.want > 0 && p.seen == p.want {
		p.finish(nil)
	}
	return err
}

func (p *printer) finish(err error) {
	p.full.Store(true)
	select {
	case p.done <- err:
	default:
	}
}

func (p *printer) write(m *paho.Publish) error {
	if !p.json {
		_, err := p.out.Write(append(m.Payload, '\n'))
		return err
	}
	line := struct {
		Topic   string `json:"topic"`
		Payload string `json:"payload,omitempty"`
		Base64  string `json:"base64,omitempty"`
		QoS     byte   `json:"qos"`
		Retain  bool   `json:"retain,omitempty"`
	}{Topic: m.Topic, QoS: m.QoS, Retain: m.Retain}
	if utf8.Valid(m.Payload) {
		line.Payload = string(m.Payload)
	} else {
		line.Base64 = base64.StdEncoding.EncodeToString(m.Payload)
	}
	return json.NewEncoder(p.out).Encode(line)
}
