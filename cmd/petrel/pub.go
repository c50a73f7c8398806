package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/eclipse/paho.golang/paho"
)

type pubCmd struct {
	connFlags
	Topic        string   `short:"t" required:"" help:"Topic: u/ann/text to a person, c/general/text to a group, or any other."`
	Message      string   `short:"m" help:"The message; \"-\" reads standard input. With -m '' an empty one." default:"-"`
	QoS          byte     `name:"qos" short:"q" help:"0: do not wait; 1: wait until it is stored; 2: exactly once." default:"1"`
	Retain       bool     `short:"r" help:"Retain it."`
	UserProperty []string `help:"MQTT user properties, key=value." placeholder:"K=V" sep:"none"`
}

func (c pubCmd) Run(ctx context.Context, con console) error {
	if c.QoS > 2 {
		return usagef("--qos: %d must be 0, 1 or 2", c.QoS)
	}
	props, err := userProperties(c.UserProperty)
	if err != nil {
		return err
	}
	payload := []byte(c.Message)
	if c.Message == "-" {
		if payload, err = io.ReadAll(con.in); err != nil {
			return err
		}
	}
	s, err := c.connect(ctx, con.env, func(*paho.ClientConfig, *paho.Connect) {})
	if err != nil {
		return err
	}
	defer s.close()
	resp, err := s.Publish(ctx, &paho.Publish{
		Topic: c.Topic, QoS: c.QoS, Retain: c.Retain, Payload: payload, Properties: &paho.PublishProperties{User: props},
	})
	return published(s, resp, err)
}

// published is the error in what came back: the refusal, or why nothing did.
func published(s *session, resp *paho.PublishResponse, err error) error {
	if resp != nil && resp.ReasonCode >= 0x80 {
		reason := ""
		if resp.Properties != nil {
			reason = resp.Properties.ReasonString
		}
		return refusal("not stored", resp.ReasonCode, reason)
	}
	if err == nil {
		return nil
	}
	select {
	case lost := <-s.lost:
		err = lost
	default:
	}
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted before the server confirmed the message: it may be stored or not")
	}
	return fmt.Errorf("the server did not confirm the message, it may be stored or not: %w", err)
}
