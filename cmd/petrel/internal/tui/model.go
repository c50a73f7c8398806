package tui

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"

	"github.com/petrelchat/petrel/client"
)

// focus is which part of the screen the keys go to.
type focus uint8

const (
	onList     focus = iota
	onEditor         // the message that is typed
	onMessages       // one is chosen, to be replied to, changed …
)

// page is what stands beside the list.
type page uint8

const (
	chatPage page = iota
	memberPage
	searchPage
)

// model is the state of the screens. It belongs to bubbletea's loop: nothing else touches it. What takes time runs in
// commands, which get values and return messages.
type model struct {
	ctx  context.Context
	o    *Options
	c    *client.Client
	act  actor
	p    painter
	keys keyMap

	w, h    int
	away    bool // the terminal told that it is not looked at
	focus   focus
	page    page
	help    bool
	helpTop int
	ask     *ask // a question that takes all keys; nil: none
	notice  notice
	status  client.Status
	ticks   bool // a tick of the clock is under way

	list    list
	open    *talk // the conversation that is shown; nil: none
	find    finder
	members members
	drafts  map[string]string // of conversations that were left, until the store has them
	jumps   int               // counts where the user went: what was sought before comes too late

	threadTexts map[string]string // what was typed in threads and not sent

	jobs     jobs
	courtesy jobs // telling that one types: nothing waits for it
	quit     bool // the program ends when the jobs are done
}

// notice is said for a while at the bottom.
type notice struct {
	text string
	bad  bool
	till time.Time
}

const noticeLasts = 10 * time.Second

// Messages of the model's own.
type (
	updateMsg client.Update // something changed in the store
	endMsg    struct{}      // the updates ended: the program is to end
	tickMsg   struct{}
	// doneMsg is what came of something that the user wanted.
	doneMsg struct {
		out outcome
		err error
	}
)

func newModel(ctx context.Context, o *Options) *model {
	c := o.Client
	m := &model{ctx: ctx, o: o, c: c, act: actor{c: c}, p: newPainter(o.Zone), keys: newKeys(), drafts: make(map[string]string), threadTexts: make(map[string]string), status: c.Status()}
	m.find.input.set("")
	m.refused(client.Status{})
	return m
}

// Init implements tea.Model.
func (m *model) Init() tea.Cmd {
	cmds := []tea.Cmd{m.loadList(), m.tick()}
	if m.o.Open != "" {
		cmds = append(cmds, m.do("to", m.o.Open))
	}
	return tea.Batch(cmds...)
}

// Update implements tea.Model.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	cmd := m.update(msg)
	return m, tea.Batch(cmd, m.see(), m.jobs.next(), m.courtesy.next(), m.tick(), m.leave())
}

func (m *model) update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.w, m.h = msg.Width, msg.Height
		m.lay()
	case tea.ModeReportMsg:
		if msg.Mode == ansi.ModeUnicodeCore { // as the renderer counts, so do we
			m.p.method = methodFor(msg.Value == ansi.ModeReset || msg.Value == ansi.ModeSet || msg.Value == ansi.ModePermanentlySet)
			m.lay()
		}
	case tea.ColorProfileMsg:
		m.p.colour = msg.Profile > colorprofile.Ascii
		m.lay()
	case tea.FocusMsg:
		m.away = false
	case tea.BlurMsg:
		m.away = true
	case tea.InterruptMsg:
		return m.stop()
	case tea.KeyPressMsg:
		return m.key(msg)
	case tea.PasteMsg:
		m.paste(msg.Content)
	case tea.MouseMsg:
		return m.mouse(msg)
	case updateMsg:
		return m.changed(client.Update(msg))
	case listMsg:
		return m.listed(msg)
	case windowMsg:
		return m.loaded(msg)
	case earlierMsg:
		return m.earlierCame(msg)
	case digitMsg:
		return m.digit(msg)
	case jumpMsg:
		return m.jumped(msg)
	case pastMsg:
		return m.pastCame(msg)
	case threadMsg:
		return m.threadCame(msg)
	case threadRootMsg:
		return m.threadFound(msg)
	case membersMsg:
		m.members.take(msg)
	case foundMsg:
		m.find.take(msg)
	case typedMsg:
		return m.keepDraft(msg)
	case jobMsg:
		msg.of.running = false
		if msg.done != nil {
			return msg.done(msg.err)
		}
		m.tell(msg.err)
	case doneMsg:
		return m.done(msg)
	case tickMsg:
		m.ticks = false
	case endMsg:
		return m.stop()
	}
	return nil
}

