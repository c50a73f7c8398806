package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/petrelchat/petrel/chat"
	sdk "github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/client/store/sqlite"
	"github.com/petrelchat/petrel/internal/faultproxy"
)

// phone is a user of the Go client: a store on disk that outlives its runs.
type phone struct {
	user string
	path string
	opt  sdk.Options
	*sdk.Client
}

// phone makes one for a user; through is the proxy that it connects to.
func (r *runner) phone(user string, through *faultproxy.Proxy) *phone {
	dir, err := os.MkdirTemp(r.dir, "phone-")
	if err != nil {
		dir = r.dir
	}
	p := &phone{user: user, path: filepath.Join(dir, user+".db")}
	p.opt = sdk.Options{
		Server: "mqtt://" + through.Addr(), User: user, Device: user, Credentials: sdk.Password("pass"), Path: p.path,
	}
	return p
}

// on starts the program and waits until it is up to date.
func (p *phone) on(ctx context.Context) error {
	if err := p.open(ctx); err != nil {
		return err
	}
	return p.settled(ctx)
}

func (p *phone) open(ctx context.Context) (err error) {
	p.Client, err = sdk.Open(ctx, p.opt)
	return err
}

// settled waits until there is nothing to send and nothing to fetch.
func (p *phone) settled(ctx context.Context) error {
	var last sdk.Status
	err := p.Wait(ctx, func(st sdk.Status) bool {
		last = st
		return st.Permanent || st.State == sdk.UpToDate && st.Queued == 0
	})
	if err == nil && last.Permanent {
		err = last.Err
	}
	if err == nil && last.Failed > 0 {
		err = fmt.Errorf("%d messages were refused", last.Failed)
	}
	return err
}

// off ends the program.
func (p *phone) off(ctx context.Context) error {
	c := p.Client
	if c == nil {
		return nil
	}
	p.Client = nil
	return c.Close(ctx)
}

// has waits until the event with a seq is stored.
func (p *phone) has(ctx context.Context, conv string, seq uint64) error {
	return p.until(ctx, func() (bool, error) {
		page, err := p.Events(ctx, conv, sdk.Page{After: seq - 1, Limit: 1})
		return len(page) > 0, err
	})
}

