package hub_test

import (
	"io"
	"log/slog"
	"reflect"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// tight is a store whose disk is full at times.
type tight struct {
	storage.Store
	full atomic.Bool
}

func (s *tight) Commit(b *storage.Batch) (storage.Pending, error) {
	if s.full.Load() && !b.Vital {
		return nil, storage.ErrFull
	}
	return s.Store.Commit(b)
}

// TestFullDiskLeavesNoTrace: whatever a batch has of members, gates, blocks, reactions and deletions, when the disk does
// not take it nothing of it happened, in memory as on record; and so when a conversation is forgotten in between.
func TestFullDiskLeavesNoTrace(t *testing.T) {
	refusedFull := 0
	rapid.Check(t, func(rt *rapid.T) {
		y := newYard(rt)
		defer func() { y.close() }()
		disk := &tight{Store: y.store}
		y.hub.Close()
		y.pipe.Close()
		y.pipe = hub.NewPipeline(disk, func(err error) { rt.Errorf("%v", err) })
		y.pipe.Start(nil)
		y.hub = hub.New(hub.Options{
			Store: disk, Pipeline: y.pipe, Sink: nobody{}, Codec: codec{}, Limits: chat.DefaultLimits(), Now: y.now.Load, Owners: 1,
			CacheMax: rapid.IntRange(1, 2).Draw(rt, "cache"), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
			Messages: func() chat.Messages { return chat.MessagesRequests },
		})
		n := 0
		for range rapid.IntRange(1, 6).Draw(rt, "batches") {
			y.now.Add(rapid.Int64Range(0, 3000).Draw(rt, "passed"))
			full := rapid.Bool().Draw(rt, "full")
			disk.full.Store(full)
			var results []chan hub.Result
			y.squeeze(full, func() {
				for range rapid.IntRange(1, 12).Draw(rt, "commands") {
					n++
					r := &hub.Request{Conv: conv, Cmd: drawCommand(rt, n)}
					if rapid.IntRange(0, 2).Draw(rt, "direct") == 0 {
						r.Conv, r.Direct = "ann~ben", true
						r.Cmd.Actor = rapid.SampledFrom([]string{"ann", "ben"}).Draw(rt, "who")
						if r.Cmd.Op != chat.OpAppend {
							r.Cmd.Op = rapid.SampledFrom([]chat.Op{chat.OpTake, chat.OpDismiss, chat.OpBlock, chat.OpUnblock}).Draw(rt, "op")
						}
					}
					res := make(chan hub.Result, 1)
					r.Done = func(x hub.Result) { res <- x }
					results = append(results, res)
					y.hub.Submit(r)
				}
			})
			for _, res := range results {
				if x := <-res; refused(x.Err, chat.Unavailable) {
					refusedFull++
				}
			}
			disk.full.Store(false)
			for id, direct := range map[string]bool{conv: false, "ann~ben": true} {
				var got chat.Snapshot
				y.must(y.hub.Query(id, direct, func(v hub.View) { got = v.State.Snapshot() }))
				st, _, err := hub.LoadState(y.store, codec{}, id, direct)
				y.must(err)
				if want := st.Snapshot(); !reflect.DeepEqual(got, want) {
					rt.Fatalf("in memory %+v\non record %+v", got, want)
				}
			}
			y.checkViews()
		}
	})
	if refusedFull == 0 {
		t.Error("the disk never was full")
	}
}

// squeeze is together on a disk that may be full.
func (y *yard) squeeze(full bool, fn func()) {
	y.t.Helper()
	busy, release, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() { done <- y.hub.Query(conv, false, func(hub.View) { close(busy); <-release }) }()
	<-busy
	func() {
		defer close(release) // also when rapid ends fn, as it does when it looks for a smaller example
		fn()
	}()
	if err := <-done; err != nil && !full {
		y.t.Fatal(err)
	}
}

func drawCommand(t *rapid.T, n int) chat.Command {
	names := []string{"ann", "ben", "cat", "dan"}
	c := chat.Command{
		Op: rapid.SampledFrom([]chat.Op{
			chat.OpAppend, chat.OpAppend, chat.OpAppend, chat.OpUpdate, chat.OpJoin, chat.OpLeave, chat.OpAdd, chat.OpRemove, chat.OpRole,
			chat.OpBan, chat.OpUnban, chat.OpMute, chat.OpApprove, chat.OpDeny, chat.OpInvite, chat.OpRevoke, chat.OpAccept,
		}).Draw(t, "op"),
		Actor: rapid.SampledFrom(names).Draw(t, "actor"), User: rapid.SampledFrom(names).Draw(t, "user"),
		Role: chat.Role(rapid.IntRange(1, 4).Draw(t, "role")), Code: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "code"),
	}
	switch c.Op {
	case chat.OpAppend:
		c.Event = drawEvent(t, n, uint64(n))
		c.Event.ID = rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "id")
		c.Hash = protocol.ContentHash(&c.Event)
	case chat.OpUpdate:
		join := rapid.SampledFrom([]string{chat.JoinOpen, chat.JoinRequest, chat.JoinInvite}).Draw(t, "join")
		c.Info = &chat.InfoChange{Join: &join}
	}
	return c
}
