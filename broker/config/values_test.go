package config

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "300ms": 300 * time.Millisecond, "10s": 10 * time.Second, "30d": 720 * time.Hour,
		"1d12h": 36 * time.Hour, "1.5h": 90 * time.Minute,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "10", "d", "-1s", "1d-1h", "1d+1h", "+1s", "1w", "99999999d", "1d1d", "9999999h9999999h9999999h"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q: accepted as %v", text, got)
		}
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "512B": 512, "64KiB": 64 * KiB, "1 MiB": MiB, "2GiB": 2 * GiB, "1TiB": GiB * 1024, "77": 77} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "B", "1MB", "1k", "-1", "+1", "1.5MiB", "9999999999TiB", "1MiBB"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q: accepted as %v", text, got)
		}
	}
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(36500*day)).Draw(t, "duration"))
		if got, err := ParseDuration(FormatDuration(d)); err != nil || got != d {
			t.Fatalf("%v is written %q, which is read as %v, %v", d, FormatDuration(d), got, err)
		}
		s := Size(rapid.Int64Range(0, 1<<60).Draw(t, "size"))
		if got, err := ParseSize(s.String()); err != nil || got != s {
			t.Fatalf("%d is written %q, which is read as %v, %v", s, s, got, err)
		}
	})
}

func FuzzLoad(f *testing.F) {
	f.Add("limits:\n  packet: 1MiB\nmqtt:\n  - addr: 127.0.0.1:1883\n")
	f.Add("acl: [{users: [a], filter: '#', read: true}]")
	f.Add("a: &x [*x]\n<<: !!str {}\n")
	f.Fuzz(func(t *testing.T, text string) {
		// A configuration is trusted, but a fault in it must be an error, never a crash.
		if cfg, err := Load(write(t, text), nil); err == nil {
			if err := cfg.Validate(); err != nil {
				t.Fatalf("Load accepted what Validate refuses: %v", err)
			}
		}
	})
}
