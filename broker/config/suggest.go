package config

import (
	"reflect"
	"slices"
	"strings"
)

// names lists the settings of a group.
func names(t reflect.Type) string {
	var all []string
	for f := range fields(t) {
		all = append(all, key(f))
	}
	return strings.Join(all, ", ")
}

// suggest says what an unknown key of group t at path may have meant: a key of this group that is
// spelt nearly so, the same key elsewhere, or else what there is.
func suggest(t reflect.Type, path, name string) string {
	best, distance := "", tolerance(name)+1
	for f := range fields(t) {
		if d := editDistance(name, key(f)); d < distance {
			best, distance = key(f), d
		}
	}
	if best != "" {
		return ": did you mean " + best + "?"
	}
	var elsewhere []string
	walkType(reflect.TypeFor[Config](), "", func(p string) {
		if p == name || strings.HasSuffix(p, "."+name) {
			elsewhere = append(elsewhere, strings.ReplaceAll(p, ".#", "[]"))
		}
	})
	if len(elsewhere) > 0 {
		return ": did you mean " + strings.Join(elsewhere, " or ") + "?"
	}
	if path == "" {
		return "; there are " + names(t)
	}
	return "; " + path + " has " + names(t)
}

func suggestVariable(t reflect.Type, name string) string {
	best, distance := "", tolerance(strings.TrimPrefix(name, "PETREL_"))+1
	walkType(t, "", func(p string) {
		v := variableOf(strings.ReplaceAll(p, ".#", ""))
		if d := editDistance(name, v); d < distance {
			best, distance = v, d
		}
	})
	if best == "" {
		return ": a variable is PETREL_ and the key path in capitals, like PETREL_LIMITS_PACKET"
	}
	return ": did you mean " + best + "?"
}

// tolerance is how many letters a typo may be off.
func tolerance(name string) int { return min(max(1, len(name)/3), 4) }

// editDistance counts the insertions, deletions and replacements between a and b (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], slices.Min([]int{diagonal + cost, row[j] + 1, row[j+1] + 1})
		}
	}
	return row[len(b)]
}
