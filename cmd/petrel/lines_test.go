package main

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

// chunks is an input that comes in pieces.
type chunks []string

func (c *chunks) Read(p []byte) (int, error) {
	if len(*c) == 0 {
		return 0, io.EOF
	}
	n := copy(p, (*c)[0])
	if (*c)[0] = (*c)[0][n:]; (*c)[0] == "" {
		*c = (*c)[1:]
	}
	return n, nil
}

// TestLines: what waits already comes together, and a line that is alone comes alone.
func TestLines(t *testing.T) {
	many := strings.Repeat("x\n", linesMost+1)
	for _, c := range []struct {
		in   chunks
		want string
	}{
		{nil, ""},
		{chunks{"alone\n", "next\n"}, `["alone"] ["next"]`},
		{chunks{"a\nb\r\n\nd\nbroken ", "off\nand on\n", "no end"}, `["a" "b" "" "d"] ["broken off" "and on"] ["no end"]`},
		{chunks{strings.Repeat("y", maxText+1), "\nz\n"}, fmt.Sprintf("[%q] [\"z\"]", strings.Repeat("y", maxText+1))},
	} {
		l := newLineGroups(&c.in)
		var got []string
		for {
			group, err := l.next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%q", group))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%.200s instead of %.200s", s, c.want)
		}
	}
	l := newLineGroups(&chunks{many})
	if group, err := l.next(); err != nil || len(group) != linesMost {
		t.Errorf("%d lines at once, %v", len(group), err)
	}
	l = newLineGroups(&chunks{"one\n", strings.Repeat("y", 2*maxText)})
	if group, err := l.next(); err != nil || len(group) != 1 {
		t.Errorf("%q, %v", group, err)
	}
	if _, err := l.next(); err == nil || err == io.EOF || l.n != 1 {
		t.Errorf("a line without an end: %v after %d", err, l.n)
	}
}
