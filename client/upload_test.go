package client_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/petrelchat/petrel/client"
)

// tunnel is an Uploader whose connection ends within the first upload of "cut", and at the end of the first one of "late".
type tunnel struct {
	s    *server
	mu   sync.Mutex
	seen map[string]int
}

func (u *tunnel) Upload(ctx context.Context, _ string, a client.Attachment) ([]byte, error) {
	u.mu.Lock()
	u.seen[a.Name]++
	n := u.seen[a.Name]
	u.mu.Unlock()
	if (a.Name == "cut" || a.Name == "late") && n == 1 {
		u.s.proxy.Cut()
		<-ctx.Done()
	}
	if a.Name == "cut" && n == 1 {
		return nil, ctx.Err()
	}
	return cbor.Marshal(map[string]any{"name": a.Name})
}

// TestUploadsAreKept: the end of a connection costs the upload that was under way, and none that was finished.
func TestUploadsAreKept(t *testing.T) {
	s := serve(t)
	up := &tunnel{s: s, seen: make(map[string]int)}
	ann := s.device("ann", "a", inFile(t), func(o *client.Options) { o.Uploader = up }).open()
	bob := s.device("bob", "b", inMemory(t)).open()
	ann.upToDate()
	bob.upToDate()
	conv := ann.Direct("bob")
	var files []client.Attachment
	for _, name := range []string{"first", "second", "cut", "fourth", "late"} {
		files = append(files, client.Attachment{Name: name})
	}
	_, err := ann.Post(soon(t), conv, client.Post{Text: "five", Attachments: files})
	must(t, err)
	bob.has(conv, "five")
	var media []struct{ Name string }
	must(t, cbor.Unmarshal(bob.messages(conv)[0].Media, &media))
	if fmt.Sprint(media) != "[{first} {second} {cut} {fourth} {late}]" {
		t.Errorf("%v", media)
	}
	ann.upToDate()
	if got := fmt.Sprint(up.seen); got != "map[cut:2 first:1 fourth:1 late:1 second:1]" {
		t.Errorf("uploads: %s", got)
	}
}
