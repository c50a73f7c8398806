package vt

import (
	"fmt"

	"github.com/charmbracelet/x/ansi"
)

// csi carries out a control sequence [ECMA-48 §8.3, xterm ctlseqs].
func (s *Screen) csi(cmd ansi.Cmd, params ansi.Params) {
	if cmd.Prefix() != 0 || cmd.Intermediate() != 0 {
		s.private(cmd, params)
		return
	}
	n, _, _ := params.Param(0, 1)
	n = max(n, 1)
	switch cmd.Final() {
	case 'A':
		s.move(s.x, s.y-n)
	case 'B', 'e':
		s.move(s.x, s.y+n)
	case 'C', 'a':
		s.move(s.x+n, s.y)
	case 'D':
		s.move(s.x-n, s.y)
	case 'E':
		s.move(0, s.y+n)
	case 'F':
		s.move(0, s.y-n)
	case 'G', '`':
		s.move(n-1, s.y)
	case 'I': // n tab stops on, and back
		s.move((s.x/8+n)*8, s.y)
	case 'Z':
		s.move(max((s.x+7)/8-n, 0)*8, s.y)
	case 'd':
		s.move(s.x, n-1)
	case 'H', 'f':
		col, _, _ := params.Param(1, 1)
		s.move(max(col, 1)-1, n-1)
	case 'm':
		s.sgr(params)
	case 'b':
		for range n {
			s.put(s.last, s.lastW)
		}
	case 'r':
		bot, _, _ := params.Param(1, s.h)
		s.top, s.bot = min(n, s.h)-1, min(max(bot, 1), s.h)-1
		s.move(0, 0)
	case 'h', 'l', 'n', 'c', 't': // modes, and questions that need no answer
	default:
		if !s.edit(cmd.Final(), n, params) {
			s.Unknown = append(s.Unknown, fmt.Sprintf("CSI %v %c", params, cmd.Final()))
		}
	}
}

// edit erases, inserts and deletes.
func (s *Screen) edit(final byte, n int, params ansi.Params) bool {
	how, _, _ := params.Param(0, 0)
	switch final {
	case 'J':
		s.erase(how)
	case 'K':
		from, to := s.x, s.w
		if how == 1 {
			from, to = 0, s.x+1
		} else if how == 2 {
			from = 0
		}
		s.clear(s.y, from, to)
	case 'X':
		s.clear(s.y, s.x, s.x+n)
	case '@':
		n = min(n, s.w-s.x)
		r := s.cells[s.y]
		copy(r[s.x+n:], r[s.x:s.w-n])
		for i := range n {
			r[s.x+i] = cell{text: " "}
		}
	case 'P':
		n = min(n, s.w-s.x)
		r := s.cells[s.y]
		copy(r[s.x:], r[s.x+n:])
		for i := s.w - n; i < s.w; i++ {
			r[i] = cell{text: " "}
		}
	case 'L', 'M':
		if s.y >= s.top && s.y <= s.bot {
			n = min(n, s.bot-s.y+1)
			if final == 'L' {
				n = -n
			}
			s.scroll(s.y, s.bot, n)
		}
	case 'S':
		s.scroll(s.top, s.bot, min(n, s.h))
	case 'T':
		s.scroll(s.top, s.bot, -min(n, s.h))
	default:
		return false
	}
	return true
}

func (s *Screen) erase(how int) {
	for y := range s.h {
		switch {
		case how >= 2, how == 0 && y > s.y, how == 1 && y < s.y:
			s.clear(y, 0, s.w)
		}
	}
	switch how {
	case 0:
		s.clear(s.y, s.x, s.w)
	case 1:
		s.clear(s.y, 0, s.x+1)
	}
}

func (s *Screen) move(x, y int) {
	s.x, s.y, s.wrap = max(min(x, s.w-1), 0), max(min(y, s.h-1), 0), false
}

// private switches modes; only the alternate screen and the cursor matter here.
func (s *Screen) private(cmd ansi.Cmd, params ansi.Params) {
	if cmd.Prefix() != '?' || cmd.Final() != 'h' && cmd.Final() != 'l' {
		return // questions, keyboards, the shape of the cursor
	}
	on := cmd.Final() == 'h'
	for i := range params {
		p, _, _ := params.Param(i, 0)
		s.Modes[p] = on
		switch p {
		case 1049, 1047, 47:
			if on != s.alt {
				s.cells, s.other, s.alt = s.other, s.cells, on
				if on {
					s.cells = blank(s.w, s.h)
				}
			}
		case 25:
			s.Hidden = !on
		}
	}
}
