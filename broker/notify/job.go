package notify

import (
	"cmp"
	"slices"
	"time"

	"github.com/petrelchat/petrel/storage"
)

// Why nobody was told of something, as indexes of Stats.Dropped; [Reasons] names them.
const (
	droppedOnline       = iota // the user came and got it
	droppedNothing             // read, deleted, gone, muted, archived, blocked
	droppedExpired             // no push service took it for Settings.TTL
	droppedUnregistered        // the user has no registration any more
	reasons
)

// Reasons returns the names of why nobody was told, in the order of Stats.Dropped.
func Reasons() []string { return []string{"online", "nothing", "expired", "unregistered"} }

// task is an entry as a worker gets it.
type task struct {
	conv   string
	from   uint64
	last   uint64
	urgent uint64
	away   uint64
	since  int64
	quiet  bool
	lag    map[string]uint64
	mark   *Mark // nil: as stored
	renew  uint64
}

// job is a user's entries that are due, for one worker.
type job struct {
	account *account
	tasks   []task
	now     int64
}

// outcome is what became of a task: told up to upTo, or held until then.
type outcome struct {
	task  *task
	upTo  uint64 // 0: nothing happened, it is held
	mark  *Mark  // nil: unchanged
	lag   map[string]uint64
	until int64 // ms: when to go on, if there is something left
	why   byte
	quiet bool
	drop  int // index of Stats.Dropped; -1: told
}

type result struct {
	job  *job
	outs []outcome
}

const (
	onlineEvery = 30 * time.Second // how often somebody who is online is looked at again
	onlineMost  = 3 * time.Minute  // how long; a connection that is dead will have been found out
)

// carryOut gives what is due of an account to a worker, or settles it right here for a user who is online.
func (s *Service) carryOut(a *account, now int64) {
	l := &s.loop
	if s.o.Online(a.name) {
		s.whileOnline(a, now)
		l.arrange(a)
		return
	}
	j := &job{account: a, now: now}
	for _, e := range a.entries {
		if e.due > now {
			continue
		}
		j.tasks = append(j.tasks, task{
			conv: e.conv, from: e.from, last: e.last, urgent: e.urgent, away: e.away, since: e.since, quiet: e.quiet, lag: e.lag,
			mark: l.marks[markOf{a.name, e.conv}], renew: l.ended + 1,
		})
	}
	slices.SortFunc(j.tasks, func(x, y task) int { return cmp.Or(cmp.Compare(x.since, y.since), cmp.Compare(x.conv, y.conv)) })
	a.index = withWorker
	l.busy++
	s.Stats.Busy.Store(int64(l.busy))
	go func() { s.results <- result{j, s.work(j)} }()
}

// whileOnline drops what the user has got. A connection may be dead without anybody knowing yet, so what was not
// acknowledged is kept for a while, until the user is there or away for sure.
func (s *Service) whileOnline(a *account, now int64) {
	for _, e := range a.entries {
		if e.due > now {
			continue
		}
		cur, err := s.cursor(a.name, e.conv)
		if err == nil && max(cur.Delivered, cur.Read) < e.last && now-e.since < onlineMost.Milliseconds() {
			e.due, e.why = now+onlineEvery.Milliseconds(), whyOnline
			s.loop.save(e)
			continue
		}
		s.Stats.Dropped[droppedOnline].Add(1)
		s.forget(e)
	}
}

// settle takes over what a worker did.
func (s *Service) settle(r result) {
	l := &s.loop
	a := r.job.account
	a.index = -1
	l.busy--
	s.Stats.Busy.Store(int64(l.busy))
	now := s.now()
	back := max(0, r.job.now-now) // the clock was put back meanwhile
	for i := range r.outs {
		o := &r.outs[i]
		if o.until > 0 {
			o.until -= back
		}
		e := a.entries[o.task.conv]
		if o.mark != nil {
			l.marks[markOf{a.name, e.conv}] = o.mark
		}
		if o.drop >= 0 {
			s.Stats.Dropped[o.drop].Add(1)
		}
		s.settleEntry(e, o, now)
	}
	l.arrange(a)
}

func (s *Service) settleEntry(e *entry, o *outcome, now int64) {
	e.quiet = o.quiet
	newer := e.urgent > o.task.urgent
	if o.upTo == 0 { // held
		e.due, e.why = o.until, o.why
		if newer {
			e.due = now
		}
		s.loop.save(e)
		return
	}
	fresh := e.last > o.upTo
	if !fresh && len(o.lag) == 0 {
		s.forget(e)
		return
	}
	e.from, e.lag, e.commit = o.upTo+1, o.lag, max(e.commit, o.task.renew)
	if e.away != 0 {
		e.away = max(e.away, e.from)
	}
	e.due, e.why = o.until, whyRetry
	if len(o.lag) == 0 {
		e.since, e.why = now, whyWindow
	}
	if soon := now + s.settings.Load().Window.Milliseconds(); fresh && (len(o.lag) == 0 || soon < e.due) {
		e.due = soon
	}
	if newer {
		e.due = now
	}
	if e.key != nil || len(o.lag) > 0 {
		s.loop.save(e)
	}
}

