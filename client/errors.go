package client

import (
	"errors"

	"github.com/petrelchat/petrel/client/store"
)

// Errors that callers may ask for with errors.Is. What the server declines is a *chat.Refusal.
var (
	ErrClosed  = errors.New("client: it is closed")
	ErrOffline = errors.New("client: there is no connection to the server")
	// ErrMaybeSent says that a message can't be cancelled any more: the server may have it. Delete it when it has arrived.
	ErrMaybeSent = errors.New("client: it may have been sent already: wait until it is, then delete it")
	ErrNotQueued = errors.New("client: no such message waits in the outbox")

	ErrNotFound = store.ErrNotFound // no such conversation or message on this device
	ErrFull     = store.ErrFull     // the disk is full: make room, nothing was lost
	ErrNewer    = store.ErrNewer    // the store was written by a newer version of the program: update
	ErrBusy     = store.ErrBusy     // another program has the store open
	ErrDamaged  = store.ErrDamaged  // the store's file is damaged
)
