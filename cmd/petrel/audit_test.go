package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/internal/servertest"
)

func TestAuditIsShownAndExported(t *testing.T) {
	data := servertest.Serve(t, func(c *config.Config) { c.Dev = false }).Config.Data
	petrel := func(code int, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		con := console{in: strings.NewReader("a password\n"), out: &out, err: &errs}
		if got := run(context.Background(), args, con); got != code {
			t.Fatalf("%v: exit code %d: %s", args, got, errs.String())
		}
		return out.String() + errs.String()
	}
	for _, user := range []string{"ann", "bob"} {
		petrel(0, "user", "add", user, "--data", data)
	}
	petrel(0, "token", "add", "ann", "--data", data)
	petrel(0, "user", "del", "bob", "--data", data)

	table := strings.Split(strings.TrimSpace(petrel(0, "audit", "--data", data)), "\n")
	if len(table) != 5 || !strings.HasPrefix(table[0], "AT ") || !strings.Contains(table[1], "control socket") || !strings.Contains(table[1], "user.add") {
		t.Errorf("got\n%s", strings.Join(table, "\n"))
	}
	var last string
	lines := strings.Split(strings.TrimSpace(petrel(0, "audit", "--json", "--data", data)), "\n")
	for i, line := range lines {
		var e struct{ ID, What, Prev, Hash string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if i > 0 && e.Prev != last || len(e.Hash) != 64 {
			t.Errorf("line %d is not linked to the one before: %s", i+1, line)
		}
		last = e.Hash
	}
	if len(lines) != 4 {
		t.Errorf("got\n%s", strings.Join(lines, "\n"))
	}
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"--user", "bob"}, 2},
		{[]string{"--kind", "user"}, 3},
		{[]string{"--kind", "user.del"}, 1},
		{[]string{"--since", "1h"}, 4},
		{[]string{"--until", "1h"}, 0},
		{[]string{"--since", "2020-01-01", "--until", time.Now().Add(time.Hour).Format(time.RFC3339)}, 4},
		{[]string{"--conv", "birds"}, 0},
	} {
		got := petrel(0, append([]string{"audit", "--json", "--data", data}, c.args...)...)
		if n := strings.Count(got, "\n"); n != c.want {
			t.Errorf("%v: %d lines, want %d", c.args, n, c.want)
		}
	}
	if got := petrel(2, "audit", "--since", "yesterday", "--data", data); !strings.Contains(got, "--since") {
		t.Error(got)
	}
}
