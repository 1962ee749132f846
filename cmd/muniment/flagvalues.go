package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/evidence"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/similar"
)

// flagValues returns the mappers for values of flags and arguments. Kong's own
// mappers pass text through JSON, which alters file names that are not UTF-8,
// and their errors contain Go types and time layouts.
func flagValues() []kong.Option {
	text := func(set func(reflect.Value, string) error) kong.Mapper {
		return kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
			set := set
			if ctx.Value.Flag != nil && ctx.Value.Name == kindFlag {
				set = setKind
			}
			if target.Kind() == reflect.Slice {
				return decodeList(ctx, target, set)
			}
			s, err := popText(ctx)
			if err != nil {
				return err
			}
			return set(target, s)
		})
	}
	options := []kong.Option{
		kong.Vars{kindFlag: kindname.Attestation}, // defaults of flags
		kong.KindMapper(reflect.String, text(setString)),
		kong.NamedMapper("path", text(func(v reflect.Value, s string) error { return setString(v, expandPath(s)) })),
		kong.TypeMapper(reflect.TypeFor[[]string](), text(setString)),
		kong.TypeMapper(reflect.TypeFor[map[string]string](), kong.MapperFunc(decodePairs)),
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

// popText returns the next value, which must be one.
func popText(ctx *kong.DecodeContext) (string, error) {
	t, err := ctx.Scan.PopValue("value")
	if err != nil {
		return "", errors.New("a value is missing")
	}
	s, ok := t.Value.(string)
	if !ok {
		return "", errors.New("must be one value")
	}
	return s, nil
}

// decodeList appends the values of a flag or of the remaining arguments to a
// slice. The value of a flag can be a list that is separated by commas, unless
// it is a file.
func decodeList(ctx *kong.DecodeContext, target reflect.Value, set func(reflect.Value, string) error) error {
	var values []string
	if ctx.Value.Flag == nil {
		for _, t := range ctx.Scan.PopWhile(func(t kong.Token) bool { return t.IsValue() }) {
			values = append(values, t.String())
		}
	} else if list, ok := ctx.Scan.Peek().Value.([]any); ok { // of a configuration file
		ctx.Scan.Pop()
		for _, v := range list {
			values = append(values, fmt.Sprint(v))
		}
	} else {
		s, err := popText(ctx)
		if err != nil {
			return err
		}
		values = []string{s}
		if sep := ctx.Value.Tag.Sep; sep != -1 && predictorName(ctx.Value, ctx.Value.Flag.PlaceHolder) != "file" {
			values = strings.Split(s, string(sep))
		}
	}
	for _, s := range values {
		v := reflect.New(target.Type().Elem()).Elem()
		if err := set(v, s); err != nil {
			return err
		}
		target.Set(reflect.Append(target, v))
	}
	return nil
}

// decodePairs adds a value NAME=VALUE to a map.
func decodePairs(ctx *kong.DecodeContext, target reflect.Value) error {
	pairs, ok := ctx.Scan.Peek().Value.([]any) // of a configuration file
	if ok {
		ctx.Scan.Pop()
	} else {
		s, err := popText(ctx)
		if err != nil {
			return err
		}
		pairs = []any{s}
	}
	if target.IsNil() {
		target.Set(reflect.MakeMap(target.Type()))
	}
	for _, pair := range pairs {
		name, value, found := strings.Cut(fmt.Sprint(pair), "=")
		if !found || name == "" {
			return fmt.Errorf("%q is not %s", fmt.Sprint(pair), ctx.Value.Flag.PlaceHolder)
		}
		target.SetMapIndex(reflect.ValueOf(name), reflect.ValueOf(value))
	}
	return nil
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

func setString(v reflect.Value, s string) error {
	v.SetString(s)
	return nil
}

// kindFlag is the name of every flag that takes a kind of entries.
const kindFlag = "kind"

func setKind(v reflect.Value, s string) error {
	if names := evidence.KindNames(); s != "" && !slices.Contains(names, s) {
		return fmt.Errorf("unknown kind %q%s", s, cmp.Or(similar.DidYouMean(s, names), ": use one of "+strings.Join(names, ", ")))
	}
	return setString(v, s)
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
