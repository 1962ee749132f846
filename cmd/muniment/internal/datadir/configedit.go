package datadir

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

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

// TokenLines returns a token's lines for the configuration of its tenant.
func TokenLines(id, role string, hash [sha256.Size]byte) string {
	return fmt.Sprintf("      - id: %s\n        role: %s\n        sha256: %x\n", id, role, hash)
}

// SetToken gives a tenant a token, in place of one with the same ID, whose role
// stays. It reports whether that changes anything.
func (e *ConfigEdit) SetToken(tenant, id, role string, hash [sha256.Size]byte) (changed bool, err error) {
	at := slices.IndexFunc(e.Want.Tenants, func(t TenantConfig) bool { return t.Name == tenant })
	if at < 0 {
		return false, fmt.Errorf("there is no tenant %q", tenant)
	}
	t, text := &e.Want.Tenants[at], hex.EncodeToString(hash[:])
	i := slices.IndexFunc(t.Tokens, func(t tokenConfig) bool { return cmp.Or(t.ID, tenant) == id })
	switch {
	case i < 0:
		t.Tokens = append(t.Tokens, tokenConfig{ID: id, Role: role, SHA256: text})
	case t.Tokens[i].SHA256 == text:
		return false, nil
	default:
		t.Tokens[i].SHA256 = text
	}
	_, _, node, err := e.item("tenants", "name", tenant)
	if err != nil {
		return false, err
	}
	tokens := field(node, "tokens")
	if tokens == nil || tokens.Kind != yaml.SequenceNode || tokens.Style&yaml.FlowStyle != 0 || len(tokens.Content) == 0 {
		return false, ErrEditByHand
	}
	if i < 0 {
		to := lastLine(tokens)
		e.splice(to, to, indent(TokenLines(id, role, hash), 6, tokens.Column-1))
		return true, nil
	}
	old := field(tokens.Content[i], "sha256")
	if old == nil || old.Kind != yaml.ScalarNode || old.Anchor != "" || old.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return false, ErrEditByHand
	}
	line := e.Lines[old.Line-1]
	if strings.Count(line, old.Value) != 1 {
		return false, ErrEditByHand
	}
	e.Lines[old.Line-1] = strings.Replace(line, old.Value, text, 1)
	return true, nil
}
