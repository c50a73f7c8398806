package presence_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/petrelchat/petrel/broker/presence"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/storagetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tell is one publication.
type tell struct {
	at      time.Duration // since the rig was made
	users   []string
	subject string
	payload string
}

// syncTime is how long the rig's disk takes.
const syncTime = 5 * time.Millisecond

// rig is a server's worth of presence in a synctest bubble.
type rig struct {
	t     *testing.T
	p     *presence.Presence
	store *storagetest.Model
	start time.Time

	mu      sync.Mutex
	tells   []tell
	commits int
	fail    error // of every commit
	wanted  bool
}

func newRig(t *testing.T, store *storagetest.Model) *rig {
	t.Helper()
	return newRigOf(t, store, nil)
}

func newRigOf(t *testing.T, store *storagetest.Model, peers func(string) ([]string, error)) *rig {
	t.Helper()
	r := &rig{t: t, store: store, start: time.Now(), wanted: true}
	r.p = presence.New(presence.Options{Store: store, Commit: r.commit, Tell: r.tell, Peers: peers, Wanted: func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.wanted
	}})
	if err := r.p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.p.Close)
	return r
}

func (r *rig) commit(b *storage.Batch, done func()) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	r.commits++
	if _, err := r.store.Commit(b); err != nil {
		return err
	}
	time.AfterFunc(syncTime, done)
	return nil
}

func (r *rig) tell(users []string, subject string, payload []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tells = append(r.tells, tell{time.Since(r.start), users, subject, string(payload)})
}

// told returns and forgets the publications so far, once the goroutine has nothing to do.
func (r *rig) told() []tell {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	told := r.tells
	r.tells = nil
	return told
}

// expect checks the states that were published since the last look, as "user state".
func (r *rig) expect(want ...string) {
	r.t.Helper()
	var got []string
	for _, x := range r.told() {
		var pr protocol.Presence
		if err := json.Unmarshal([]byte(x.payload), &pr); err != nil {
			r.t.Fatalf("published %q: %v", x.payload, err)
		}
		s := x.subject + " " + pr.State
		if pr.Text != "" {
			s += " " + pr.Text
		}
		got = append(got, s)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		r.t.Errorf("published %q, want %q", got, want)
	}
}

func (r *rig) status(user, payload string) error {
	r.t.Helper()
	done := make(chan error, 1)
	r.p.SetStatus(user, []byte(payload), func(err error) { done <- err })
	return <-done
}

func (r *rig) profile(user string) storage.Profile {
	r.t.Helper()
	p, err := r.p.Profile(user)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// record is the profile as it is stored.
func (r *rig) record(user string) (p storage.Profile) {
	r.t.Helper()
	v, ok, err := r.store.Get(storage.In(storage.SpaceProfile).Str(user))
	if err == nil && ok {
		err = storage.Unmarshal(v, &p)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// committed returns and forgets how many commits there were.
func (r *rig) committed() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.commits
	r.commits = 0
	return n
}

func (r *rig) setWanted(wanted bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wanted = wanted
}

func (r *rig) setCommitError(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

// group puts members into a conversation's records.
func group(t testing.TB, s storage.Store, conv string, role chat.Role, users ...string) {
	t.Helper()
	var b storage.Batch
	for _, u := range users {
		rec := storage.AppendMember(nil, chat.Member{Role: role, Since: 1, Joined: 1})
		b.Set(storage.In(storage.SpaceMember).Str(conv).Str(u), rec)
		b.Set(storage.In(storage.SpaceMembership).Str(u).Str(conv), rec)
	}
	pending, err := s.Commit(&b)
	if err == nil {
		err = pending.Wait()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func names(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("user%05d", i)
	}
	return all
}
