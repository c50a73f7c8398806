package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Fault is one thing that is wrong in a configuration.
type Fault struct {
	Where string // petrel.yaml:12, PETREL_DATA or --data; "" when the value is a default
	Key   string // path of the setting, like mqtt.0.addr; "" when the fault is about the file
	Text  string // what is wrong and what would be right
}

func (f Fault) String() string {
	s := f.Text
	if f.Key != "" {
		s = f.Key + ": " + s
	}
	if f.Where != "" {
		s = f.Where + ": " + s
	}
	return s
}

// Faults is the error of Load and Validate: all that is wrong, in the order of the file.
type Faults []Fault

func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// Setting is a value from above the file: a command-line flag.
type Setting struct {
	Source string // how it was given, for errors: --data
	Key    string // path of the setting: data, mqtt.0.addr
	Value  string // as an environment variable would have it
}

// notSettings are variables of the command line that configure no server.
var notSettings = [...]string{"PETREL_CA", "PETREL_CONFIG", "PETREL_HOME", "PETREL_PASSWORD", "PETREL_PROFILE", "PETREL_SERVER", "PETREL_STORE_MAX", "PETREL_TOKEN", "PETREL_URL", "PETREL_USER"}

// Load reads the file at path ("": none), then the PETREL_ variables of env (as os.Environ has them),
// then the flags, each above the ones before. The error is Faults, or wraps what the file system said.
func Load(path string, env []string, flags ...Setting) (Config, error) {
	cfg := Default()
	l := &loader{file: path, origin: map[string]string{}}
	root := reflect.ValueOf(&cfg).Elem()
	if path != "" {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return Config{}, fmt.Errorf("there is no configuration file %s: write one (docs/petrel.yaml shows every setting) or leave --config out: %w", path, fs.ErrNotExist)
		}
		if err != nil {
			return Config{}, fmt.Errorf("reading the configuration: %w", err)
		}
		l.decodeFile(text, root)
	}
	l.variables(env, root)
	for _, s := range flags {
		l.set(root, s)
	}
	var more Faults
	if err := cfg.Validate(); errors.As(err, &more) {
		l.addUnlessKnown(more)
	}
	if len(l.faults) > 0 {
		return Config{}, l.faults
	}
	return cfg, nil
}

// loader gathers what is wrong, and where each setting came from.
type loader struct {
	file   string
	origin map[string]string // path → where
	faults Faults
}

func (l *loader) fault(where, key, format string, args ...any) {
	l.faults = append(l.faults, Fault{where, key, fmt.Sprintf(format, args...)})
}

func (l *loader) line(n ast.Node) string {
	return l.file + ":" + strconv.Itoa(n.GetToken().Position.Line)
}

func (l *loader) decodeFile(text []byte, root reflect.Value) {
	file, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		l.syntax(err)
		return
	}
	for i, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if i > 0 {
			l.fault(l.line(doc.Body), "", "a second document begins here: a configuration is one document")
			return
		}
		l.decode(doc.Body, root, "")
	}
}

func (l *loader) syntax(err error) {
	var se *yaml.SyntaxError
	if errors.As(err, &se) && se.Token != nil {
		l.fault(l.file+":"+strconv.Itoa(se.Token.Position.Line), "", "this is no YAML: %s", se.Message)
		return
	}
	l.fault(l.file, "", "this is no YAML: %s", err)
}

func (l *loader) decode(n ast.Node, v reflect.Value, path string) {
	l.origin[path] = l.line(n)
	switch n := n.(type) {
	case *ast.MappingNode:
		l.decodeMap(n, n.Values, v, path)
	case *ast.MappingValueNode:
		l.decodeMap(n, []*ast.MappingValueNode{n}, v, path)
	case *ast.SequenceNode:
		l.decodeList(n, v, path)
	case *ast.NullNode:
		// A group whose settings are all commented out is as if it were not there.
		if v.Kind() != reflect.Struct {
			l.fault(l.line(n), path, "has no value: write one%s, or remove the line for the default", emptyHint(v.Type()))
		}
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode, *ast.TagNode:
		l.fault(l.line(n), path, "anchors, aliases and tags are not understood here: write the value itself")
	case *ast.LiteralNode:
		l.scalar(n, v, path, n.Value.Value)
	default:
		l.scalar(n, v, path, n.GetToken().Value)
	}
}

