// Package broker is a petrel server, ready to be embedded: an MQTT broker that carries chat.
//
// Start with [New], then [Server.Run], which serves until its context ends and then drains:
//
//	cfg := config.Default()
//	cfg.Data = "data"
//	s, err := broker.New(broker.Options{Config: cfg, Log: slog.Default()})
//	if err != nil { … }
//	err = s.Run(ctx)
//
// The package wires the rooms of the house together and starts and stops every goroutine that is not a
// connection's own; docs/architecture.md names them all.
package broker
