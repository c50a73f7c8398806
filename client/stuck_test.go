package client_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/client/store"
)

// known makes users of a server in dev mode, which has those who have been there.
func (s *server) known(users ...string) {
	s.t.Helper()
	for _, user := range users {
		s.device(user, "known", inMemory(s.t)).open().upToDate()
	}
}

// What was refused and is queued once more takes along what is about it: nothing waits for a later one, which would wait for it.
func TestRetryTakesAlong(t *testing.T) {
	s := serve(t)
	s.known("bob", "carol")
	s.proxy.Refuse(true)
	st := inFile(t)
	ann := s.device("ann", "a", st).open()
	conv := ann.Direct("bob")
	first := ann.send(conv, "first")
	reply, err := ann.Post(soon(t), conv, client.Post{Text: "about the first", Re: first.Target()})
	must(t, err)
	_, err = ann.React(soon(t), conv, reply.Target(), "👍")
	must(t, err)
	other := ann.send(ann.Direct("carol"), "elsewhere")
	// The connection ended between the refusal of the first and the look at the second.
	must(t, st.Update(soon(t), func(tx store.Tx) error {
		out, err := tx.Outgoing(first.ID)
		if err != nil {
			return err
		}
		out.State, out.Code, out.Reason = store.Failed, string(chat.Conflict), "the id is taken"
		return tx.PutOutgoing(out)
	}))
	again, err := ann.Retry(soon(t), first.ID)
	must(t, err)
	if again.ID == first.ID || again.State != client.StateQueued || again.Text != "first" {
		t.Errorf("queued again: %+v", again)
	}
	s.proxy.Refuse(false)
	ann.NetworkChanged()
	_, err = ann.Sent(soon(t), other)
	must(t, err)
	ann.has(conv, "first", "about the first")
	if now, err := ann.Sent(soon(t), again); err != nil || now.Seq == 0 {
		t.Errorf("by its new id: %+v, %v", now, err)
	}
	ann.until("the reaction", func() bool {
		ms := ann.messages(conv)
		return ms[1].Re == ms[0].Seq && len(ms[1].Reactions) == 1 && ann.waiting() == 0
	})
}

// An act is about a message of its own conversation.
func TestTargetElsewhere(t *testing.T) {
	s := serve(t)
	s.proxy.Refuse(true)
	ann := s.device("ann", "a", inFile(t)).open()
	m := ann.send(ann.Direct("bob"), "to bob")
	_, err := ann.React(soon(t), ann.Direct("carol"), m.Target(), "👍")
	if !errors.Is(err, &chat.Refusal{Code: chat.NotFound}) {
		t.Errorf("a reaction to a message of another conversation: %v", err)
	}
}

// editor is a codec that empties some events, and leaves acts alone.
type editor struct{}

func (editor) Out(_ context.Context, _ string, e *chat.Event) error {
	if e.Text == "empty me" {
		e.Text = ""
	}
	return nil
}

func (editor) In(_ context.Context, _ string, e *chat.Event) error {
	e.Kind = chat.KindPost // not its business
	return nil
}

// A codec whose result can't be sent fails that message and holds up nothing; acts upon what is queued go through it like all.
func TestCodecFaults(t *testing.T) {
	s := serve(t)
	s.proxy.Refuse(true)
	ann := s.device("ann", "a", inFile(t), func(o *client.Options) { o.Codec = editor{} }).open()
	conv := ann.Direct("ann")
	bad := ann.send(conv, "empty me")
	good := ann.send(conv, "good")
	_, err := ann.React(soon(t), conv, good.Target(), "👍")
	must(t, err)
	s.proxy.Refuse(false)
	ann.NetworkChanged()
	if _, err := ann.Sent(soon(t), bad); !errors.Is(err, &chat.Refusal{Code: chat.BadRequest}) {
		t.Errorf("what the codec emptied: %v", err)
	}
	_, err = ann.Sent(soon(t), good)
	must(t, err)
	ann.until("the reaction", func() bool { return ann.waiting() == 1 })
	ms := ann.messages(conv)
	if len(ms) != 2 || len(ms[0].Reactions) != 1 {
		t.Errorf("%+v", ms)
	}
}

