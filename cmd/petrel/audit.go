package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/petrelchat/petrel/broker/auth"
	"github.com/petrelchat/petrel/broker/config"
)

type auditCmd struct {
	dataFlag
	Since string `help:"From then on: a time ago (12h, 30d), a day (2026-01-31) or a time (2026-01-31T12:00:00Z)." placeholder:"WHEN"`
	Until string `help:"Before then." placeholder:"WHEN"`
	User  string `help:"What this user did, or what was done to them."`
	Kind  string `help:"Only this: login, token.revoke … or all that begins so: token."`
	Conv  string `help:"Only what happened in this conversation."`
	JSON  bool   `help:"One JSON object a line, with the hashes that chain the entries."`
}

// instant reads a time, or how long ago.
func instant(flag, s string, now time.Time) (ms string, err error) {
	if s == "" {
		return "", nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t, err = time.Parse(time.DateOnly, s)
	}
	if err != nil {
		d, bad := config.ParseDuration(s)
		if bad != nil {
			return "", usagef("%s: %q is no time: write 12h, 30d, 2026-01-31 or 2026-01-31T12:00:00Z", flag, s)
		}
		t = now.Add(-d)
	}
	return strconv.FormatInt(max(0, t.UnixMilli()), 10), nil
}

func (c auditCmd) Run(ctx context.Context, io console) error {
	req := auth.AuditRequest{User: c.User, Kind: c.Kind, Conv: c.Conv, Limit: 1000}
	var err error
	if req.After, err = instant("--since", c.Since, time.Now()); err != nil {
		return err
	}
	if req.Before, err = instant("--until", c.Until, time.Now()); err != nil {
		return err
	}
	out := newAuditWriter(io.out, c.JSON)
	for {
		var page auth.AuditListReply
		if err := c.call(ctx, io.env, "admin.audit", req, &page); err != nil {
			return err
		}
		for _, e := range page.Entries {
			if err := out.entry(&e); err != nil {
				return err
			}
			req.After = e.ID
		}
		if !page.More || len(page.Entries) == 0 {
			return out.flush()
		}
	}
}

// auditWriter writes entries as lines of JSON, or as a table for people.
type auditWriter struct {
	json  *json.Encoder
	table *tabwriter.Writer
}

func newAuditWriter(w io.Writer, asJSON bool) *auditWriter {
	if asJSON {
		return &auditWriter{json: json.NewEncoder(w)}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "AT\tWHO\tWHAT\tTARGET\tCONVERSATION\tADDRESS\tNOTE")
	return &auditWriter{table: t}
}

func (w *auditWriter) entry(e *auth.AuditReply) error {
	if w.json != nil {
		return w.json.Encode(e)
	}
	note := e.Note
	if e.Count > 0 {
		note = strings.TrimSpace(fmt.Sprintf("%s (and %d more)", note, e.Count))
	}
	_, err := fmt.Fprintf(w.table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
		time.UnixMilli(e.At).UTC().Format("2006-01-02 15:04:05"), e.Who, e.What, e.Target, e.Conv, e.Addr, note)
	return err
}

func (w *auditWriter) flush() error {
	if w.table != nil {
		return w.table.Flush()
	}
	return nil
}
