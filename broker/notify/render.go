package notify

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// render makes the notification for one registration: its language, and whether it may tell who and what.
func (w *worker) render(f *facts, r *Registration) *Notification {
	last := f.newest()
	n := &Notification{
		ID: w.keys.id(w.user, f.conv, f.upTo), Topic: w.keys.topic(w.user, f.conv), About: AboutMessages,
		Count: f.count(), At: last.at, TTL: w.settings.TTL,
		Private: w.settings.Private || w.own.Private || r.Private || f.has(func(p post) bool { return p.enc }),
	}
	var err error
	if n.Badge, err = w.unread(); err != nil {
		w.o.Log.Error("counting what is unread failed", "user", w.user, "error", err)
	}
	calls := f.has(func(p post) bool { return p.call })
	switch mentioned := f.has(func(p post) bool { return p.mention }); {
	case f.convs > 1:
		n.About = AboutDigest
	case calls:
		n.About, n.Urgent = AboutCall, true
	case mentioned:
		n.About, n.Urgent = AboutMention, true
	}
	p := phrasesOf(r.Lang)
	if n.Private {
		n.Body = p.count(n.Count, f.more)
		return n
	}
	n.Conv, n.Seq = f.conv, last.seq
	if f.convs > 1 {
		n.Seq = 0
	}
	w.words(n, f, p)
	return n
}

// words fills in who, what and where.
func (w *worker) words(n *Notification, f *facts, p *phrases) {
	senders := f.senders()
	names := make([]string, min(2, len(senders)))
	for i := range names {
		names[i] = w.name(senders[i])
	}
	who := p.who(names, len(senders))
	switch {
	case n.Count == 1 && n.About == AboutMention:
		n.Body = fmt.Sprintf(p.mention, who)
	case n.Count == 1 && n.About == AboutCall:
		n.Body = fmt.Sprintf(p.call, who)
	default:
		n.Body = who + ": " + p.count(n.Count, f.more)
	}
	if f.convs > 1 {
		n.Body = fmt.Sprintf(p.convs, n.Body, f.convs)
		return
	}
	last := f.newest()
	n.Text = cut(oneLine(last.text), previewMax)
	if _, _, direct := chat.Parties(f.conv); direct {
		n.Title = w.name(last.from)
		return
	}
	n.Title = w.title(f.conv)
	n.Body = fmt.Sprintf(p.in, n.Body, n.Title)
	if n.Text != "" {
		n.Text = cut(w.name(last.from)+": "+n.Text, previewMax)
	}
}

func (f *facts) has(fn func(post) bool) bool { return slices.ContainsFunc(f.posts, fn) }

func (f *facts) newest() *post {
	newest := &f.posts[0]
	for i := range f.posts {
		if p := &f.posts[i]; p.at >= newest.at {
			newest = p
		}
	}
	return newest
}

// senders returns who wrote, in the order of their first message.
func (f *facts) senders() (users []string) {
	seen := make(map[string]bool)
	for i := range f.posts {
		if from := f.posts[i].from; !seen[from] {
			seen[from] = true
			users = append(users, from)
		}
	}
	return users
}

// name is what a user is called: the id where there is no name.
func (w *worker) name(user string) string {
	name, err := w.o.Name(user)
	if err != nil {
		w.o.Log.Error("reading a name failed", "user", user, "error", err)
	}
	if name = strings.TrimSpace(cut(oneLine(name), nameMax)); name == "" {
		return user
	}
	return name
}

// title is what a group is called.
func (w *worker) title(conv string) string {
	var rec storage.Conv
	err := w.record(storage.In(storage.SpaceConv).Str(conv), func(v []byte) error { return storage.Unmarshal(v, &rec) })
	if err != nil {
		w.o.Log.Error("reading a title failed", "conv", conv, "error", err)
	}
	if title := cut(oneLine(rec.Info.Title), 2*nameMax); title != "" {
		return title
	}
	return conv
}

// testID makes each test its own.
func (k *Keys) testID(r *Registration, now int64) string {
	return k.opaque("test", r.User, r.Name, strconv.FormatInt(now, 10))[:22]
}
