package vt

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// Look is how a cell looks. The zero value is plain text.
type Look struct {
	Bold, Faint, Italic, Underline, Reverse bool
	Fore, Back                              string // name of the colour; "": the terminal's own
}

// String names what is special: "bold cyan", "reverse"; "" for plain text.
func (l Look) String() string {
	var words []string
	for _, w := range []struct {
		on   bool
		name string
	}{{l.Bold, "bold"}, {l.Faint, "faint"}, {l.Italic, "italic"}, {l.Underline, "underline"}, {l.Reverse, "reverse"}, {l.Fore != "", l.Fore}, {l.Back != "", "on " + l.Back}} {
		if w.on {
			words = append(words, w.name)
		}
	}
	return strings.Join(words, " ")
}

// Styled is what is seen, with how it looks: ‹bold cyan|text› for whatever is not plain. Plain spaces at the ends of lines are left out.
func (s *Screen) Styled() string {
	var b strings.Builder
	for _, r := range s.cells {
		var line strings.Builder
		for i := 0; i < len(r); {
			look, text := r[i].look, ""
			for ; i < len(r) && r[i].look == look; i++ {
				text += r[i].text
			}
			if name := look.String(); name != "" {
				text = "‹" + name + "|" + text + "›"
			}
			line.WriteString(text)
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// sgr changes how what is written next looks [ECMA-48 §8.3.117; xterm ctlseqs for the bright and the 256 colours].
func (s *Screen) sgr(params ansi.Params) {
	if len(params) == 0 {
		s.pen = Look{}
	}
	for i := 0; i < len(params); i++ {
		p, _, _ := params.Param(i, 0)
		switch {
		case p == 38 || p == 48:
			name, used := extended(params, i+1)
			i += used
			s.colour(p, name)
		case p >= 30 && p <= 49:
			s.colour(p, colourName(p%10))
		case p >= 90 && p <= 97 || p >= 100 && p <= 107:
			s.colour(p-60, "bright "+colourName(p%10))
		default:
			s.attribute(p)
		}
	}
}

func (s *Screen) attribute(p int) {
	l := &s.pen
	switch p {
	case 0:
		*l = Look{}
	case 1:
		l.Bold = true
	case 2:
		l.Faint = true
	case 3:
		l.Italic = true
	case 4:
		l.Underline = true
	case 7:
		l.Reverse = true
	case 22:
		l.Bold, l.Faint = false, false
	case 23:
		l.Italic = false
	case 24:
		l.Underline = false
	case 27:
		l.Reverse = false
	default:
		s.Unknown = append(s.Unknown, fmt.Sprintf("SGR %d", p))
	}
}

// colour sets the colour of the letters, or with p from 40 on that behind them. 39 and 49 are the terminal's own.
func (s *Screen) colour(p int, name string) {
	if p%10 == 9 {
		name = ""
	} else {
		s.Colours[fmt.Sprint(p)] = true
	}
	if p >= 40 {
		s.pen.Back = name
	} else {
		s.pen.Fore = name
	}
}

func colourName(n int) string {
	names := [...]string{"black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"}
	if n < len(names) {
		return names[n]
	}
	return ""
}

// extended reads one of 256 colours, or one by its parts, and says how many parameters that took.
func extended(params ansi.Params, i int) (name string, used int) {
	how, _, _ := params.Param(i, 0)
	switch how {
	case 5:
		n, _, _ := params.Param(i+1, 0)
		return fmt.Sprint("colour ", n), 2
	case 2:
		r, _, _ := params.Param(i+1, 0)
		g, _, _ := params.Param(i+2, 0)
		b, _, _ := params.Param(i+3, 0)
		return fmt.Sprintf("#%02x%02x%02x", r, g, b), 4
	}
	return "", 0
}
