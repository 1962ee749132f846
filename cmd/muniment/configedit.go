package main

import (
	"fmt"
	"path/filepath"
	"reflect"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/wholefile"
)

// A configEdit changes muniment.yaml in place. It writes nothing unless the
// result, read as a whole, differs from the original in what was meant to
// change, and in that alone.
type configEdit struct {
	yamlEdit
	path string
	want serverConfig
}

func editConfig(dir string) (*configEdit, error) {
	path := filepath.Join(dir, configFile)
	text, err := bounded.ReadFile(path, bounded.Config)
	if err != nil {
		return nil, err
	}
	e := &configEdit{path: path}
	e.lines = splitLines(text)
	if e.want, err = decodeConfig(text); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return e, nil
}

// decodeConfig reads a configuration without its defaults.
func decodeConfig(text []byte) (c serverConfig, err error) {
	err = decodeYAML(text, &c)
	return c, err
}

// write replaces the file, if it now reads as want.
func (e *configEdit) write() error {
	got, err := decodeConfig([]byte(e.text()))
	if err != nil || !reflect.DeepEqual(got, e.want) {
		return fmt.Errorf("%s: %w; nothing was changed", e.path, errEditByHand)
	}
	return wholefile.ReplaceOwnedPath(e.path, []byte(e.text()), 0o600)
}
