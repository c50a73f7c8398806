package sqlite

import (
	"errors"
	"fmt"
	"math"

	"github.com/petrelchat/petrel/client/store"
)

// application marks the file as ours (PRAGMA application_id): "ptrl".
const application = 0x7074726c

// steps lead from one version of the file to the next: steps[0] makes version 1 of an empty file. A step that has been
// released is never changed; a new one is added behind it.
var steps = []func(c *conn) error{create, rewords}

// Numbers of events: the number of the log, then the seq. So the events of a log are a range of rows.
const (
	seqBits = 40
	maxLog  = math.MaxInt64 >> seqBits
)

func eventID(log int64, seq uint64) int64 { return log<<seqBits | int64(seq) }
func seqOf(id int64) uint64               { return uint64(id) & store.MaxSeq }

// What a row of events holds. Stored: never renumber.
const (
	stateFull    = 0
	stateStub    = 1 // nothing is known but the seq
	stateDropped = 2 // the body was taken for good
	stateAwaited = 3 // the same, and the event is still to come: there is no event for readers
)

var schema = []string{
	`CREATE TABLE meta (k TEXT PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID`,
	`CREATE TABLE convs (
		id TEXT PRIMARY KEY, kind TEXT NOT NULL, title TEXT NOT NULL, role TEXT NOT NULL, info BLOB,
		head INTEGER NOT NULL, read INTEGER NOT NULL, delivered INTEGER NOT NULL, wanted INTEGER NOT NULL, floor INTEGER NOT NULL,
		unread INTEGER NOT NULL, mentions INTEGER NOT NULL, at INTEGER NOT NULL, last INTEGER NOT NULL,
		mute INTEGER NOT NULL, archived INTEGER NOT NULL, pinned INTEGER NOT NULL, pending INTEGER NOT NULL, former INTEGER NOT NULL,
		draft TEXT NOT NULL, draft_at INTEGER NOT NULL, draft_dirty INTEGER NOT NULL,
		tally_seq INTEGER NOT NULL, tally_delivered INTEGER NOT NULL, tally_read INTEGER NOT NULL, tally_of INTEGER NOT NULL,
		list INTEGER NOT NULL, dirty INTEGER NOT NULL) WITHOUT ROWID`,
	`CREATE INDEX convs_all ON convs (pinned DESC, at DESC, id)`,
	`CREATE INDEX convs_list ON convs (list, pinned DESC, at DESC, id)`,
	`CREATE INDEX convs_dirty ON convs (pinned DESC, at DESC, id) WHERE dirty = 1`,
	`CREATE TABLE members (
		conv TEXT NOT NULL, user TEXT NOT NULL, role TEXT NOT NULL, joined INTEGER NOT NULL, former INTEGER NOT NULL,
		delivered INTEGER NOT NULL, read INTEGER NOT NULL, PRIMARY KEY (conv, user)) WITHOUT ROWID`,
	`CREATE TABLE logs (num INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE)`,
	`CREATE TABLE spans (log INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (log, first)) WITHOUT ROWID`,
	// target: the event that this one acts upon; root: the thread's first post; sid: the sender's id for it; doc: its row in docs.
	// NULL where there is none, so that the indexes hold only what is looked for.
	`CREATE TABLE events (
		id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, state INTEGER NOT NULL,
		target INTEGER, root INTEGER, sid TEXT, due INTEGER, doc INTEGER, body BLOB)`,
	`CREATE INDEX events_target ON events (target) WHERE target IS NOT NULL`,
	`CREATE INDEX events_root ON events (root) WHERE root IS NOT NULL`,
	`CREATE INDEX events_sid ON events (sid) WHERE sid IS NOT NULL`,
	`CREATE INDEX events_due ON events (due) WHERE due IS NOT NULL`,
	`CREATE INDEX events_pins ON events (kind) WHERE kind IN (6, 7)`,
	// One row for each post that can be found, numbered by time: the newest hits are the highest rows. src: the seq of the event
	// whose text it is found by, the post itself or its newest edit.
	`CREATE TABLE docs (id INTEGER PRIMARY KEY, event INTEGER NOT NULL, src INTEGER NOT NULL)`,
	`CREATE VIRTUAL TABLE words USING fts5(t, content='', columnsize=0, tokenize='ascii')`,
	// A word that is deleted leaves the index at once, not at some later merge.
	`INSERT INTO words (words, rank) VALUES ('secure-delete', 1)`,
	// Merging twice as many segments at once halves that work while a device catches up, and costs a search little.
	`INSERT INTO words (words, rank) VALUES ('automerge', 8)`,
	`CREATE TABLE outbox (
		n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, conv TEXT NOT NULL, dest TEXT NOT NULL, reid TEXT,
		state INTEGER NOT NULL, attempts INTEGER NOT NULL, next INTEGER NOT NULL, code TEXT NOT NULL, reason TEXT NOT NULL,
		at INTEGER NOT NULL, seq INTEGER NOT NULL, event BLOB NOT NULL, files BLOB)`,
	`CREATE INDEX outbox_conv ON outbox (conv, n)`,
	`CREATE INDEX outbox_reid ON outbox (reid) WHERE reid IS NOT NULL`,
	`CREATE TABLE wishes (conv TEXT NOT NULL, name TEXT NOT NULL, value BLOB, at INTEGER NOT NULL, PRIMARY KEY (conv, name)) WITHOUT ROWID`,
}

func create(c *conn) error {
	for _, stmt := range schema {
		if err := c.plain(stmt); err != nil {
			return err
		}
	}
	return c.plain(fmt.Sprintf("PRAGMA application_id = %d", application))
}

// inspect finds out which version the file is, without changing it; 0: it is empty.
func inspect(c *conn, newest int) (version int, err error) {
	var app, tables int
	if _, err := c.row(`SELECT count(*) FROM sqlite_schema`, nil, &tables); err != nil {
		return 0, err
	}
	if _, err := c.row(`PRAGMA application_id`, nil, &app); err != nil {
		return 0, err
	}
	if _, err := c.row(`PRAGMA user_version`, nil, &version); err != nil {
		return 0, err
	}
	switch {
	case app == 0 && tables == 0 && version == 0:
		return 0, nil
	case app != application || version < 1:
		return 0, fmt.Errorf("%w: it belongs to another program: use another file", store.ErrDamaged)
	case version > newest:
		return 0, fmt.Errorf("%w: it has format %d, this one knows %d: update this program; nothing was changed", store.ErrNewer, version, newest)
	}
	return version, nil
}

// migrate takes the file from version to the newest one, in one transaction.
func migrate(c *conn, version int, steps []func(*conn) error) error {
	if version == len(steps) {
		return nil
	}
	if err := c.plain("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	for _, step := range steps[version:] {
		if err := step(c); err != nil {
			return errors.Join(err, c.plain("ROLLBACK"))
		}
	}
	if err := c.plain(fmt.Sprintf("PRAGMA user_version = %d", len(steps))); err != nil {
		return errors.Join(err, c.plain("ROLLBACK"))
	}
	if err := c.plain("COMMIT"); err != nil {
		return errors.Join(err, c.plain("ROLLBACK"))
	}
	return nil
}
