package helm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Texts returns the members of a YAML map that have one of the names and are
// text. It ignores other members, and documents after the first. Errors name
// the expected type and never quote the YAML library.
func Texts(text []byte, names ...string) (map[string]string, error) {
	all, err := members(yaml.NewDecoder(bytes.NewReader(text)))
	if err != nil {
		return nil, err
	}
	return all.texts(names)
}

// TextMap returns a member of a YAML map that is itself a map from names to
// text, with at least one name. Like Texts, it ignores other members and
// documents.
func TextMap(text []byte, name string) (map[string]string, error) {
	all, err := members(yaml.NewDecoder(bytes.NewReader(text)))
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(all, func(m yamlMember) bool { return m.name.Value == name })
	if at < 0 {
		return nil, fmt.Errorf("%s: missing", name)
	}
	inner, err := membersOf(all[at].value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var names []string
	for _, m := range inner {
		names = append(names, m.name.Value)
	}
	out, err := inner.texts(names)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, err)
	case len(out) < len(inner):
		return nil, fmt.Errorf("%s: a value is missing", name)
	case len(out) == 0:
		return nil, fmt.Errorf("%s: empty", name)
	}
	return out, nil
}

// OnlyTexts is Texts for files with a single document whose map has no other
// members.
func OnlyTexts(text []byte, names ...string) (map[string]string, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	all, err := members(dec)
	if err != nil {
		return nil, err
	}
	if dec.Decode(new(yaml.Node)) != io.EOF {
		return nil, errors.New("more than one document: split the file")
	}
	for _, m := range all {
		if !slices.Contains(names, m.name.Value) {
			return nil, fmt.Errorf("line %d: unknown member %.40q: must be one of %s", m.name.Line, m.name.Value, strings.Join(names, ", "))
		}
	}
	return all.texts(names)
}

// A yamlMap is the members of a map in file order.
type yamlMap []yamlMember

type yamlMember struct{ name, value *yaml.Node }

func (all yamlMap) texts(names []string) (map[string]string, error) {
	out := map[string]string{}
	for _, m := range all {
		switch {
		case !slices.Contains(names, m.name.Value):
		case m.value.Kind != yaml.ScalarNode:
			return nil, fmt.Errorf("line %d: %s: must be text, not %s", m.value.Line, quoted(m.name.Value), yamlKinds[m.value.Kind])
		case m.value.ShortTag() != "!!null":
			out[m.name.Value] = m.value.Value
		}
	}
	return out, nil
}

// members returns the members of the next document, which must be a map without
// duplicate names.
func members(dec *yaml.Decoder) (yamlMap, error) {
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case err == io.EOF:
		return nil, errors.New("empty")
	case err != nil:
		return nil, notYAML(err)
	}
	return membersOf(doc.Content[0])
}

func membersOf(root *yaml.Node) (yamlMap, error) {
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: must be a map, not %s", root.Line, yamlKinds[root.Kind])
	}
	var all yamlMap
	seen := map[string]bool{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		name, value := root.Content[i], root.Content[i+1]
		if seen[name.Value] {
			return nil, fmt.Errorf("line %d: duplicate member %.40q", name.Line, name.Value)
		}
		seen[name.Value] = true
		all = append(all, yamlMember{name, value})
	}
	return all, nil
}

var yamlKinds = map[yaml.Kind]string{yaml.ScalarNode: "text", yaml.SequenceNode: "a list", yaml.MappingNode: "a map", yaml.AliasNode: "an alias"}

var yamlLine = regexp.MustCompile(`\bline (\d+)\b`)

// notYAML replaces an error of the YAML library, which can quote the text.
func notYAML(err error) error {
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("line %s: not YAML", m[1])
	}
	return errors.New("not YAML")
}

// quoted quotes names that are not printable.
func quoted(s string) string {
	if q := fmt.Sprintf("%.100q", s); q != `"`+s+`"` {
		return q
	}
	return s
}
