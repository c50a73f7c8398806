package main

import (
	"context"
	"io"
)

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
		r.buf = make([]byte, 4<<10)
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
