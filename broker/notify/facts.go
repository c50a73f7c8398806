package notify

import (
	"errors"
	"slices"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// post is an event that somebody is told of.
type post struct {
	seq     uint64
	at      int64
	from    string
	text    string
	mention bool
	call    bool
	enc     bool
}

// facts is what a notification is made of.
type facts struct {
	conv  string // "": several
	convs int
	low   uint64 // first seq that it may be about
	upTo  uint64
	posts []post // ascending in each conversation
	more  bool   // there are older ones
}

func (f *facts) count() int { return len(f.posts) }

func (f *facts) add(o *facts) {
	if o == nil {
		return
	}
	f.posts = append(f.posts, o.posts...)
	f.more, f.upTo = f.more || o.more, f.upTo+o.upTo
}

// views are the facts of one conversation from different events on: not all registrations have come equally far.
type views struct {
	from uint64 // where those begin that were told of all before
	upTo uint64
	all  map[uint64]*facts // by where they begin
}

func (v *views) empty() bool {
	for _, f := range v.all {
		if f.count() > 0 {
			return false
		}
	}
	return true
}

// urgent reports whether a mention or a call is among what is new.
func (v *views) urgent() bool {
	return slices.ContainsFunc(v.all[v.from].posts, func(p post) bool { return p.mention || p.call })
}

func (v *views) lowOf(name string, lag map[string]uint64) uint64 {
	if low, ok := lag[name]; ok {
		return min(low, v.from)
	}
	return v.from
}

func (v *views) of(name string, lag map[string]uint64) *facts { return v.all[v.lowOf(name, lag)] }

// each returns the facts of the registrations that have something to be told.
func (v *views) each(regs []Registration, lag map[string]uint64) map[string]*facts {
	each := make(map[string]*facts, len(regs))
	for i := range regs {
		if f := v.of(regs[i].Name, lag); f != nil && f.count() > 0 {
			each[regs[i].Name] = f
		}
	}
	return each
}

// readMax is how many events of a conversation are looked at.
const readMax = 1000

// look reads what there is to tell of a conversation, as it is now.
func (w *worker) look(t *task) (*views, Mark, error) {
	mark, err := w.mark(t)
	if err != nil {
		return nil, mark, err
	}
	v := &views{from: max(t.from, mark.UpTo+1), all: make(map[uint64]*facts)}
	lowest := v.from
	for i := range w.regs {
		lowest = min(lowest, v.lowOf(w.regs[i].Name, t.lag))
	}
	posts, more, upTo, err := w.posts(t, lowest)
	if err != nil {
		return nil, mark, err
	}
	v.upTo = max(upTo, t.last, mark.UpTo)
	begin := func(low uint64) {
		if v.all[low] == nil {
			i, _ := slices.BinarySearchFunc(posts, low, func(p post, low uint64) int {
				if p.seq < low {
					return -1
				}
				return 1
			})
			v.all[low] = &facts{conv: t.conv, convs: 1, low: low, upTo: v.upTo, posts: posts[i:], more: more}
		}
	}
	begin(v.from)
	for i := range w.regs {
		begin(v.lowOf(w.regs[i].Name, t.lag))
	}
	return v, mark, nil
}

// posts returns what the user has not read of a conversation from an event on and would want to be told of, and
// the head.
func (w *worker) posts(t *task, low uint64) (posts []post, more bool, head uint64, err error) {
	conv := t.conv
	var m chat.Member
	if err = w.record(storage.In(storage.SpaceMembership).Str(w.user).Str(conv), func(v []byte) (err error) {
		m, err = storage.DecodeMember(v)
		return err
	}); err != nil || m.Role == chat.RoleNone {
		return nil, false, 0, err
	}
	cur, err := w.cursor(w.user, conv)
	if err != nil {
		return nil, false, 0, err
	}
	away, err := storage.ConvSettings(w.o.Store, w.user, conv)
	if err != nil {
		return nil, false, 0, err
	}
	if head, _, err = w.o.Head(conv); err != nil {
		return nil, false, 0, err
	}
	muted := away.Muted(w.job.now)
	low = max(low, m.Since, m.Joined, cur.Read+1)
	if t.away == 0 || low < t.away { // what came while the user was there was shown, if a device has it
		low = max(low, cur.Delivered+1)
		if t.away != 0 {
			low = min(low, t.away)
		}
	}
	if away.Archived || muted && w.own.Mentions == MentionsMuted || low > head {
		return nil, false, head, nil
	}
	r := reading{worker: w, conv: conv, mentionsOnly: muted, texts: make(map[uint64]string), without: make(map[uint64]bool)}
	if err := r.hidden(low); err != nil {
		return nil, false, 0, err
	}
	if head-low >= readMax {
		low, more = head-readMax+1, true
	}
	if err := w.o.Store.ReadBack(conv, low, head, r.take); err != nil || r.err != nil {
		return nil, false, 0, errors.Join(err, r.err)
	}
	slices.Reverse(r.posts)
	return r.posts, more, head, nil
}

func (s *Service) cursor(user, conv string) (cur chat.Cursor, err error) {
	err = s.record(storage.In(storage.SpaceCursor).Str(conv).Str(user), func(v []byte) (err error) {
		cur, err = storage.DecodeCursor(v)
		return err
	})
	return cur, err
}

// record decodes a record, if there is one.
func (s *Service) record(k storage.Key, decode func([]byte) error) error {
	v, ok, err := s.o.Store.Get(k)
	if err != nil || !ok {
		return err
	}
	return decode(v)
}

// reading goes through a log from its end back, so that it meets what changes an event before the event.
type reading struct {
	*worker
	conv         string
	mentionsOnly bool
	texts        map[uint64]string // as edited last
	without      map[uint64]bool   // deleted, for all or for the user
	blocked      map[string]bool
	posts        []post
	err          error
}

// hidden notes what the user deleted for themselves.
func (r *reading) hidden(low uint64) error {
	prefix := storage.In(storage.SpaceHidden).Str(r.user).Str(r.conv)
	return r.o.Store.Scan(prefix, append(storage.Key(nil), prefix...).U64(low-1), func(k storage.Key, _ []byte) bool {
		if seq, _, ok := storage.TakeU64(k[len(prefix):]); ok {
			r.without[seq] = true
		}
		return true
	})
}

func (r *reading) take(e storage.Entry) bool {
	ev, err := r.o.Decode(e.Data)
	if err != nil {
		r.err = err
		return false
	}
	switch ev.Kind {
	case chat.KindEdit:
		if _, ok := r.texts[ev.Re]; !ok {
			r.texts[ev.Re] = ev.Text
		}
		return true
	case chat.KindDelete:
		r.without[ev.Re] = true
		return true
	case chat.KindPost, chat.KindCall:
	default:
		return true
	}
	if ev.From == r.user || r.without[e.Seq] || ev.Expired(r.job.now) || ev.Kind == chat.KindCall && took(&ev, r.user) {
		return true
	}
	p := post{seq: e.Seq, at: ev.At, from: ev.From, text: ev.Text, enc: len(ev.Enc) > 0, call: ev.Kind == chat.KindCall,
		mention: slices.Contains(ev.Mentions, r.user)}
	if text, ok := r.texts[e.Seq]; ok {
		p.text = text
	}
	if r.mentionsOnly && !p.mention {
		return true
	}
	blocked, err := r.blocks(ev.From)
	if r.err = err; err == nil && !blocked {
		r.posts = append(r.posts, p)
	}
	return err == nil
}

func (r *reading) blocks(from string) (bool, error) {
	if b, ok := r.blocked[from]; ok {
		return b, nil
	}
	b, err := storage.Blocks(r.o.Store, r.user, from)
	if err == nil {
		if r.blocked == nil {
			r.blocked = make(map[string]bool)
		}
		r.blocked[from] = b
	}
	return b, err
}

// unread is the badge: what the user has not read in conversations that are neither muted nor archived.
func (w *worker) unread() (uint64, error) {
	if w.badge != nil {
		return *w.badge, nil
	}
	type standing struct {
		conv string
		m    chat.Member
	}
	var all []standing
	prefix := storage.In(storage.SpaceMembership).Str(w.user)
	var bad error
	err := w.o.Store.Scan(prefix, nil, func(k storage.Key, v []byte) bool {
		conv, _, ok := storage.TakeStr(k[len(prefix):])
		m, err := storage.DecodeMember(v)
		if bad = err; ok && err == nil && m.Role != chat.RoleNone {
			all = append(all, standing{conv, m})
		}
		return err == nil
	})
	if err = errors.Join(err, bad); err != nil {
		return 0, err
	}
	var sum uint64
	for _, st := range all {
		head, _, err := w.o.Head(st.conv)
		if err != nil {
			return 0, err
		}
		cur, err := w.cursor(w.user, st.conv)
		if err != nil {
			return 0, err
		}
		n := chat.UnreadAfter(cur, st.m, head)
		if n == 0 {
			continue
		}
		away, err := storage.ConvSettings(w.o.Store, w.user, st.conv)
		if err != nil {
			return 0, err
		}
		if !away.Archived && !away.Muted(w.job.now) {
			sum += n
		}
	}
	w.badge = &sum
	return sum, nil
}