// changed takes an update of the client's: it says where to look.
func (m *model) changed(u client.Update) tea.Cmd {
	here := m.open != nil && m.open.id == u.Conv
	switch u.Kind {
	case client.UpdateStatus:
		was := m.status
		m.status = m.c.Status()
		m.refused(was)
	case client.UpdateConversation, client.UpdateOutbox, client.UpdateMessages:
		if here {
			return tea.Batch(m.loadList(), m.reload())
		}
		return m.loadList()
	case client.UpdateMembers:
		if here {
			return tea.Batch(m.reload(), m.loadMembers()) // how far they have come is what the states say
		}
	case client.UpdateTyping:
		if here {
			m.open.typing = without(m.c.Typing(u.Conv), m.c.Me())
		}
		m.list.typing(u.Conv, m.c)
	case client.UpdatePresence:
		m.list.presence(u.User, m.c)
		m.members.presence(u.User, m.c)
		if m.open != nil && m.open.row.Peer == u.User {
			m.open.presence = m.c.Presence(u.User)
		}
	case client.UpdateRefused:
		if u.Err != nil {
			m.say("Refused: "+words(u.Err), true)
		}
	}
	return nil
}

// refused says why this device is not let in, unless that was said before: the line of status may be too short for what is to be done.
func (m *model) refused(was client.Status) {
	if s := m.status; s.Permanent && s.Err != nil && !was.Permanent {
		m.say(words(s.Err), true)
	}
}

// done shows what came of a command.
func (m *model) done(msg doneMsg) tea.Cmd {
	m.tell(msg.err)
	if msg.err != nil {
		return nil
	}
	if msg.out.say != "" {
		m.say(msg.out.say, false)
	}
	cmd := m.loadList()
	if msg.out.open != "" {
		return tea.Batch(cmd, m.show(msg.out.open))
	}
	return cmd
}

// do carries out a command beside the keyboard.
func (m *model) do(name, args string) tea.Cmd {
	var conv string
	var at client.Target
	if m.open != nil {
		conv, at = m.open.id, m.open.chosen()
	}
	ctx, act := m.ctx, m.act
	return func() tea.Msg {
		out, err := act.do(ctx, conv, at, name, args)
		return doneMsg{out, err}
	}
}

func (m *model) say(text string, bad bool) {
	m.notice = notice{text, bad, m.o.Now().Add(noticeLasts)}
}

func (m *model) tell(err error) {
	if err != nil && m.ctx.Err() == nil {
		m.say(words(err), true)
	}
}

// tick lets the clock run while the screen shows something that goes by: seconds until the next try, or a notice.
func (m *model) tick() tea.Cmd {
	now := m.o.Now()
	if m.notice.text != "" && !now.Before(m.notice.till) {
		m.notice = notice{}
	}
	if m.ticks || !m.status.Retry.After(now) && m.notice.text == "" {
		return nil
	}
	m.ticks = true
	return tea.Tick(time.Second, func(time.Time) tea.Msg { return tickMsg{} })
}

// stop begins the end: what was typed is kept, and what the user did is written down.
func (m *model) stop() tea.Cmd {
	m.keepThreadText()
	m.saveDraft()
	m.quit = true
	return nil
}

// leave ends the program when there is nothing left to do.
func (m *model) leave() tea.Cmd {
	if m.quit && !m.jobs.running && len(m.jobs.wait) == 0 {
		return tea.Quit
	}
	return nil
}

// jobs are writes to the client's store: they happen one after another, so that what was typed first is sent first.
type jobs struct {
	wait    []job
	running bool
}

type job struct {
	run  func() error
	done func(error) tea.Cmd // nil: an error is told
}

type jobMsg struct {
	of   *jobs
	done func(error) tea.Cmd
	err  error
}

func (j *jobs) add(run func() error, done func(error) tea.Cmd) {
	j.wait = append(j.wait, job{run, done})
}

func (j *jobs) next() tea.Cmd {
	if j.running || len(j.wait) == 0 {
		return nil
	}
	now := j.wait[0]
	j.wait, j.running = j.wait[1:], true
	return func() tea.Msg { return jobMsg{j, now.done, now.run()} }
}
