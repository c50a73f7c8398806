package auth

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// How much of logins reaches the audit trail. A device that reconnects all day is one entry an hour, and
// whoever tries passwords can't push everything else out of the trail.
const (
	loginEvery   = time.Hour        // of one user from one address the same way
	failEvery    = 10 * time.Minute // of one user, or name that is none, from one address
	notesMax     = 20_000           // remembered, about 200 bytes each
	failsPerHour = 2000             // entries of failures in all
)

// logins notes who came in and who was turned away.
type logins struct {
	mu      sync.Mutex
	notes   map[string]*loginNote
	hour    time.Time // in which fails were counted
	fails   int
	flood   int // failures beyond that, and those there was no room to remember
	pending []AuditEntry
	writing bool
}

type loginNote struct {
	entry AuditEntry
	at    time.Time // of the last entry
	every time.Duration
	more  int // since then
}

// noteLogin puts the outcome of an attempt into the audit trail. In dev mode anybody is let in as anybody:
// that says nothing.
func (s *Service) noteLogin(a *Attempt, id *Identity, err error) {
	now := s.o.Now()
	if err == nil {
		if id.Method != "dev" && id.Method != "guest" {
			s.logins.add(AuditEntry{Who: id.User, What: "login", Target: strings.TrimSpace(id.User + " " + id.TokenID),
				Addr: addrText(a.Addr), Note: id.Method}, now, loginEvery)
			s.writeLogins()
		}
		return
	}
	e := AuditEntry{Who: a.User, What: "login.fail", Target: a.User, Addr: addrText(a.Addr)}
	if a.CertCN != "" {
		e.Who, e.Target = printable(a.CertCN), printable(a.CertCN)
	}
	var no *denied
	switch {
	case errors.As(err, &no):
		e.Note = no.cause
	case errors.Is(err, &chat.Refusal{Code: chat.RateLimited}):
		e.Note = "too many wrong passwords"
	default:
		return // the server's own trouble
	}
	s.logins.add(e, now, failEvery)
	s.writeLogins()
}

// printable keeps what is no user id from being more than a word.
func printable(s string) string {
	if ValidUser(s) {
		return s
	}
	return strconv.QuoteToASCII(s[:min(len(s), 64)])
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// add notes an outcome, or counts it if the same was noted lately.
func (l *logins) add(e AuditEntry, now time.Time, every time.Duration) {
	key := e.What + "\x00" + e.Target + "\x00" + e.Addr + "\x00" + e.Note
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.notes == nil {
		l.notes = map[string]*loginNote{}
	}
	n := l.notes[key]
	switch {
	case n != nil && now.Sub(n.at) < every && now.Sub(n.at) >= 0:
		n.more++
		return
	case n == nil && len(l.notes) >= notesMax:
		l.flood++
		return
	case e.What == "login.fail" && !l.room(now):
		l.flood++
		return
	case n == nil:
		n = &loginNote{}
		l.notes[key] = n
	}
	e.Count = n.more
	*n = loginNote{entry: e, at: now, every: every}
	l.pending = append(l.pending, e)
}

// room counts an entry of a failure, unless there were too many within the hour.
func (l *logins) room(now time.Time) bool {
	if d := now.Sub(l.hour); d >= time.Hour || d < 0 {
		l.hour, l.fails = now, 0
	}
	if l.fails >= failsPerHour {
		return false
	}
	l.fails++
	return true
}

// writeLogins stores what was noted. While one goroutine does, others leave theirs to it: a storm of
// logins is a few batches.
func (s *Service) writeLogins() {
	l := &s.logins
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.writing {
		return
	}
	l.writing = true
	for len(l.pending) > 0 {
		list := l.pending
		l.pending = nil
		l.mu.Unlock()
		b := new(storage.Batch)
		for _, e := range list {
			b.Ops = append(b.Ops, AuditOp(e))
		}
		if err := s.o.Record(b); err != nil {
			s.log.Warn("logins were not noted in the audit trail", "entries", len(list), "err", err)
		}
		l.mu.Lock()
	}
	l.writing = false
}

// flushLogins writes what was only counted, once its time is over, and forgets it.
func (s *Service) flushLogins() {
	l, now := &s.logins, s.o.Now()
	l.mu.Lock()
	for key, n := range l.notes {
		if now.Sub(n.at) < n.every {
			continue
		}
		if n.more > 0 {
			n.entry.Count = n.more
			l.pending = append(l.pending, n.entry)
		}
		delete(l.notes, key)
	}
	if l.flood > 0 {
		l.pending = append(l.pending, AuditEntry{Who: "server", What: "login.flood", Count: l.flood})
		l.flood = 0
	}
	l.mu.Unlock()
	s.writeLogins()
}

// openTrail gives the service a trail of its own, if nobody else chains the entries.
func (s *Service) openTrail() error {
	if s.o.Trail == nil {
		trail, err := OpenTrail(s.o.Store, s.o.Now)
		if err != nil {
			return err
		}
		commit, mu := s.o.Commit, new(sync.Mutex)
		s.o.Commit = func(b *storage.Batch) error {
			mu.Lock() // one after the other: see Trail.Seal
			defer mu.Unlock()
			undo := trail.Seal(b)
			err := commit(b)
			if err != nil {
				undo()
			}
			return err
		}
		s.o.Record = s.o.Commit
	}
	if s.o.Record == nil {
		s.o.Record = s.o.Commit
	}
	return nil
}
