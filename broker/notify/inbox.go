package notify

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/petrelchat/petrel/chat"
)

// News is an event as the hub's sink reports it.
type News struct {
	Conv     string
	Seq      uint64
	Commit   uint64
	Kind     chat.Kind
	From     string
	Members  []string // who may see it: read only, and the same slice until it changes
	Mentions []string
}

// span is a range of events of a log, both ends included.
type span struct{ from, to, commit uint64 }

// inboxMax bounds the events that wait for the goroutine one by one. What comes beyond is noted as a range
// of its conversation, and read from the log.
const inboxMax = 4096

// inbox is what the pipeline's goroutine hands over. Its lock is a leaf, held for a few instructions.
type inbox struct {
	ended atomic.Uint64 // all events of commits up to here were handed over

	mu    sync.Mutex
	news  []News
	dirty map[string]span // conversations of which events wait as a range
}

// Took notes an event. It is for the pipeline's goroutine: it returns at once, and reads and commits nothing.
func (s *Service) Took(n *News) {
	if s.subs.count.Load() == 0 || n.Kind != chat.KindPost && n.Kind != chat.KindCall {
		return
	}
	in := &s.inbox
	in.mu.Lock()
	r, ranged := in.dirty[n.Conv]
	switch {
	case ranged:
		r.to = n.Seq
		in.dirty[n.Conv] = r
	case len(in.news) >= inboxMax:
		in.dirty[strings.Clone(n.Conv)] = span{n.Seq, n.Seq, n.Commit}
	default:
		in.news = append(in.news, n.keep())
	}
	in.mu.Unlock()
	s.poke()
}

// keep returns a copy that does not hold on to the packet that the event came in.
func (n *News) keep() News {
	k := *n
	k.Conv = strings.Clone(n.Conv)
	if n.Mentions != nil {
		k.Mentions = make([]string, len(n.Mentions))
		for i, u := range n.Mentions {
			k.Mentions[i] = strings.Clone(u)
		}
	}
	return k
}

// End notes that all events of a commit were reported. It is for the pipeline's goroutine.
func (s *Service) End(commit uint64) { s.inbox.ended.Store(commit) }

// take returns what was handed over, and up to which commit that is everything.
func (in *inbox) take(reuse []News) (news []News, dirty map[string]span, ended uint64) {
	clear(reuse)
	in.mu.Lock()
	defer in.mu.Unlock()
	ended = in.ended.Load()
	news, in.news = in.news, reuse[:0]
	if len(in.dirty) > 0 {
		dirty, in.dirty = in.dirty, make(map[string]span)
	}
	return news, dirty, ended
}

// giveBack has a range taken again.
func (in *inbox) giveBack(conv string, r span) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if newer, ok := in.dirty[conv]; ok {
		r.to = newer.to
	}
	in.dirty[conv] = r
}
