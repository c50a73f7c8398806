package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is what petrel help completion adds.
func (completionCmd) Help() string {
	return `bash: put  source <(petrel completion bash)  into ~/.bashrc. ` +
		`zsh: petrel completion zsh >"${fpath[1]}/_petrel". ` +
		`fish: petrel completion fish >~/.config/fish/completions/petrel.fish.`
}

func (c completionCmd) Run(k *kong.Context, con console) error {
	write := map[string]func(io.Writer, []place) error{"bash": bashScript, "zsh": zshScript, "fish": fishScript}[c.Shell]
	return write(con.out, places(k.Model.Node, "", nil))
}

// place is a position in a command line, behind some commands: what may stand there.
type place struct {
	path  string // /groups/members; "" is the beginning
	subs  []choice
	flags []flagChoice
}

// choice is a word with what it means.
type choice struct{ word, help string }

type flagChoice struct {
	choice
	short  string   // one letter, or ""
	value  bool     // a value follows
	file   bool     // which is a file or a directory
	values []string // which is one of these
}

// places lists the positions of a tree of commands, a command before its subcommands.
func places(n *kong.Node, path string, all []place) []place {
	p := place{path: path, flags: flagsOf(n)}
	if n.DefaultCmd != nil { // groups --json is groups list --json
		p.flags = append(p.flags, flagsOf(n.DefaultCmd)...)
	}
	for _, sub := range n.Children {
		if !sub.Hidden {
			p.subs = append(p.subs, choice{sub.Name, sub.Help})
		}
	}
	all = append(all, p)
	for _, sub := range n.Children {
		if !sub.Hidden {
			all = places(sub, path+"/"+sub.Name, all)
		}
	}
	return all
}

func flagsOf(n *kong.Node) []flagChoice {
	var flags []flagChoice
	for _, f := range n.Flags {
		if f.Hidden {
			continue
		}
		c := flagChoice{choice: choice{f.Name, f.Help}, value: !f.IsBool() && !f.IsCounter()}
		if f.Short != 0 {
			c.short = string(f.Short)
		}
		c.file = c.value && (f.PlaceHolder == "FILE" || f.PlaceHolder == "DIR")
		if f.Enum != "" {
			c.values = f.EnumSlice()
		}
		flags = append(flags, c)
	}
	return flags
}

// script collects what goes wrong when writing.
type script struct {
	w   io.Writer
	err error
}

func (s *script) line(format string, args ...any) {
	if s.err == nil {
		_, s.err = fmt.Fprintf(s.w, format+"\n", args...)
	}
}

// paths are all positions but the beginning, as the pattern of a case.
func paths(all []place, sep string) string {
	var names []string
	for _, p := range all[1:] {
		names = append(names, p.path)
	}
	return strings.Join(names, sep)
}

// valueFlags are the flags of a position that want keeps, as patterns of a case on "PATH FLAG".
func (p *place) valueFlags(keep func(*flagChoice) bool) []string {
	var patterns []string
	for i := range p.flags {
		f := &p.flags[i]
		if !f.value || !keep(f) {
			continue
		}
		patterns = append(patterns, fmt.Sprintf("'%s --%s'", p.path, f.word))
		if f.short != "" {
			patterns = append(patterns, fmt.Sprintf("'%s -%s'", p.path, f.short))
		}
	}
	return patterns
}

// valueCases writes what completes the value of a flag: files, one of some words, or nothing.
func (s *script) valueCases(all []place, files, words, nothing string) {
	var file, free []string
	for i := range all {
		p := &all[i]
		file = append(file, p.valueFlags(func(f *flagChoice) bool { return f.file })...)
		free = append(free, p.valueFlags(func(f *flagChoice) bool { return !f.file && f.values == nil })...)
		for j := range p.flags {
			if f := &p.flags[j]; f.values != nil {
				only := p.valueFlags(func(g *flagChoice) bool { return g == f })
				s.line("  "+"%s) "+words+" ;;", strings.Join(only, "|"), strings.Join(f.values, " "))
			}
		}
	}
	if len(file) > 0 {
		s.line("  %s) %s ;;", strings.Join(file, "|"), files)
	}
	if len(free) > 0 {
		s.line("  %s) %s ;;", strings.Join(free, "|"), nothing)
	}
}

