package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/kindname"
)

// flagValues returns the mappers for values of flags and arguments. Kong's own
// mappers pass text through JSON, which alters file names that are not UTF-8,
// and their errors contain Go types and time layouts.
func flagValues() []kong.Option {
	text := func(set func(reflect.Value, string) error) kong.Mapper {
		return kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
			t, err := ctx.Scan.PopValue("value")
			if err != nil {
				return errors.New("a value is missing")
			}
			s, ok := t.Value.(string)
			if !ok {
				return errors.New("must be one value")
			}
			return set(target, s)
		})
	}
	options := []kong.Option{
		kong.Vars{"kind": kindname.Attestation}, // defaults of flags
		kong.KindMapper(reflect.String, text(func(v reflect.Value, s string) error {
			v.SetString(s)
			return nil
		})),
		kong.NamedMapper("path", text(func(v reflect.Value, s string) error {
			v.SetString(expandPath(s))
			return nil
		})),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), text(setDuration)),
		kong.TypeMapper(reflect.TypeFor[time.Time](), text(setTime)),
	}
	for kind := reflect.Int; kind <= reflect.Int64; kind++ {
		options = append(options, kong.KindMapper(kind, text(setInt)))
	}
	for kind := reflect.Uint; kind <= reflect.Uint64; kind++ {
		options = append(options, kong.KindMapper(kind, text(setUint)))
	}
	return options
}

// expandPath makes a path absolute. "-" stays as it is.
func expandPath(path string) string {
	if path == "" || path == "-" {
		return path
	}
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

func setDuration(v reflect.Value, s string) error {
	d, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 30s, 10m or 24h", s)
	}
	v.SetInt(int64(d))
	return nil
}

func setTime(v reflect.Value, s string) error {
	t, err := datadir.ParseTime(s)
	if err != nil {
		return err
	}
	v.Set(reflect.ValueOf(t))
	return nil
}

func setInt(v reflect.Value, s string) error {
	n, err := strconv.ParseInt(s, 10, v.Type().Bits())
	if err != nil {
		return fmt.Errorf("%q is not a whole number%s", s, outOfRange(err))
	}
	v.SetInt(n)
	return nil
}

func setUint(v reflect.Value, s string) error {
	n, err := strconv.ParseUint(s, 10, v.Type().Bits())
	if err != nil {
		return fmt.Errorf("%q is not a whole number of at least 0%s", s, outOfRange(err))
	}
	v.SetUint(n)
	return nil
}

func outOfRange(err error) string {
	if errors.Is(err, strconv.ErrRange) {
		return ", or is too large"
	}
	return ""
}
