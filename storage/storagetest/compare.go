package storagetest

import (
	"fmt"
	"math"

	"github.com/petrelchat/petrel/storage"
)

// Same compares all that two stores hold, and returns the first difference.
func Same(got, want storage.Store) error {
	if g, w := got.LastCommit(), want.LastCommit(); g != w {
		return fmt.Errorf("last commit %d, want %d", g, w)
	}
	logs, err := logNames(got)
	if err != nil {
		return err
	}
	wantLogs, err := logNames(want)
	if err != nil {
		return err
	}
	if g, w := fmt.Sprintf("%q", logs), fmt.Sprintf("%q", wantLogs); g != w {
		return fmt.Errorf("logs %s, want %s", g, w)
	}
	for _, log := range logs {
		if err := sameLog(got, want, log); err != nil {
			return fmt.Errorf("log %q: %w", log, err)
		}
	}
	return equal("records", func(s storage.Store) ([]string, error) { return records(s, nil, nil) }, got, want)
}

// equal asks both stores the same and compares the answers.
func equal(what string, ask func(storage.Store) ([]string, error), got, want storage.Store) error {
	g, err := ask(got)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	w, err := ask(want)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if a, b := fmt.Sprintf("%q", g), fmt.Sprintf("%q", w); a != b {
		return fmt.Errorf("%s: got %s, want %s", what, a, b)
	}
	return nil
}

func sameLog(got, want storage.Store, log string) error {
	return equal("entries", func(s storage.Store) ([]string, error) {
		out, err := entries(s, log, 0, math.MaxUint64)
		if err != nil {
			return nil, err
		}
		seq, commit, err := s.Head(log)
		return append(out, fmt.Sprint("head ", seq, commit)), err
	}, got, want)
}

func logNames(s storage.Store) (names []string, err error) {
	err = s.Logs(func(log string) bool { names = append(names, log); return true })
	return names, err
}

func entryText(e storage.Entry) string { return fmt.Sprintf("%d@%d=%s", e.Seq, e.Commit, e.Data) }

func entries(s storage.Store, log string, from, to uint64) (out []string, err error) {
	err = s.Read(log, from, to, func(e storage.Entry) bool { out = append(out, entryText(e)); return true })
	return out, err
}

func entriesBack(s storage.Store, log string, from, to uint64) (out []string, err error) {
	err = s.ReadBack(log, from, to, func(e storage.Entry) bool { out = append(out, entryText(e)); return true })
	return out, err
}

// records lists key=value, without the engine's own format record.
func records(s storage.Store, prefix, after storage.Key) (out []string, err error) {
	format := string(storage.In(storage.SpaceMeta).Str("format"))
	err = s.Scan(prefix, after, func(k storage.Key, v []byte) bool {
		if string(k) != format {
			out = append(out, fmt.Sprintf("%s=%s", k, v))
		}
		return true
	})
	return out, err
}
