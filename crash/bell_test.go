package crash_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"
)

// bell is somebody who is away and wants to be told of what comes. The server gathers it for a while, and is
// killed meanwhile: nothing may go untold.
type bell struct {
	w     *world
	actor *actor
	rang  chan struct{} // has something when a notification came

	mu    sync.Mutex
	told  uint64 // messages up to here
	life  int32  // of the server that sent the last notification
	wrong []string
}

const (
	sleeper = "nia"
	caller  = "ned"
	between = "ned~nia"
)

func newBell(w *world) *bell {
	b := &bell{w: w, rang: make(chan struct{}, 1)}
	b.actor = w.actor(caller, "bell", b.ring)
	return b
}

// register has notifications sent to this test.
func (b *bell) register() {
	srv := httptest.NewServer(http.HandlerFunc(b.serve))
	b.w.t.Cleanup(srv.Close)
	r := b.w.reader(sleeper)
	defer r.close()
	var made struct{ Name string }
	r.call("push.register", params{"name": "test", "kind": "webhook", "endpoint": srv.URL}, &made)
}

// serve takes a notification.
func (b *bell) serve(w http.ResponseWriter, r *http.Request) {
	var n struct {
		ID, Conv, User string
		Seq            uint64
		Count          int
	}
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &n)
	}
	if err != nil || n.ID == "" || n.Conv != between || n.User != sleeper || n.Count < 1 || uint64(n.Count) > n.Seq {
		b.w.t.Errorf("%v: the notification %s: %v", b.w, body, err)
		http.Error(w, "what is this?", http.StatusInternalServerError)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	life := b.w.lives.Load()
	first := n.Seq - uint64(n.Count) + 1 // of those that it tells of: there is nothing but posts
	switch {
	case first > b.told+1:
		b.wrong = append(b.wrong, fmt.Sprintf("%s tells of %d to %d, and before only up to %d was told", body, first, n.Seq, b.told))
	case first <= b.told && b.life == life: // only a server that was killed tells the same again, once
		b.wrong = append(b.wrong, fmt.Sprintf("%s tells of %d to %d again, up to %d was told", body, first, n.Seq, b.told))
	}
	b.told, b.life = max(b.told, n.Seq), life
	select {
	case b.rang <- struct{}{}:
	default:
	}
}

// ring writes to the one who is away.
func (b *bell) ring(a *actor) {
	if x := a.append(between, fmt.Sprintf(`{"text":%q}`, marker(a))); x.outcome == turned {
		a.failf("a post: %v", &x)
	}
}

// check waits until everything was told.
func (b *bell) check() {
	r := b.w.reader(caller)
	posts := r.head(between)
	r.close()
	late := time.NewTimer(patience)
	defer late.Stop()
	for over := false; ; {
		b.mu.Lock()
		told, wrong := b.told, b.wrong
		b.wrong = nil
		b.mu.Unlock()
		for _, w := range wrong {
			b.w.wrongf("the notification %s", w)
		}
		if told == posts {
			return
		}
		if told > posts || over {
			b.w.wrongf("notifications tell of messages up to %d, there are %d", told, posts)
			return
		}
		select {
		case <-b.rang:
		case <-late.C:
			over = true
		}
	}
}
