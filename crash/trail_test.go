package crash_test

import (
	"fmt"
	"slices"
	"sync"
)

// admin may read the audit trail.
const admin = "root"

// trail gathers acknowledged changes that the audit trail must have.
type trail struct {
	mu   sync.Mutex
	list []trailed
}

type trailed struct {
	conv, who, what, target string
	from, to                int64 // ms since 1970: it was carried out between them
}

func (t *trail) add(e trailed) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = append(t.list, e)
}

// check: each of the changes is in the audit trail, once.
func (t *trail) check(w *world) {
	r := w.reader(admin)
	defer r.close()
	type key struct{ conv, who, what, target string }
	have := make(map[key][]int64)
	for after := "1"; ; {
		var page struct {
			Entries []struct {
				ID, Who, What, Target, Conv string
				At                          int64
			}
			More bool
		}
		r.call("admin.audit", params{"limit": 1000, "after": after}, &page)
		for _, e := range page.Entries {
			after = e.ID
			k := key{e.Conv, e.Who, e.What, e.Target}
			have[k] = append(have[k], e.At)
		}
		if !page.More {
			break
		}
	}
	for _, e := range t.list {
		k := key{e.conv, e.who, e.what, e.target}
		i := slices.IndexFunc(have[k], func(at int64) bool { return e.from <= at && at <= e.to })
		if i < 0 {
			w.wrongf("the audit trail has no %+v; of that kind it has %v", e, have[k])
			continue
		}
		have[k] = slices.Delete(have[k], i, i+1)
	}
	if len(have) == 0 {
		w.wrongf("the audit trail is empty")
	}
}

func (e trailed) String() string {
	return fmt.Sprintf("%s of %s by %s in %s (%d to %d)", e.what, e.target, e.who, e.conv, e.from, e.to)
}
