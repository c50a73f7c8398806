package pebblestore

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// watcher receives what Pebble has to say and remembers the first thing that ends the store's work.
// All methods may be called from any goroutine, some with Pebble's locks held.
type watcher struct {
	log     *slog.Logger
	onFatal func(error)
	opened  atomic.Bool // Open has returned

	failed   atomic.Pointer[failure]
	failOnce sync.Once

	// parked is closed when a goroutine of Pebble's was parked: what it holds is held for good.
	parked   chan struct{}
	parkOnce sync.Once

	// troubled is signalled when background work failed, so that Close does not wait for a flush that
	// can't succeed.
	troubled chan struct{}
}

type failure struct{ err error }

// fatalPanic carries a fatal error of Pebble up a stack of ours, which recovers it.
type fatalPanic struct{ err error }

func newWatcher(o Options) *watcher {
	return &watcher{log: o.Logger, onFatal: o.OnFatal, parked: make(chan struct{}), troubled: make(chan struct{}, 1)}
}

// fail ends the store's work; the first error stays.
func (w *watcher) fail(err error) {
	w.failOnce.Do(func() {
		w.failed.Store(&failure{err})
		if w.onFatal != nil {
			// Not here: the caller may hold locks that whoever stops the process needs.
			go w.onFatal(err)
		}
	})
}

// failure returns the error that ended the store's work, or nil.
func (w *watcher) failure() error {
	if f := w.failed.Load(); f != nil {
		return f.err
	}
	return nil
}

func (w *watcher) signalTrouble() {
	select {
	case w.troubled <- struct{}{}:
	default:
	}
}

// Infof implements pebble.Logger.
func (w *watcher) Infof(format string, args ...any) {
	if w.log.Enabled(context.Background(), slog.LevelDebug) {
		w.log.Debug("pebble: " + strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}

// Errorf implements pebble.Logger.
func (w *watcher) Errorf(format string, args ...any) {
	w.log.Warn("pebble: " + strings.TrimSpace(fmt.Sprintf(format, args...)))
}

// Fatalf implements pebble.Logger. Pebble expects that it does not return, and is in no state to go on.
// On a stack of ours (Open, Commit) it panics and is recovered there. On a goroutine of Pebble's it
// parks that goroutine for good, because the process is about to be stopped by OnFatal; without an
// OnFatal it panics.
func (w *watcher) Fatalf(format string, args ...any) {
	err := fmt.Errorf("storage: the engine can't go on: "+format, args...)
	ours := !w.opened.Load() || strings.HasPrefix(format, "pebble: fatal commit error")
	w.fail(err)
	switch {
	case ours:
		panic(fatalPanic{err})
	case w.onFatal == nil:
		panic(err)
	}
	w.parkOnce.Do(func() { close(w.parked) })
	select {}
}

// slow reports a disk operation that takes long.
func (w *watcher) slow(info vfs.DiskSlowInfo) {
	w.log.Warn("disk is slow", "operation", info.OpType.String(), "file", info.Path, "took", info.Duration)
}

func (w *watcher) listener() *pebble.EventListener {
	l := pebble.EventListener{
		BackgroundError: func(err error) {
			w.log.Warn("background work of the store failed; it is tried again", "error", err)
			w.signalTrouble()
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			// The path and the cause, not the bounds: keys name people.
			err := damaged(info.Path, info.Details)
			w.fail(err)
			w.signalTrouble()
		},
		DiskSlow: w.slow,
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			w.log.Warn("writers wait for the disk", "reason", info.Reason)
		},
		WriteStallEnd: func() { w.log.Info("writers go on") },
	}
	l.EnsureDefaults(w)
	return &l
}
