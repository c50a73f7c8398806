package crash_test

import (
	"fmt"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
)

// afterwards is how long the server may take to remove what has disappeared, in ms, counted from its start if
// that was later.
const afterwards = 2000

// store shows fn the store of the dead server.
func (w *world) store(fn func(st storage.Reader)) {
	st, err := pebblestore.Open(broker.StoreDir(w.dir), pebblestore.Options{ReadOnly: true})
	if err != nil {
		w.t.Errorf("%v: %v", w, err)
		return
	}
	fn(st)
	if err := st.Close(); err != nil {
		w.t.Errorf("%v: %v", w, err)
	}
}

// remains looks for what is gone in all entries of all logs, and in all records. Files may hold old versions
// until they are compacted; what the store shows of them must not.
func (w *world) remains(st storage.Reader, died int64) {
	look := func(where string, b []byte) {
		for _, text := range markers(string(b)) {
			g, ok := w.board.gone[text]
			if ok && (g.deleted || max(g.since, w.server.started)+afterwards < died) {
				w.wrongf("%s is in the store, %s, %d ms after its end: %+v", text, where, died-g.since, g)
			}
			w.total.looked++
		}
	}
	err := st.Logs(func(log string) bool {
		err := st.Read(log, 0, 1<<62, func(e storage.Entry) bool {
			look(fmt.Sprintf("in %s %d", log, e.Seq), e.Data)
			return true
		})
		if err != nil {
			w.t.Errorf("%v: %v", w, err)
		}
		return true
	})
	if err != nil {
		w.t.Errorf("%v: %v", w, err)
	}
	for space := ' '; space < 0x80; space++ { // every Space is a letter or a digit
		if space == 'l' { // the engine's, for the logs
			continue
		}
		err := st.Scan(storage.Key{byte(space)}, nil, func(k storage.Key, v []byte) bool {
			look(fmt.Sprintf("in the record %q", []byte(k)), append(append([]byte(nil), k...), v...))
			return true
		})
		if err != nil {
			w.t.Errorf("%v: %v", w, err)
		}
	}
}
