package main

import (
	"errors"
	"log/slog"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/config"
)

// newServer opens the store; listeners are opened by Run, which calls ready when they are.
func newServer(cfg config.Config, log *slog.Logger, ready func()) (server, error) {
	return broker.New(broker.Options{Config: cfg, Log: log, OnReady: ready})
}

// verifyLogical checks what the entries and records say: sequences, heads, cursors, retry keys, sessions.
func verifyLogical(dir string) error {
	return errors.New("package broker is not linked in: verifyLogical must return broker.Verify of the store in " + dir)
}
