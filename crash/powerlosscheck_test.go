package crash_test

import (
	"fmt"
	"maps"
	"slices"

	"github.com/petrelchat/petrel/broker/verify"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
)

// check opens the disk after the power loss and compares it with what was known before.
func (l *lossy) check(k knowledge) {
	t := l.t
	st, err := l.disk.Open(pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	_, err = verify.Check(st, func(p verify.Problem) {
		if p.Severity == verify.Error {
			t.Errorf("seed %d: %v", l.seed, p)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	logs, where := l.readAll(st)
	for tok, c := range k.sent {
		l.checkSent(tok, &c, logs[c.req.Conv], where[tok])
	}
	for log, told := range k.told {
		for seq, what := range told {
			if got := logs[log][seq]; got.says != what && !l.mayBeOver(log, seq, got) {
				t.Errorf("seed %d: %s %d was delivered as %q and is %q", l.seed, log, seq, what, got.says)
			}
		}
	}
	l.checkCursors(st, k)
	l.checkRetries(st, k)
	// The future begins here: what was under way and is lost may be told anew.
	l.sent, l.told, l.moved = map[string]*command{}, map[string]map[uint64]string{}, maps.Clone(k.moved)
}

// survivor is an event after the power loss.
type survivor struct {
	says string
	kind chat.Kind // 0: it is not there
}

// checkSent compares an event that was sent with where it is.
func (l *lossy) checkSent(tok string, c *command, log map[uint64]survivor, seqs []uint64) {
	ev := &c.req.Cmd.Event
	if c.req.Cmd.Op != chat.OpAppend {
		return
	}
	switch acked := c.done && c.res.Err == nil; {
	case acked && ev.Kind == chat.KindDelete:
		if k := log[ev.Re].kind; k != chat.KindGone && k != 0 {
			l.t.Errorf("seed %d: seq %d of %s was deleted, and is %q", l.seed, ev.Re, c.req.Conv, log[ev.Re].says)
		}
	case ev.Text == "":
	case len(seqs) > 1:
		l.t.Errorf("seed %d: %s is stored %d times", l.seed, tok, len(seqs))
	case c.done && !acked && len(seqs) > 0:
		l.t.Errorf("seed %d: %s was refused (%v) and is stored", l.seed, tok, c.res.Err)
	case acked && len(seqs) == 0 && (ev.Kind == chat.KindEdit || l.mayBeOver(c.req.Conv, c.res.Seq, log[c.res.Seq])):
		if k := log[c.res.Seq].kind; k != chat.KindGone && k != 0 {
			l.t.Errorf("seed %d: %s was acknowledged as seq %d, which is %q", l.seed, tok, c.res.Seq, log[c.res.Seq].says)
		}
	case acked && !slices.Equal(seqs, []uint64{c.res.Seq}):
		l.t.Errorf("seed %d: %s was acknowledged as seq %d and is at %v", l.seed, tok, c.res.Seq, seqs)
	}
}

// mayBeOver reports whether an event may be what it is: a tombstone, because somebody asked for that (an edit
// goes with its post), or cut off.
func (l *lossy) mayBeOver(log string, seq uint64, is survivor) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if is.kind == 0 {
		return seq < l.cut[log]
	}
	post := func(seq uint64) uint64 {
		if re, ok := l.edits[fmt.Sprint(log, " ", seq)]; ok {
			return re
		}
		return seq
	}
	over := false
	for other := range l.ended[log] {
		over = over || post(other) == post(seq)
	}
	return over && is.kind == chat.KindGone
}

// readAll reads all logs, and where each token is.
func (l *lossy) readAll(st storage.Store) (logs map[string]map[uint64]survivor, where map[string][]uint64) {
	logs, where = make(map[string]map[uint64]survivor), make(map[string][]uint64)
	err := st.Logs(func(log string) bool {
		logs[log] = make(map[uint64]survivor)
		next := uint64(0)
		err := st.Read(log, 1, 1<<62, func(e storage.Entry) bool {
			ev, err := protocol.DecodeStored(e.Data)
			if next == 0 && e.Seq <= max(l.cut[log], 1) {
				next = e.Seq
			}
			if err != nil || e.Seq != next {
				l.t.Errorf("seed %d: %s: seq %d where %d is due (%v)", l.seed, log, e.Seq, next, err)
			}
			next++
			logs[log][e.Seq] = survivor{says(&ev), ev.Kind}
			if ev.Text != "" {
				where[ev.Text] = append(where[ev.Text], e.Seq)
			}
			return true
		})
		if err != nil {
			l.t.Error(err)
		}
		return true
	})
	if err != nil {
		l.t.Error(err)
	}
	return logs, where
}

func (l *lossy) checkCursors(st storage.Store, k knowledge) {
	for key, seq := range k.moved {
		var conv, user string
		if _, err := fmt.Sscan(key, &conv, &user); err != nil {
			l.t.Fatal(err)
		}
		v, _, err := st.Get(storage.In(storage.SpaceCursor).Str(conv).Str(user))
		if err != nil {
			l.t.Error(err)
		}
		if c, err := storage.DecodeCursor(v); err != nil || c.Read < seq {
			l.t.Errorf("seed %d: %s had read up to %d, the record says %d (%v)", l.seed, key, seq, c.Read, err)
		}
	}
}

// checkRetries sends acknowledged events with an id again: they have the seq that they had; with other
// content they are refused.
func (l *lossy) checkRetries(st storage.Store, k knowledge) {
	h, stop := l.hub(st)
	defer stop()
	for tok, c := range k.sent {
		if !c.done || c.res.Err != nil || c.req.Cmd.Event.ID == "" || c.res.Seq < l.cut[c.req.Conv] {
			continue
		}
		r := c.req
		if res := h.Do(&r); res.Err == nil && (res.Seq != c.res.Seq || !res.Duplicate) {
			l.t.Errorf("seed %d: the retry of %s became seq %d, it was %d", l.seed, tok, res.Seq, c.res.Seq)
		}
		r = c.req
		r.Cmd.Event.Text += "?"
		r.Cmd.Hash = protocol.ContentHash(&r.Cmd.Event)
		if res := h.Do(&r); res.Err == nil {
			l.t.Errorf("seed %d: other content under the id of %s was accepted", l.seed, tok)
		}
	}
}
