package servertest

import (
	"bytes"
	"sync"
	"testing"
)

// Log keeps what a server and its clients say, and shows the end of it if the test fails. It is safe for many goroutines.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

const (
	kept  = 1 << 20 // bytes; at the most twice as much
	shown = 20_000  // bytes
)

// NewLog is a log of a test.
func NewLog(t testing.TB) *Log {
	l := &Log{}
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		out := l.String()
		t.Log("what was logged:\n" + out[max(len(out)-shown, 0):])
	})
	return l
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.buf.Len() > 2*kept {
		l.buf.Next(l.buf.Len() - kept)
	}
	return l.buf.Write(p)
}

// String is what was said last.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
