package config

import (
	"reflect"

	"github.com/goccy/go-yaml"
)

// Diff names the settings that differ, as paths in the order of the file: those that a running server
// takes over, and those that wait for its restart. A list is one setting.
func Diff(old, new Config) (reloadable, needRestart []string) {
	diff(reflect.ValueOf(old), reflect.ValueOf(new), "", false, func(path string, reload bool) {
		if reload {
			reloadable = append(reloadable, path)
		} else {
			needRestart = append(needRestart, path)
		}
	})
	return reloadable, needRestart
}

func diff(a, b reflect.Value, path string, reload bool, fn func(path string, reload bool)) {
	switch {
	case a.Kind() == reflect.Struct:
		for i := range a.NumField() {
			f := a.Type().Field(i)
			diff(a.Field(i), b.Field(i), join(path, key(f)), reload || f.Tag.Get("reload") == "yes", fn)
		}
	case isList(a.Type()) && a.Len() == 0 && b.Len() == 0:
		// nil and [] mean the same.
	case !reflect.DeepEqual(a.Interface(), b.Interface()):
		fn(path, reload)
	}
}

// YAML writes the effective configuration as a file that Load reads back to the same Config.
func (cfg Config) YAML() ([]byte, error) {
	return yaml.MarshalWithOptions(tree(reflect.ValueOf(cfg)), yaml.IndentSequence(true))
}

func tree(v reflect.Value) any {
	switch {
	case v.Kind() == reflect.Struct:
		m := make(yaml.MapSlice, 0, v.NumField())
		for i := range v.NumField() {
			m = append(m, yaml.MapItem{Key: key(v.Type().Field(i)), Value: tree(v.Field(i))})
		}
		return m
	case isList(v.Type()):
		list := make([]any, v.Len())
		for i := range list {
			list[i] = tree(v.Index(i))
		}
		return list
	}
	return formatScalar(v)
}