func emptyHint(t reflect.Type) string {
	if isList(t) {
		return " ([] for none)"
	}
	return ""
}

func (l *loader) scalar(n ast.Node, v reflect.Value, path, text string) {
	switch {
	case v.Kind() == reflect.Struct:
		l.fault(l.line(n), path, "is a group: its settings (%s) stand below it, indented", names(v.Type()))
	case isList(v.Type()):
		l.fault(l.line(n), path, "is a list: write [%s], or each entry on a line of its own after \"- \"", text)
	default:
		if err := setScalar(v, text); err != nil {
			l.fault(l.line(n), path, "%s", err)
		}
	}
}

func (l *loader) decodeMap(n ast.Node, entries []*ast.MappingValueNode, v reflect.Value, path string) {
	switch {
	case isList(v.Type()):
		l.fault(l.line(n), path, "is a list: begin each entry with \"- \"")
		return
	case v.Kind() != reflect.Struct:
		l.fault(l.line(n), path, "is a single value, no group")
		return
	}
	seen := map[string]string{}
	for _, e := range entries {
		name := e.Key.GetToken().Value
		where := l.line(e.Key)
		if first, twice := seen[name]; twice {
			l.fault(where, join(path, name), "stands here a second time (first at %s): keep one", first)
			continue
		}
		seen[name] = where
		f, ok := fieldNamed(v, name)
		if !ok {
			l.fault(where, join(path, name), "there is no such setting%s", suggest(v.Type(), path, name))
			continue
		}
		l.decode(e.Value, f, join(path, name))
		l.origin[join(path, name)] = where
	}
}

func (l *loader) decodeList(n *ast.SequenceNode, v reflect.Value, path string) {
	if !isList(v.Type()) {
		l.fault(l.line(n), path, "is %s, no list", map[bool]string{true: "a group", false: "a single value"}[v.Kind() == reflect.Struct])
		return
	}
	list := reflect.MakeSlice(v.Type(), len(n.Values), len(n.Values))
	for i, e := range n.Values {
		l.decode(e, list.Index(i), join(path, strconv.Itoa(i)))
	}
	if len(n.Values) == 0 {
		list = reflect.Zero(v.Type())
	}
	v.Set(list)
}

// variables takes over what env says, and refuses what it can't mean.
func (l *loader) variables(env []string, root reflect.Value) {
	env = slices.Clone(env)
	// mqtt.2 comes before mqtt.10, or the list would have a hole.
	slices.SortFunc(env, func(a, b string) int {
		a, _, _ = strings.Cut(a, "=")
		b, _, _ = strings.Cut(b, "=")
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	})
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		rest, ours := strings.CutPrefix(name, "PETREL_")
		if !ours || slices.Contains(notSettings[:], name) {
			continue
		}
		path, ok := pathOf(root.Type(), rest)
		if !ok {
			l.fault(name, "", "there is no such variable%s", suggestVariable(root.Type(), name))
			continue
		}
		l.set(root, Setting{Source: name, Key: path, Value: value})
	}
}

func (l *loader) set(root reflect.Value, s Setting) {
	if err := assign(root, s.Key, s.Value); err != nil {
		l.fault(s.Source, s.Key, "%s", err)
	}
	l.origin[s.Key] = s.Source
}

// addUnlessKnown adds what Validate found, with the line, except about settings that are wrong already.
func (l *loader) addUnlessKnown(more Faults) {
	known := map[string]bool{}
	for _, f := range l.faults {
		known[f.Key] = true
	}
	for _, f := range more {
		if known[f.Key] {
			continue
		}
		for p := f.Key; p != "" && f.Where == ""; {
			f.Where = l.origin[p]
			i := strings.LastIndexByte(p, '.')
			p = p[:max(i, 0)]
		}
		l.faults = append(l.faults, f)
	}
}