func bashScript(w io.Writer, all []place) error {
	s := &script{w: w}
	s.line("# Completion of petrel for bash: source <(petrel completion bash)")
	s.line("_petrel() {")
	s.line("  local cur=${COMP_WORDS[COMP_CWORD]} at= subs= flags= i")
	s.line("  COMPREPLY=()")
	s.line("  for ((i = 1; i < COMP_CWORD; i++)); do")
	s.line(`    case "$at/${COMP_WORDS[i]}" in`)
	s.line("    %s) at=$at/${COMP_WORDS[i]} ;;", paths(all, "|"))
	s.line("    esac")
	s.line("  done")
	s.line(`  case "$at ${COMP_WORDS[COMP_CWORD-1]}" in`)
	s.valueCases(all, `compopt -o filenames 2>/dev/null; local IFS=$'\n'; COMPREPLY=($(compgen -f -- "$cur")); return`,
		`COMPREPLY=($(compgen -W '%s' -- "$cur")); return`, "return")
	s.line("  esac")
	s.line("  case $at in")
	for i := range all {
		p := &all[i]
		var subs, flags []string
		for _, c := range p.subs {
			subs = append(subs, c.word)
		}
		for _, f := range p.flags {
			flags = append(flags, "--"+f.word)
		}
		s.line("  '%s') subs='%s' flags='%s' ;;", p.path, strings.Join(subs, " "), strings.Join(flags, " "))
	}
	s.line("  esac")
	s.line("  if [[ $cur == -* ]]; then")
	s.line(`    COMPREPLY=($(compgen -W "$flags" -- "$cur"))`) // no mapfile: macOS has bash 3.2
	s.line("  elif [[ $subs ]]; then")
	s.line(`    COMPREPLY=($(compgen -W "$subs" -- "$cur"))`)
	s.line("  fi")
	s.line("}")
	s.line("complete -F _petrel petrel")
	return s.err
}

// zshWords writes choices as _describe takes them: 'word:what it means'.
func zshWords(all []choice, dash string) string {
	var b strings.Builder
	for _, c := range all {
		help := strings.ReplaceAll(c.help, `'`, `'\''`)
		fmt.Fprintf(&b, " '%s%s:%s'", dash, c.word, strings.ReplaceAll(help, ":", `\:`))
	}
	return strings.TrimSpace(b.String())
}

func zshScript(w io.Writer, all []place) error {
	s := &script{w: w}
	s.line("#compdef petrel")
	s.line("# Completion of petrel for zsh: petrel completion zsh >\"${fpath[1]}/_petrel\"")
	s.line("_petrel() {")
	s.line("  local at= i")
	s.line("  local -a subs flags")
	s.line("  for ((i = 2; i < CURRENT; i++)); do")
	s.line(`    case "$at/${words[i]}" in`)
	s.line("    %s) at=$at/${words[i]} ;;", paths(all, "|"))
	s.line("    esac")
	s.line("  done")
	s.line(`  case "$at ${words[CURRENT-1]}" in`)
	s.valueCases(all, "_files; return", "compadd %s; return", "_message value; return")
	s.line("  esac")
	s.line("  case $at in")
	for i := range all {
		p := &all[i]
		flags := make([]choice, len(p.flags))
		for j := range p.flags {
			flags[j] = p.flags[j].choice
		}
		s.line("  '%s') subs=(%s) flags=(%s) ;;", p.path, zshWords(p.subs, ""), zshWords(flags, "--"))
	}
	s.line("  esac")
	s.line("  if [[ ${words[CURRENT]} == -* ]]; then")
	s.line("    _describe -o flag flags")
	s.line("  elif (( $#subs )); then")
	s.line("    _describe command subs")
	s.line("  fi")
	s.line("}")
	s.line(`if [[ ${funcstack[1]} == _petrel ]]; then _petrel "$@"; else compdef _petrel petrel; fi`)
	return s.err
}

func fishScript(w io.Writer, all []place) error {
	s := &script{w: w}
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace
	s.line("# Completion of petrel for fish: petrel completion fish >~/.config/fish/completions/petrel.fish")
	s.line("function __petrel_at")
	s.line("  set -l at ''")
	s.line("  for word in (commandline -opc)[2..-1]")
	s.line(`    switch "$at/$word"`)
	s.line("      case %s", paths(all, " "))
	s.line(`        set at "$at/$word"`)
	s.line("    end")
	s.line("  end")
	s.line(`  test "$at" = "$argv[1]"`)
	s.line("end")
	s.line("complete -c petrel -f")
	for i := range all {
		p := &all[i]
		for _, c := range p.subs {
			s.line("complete -c petrel -n '__petrel_at \"%s\"' -a %s -d '%s'", p.path, c.word, quote(c.help))
		}
		for _, f := range p.flags {
			line := fmt.Sprintf("complete -c petrel -n '__petrel_at \"%s\"' -l %s -d '%s'", p.path, f.word, quote(f.help))
			if f.short != "" {
				line += " -s " + f.short
			}
			switch {
			case f.file:
				line += " -r -F"
			case f.values != nil:
				line += " -x -a '" + strings.Join(f.values, " ") + "'"
			case f.value:
				line += " -x"
			}
			s.line("%s", line)
		}
	}
	return s.err
}
