package connector

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"muniment.dev/muniment/conductor/triage/action"
	"muniment.dev/muniment/internal/safetext"
)

// Flagd changes the default variants of feature flags in a JSON file that flagd
// reads (https://flagd.dev/reference/flag-definitions/). The target flag/KEY is
// the flag KEY, and the parameter variant its new default variant. All other
// bytes of the file stay as they are.
//
// A file has no compare-and-set. Set reads the file directly before it replaces
// it, so a change by another program in these microseconds is lost. Calls of
// one Flagd exclude each other.
type Flagd struct{ file }

// NewFlagd returns the connector for a file.
func NewFlagd(path string) *Flagd { return &Flagd{file{path: path}} }

func readFlagd(s *settings) Connector {
	name := s.text("file", path)
	s.read()
	return NewFlagd(*name)
}

// CheckAction implements Checker.
func (f *Flagd) CheckAction(a *action.Action) error {
	return checkAction(a, "flag/", map[string]string{"variant": action.String}, nil)
}

// Undo implements Connector.
func (f *Flagd) Undo() string { return action.Restore }

// Read implements Connector. The image is the JSON string with the name of the
// default variant.
func (f *Flagd) Read(ctx context.Context, target string) (Image, error) {
	flag, err := f.flag(ctx, target)
	if err != nil {
		return nil, err
	}
	return flag.image, nil
}

// Plan implements Connector.
func (f *Flagd) Plan(ctx context.Context, target string, parameters map[string]string, _ Image) (Image, error) {
	flag, err := f.flag(ctx, target)
	if err != nil {
		return nil, err
	}
	name := parameters["variant"]
	if !flag.variants[name] {
		return nil, fmt.Errorf("%s: the flag has no variant %s", f.path, safetext.Quoted(name))
	}
	return json.Marshal(name)
}

// Set implements Connector.
func (f *Flagd) Set(ctx context.Context, target string, before, after Image) error {
	return f.set(ctx, before, after, func(text []byte) (place, error) {
		flag, err := f.find(text, target)
		if err != nil {
			return place{}, err
		}
		return flag.place, nil
	})
}

// A flag is what a file contains about one flag. Its image is the JSON string
// with its default variant.
type flag struct {
	place
	variants map[string]bool
}

func (f *Flagd) flag(ctx context.Context, target string) (*flag, error) {
	text, err := f.read(ctx)
	if err != nil {
		return nil, err
	}
	return f.find(text, target)
}

// find finds the flag of a target in the text of the file.
func (f *Flagd) find(text []byte, target string) (*flag, error) {
	key, ok := strings.CutPrefix(target, "flag/")
	if !ok || key == "" {
		return nil, fmt.Errorf("target %s is not a flag: it must begin with flag/", safetext.Quoted(target))
	}
	var found *flag
	dec := jsontext.NewDecoder(bytes.NewReader(text))
	err := object(dec, func(name string) error {
		if name != "flags" {
			return dec.SkipValue()
		}
		return object(dec, func(name string) (err error) {
			if name != key {
				return dec.SkipValue()
			}
			found, err = readFlag(dec)
			return err
		})
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: not a file of flags: %w", f.path, err)
	case found == nil:
		return nil, fmt.Errorf("%s: no flag %s", f.path, safetext.Quoted(key))
	case found.image == nil:
		return nil, fmt.Errorf("%s: flag %s has no default variant", f.path, safetext.Quoted(key))
	}
	return found, nil
}

func readFlag(dec *jsontext.Decoder) (*flag, error) {
	f := &flag{variants: map[string]bool{}}
	return f, object(dec, func(name string) error {
		switch name {
		case "variants":
			return object(dec, func(name string) error {
				f.variants[name] = true
				return dec.SkipValue()
			})
		case "defaultVariant":
			raw, err := dec.ReadValue()
			if err != nil {
				return err
			}
			if raw.Kind() != '"' {
				return errors.New("defaultVariant is not a string")
			}
			f.place = place{Image(bytes.Clone(raw)), int(dec.InputOffset()) - len(raw)}
			return nil
		}
		return dec.SkipValue()
	})
}

// object calls read with the name of each member of an object. It must read or
// skip the value.
func object(dec *jsontext.Decoder, read func(name string) error) error {
	if dec.PeekKind() != '{' {
		return errors.New("not a JSON object")
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != '}' {
		t, err := dec.ReadToken()
		if err != nil {
			return err
		}
		if err := read(t.String()); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}
