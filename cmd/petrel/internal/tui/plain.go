package tui

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/cmd/petrel/internal/termtext"
)

// plain is the messenger in plain lines: for screen readers, for pipes, for terminals that can do no more. A line that
// comes in is a message, or a command behind a slash; a line that goes out says one thing and never changes. Messages are
// named by their numbers.
//
// It belongs to the goroutine of run; what waits for the network runs in goroutines of its own and returns lines.
type plain struct {
	c    *client.Client
	act  actor
	p    painter
	o    *Options
	out  *bufio.Writer
	err  error // of writing: nobody listens any more
	conv string
	row  client.Conversation

	thread uint64 // seq of the first post of the thread that what is typed goes to; 0: none

	said  map[string]map[string]told // what was told of the newest messages, by conversation and key
	began map[string]uint64          // by conversation: the last seq that is no news
	first uint64                     // of the open one: the oldest message that was read out
	state string                     // what was told of the connection
	types string                     // who types, as told
	quiet bool

	typed   []string // lines that wait for what is running: what was typed first is done first
	urgent  bool     // the first of them need not
	results chan func()
	running sync.WaitGroup
	pending int // results that are still to come
}

// told is what was told of a message.
type told struct {
	text, state, reactions string
	deleted                bool
	way                    bool // it was not at the server yet
}

const (
	lineMost  = textMost + 1024 // bytes of a line that is typed
	shownMost = 10              // messages that are read out when a conversation is opened
	lookBack  = 200             // messages in which changes are noticed
)

func runPlain(ctx context.Context, o *Options, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	p := &plain{
		c: o.Client, act: actor{o.Client, &written{ids: make(map[string]bool)}}, p: newPainter(o.Zone), o: o, out: bufio.NewWriter(out),
		said: make(map[string]map[string]told), began: make(map[string]uint64), results: make(chan func()),
	}
	defer p.running.Wait()
	defer cancel()
	return p.run(ctx, in)
}

// run reads, tells and does, one thing at a time.
func (p *plain) run(ctx context.Context, in io.Reader) error {
	lines, updates := make(chan string), make(chan client.Update)
	news := p.c.Updates(ctx) // from here on: what is read first may change at once
	p.running.Add(1)
	go func() {
		defer p.running.Done()
		for u := range news {
			select {
			case updates <- u:
			case <-ctx.Done():
				return
			}
		}
	}()
	broken := make(chan error, 1)
	go readLines(ctx, in, lines, broken) // a read of a terminal can't be called off: it ends with the program

	var fault error
	p.welcome(ctx)
	for {
		if p.err != nil {
			return nil // the reader has gone: that is how pipes end
		}
		if p.work(ctx) || lines == nil && p.pending == 0 && p.drained(ctx) {
			p.goodbye(ctx)
			return fault
		}
		p.flush()
		select {
		case <-ctx.Done():
			return nil
		case line, ok := <-lines:
			if !ok {
				lines = nil
				select {
				case fault = <-broken: // what came before is done all the same
				default:
				}
				break
			}
			if name, _, _, _ := parse(line); p.pending > 0 && slices.Contains([]string{"status", "help"}, name) {
				p.typed = append([]string{line}, p.typed...) // these need not wait
				p.urgent = true
			} else {
				p.typed = append(p.typed, line)
			}
		case u := <-updates:
			p.changed(ctx, u)
		case done := <-p.results:
			p.pending--
			done()
		}
	}
}

// work does what was typed, up to what takes a while; it reports whether that was the end.
func (p *plain) work(ctx context.Context) (quit bool) {
	for len(p.typed) > 0 && (p.pending == 0 || p.urgent) && !quit {
		line := p.typed[0]
		p.typed, p.urgent = p.typed[1:], false
		quit = p.line(ctx, line)
	}
	return quit
}

// readLines hands over what is typed. It is the only one to close lines.
func readLines(ctx context.Context, in io.Reader, lines chan<- string, broken chan<- error) {
	defer close(lines)
	s := bufio.NewScanner(in)
	s.Buffer(make([]byte, 4096), lineMost)
	for s.Scan() {
		select {
		case lines <- s.Text():
		case <-ctx.Done():
			return
		}
	}
	if err := s.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("a line is longer than %d bytes, which is more than a message may have", lineMost)
		}
		broken <- err
	}
}

// drained reports whether what was typed before the input ended is sent, so far as that is possible now.
func (p *plain) drained(ctx context.Context) bool {
	s := p.c.Status()
	return s.Queued == 0 || s.State == client.Offline && s.Err != nil || ctx.Err() != nil
}

// goodbye tells what is left to be told.
func (p *plain) goodbye(ctx context.Context) {
	if p.conv != "" {
		p.news(ctx, p.conv)
	}
	if n := p.c.Status().Queued; n > 0 {
		p.say("%s not sent yet: that is kept, and goes out when petrel runs again.", count(n, "message is", "messages are"))
	}
	p.flush()
}

// say writes a line. Whatever is in it, it stays one line of text.
func (p *plain) say(format string, args ...any) {
	if p.err == nil {
		_, p.err = p.out.WriteString(termtext.Line(fmt.Sprintf(format, args...)) + "\n")
	}
}

