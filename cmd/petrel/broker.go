package main

import (
	"log/slog"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/config"
)

// newServer opens the store; listeners are opened by Run, which calls ready when they are.
func newServer(cfg config.Config, log *slog.Logger, ready func()) (server, error) {
	return broker.New(broker.Options{Config: cfg, Log: log, OnReady: ready})
}