// work tells a user of what is due. It runs on a goroutine of its own.
func (s *Service) work(j *job) (outs []outcome) {
	w := &worker{Service: s, user: j.account.name, job: j, settings: s.settings.Load(), circuits: j.account.circuits}
	outs = make([]outcome, len(j.tasks))
	for i := range outs {
		outs[i] = outcome{task: &j.tasks[i], quiet: j.tasks[i].quiet, drop: -1}
	}
	if err := w.prepare(); err != nil {
		s.o.Log.Error("notifying failed; it is tried again", "user", w.user, "error", err)
		return w.hold(outs, time.Minute, whyRetry)
	}
	if len(w.regs) == 0 {
		for i := range outs {
			outs[i].upTo, outs[i].drop = max(outs[i].task.last, 1), droppedUnregistered
		}
		return outs
	}
	if q := w.own.Quiet; q != nil {
		if end, quiet := q.Until(time.UnixMilli(j.now)); quiet {
			for i := range outs {
				outs[i].quiet = true
			}
			return w.hold(outs, end.Sub(time.UnixMilli(j.now)), whyQuiet)
		}
	}
	if held := w.heldBack(outs); len(held) > 1 {
		w.digest(held)
	}
	for i := range outs {
		if o := &outs[i]; o.upTo == 0 && o.until == 0 {
			w.one(o)
		}
	}
	return outs
}

// heldBack returns what quiet hours held back.
func (w *worker) heldBack(outs []outcome) (held []*outcome) {
	for i := range outs {
		if outs[i].task.quiet {
			held = append(held, &outs[i])
		}
	}
	return held
}

// worker is what a job needs of its user.
type worker struct {
	*Service
	user     string
	job      *job
	settings *Settings
	own      UserSettings
	regs     []Registration
	circuits map[string]circuit
	badge    *uint64
}

func (w *worker) prepare() (err error) {
	if w.regs, err = w.Registrations(w.user); err != nil {
		return err
	}
	if len(w.regs) == 0 {
		return w.recount(w.user)
	}
	w.own, err = w.UserSettings(w.user)
	return err
}

func (w *worker) hold(outs []outcome, d time.Duration, why byte) []outcome {
	for i := range outs {
		outs[i].until, outs[i].why = w.job.now+d.Milliseconds(), why
	}
	return outs
}

// mark returns how far the user was told, as far as this run or the store knows.
func (w *worker) mark(t *task) (m Mark, err error) {
	if t.mark != nil {
		return *t.mark, nil
	}
	v, ok, err := w.o.Store.Get(markKey(w.user, t.conv))
	if err == nil && ok {
		err = storage.Unmarshal(v, &m)
	}
	return m, err
}

// one tells of one conversation.
func (w *worker) one(o *outcome) {
	t := o.task
	o.quiet = false // it has its turn now, alone
	views, mark, err := w.look(t)
	if err != nil {
		w.o.Log.Error("notifying failed; it is tried again", "user", w.user, "conv", t.conv, "error", err)
		o.until, o.why = w.job.now+time.Minute.Milliseconds(), whyRetry
		return
	}
	o.upTo = views.upTo
	if views.empty() {
		o.drop = droppedNothing
		return
	}
	if len(views.all[views.from].posts) > 0 { // somebody is told of something new
		if until, full := mark.full(w.job.now, w.settings.PerHour, views.urgent()); full {
			o.upTo, o.until, o.why = 0, until, whyPerHour
			return
		}
	}
	sent := w.tell(o, views.each(w.regs, t.lag), func(f *facts, r *Registration) *Notification { return w.render(f, r) })
	next := Mark{UpTo: max(mark.UpTo, o.upTo), Sent: mark.recent(w.job.now)}
	if sent {
		next.Sent = append(next.Sent, w.job.now)
	}
	o.mark = &next
}

// digest tells in one of what quiet hours held back in several conversations.
func (w *worker) digest(held []*outcome) {
	var several []*outcome
	var all []*views
	var marks []Mark
	for _, o := range held {
		v, mark, err := w.look(o.task)
		if err != nil {
			w.o.Log.Error("notifying failed; it is tried again", "user", w.user, "conv", o.task.conv, "error", err)
			o.until, o.why = w.job.now+time.Minute.Milliseconds(), whyRetry
			continue
		}
		if v.empty() {
			o.upTo, o.drop = v.upTo, droppedNothing
			continue
		}
		several, all, marks = append(several, o), append(all, v), append(marks, mark)
	}
	if len(several) < 2 {
		return // it is told as any other
	}
	each := make(map[string]*facts, len(w.regs))
	for i := range w.regs {
		name := w.regs[i].Name
		f := &facts{convs: len(several)}
		for k, o := range several {
			one := all[k].of(name, o.task.lag)
			f.add(one)
		}
		if f.count() > 0 {
			each[name] = f
		}
	}
	total := outcome{task: &task{since: several[0].task.since}, drop: -1}
	w.tell(&total, each, func(f *facts, r *Registration) *Notification { return w.render(f, r) })
	for k, o := range several {
		o.upTo, o.until, o.drop = all[k].upTo, total.until, total.drop
		o.mark = &Mark{UpTo: max(marks[k].UpTo, o.upTo), Sent: marks[k].recent(w.job.now)}
		for name := range total.lag {
			if o.lag == nil {
				o.lag = make(map[string]uint64)
			}
			o.lag[name] = all[k].lowOf(name, o.task.lag)
		}
	}
}

// recent returns the times within the last hour. Those that are to come are of a clock that was put back.
func (m *Mark) recent(now int64) []int64 {
	return slices.DeleteFunc(slices.Clone(m.Sent), func(at int64) bool {
		return at <= now-time.Hour.Milliseconds() || at > now
	})
}

// full reports whether there were as many notifications within the last hour as may be, and until when. Mentions and calls
// may be as many again.
func (m *Mark) full(now int64, most int, urgent bool) (until int64, full bool) {
	if urgent {
		most *= 2
	}
	sent := m.recent(now)
	if len(sent) < most {
		return 0, false
	}
	return sent[len(sent)-most] + time.Hour.Milliseconds(), true
}
