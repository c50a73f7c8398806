package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// The fields of Config are the schema: this file walks them, so that the file, the variables, the
// flags, the printout and the comparison can't disagree about what settings there are.

// key is the name of a field in the file.
func key(f reflect.StructField) string { return f.Tag.Get("yaml") }

// fieldNamed returns the field of struct v with that name in the file.
func fieldNamed(v reflect.Value, name string) (reflect.Value, bool) {
	for i := range v.NumField() {
		if key(v.Type().Field(i)) == name {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// join makes the path of a setting: limits.packet, mqtt.0.addr.
func join(path, name string) string {
	if path == "" || name == "" {
		return path + name
	}
	return path + "." + name
}

func isList(t reflect.Type) bool { return t.Kind() == reflect.Slice }

// walkType calls fn with the path of each setting of t; a place in a list is written as #.
func walkType(t reflect.Type, path string, fn func(path string)) {
	switch {
	case t.Kind() == reflect.Struct:
		for f := range fields(t) {
			walkType(f.Type, join(path, key(f)), fn)
		}
	case isList(t) && t.Elem().Kind() == reflect.Struct:
		walkType(t.Elem(), join(path, "#"), fn)
	default:
		fn(path)
	}
}

func fields(t reflect.Type) func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if !yield(t.Field(i)) {
				return
			}
		}
	}
}

// assign sets the setting at path below v from text. Lists of words are separated by commas; a place
// right after the end of a list of groups adds one.
func assign(v reflect.Value, path, text string) error {
	if path == "" {
		return assignLeaf(v, text)
	}
	name, rest, _ := strings.Cut(path, ".")
	switch {
	case v.Kind() == reflect.Struct:
		f, ok := fieldNamed(v, name)
		if !ok {
			return fmt.Errorf("there is no setting %q", name)
		}
		return assign(f, rest, text)
	case isList(v.Type()):
		i, err := strconv.Atoi(name)
		if err != nil || i < 0 {
			return fmt.Errorf("%q must be a place in the list, from 0", name)
		}
		if i > v.Len() {
			return fmt.Errorf("the list has only %d entries: the next place is %d", v.Len(), v.Len())
		}
		// The list is copied: the defaults or the old configuration may share it.
		list := reflect.MakeSlice(v.Type(), max(v.Len(), i+1), max(v.Len(), i+1))
		reflect.Copy(list, v)
		if err := assign(list.Index(i), rest, text); err != nil {
			return err
		}
		v.Set(list)
		return nil
	}
	return fmt.Errorf("there is no setting %q", name)
}

func assignLeaf(v reflect.Value, text string) error {
	if !isList(v.Type()) || v.Type().Elem().Kind() == reflect.Struct {
		return setScalar(v, text)
	}
	var words []string
	for w := range strings.SplitSeq(text, ",") {
		if w = strings.TrimSpace(w); w != "" {
			words = append(words, w)
		}
	}
	v.Set(reflect.ValueOf(words))
	return nil
}

// pathOf finds the setting that an environment variable means, by its name after PETREL_.
func pathOf(t reflect.Type, name string) (string, bool) {
	switch {
	case t.Kind() == reflect.Struct:
		for f := range fields(t) {
			up := strings.ToUpper(key(f))
			if name == up {
				if p, ok := pathOf(f.Type, ""); ok {
					return join(key(f), p), true
				}
			}
			if rest, ok := strings.CutPrefix(name, up+"_"); ok {
				if p, ok := pathOf(f.Type, rest); ok {
					return join(key(f), p), true
				}
			}
		}
		return "", false
	case isList(t) && t.Elem().Kind() == reflect.Struct:
		if n, rest, ok := strings.Cut(name, "_"); ok {
			if i, err := strconv.ParseUint(n, 10, 16); err == nil {
				p, ok := pathOf(t.Elem(), rest)
				return join(strconv.FormatUint(i, 10), p), ok
			}
		}
		p, ok := pathOf(t.Elem(), name)
		return join("0", p), ok
	}
	return "", name == ""
}

// variableOf is the environment variable of the setting at path.
func variableOf(path string) string {
	return "PETREL_" + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}