// block writes text of several lines, each of the later ones indented.
func (p *plain) block(head, text string) {
	for i, line := range strings.Split(termtext.Block(text), "\n") {
		if i == 0 {
			p.say("%s%s", head, line)
		} else {
			p.say("    %s", line)
		}
	}
}

func (p *plain) flush() {
	if err := p.out.Flush(); err != nil && p.err == nil {
		p.err = err
	}
}

func (p *plain) welcome(ctx context.Context) {
	p.say("petrel: you are %s. /help lists the commands; /to NAME opens a conversation.", p.c.Me())
	if s := p.c.Status(); s.Err != nil || s.State == client.UpToDate {
		p.status()
	}
	if p.o.Open != "" {
		p.command(ctx, "to", p.o.Open)
		return
	}
	if rows, err := p.c.Conversations(ctx, client.ConversationsQuery{Limit: 1}); err == nil && len(rows) > 0 {
		p.list(ctx, "")
	}
}

// line takes a line that was typed; it reports whether that was the last one.
func (p *plain) line(ctx context.Context, line string) (quit bool) {
	line = strings.TrimRight(line, "\r\n ")
	name, args, text, isCommand := parse(line)
	switch {
	case strings.TrimSpace(line) == "":
		return false
	case isCommand && name == "quit":
		return true
	case isCommand:
		p.command(ctx, name, args)
	case p.conv == "":
		p.say("Open a conversation first: /to USER or GROUP. /list shows yours.")
	default:
		if err := p.act.post(ctx, p.conv, text, client.At(p.thread)); err != nil {
			p.say("Not sent: %s", words(err))
		}
		p.news(ctx, p.conv)
	}
	return false
}

// command carries out a command: what only reads the store at once, the rest beside the keyboard.
func (p *plain) command(ctx context.Context, name, args string) {
	switch name {
	case "help":
		p.help()
	case "list":
		p.list(ctx, args)
	case "who":
		p.who(ctx)
	case "status":
		p.say("%s.", statusWords(p.c.Status(), p.o.Now()))
	case "quiet":
		if p.quiet = !p.quiet; p.quiet {
			p.say("Quiet: no states, no typing.")
		} else {
			p.say("States and typing are told.")
		}
	case "more":
		p.more(ctx, args)
	case "search":
		p.search(ctx, args)
	case "thread":
		p.readThread(ctx, args)
	case "around":
		p.around(ctx, args)
	default:
		if !known(name) {
			p.say("%s", unknownCommand(name))
			return
		}
		conv, act := p.conv, p.act
		p.beside(ctx, func() func() {
			out, err := act.do(ctx, conv, client.Target{}, name, args)
			return func() { p.done(ctx, out, err) }
		})
	}
}

// beside runs work that may take as long as the network does; what it returns runs here.
func (p *plain) beside(ctx context.Context, work func() func()) {
	p.pending++
	p.running.Add(1)
	go func() {
		defer p.running.Done()
		result := work()
		select {
		case p.results <- result:
		case <-ctx.Done():
		}
	}()
}

func (p *plain) done(ctx context.Context, out outcome, err error) {
	if err != nil {
		p.say("%s", words(err))
		return
	}
	if out.say != "" {
		p.say("%s", out.say)
	}
	if out.open != "" {
		p.show(ctx, out.open, out.title)
	} else if p.conv != "" {
		p.news(ctx, p.conv)
	}
}

// show opens a conversation and reads out the newest of it. title is what it is called if this device does not know yet.
func (p *plain) show(ctx context.Context, conv, title string) {
	p.conv, p.types, p.thread = conv, "", 0
	row, err := p.c.Conversation(ctx, conv)
	if err != nil {
		row = client.Conversation{ID: conv, Title: conv}
		if row.Direct, row.Peer = peerOf(conv, p.c.Me()); row.Direct {
			row.Title = row.Peer
		}
	}
	if row.Title == conv && title != "" {
		row.Title = title
	}
	p.row = row
	p.say("-- %s --", p.title(&row))
	if row.Pending {
		p.say("%s wants to write to you: /accept or /decline", row.Peer)
	}
	msgs, err := p.c.Messages(ctx, conv, client.Page{Limit: lookBack})
	if err != nil && !errors.Is(err, client.ErrNotFound) {
		p.say("%s", words(err))
	}
	old := max(len(msgs)-max(shownMost, row.Unread), 0)
	p.said[conv] = make(map[string]told)
	for i := range msgs[:old] {
		p.said[conv][keyOf(&msgs[i])] = tellOf(&msgs[i])
	}
	p.first = firstSeq(msgs[old:])
	p.tellAll(msgs, &row)
	p.read(ctx, msgs)
	if row.Draft != "" {
		p.say("Draft: %s", row.Draft)
	}
}

// read tells the server what was read out.
func (p *plain) read(ctx context.Context, msgs []client.Message) {
	if last := lastSeq(msgs); last > p.row.Read && p.row.Role != "" {
		if err := p.c.MarkRead(ctx, p.conv, max(last, p.row.Head)); err != nil {
			p.say("%s", words(err))
		}
	}
}

func (p *plain) help() {
	for _, c := range commands() {
		p.say("/%s: %s", strings.TrimSpace(c.name+" "+c.args), c.help)
	}
	p.say("Anything else is a message. #N is the number of a message; without it the newest one is meant.")
}