// until asks again with every change, until it is true.
func (p *phone) until(ctx context.Context, ok func() (bool, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	updates := p.Updates(ctx) // from here on none is missed
	if done, err := ok(); done || err != nil {
		return err
	}
	for range updates {
		if done, err := ok(); done || err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// texts returns what everybody said in a conversation, in order.
func (p *phone) texts(ctx context.Context, conv string) (list []string, err error) {
	var before uint64
	for {
		page, err := p.Events(ctx, conv, sdk.Page{Before: before, Limit: 500})
		if err != nil {
			return nil, err
		}
		for _, e := range slices.Backward(page) {
			if e.Kind == chat.KindPost {
				list = append(list, e.Text)
			}
		}
		if len(page) == 0 || page[0].Seq == 1 {
			slices.Reverse(list)
			return list, nil
		}
		before = page[0].Seq
	}
}

// sending is somebody who wrote a lot while there was no network: how fast it leaves, each message once and in order;
// and then how fast it arrives at a device that was away, with its session and without.
func (r *runner) sending(ctx context.Context, s *server) (res Result, err error) {
	if !s.petrel {
		return conversationsOnly(), nil
	}
	t, err := faultproxy.New(s.addr)
	if err != nil {
		return res, err
	}
	defer t.Close()
	alice, bobby, carol := r.phone("alice", t), r.phone("bobby", t), r.phone("carol", t)
	carol.user, carol.opt.User, carol.opt.SessionExpiry = "bobby", "bobby", time.Second // another device of bobby's, which the server forgets
	const first = "so that everybody knows the conversation"
	phones := []*phone{alice, bobby, carol}
	for _, p := range phones {
		defer func() { err = errors.Join(err, p.off(ctx)) }()
		if err := p.on(ctx); err != nil {
			return res, err
		}
	}
	conv := alice.Direct("bobby")
	if _, err := alice.Send(ctx, conv, first); err != nil {
		return res, err
	}
	for _, p := range phones {
		if err := errors.Join(p.settled(ctx), p.has(ctx, conv, 1), p.off(ctx)); err != nil {
			return res, err
		}
	}
	t.Refuse(true)
	if err := alice.open(ctx); err != nil {
		return res, err
	}
	n := r.opt.SDKMessages
	want := []string{first}
	start := time.Now()
	for i := range n {
		want = append(want, fmt.Sprintf("message %d of %d", i+1, n))
		if _, err := alice.Send(ctx, conv, want[i+1]); err != nil {
			return res, err
		}
	}
	res.add("queued/s", "", float64(n)/time.Since(start).Seconds())
	start = time.Now()
	t.Refuse(false)
	alice.NetworkChanged()
	if err := alice.settled(ctx); err != nil {
		return res, err
	}
	if err := alice.has(ctx, conv, uint64(n)+1); err != nil {
		return res, err
	}
	res.add("sent/s", "", float64(n)/time.Since(start).Seconds())
	for _, p := range []struct {
		*phone
		metric string
	}{{alice, ""}, {bobby, "caught up/s"}, {carol, "caught up/s, session expired"}} {
		if p.metric != "" {
			start = time.Now()
			if err := p.open(ctx); err != nil {
				return res, err
			}
			if err := p.has(ctx, conv, uint64(n)+1); err != nil {
				return res, err
			}
			if err := p.settled(ctx); err != nil {
				return res, err
			}
			res.add(p.metric, "", float64(n)/time.Since(start).Seconds())
		}
		got, err := p.texts(ctx, conv)
		if err != nil {
			return res, err
		}
		if !slices.Equal(got, want) {
			return res, fmt.Errorf("%s's device has %d messages of %d, or not in their order", p.user, len(got), n)
		}
	}
	return res, nil
}

const (
	screenRows  = 30
	screenTimes = 9
)

// opening is the start of a program with a large store, without a network: the first screen of conversations, each
// with its newest message and what is unread.
func (r *runner) opening(ctx context.Context, s *server) (res Result, err error) {
	if !s.petrel {
		return conversationsOnly(), nil
	}
	t, err := faultproxy.New(s.addr)
	if err != nil {
		return res, err
	}
	defer t.Close()
	t.Refuse(true)
	p := r.phone("alice", t)
	start := time.Now()
	if err := fillStore(ctx, p.path, r.opt.Log); err != nil {
		return res, err
	}
	res.add("events", "", float64(r.opt.Log))
	res.add("stored/s", "", float64(r.opt.Log)/time.Since(start).Seconds())
	var h histogram
	for range screenTimes {
		start := time.Now()
		if err := p.open(ctx); err != nil {
			return res, err
		}
		rows, err := p.Conversations(ctx, sdk.ConversationsQuery{Limit: screenRows})
		h.add(int64(time.Since(start)))
		if err == nil && (len(rows) != screenRows || slices.ContainsFunc(rows, func(c sdk.Conversation) bool { return c.Last == nil || c.Unread == 0 })) {
			err = fmt.Errorf("the first screen has %d rows, or rows without a message", len(rows))
		}
		if err = errors.Join(err, p.off(ctx)); err != nil {
			return res, err
		}
	}
	res.latency("first screen", &h)
	return res, nil
}

// fillStore writes n events of a thousand conversations.
func fillStore(ctx context.Context, path string, n int) error {
	st, err := sqlite.Open(path, sqlite.Options{})
	if err != nil {
		return err
	}
	const convs, each = 1000, 1000
	now := time.Now().UnixMilli()
	for i := 0; i < n && err == nil; i += each {
		err = st.Update(ctx, func(tx store.Tx) error {
			events := make([]store.Event, 0, each)
			for k := i; k < min(i+each, n); k++ {
				conv, seq := chat.DirectID("alice", fmt.Sprintf("user%d", k%convs)), uint64(k/convs+1)
				events = append(events, store.Event{Conv: conv, Event: chat.Event{
					Seq: seq, From: "alice", At: now + int64(k), Kind: chat.KindPost, Text: fmt.Sprintf("what was said as number %d", k),
				}})
				if err := tx.PutConversation(store.Conversation{
					ID: conv, Kind: "direct", Role: "member", Head: seq, Last: seq, At: now + int64(k), Unread: int(seq), Floor: 1,
				}); err != nil {
					return err
				}
			}
			return tx.PutEvents(events)
		})
	}
	return errors.Join(err, st.Close())
}
