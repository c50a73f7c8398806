package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
)

// lineGroups are the lines of an input, in groups: all that wait already are taken together, so that they can be stored together, and
// one that is alone waits for no other.
type lineGroups struct {
	r *bufio.Reader
	n int // read so far
}

func newLineGroups(r io.Reader) *lineGroups {
	return &lineGroups{r: bufio.NewReaderSize(r, maxText+2)}
}

// linesMost bounds a group.
const linesMost = 500

// next returns the next group: at least one line, without their ends. At the end of the input it is io.EOF.
func (l *lineGroups) next() (group []string, err error) {
	for len(group) == 0 || len(group) < linesMost && l.waits() {
		line, err := l.r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return group, errors.New("a line is longer than 64 KiB, which is the longest message: break it in parts")
		}
		if err != nil && (err != io.EOF || len(line) == 0) {
			return group, err
		}
		l.n++
		group = append(group, strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r"))
	}
	return group, nil
}

// waits reports whether a whole line was read already.
func (l *lineGroups) waits() bool {
	b, _ := l.r.Peek(l.r.Buffered()) // never more than there is
	return bytes.IndexByte(b, '\n') >= 0
}

// interruptible is r until ctx ends: what waits for a terminal or a pipe can't be called back, and ^C is to end a command
// all the same. A goroutine that is reading then ends with the process, or when something comes.
func interruptible(ctx context.Context, r io.Reader) io.Reader {
	return &interruptibleReader{ctx: ctx, in: r, done: make(chan readResult, 1)}
}

type interruptibleReader struct {
	ctx  context.Context
	in   io.Reader
	buf  []byte // the goroutine's while it reads
	done chan readResult
}

type readResult struct {
	n   int
	err error
}

// Read implements io.Reader. After ctx has ended it returns why, always.
func (r *interruptibleReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if r.buf == nil {
		r.buf = make([]byte, 64<<10) // what a pipe holds
	}
	buf := r.buf[:min(len(r.buf), len(p))]
	go func() {
		n, err := r.in.Read(buf)
		r.done <- readResult{n, err}
	}()
	select {
	case <-r.ctx.Done():
		return 0, r.ctx.Err()
	case got := <-r.done:
		return copy(p, buf[:got.n]), got.err
	}
}
