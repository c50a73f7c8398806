// Package verify checks that a store is what petrel would have made of it: logs without gaps, records
// that agree with the logs and with one another, nothing that no one refers to.
//
// Start with [Check], which reads the whole store once (some of it twice) and reports what it finds. The
// store must not be in use: open it read-only, or check a copy of it. The checksums of the files are the
// engine's affair; see Verify in package broker for both.
//
// What is known of a store: every commit is atomic, so all that one commit holds must agree. What is
// written lazily (positions, cursors) may be behind but never ahead, and what is removed in parts
// (sessions that ended) may leave something for a while.
package verify

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/petrelchat/petrel/storage"
)

// Severity says what a problem means.
type Severity uint8

// Severities.
const (
	Warning Severity = iota + 1 // takes up room or is odd, but nobody loses anything by it
	Error                       // what was promised may not hold
)

func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// Problem is one thing that is not as it should be. It names ids, never what somebody wrote.
type Problem struct {
	Severity Severity
	Log      string      // of an entry or a log; "" for a record
	Seq      uint64      // of an entry; 0 for a log
	Key      storage.Key // of a record; nil for an entry or a log
	Text     string
}

func (p Problem) String() string {
	switch {
	case p.Seq > 0:
		return fmt.Sprintf("%s: log %s, entry %d: %s", p.Severity, p.Log, p.Seq, p.Text)
	case p.Log != "":
		return fmt.Sprintf("%s: log %s: %s", p.Severity, p.Log, p.Text)
	case len(p.Key) > 0:
		return fmt.Sprintf("%s: record %q: %s", p.Severity, []byte(p.Key), p.Text)
	}
	return fmt.Sprintf("%s: %s", p.Severity, p.Text)
}

// Summary counts what was checked and found.
type Summary struct {
	LastCommit uint64 // 0 if the reader does not tell

	Logs, OwnLogs, Events, Gone         int64 // Logs: of conversations; Gone: stubs of events that disappeared
	Conversations, Members, Cursors     int64
	Requests, Invites                   int64 // to join groups
	RetryKeys, Expiring, Views          int64
	Sessions, Positions, Filters        int64
	Refs, Messages, Retained, Wills     int64
	Accounts, Tokens, Profiles, Audited int64
	Bots, Webhooks, Calls               int64
	Journal                             int64

	Warnings, Errors int64
}

// OK reports whether the store may be relied on.
func (s Summary) OK() bool { return s.Errors == 0 }

// lastCommitter is what a store has and a mere Reader need not have.
type lastCommitter interface{ LastCommit() uint64 }

// Check reads everything that a store shows and reports what is wrong with it, in no particular order.
// Its memory is bounded but for the members and the views of one conversation, the filters of one session and 16 bytes
// for each session. An error means that the store could not be read to the end; what is wrong in it is no error.
func Check(r storage.Reader, report func(Problem)) (Summary, error) {
	c := &checker{r: r, report: report}
	if l, ok := r.(lastCommitter); ok {
		c.last, c.knowsLast = l.LastCommit(), true
		c.sum.LastCommit = c.last
	}
	for _, part := range []func(){
		c.sessionIDs, // first: others ask whether a session is there
		c.logs, c.conversations, c.members, c.memberships, c.gate, c.cursors, c.reads, c.retryKeys, c.expiring, c.strayViews, c.hidden,
		c.contacts, c.blocks, c.private, c.calls,
		c.sessions, c.sessionEnds, c.positions, c.filters, c.packetIDs, c.reserved, c.journal,
		c.refs, c.messages, c.retained, c.wills,
		c.accounts, c.tokens, c.bots, c.webhooks, c.profiles, c.audit, c.strangers,
	} {
		if part(); c.err != nil {
			return c.sum, fmt.Errorf("verify: %w", c.err)
		}
	}
	return c.sum, nil
}

// checker is one run of Check. err is the first error of the store; everything stops at it.
type checker struct {
	r         storage.Reader
	report    func(Problem)
	sum       Summary
	last      uint64
	knowsLast bool
	err       error

	sids   []uint64 // sorted
	ending []uint64 // sorted: sessions that are being removed
	cutoff int64    // events before it may have lost their retry keys
	viewed bool     // the store has views: it is not of an older version
	span   span
}

func (c *checker) fail(err error) {
	if c.err == nil && err != nil {
		c.err = err
	}
}

func (c *checker) add(p Problem) {
	if p.Severity == Error {
		c.sum.Errors++
	} else {
		c.sum.Warnings++
	}
	if c.report != nil {
		c.report(p)
	}
}

