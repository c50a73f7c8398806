package main

import (
	"context"
	"errors"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/cmd/petrel/internal/profile"
)

// Exit codes. Scripts switch on them: never renumber.
const (
	exitOK     = 0
	exitFailed = 1 // refused or failed: the same again will fail again
	exitUsage  = 2 // the command line, the configuration or the profile is wrong
	exitNotNow = 3 // the server is away or has enough, or a message is still queued: later it may work
	exitDenied = 4 // wrong credentials, or not allowed
)

// exitError is an error that knows its exit code.
type exitError struct {
	code int
	error
}

func (e exitError) Unwrap() error { return e.error }

func notNow(err error) error { return exitError{exitNotNow, err} }

// exitCode is the exit code that an error means.
func exitCode(err error) int {
	var exit exitError
	var faults config.Faults
	var usage usageError
	var fault profile.Fault
	var refusal *chat.Refusal
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		return exit.code
	case errors.As(err, &faults), errors.As(err, &usage), errors.As(err, &fault):
		return exitUsage
	case errors.As(err, &refusal):
		return refused(refusal.Code)
	case errors.Is(err, client.ErrOffline), errors.Is(err, client.ErrBusy), errors.Is(err, context.DeadlineExceeded):
		return exitNotNow
	}
	return exitFailed
}

// refused is the exit code of a refusal.
func refused(code chat.Code) int {
	switch code {
	case chat.NotAuthorized:
		return exitDenied
	case chat.RateLimited, chat.Unavailable:
		return exitNotNow
	}
	return exitFailed
}