// strike is an Uploader that never succeeds.
type strike struct {
	tries atomic.Int32
	tried chan struct{}
}

func (s *strike) Upload(context.Context, string, client.Attachment) ([]byte, error) {
	s.tries.Add(1)
	s.tried <- struct{}{}
	return nil, errors.New("nobody works here")
}

// An upload that failed waits for its time, and Close does not wait for what can't be sent now.
func TestUploadWaits(t *testing.T) {
	s := serve(t)
	s.known("bob", "carol")
	up := &strike{tried: make(chan struct{}, 1000)}
	ann := s.device("ann", "a", inFile(t), func(o *client.Options) { o.Uploader = up }).open()
	ann.upToDate()
	_, err := ann.Post(soon(t), ann.Direct("bob"), client.Post{Attachments: []client.Attachment{{Name: "a.jpg"}}})
	must(t, err)
	<-up.tried
	ann.until("the failure to be noted", func() bool {
		return len(ann.messages(ann.Direct("bob"))) == 1 && ann.messages(ann.Direct("bob"))[0].Reason != ""
	})
	for range 3 { // each looks at the outbox
		m := ann.send(ann.Direct("carol"), "elsewhere")
		_, err := ann.Sent(soon(t), m)
		must(t, err)
	}
	if n := up.tries.Load(); n > 2 {
		t.Errorf("tried %d times without a pause", n)
	}
	c := ann.Client
	ann.Client = nil
	must(t, c.Close(soon(t)))
	if err := c.Wait(soon(t), func(s client.Status) bool { return s.Queued == 1 }); err != nil {
		t.Error(err)
	}
}

// A clock that was ahead when a retry was planned holds nothing up after it was put right.
func TestClockJumpsBack(t *testing.T) {
	s := serve(t)
	s.known("bob")
	st := inFile(t)
	s.proxy.Refuse(true)
	ann := s.device("ann", "a", st).open()
	m := ann.send(ann.Direct("bob"), "late")
	must(t, st.Update(soon(t), func(tx store.Tx) error {
		out, err := tx.Outgoing(m.ID)
		out.Next = time.Now().AddDate(1, 0, 0).UnixMilli()
		return errors.Join(err, tx.PutOutgoing(out))
	}))
	s.proxy.Refuse(false)
	ann.NetworkChanged()
	_, err := ann.Sent(soon(t), m)
	must(t, err)
}

// A request that waits for the connection is answered on it: the subscription to replies goes first.
func TestCallBeforeSubscription(t *testing.T) {
	s := serve(t)
	for i := range 15 {
		s.proxy.Refuse(true)
		ann := s.device("ann", "a"+num(i), inMemory(t)).open()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if err := ann.Call(soon(t), "user.get", nil, nil); err != nil {
					t.Error(err)
				}
			})
		}
		s.proxy.Refuse(false)
		ann.NetworkChanged()
		wg.Wait()
		ann.close()
	}
}

// Who stops typing without a word is told of.
func TestTypingEnds(t *testing.T) {
	s := serve(t)
	ann := s.device("ann", "a", inMemory(t)).open()
	bob := s.device("bob", "b", inMemory(t)).open()
	ann.upToDate()
	bob.upToDate()
	conv := ann.Direct("bob")
	ann.send(conv, "hello")
	bob.has(conv, "hello")
	told := make(chan struct{}, 16)
	ctx := soon(t)
	us := ann.Updates(ctx)
	go func() {
		for u := range us {
			if u.Kind == client.UpdateTyping {
				told <- struct{}{}
			}
		}
	}()
	must(t, bob.SetTyping(ctx, conv, true))
	for i := range 2 { // that he does, and that he does not any more
		select {
		case <-told:
		case <-ctx.Done():
			t.Fatalf("%d updates about typing; %s types", i, strings.Join(ann.Typing(conv), ", "))
		}
	}
}