// wrong and odd report an error and a warning about a record.
func (c *checker) wrong(k storage.Key, format string, args ...any) {
	c.add(Problem{Severity: Error, Key: slices.Clone(k), Text: fmt.Sprintf(format, args...)})
}

func (c *checker) odd(k storage.Key, format string, args ...any) {
	c.add(Problem{Severity: Warning, Key: slices.Clone(k), Text: fmt.Sprintf(format, args...)})
}

// wrongAt reports an error about an entry, or about a log with seq 0.
func (c *checker) wrongAt(log string, seq uint64, format string, args ...any) {
	c.add(Problem{Severity: Error, Log: strings.Clone(log), Seq: seq, Text: fmt.Sprintf(format, args...)})
}

// scan calls fn with the records of a space: k is the whole key, rest what follows the space.
func (c *checker) scan(s storage.Space, fn func(k, rest storage.Key, v []byte)) {
	c.scanPrefix(storage.In(s), func(k, _ storage.Key, v []byte) { fn(k, k[1:], v) })
}

// scanPrefix calls fn with the records whose key starts with prefix; rest is what follows it.
func (c *checker) scanPrefix(prefix storage.Key, fn func(k, rest storage.Key, v []byte)) {
	if c.err != nil {
		return
	}
	c.fail(c.r.Scan(prefix, nil, func(k storage.Key, v []byte) bool {
		fn(k, k[len(prefix):], v)
		return c.err == nil
	}))
}

func (c *checker) get(k storage.Key) (v []byte, ok bool) {
	v, ok, err := c.r.Get(k)
	c.fail(err)
	return v, ok && err == nil
}

// span is the seqs of one log that are there. Keys come ordered by log, so one is remembered.
type span struct {
	log         string
	first, head uint64
}

func (c *checker) spanOf(log string) span {
	if c.span.log == log && log != "" {
		return c.span
	}
	s := span{log: log}
	var err error
	if s.head, _, err = c.r.Head(log); err == nil && s.head > 0 {
		err = c.r.Read(log, 0, s.head, func(e storage.Entry) bool { s.first = e.Seq; return false })
	}
	c.fail(err)
	c.span = s
	return s
}

// two takes two strings off a key's rest; ok only if that is all of it.
func two(rest storage.Key) (a, b string, ok bool) {
	a, rest, ok1 := storage.TakeStr(rest)
	b, rest, ok2 := storage.TakeStr(rest)
	return a, b, ok1 && ok2 && len(rest) == 0
}

// strangers looks for records in spaces that this version does not know.
func (c *checker) strangers() {
	known := []storage.Space{
		storage.SpaceMeta, storage.SpaceConv, storage.SpaceMember, storage.SpaceMembership, storage.SpaceCursor,
		storage.SpaceRetry, storage.SpaceExpire, storage.SpaceJournal, storage.SpaceAccount, storage.SpaceProfile,
		storage.SpaceToken, storage.SpaceSession, storage.SpaceSessionEnd, storage.SpacePosition, storage.SpaceInflight,
		storage.SpaceFilter, storage.SpaceMessage, storage.SpaceRef, storage.SpaceReceived, storage.SpaceReleased,
		storage.SpaceRetained, storage.SpaceWill, storage.SpaceAudit, storage.SpaceShare, storage.SpaceSharer, storage.SpaceBot, storage.SpaceWebhook, storage.SpaceHookNext, storage.SpaceRead,
		storage.SpaceRequest, storage.SpaceInvite, storage.SpaceCode,
		storage.SpaceAct, storage.SpaceReaction, storage.SpaceThread, storage.SpaceThreadSum, storage.SpacePin, storage.SpaceHidden,
		storage.SpaceContact, storage.SpaceBlock, storage.SpaceSetting, storage.SpaceReport, storage.SpaceUntold, storage.SpaceErasing, storage.SpaceDerived,
		storage.SpacePush, storage.SpaceNotice, storage.SpaceCall, storage.SpaceSignal,
	}
	for s := 1; s < 256; s++ {
		if slices.Contains(known, storage.Space(s)) {
			continue
		}
		err := c.r.Scan(storage.In(storage.Space(s)), nil, func(k storage.Key, _ []byte) bool {
			c.odd(k, "no space of this version begins with %q: a newer one may have written it", byte(s))
			return false
		})
		if errors.Is(err, storage.ErrDamaged) || errors.Is(err, storage.ErrClosed) {
			c.fail(err) // any other refusal: the engine has that space for itself
		}
	}
}
