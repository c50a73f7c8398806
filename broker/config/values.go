package config

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

var (
	durationType = reflect.TypeFor[time.Duration]()
	sizeType     = reflect.TypeFor[Size]()
)

// ParseDuration reads what time.ParseDuration reads, and days before it: 30d, 1d12h. The result is
// never negative. A bare 0 is 0; any other number needs its unit.
func ParseDuration(s string) (time.Duration, error) {
	wrong := fmt.Errorf("%q is no duration: write a number and its unit, like 300ms, 10s, 15m, 12h or 30d", s)
	rest, total := s, time.Duration(0)
	if n, after, ok := strings.Cut(s, "d"); ok {
		days, err := strconv.ParseUint(n, 10, 32)
		if err != nil {
			return 0, wrong
		}
		if days > 36500 {
			return 0, fmt.Errorf("%q is more than a hundred years: write 0 if nothing shall expire", s)
		}
		total, rest = time.Duration(days)*day, after
		if rest == "" {
			return total, nil
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || strings.HasPrefix(rest, "+") || strings.HasPrefix(rest, "-") {
		return 0, wrong
	}
	if total+d < total {
		return 0, wrong
	}
	return total + d, nil
}

// FormatDuration writes d so that ParseDuration reads it again, in the largest units that fit.
func FormatDuration(d time.Duration) string {
	if d <= 0 {
		return "0s"
	}
	var b strings.Builder
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{day, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "us"}, {1, "ns"}} {
		if n := d / u.unit; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			d -= n * u.unit
		}
	}
	return b.String()
}

var sizeUnits = []struct {
	name string
	unit Size
}{{"TiB", GiB << 10}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}, {"B", 1}}

// ParseSize reads 512B, 64KiB, 1MiB, 2GiB or 1TiB; a bare number is bytes. Units of 1,000 are refused
// rather than guessed at.
func ParseSize(s string) (Size, error) {
	digits, unit := s, Size(1)
	for _, u := range sizeUnits {
		if n, ok := strings.CutSuffix(s, u.name); ok {
			digits, unit = strings.TrimSpace(n), u.unit
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || strings.HasPrefix(digits, "+") || n > int64(1<<62)/int64(unit) {
		return 0, fmt.Errorf("%q is no size: write a number and its unit, like 512B, 64KiB, 1MiB or 2GiB", s)
	}
	return Size(n) * unit, nil
}

// String writes the size in the largest unit that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s >= u.unit && s%u.unit == 0 {
			return strconv.FormatInt(int64(s/u.unit), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// setScalar parses text into v, a leaf of Config. The error says what would be right.
func setScalar(v reflect.Value, text string) error {
	switch v.Type() {
	case durationType:
		d, err := ParseDuration(text)
		if err != nil {
			return err
		}
		v.SetInt(int64(d))
		return nil
	case sizeType:
		n, err := ParseSize(text)
		if err != nil {
			return err
		}
		v.SetInt(int64(n))
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("%q must be true or false", text)
		}
		v.SetBool(text == "true")
	case reflect.Int:
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n < 0 {
			return fmt.Errorf("%q must be a whole number from 0 to 2147483647", text)
		}
		v.SetInt(n)
	default:
		return errors.New("is a group of settings, no single value")
	}
	return nil
}

// formatScalar is the text that setScalar reads, typed for the YAML writer.
func formatScalar(v reflect.Value) any {
	switch v.Type() {
	case durationType:
		return FormatDuration(time.Duration(v.Int()))
	case sizeType:
		return Size(v.Int()).String()
	}
	return v.Interface()
}
