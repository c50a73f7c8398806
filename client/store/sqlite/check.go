package sqlite

import (
	"context"
	"fmt"

	"github.com/petrelchat/petrel/client/store"
)

// Check reads the whole file and returns store.ErrDamaged if anything in it contradicts anything else. It takes its time
// with a large store, and others write meanwhile have to wait.
func (s *Store) Check(ctx context.Context) error {
	return s.Update(ctx, func(store.Tx) error {
		c := s.w // its turn is ours
		var first string
		if _, err := c.row(`PRAGMA integrity_check(1)`, nil, &first); err != nil {
			return err
		}
		if first != "ok" {
			return fmt.Errorf("%w: %s", store.ErrDamaged, first)
		}
		if _, err := c.exec(`INSERT INTO words (words) VALUES ('integrity-check')`); err != nil {
			return err
		}
		for what, query := range map[string]string{
			"spans overlap or touch":                              `SELECT count(*) FROM spans a JOIN spans b ON a.log = b.log AND a.first < b.first AND a.last + 1 >= b.first`,
			"an event is in no log":                               `SELECT count(*) FROM events WHERE NOT EXISTS (SELECT 1 FROM logs WHERE num = events.id >> 40)`,
			"an event without body is in the index":               `SELECT count(*) FROM events WHERE doc IS NOT NULL AND (state <> 0 OR kind <> 1)`,
			"an event and its row of the index disagree":          `SELECT count(*) FROM docs LEFT JOIN events ON events.id = docs.event WHERE events.doc IS NOT docs.id`,
			"an event names a row of the index that is not there": `SELECT count(*) FROM events LEFT JOIN docs ON docs.id = events.doc WHERE doc IS NOT NULL AND docs.event IS NOT events.id`,
			"a row of the index and the words disagree":           `SELECT count(*) FROM docs LEFT JOIN events ON events.id = docs.event & ~1099511627775 | docs.src WHERE events.state IS NOT 0`,
			"a body that was dropped is still due":                `SELECT count(*) FROM events WHERE due IS NOT NULL AND state <> 0`,
		} {
			var n int
			if _, err := c.row(query, nil, &n); err != nil {
				return err
			}
			if n > 0 {
				return fmt.Errorf("%w: %s (%d times)", store.ErrDamaged, what, n)
			}
		}
		return nil
	})
}
