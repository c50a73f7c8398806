package client

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/petrelchat/petrel/protocol"
)

const (
	typingLasts   = 6 * time.Second
	presencesMost = 20_000 // users, so that nobody fills the memory
	typingsMost   = 1000
)

// live is what holds for the moment and is not stored: who is there, who is typing. All methods may be called from any
// goroutine.
type live struct {
	news *fanout
	now  func() time.Time

	mu        sync.Mutex
	presences map[string]Presence
	types     map[[2]string]time.Time // until when, by conversation and user
	wanted    bool                    // somebody asked who is there
}

func newLive(news *fanout, now func() time.Time) *live {
	return &live{news: news, now: now, presences: make(map[string]Presence), types: make(map[[2]string]time.Time)}
}

// typing notes that somebody types, or stopped.
func (l *live) typing(conv, user string, on bool) {
	k := [2]string{conv, user}
	l.mu.Lock()
	_, was := l.types[k]
	switch {
	case on && (was || len(l.types) < typingsMost):
		l.types[k] = l.now().Add(typingLasts)
	default:
		delete(l.types, k)
	}
	l.mu.Unlock()
	if was != on {
		l.news.tell(Update{Kind: UpdateTyping, Conv: conv})
	}
}

// who returns who types.
func (l *live) who(conv string) (users []string) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, until := range l.types {
		if k[0] == conv && until.After(now) {
			users = append(users, k[1])
		}
	}
	slices.Sort(users)
	return users
}

// sweep takes away who stopped without a word, and returns when to come again; zero: nobody types.
func (l *live) sweep() (next time.Time) {
	now := l.now()
	var told []Update
	l.mu.Lock()
	for k, until := range l.types {
		switch {
		case !until.After(now):
			delete(l.types, k)
			told = append(told, Update{Kind: UpdateTyping, Conv: k[0]})
		case next.IsZero() || until.Before(next):
			next = until
		}
	}
	l.mu.Unlock()
	l.news.tell(told...)
	return next
}

// presence returns what is known; first: nobody has asked before.
func (l *live) presence(user string) (p Presence, first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first, l.wanted = !l.wanted, true
	return l.presences[user], first
}

// present takes a delivery of u/{user}/presence; an empty one takes it away.
func (l *live) present(user string, payload []byte) {
	var p protocol.Presence
	if len(payload) > 0 && json.Unmarshal(payload, &p) != nil {
		return
	}
	now := Presence{State: p.State, Text: p.Text}
	if p.Seen > 0 {
		now.Seen = time.UnixMilli(p.Seen)
	}
	l.mu.Lock()
	old, was := l.presences[user]
	switch {
	case p.State == "":
		delete(l.presences, user)
	case was || len(l.presences) < presencesMost:
		l.presences[user] = now
	}
	l.mu.Unlock()
	if old != now {
		l.news.tell(Update{Kind: UpdatePresence, User: user})
	}
}

// forget empties what only a connection can tell.
func (l *live) forget() {
	var told []Update
	l.mu.Lock()
	for user := range l.presences {
		told = append(told, Update{Kind: UpdatePresence, User: user})
	}
	for k := range l.types {
		told = append(told, Update{Kind: UpdateTyping, Conv: k[0]})
	}
	clear(l.presences)
	clear(l.types)
	l.mu.Unlock()
	l.news.tell(told...)
}

func (l *live) asked() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wanted
}

// typist returns the conversation and the user of c/{conv}/typing/{from}.
func typist(topic string) (conv, user string, ok bool) {
	parts := strings.Split(topic, "/")
	if len(parts) != 4 || parts[0] != "c" || parts[2] != "typing" {
		return "", "", false
	}
	return parts[1], parts[3], protocol.ValidConv(parts[1]) && protocol.ValidUser(parts[3])
}
