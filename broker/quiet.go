package broker

import (
	"context"
	"log/slog"
)

// quiet is a log handler for the MQTT library. Its messages are debug news here, and the attributes
// with which it logs whole packets (bodies and passwords) are left out.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, l slog.Level) bool {
	return q.Handler.Enabled(ctx, slog.LevelDebug) || l >= slog.LevelError && q.Handler.Enabled(ctx, l)
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	level := r.Level
	if level < slog.LevelError {
		level = slog.LevelDebug
	}
	out := slog.NewRecord(r.Time, level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if !secret(a.Key) {
			out.AddAttrs(a)
		}
		return true
	})
	if !q.Handler.Enabled(ctx, level) {
		return nil
	}
	return q.Handler.Handle(ctx, out)
}

func (q quiet) WithAttrs(as []slog.Attr) slog.Handler {
	kept := make([]slog.Attr, 0, len(as))
	for _, a := range as {
		if !secret(a.Key) {
			kept = append(kept, a)
		}
	}
	return quiet{q.Handler.WithAttrs(kept)}
}

func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name)} }

func secret(key string) bool {
	switch key {
	case "pk", "packet", "will", "payload":
		return true
	}
	return false
}
