package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// progress is a bar on standard error for what takes long. It is there on a terminal only.
type progress struct {
	w     io.Writer // nil: no bar
	what  string
	next  time.Time // not before; a bar that flickers is worse than none
	shown bool
}

const (
	progressDelay = 400 * time.Millisecond
	progressPace  = 100 * time.Millisecond
	progressWidth = 30
)

// newProgress begins a bar. env may say TERM=dumb, which can't go back in a line.
func newProgress(con console, what string) *progress {
	p := &progress{what: what, next: time.Now().Add(progressDelay)}
	if f, ok := con.err.(*os.File); ok && isTerminal(f) && lookup(con.env, "TERM") != "dumb" {
		p.w = f
	}
	return p
}

// show says how far it is; total 0: unknown.
func (p *progress) show(done, total int) {
	if p.w == nil {
		return
	}
	now := time.Now()
	if now.Before(p.next) {
		return
	}
	p.next, p.shown = now.Add(progressPace), true
	fmt.Fprint(p.w, "\r\x1b[K", bar(p.what, done, total))
}

// end takes the bar away.
func (p *progress) end() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}

// bar draws it: catching up [#####     ] 120 of 4,000.
func bar(what string, done, total int) string {
	if total <= 0 {
		return fmt.Sprintf("%s %s", what, thousands(done))
	}
	full := progressWidth * min(done, total) / total
	return fmt.Sprintf("%s [%s%s] %s of %s", what, strings.Repeat("#", full), strings.Repeat(" ", progressWidth-full), thousands(done), thousands(total))
}

// thousands writes 4000 as 4,000.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
