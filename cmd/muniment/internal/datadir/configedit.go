package datadir

import (
	"fmt"
	"path/filepath"
	"reflect"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/wholefile"
)

// A ConfigEdit edits muniment.yaml in place. It writes nothing unless the
// result decodes to Want, which the caller changes together with the text.
type ConfigEdit struct {
	YamlEdit
	path string
	Want Config
}

// EditConfig begins to edit the configuration of a data folder.
func EditConfig(dir string) (*ConfigEdit, error) {
	path := filepath.Join(dir, ConfigFile)
	text, err := bounded.ReadFile(path, bounded.Config)
	if err != nil {
		return nil, err
	}
	e := &ConfigEdit{path: path}
	e.Lines = SplitLines(text)
	if e.Want, err = DecodeConfig(text); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return e, nil
}

// DecodeConfig decodes a configuration, without defaults.
func DecodeConfig(text []byte) (c Config, err error) {
	err = DecodeYAML(text, &c)
	return c, err
}

// Write replaces the file if the text decodes to Want.
func (e *ConfigEdit) Write() error {
	got, err := DecodeConfig([]byte(e.Text()))
	if err != nil || !reflect.DeepEqual(got, e.Want) {
		return fmt.Errorf("%s: %w; nothing was changed", e.path, ErrEditByHand)
	}
	return wholefile.ReplaceOwnedPath(e.path, []byte(e.Text()), 0o600)
}
