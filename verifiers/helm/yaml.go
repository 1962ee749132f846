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
// text. It ignores other members. Errors name the expected type and contain no
// words of the YAML library.
func Texts(text []byte, names ...string) (map[string]string, error) {
	all, err := members(text)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for key, value := range all {
		switch {
		case !slices.Contains(names, key.Value):
		case value.Kind != yaml.ScalarNode:
			return nil, fmt.Errorf("line %d: %s: must be text, not %s", value.Line, key.Value, yamlKinds[value.Kind])
		case value.ShortTag() != "!!null":
			out[key.Value] = value.Value
		}
	}
	return out, nil
}

// OnlyTexts is Texts for maps that have no other members.
func OnlyTexts(text []byte, names ...string) (map[string]string, error) {
	all, err := members(text)
	if err != nil {
		return nil, err
	}
	for key := range all {
		if !slices.Contains(names, key.Value) {
			return nil, fmt.Errorf("line %d: unknown member %.40q: must be one of %s", key.Line, key.Value, strings.Join(names, ", "))
		}
	}
	return Texts(text, names...)
}

// members returns the members of the one document in text, which is a map
// without duplicate names.
func members(text []byte) (map[*yaml.Node]*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case err == io.EOF:
		return nil, errors.New("empty")
	case err != nil:
		return nil, notYAML(err)
	case dec.Decode(new(yaml.Node)) != io.EOF:
		return nil, errors.New("more than one document: split the file")
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: must be a map, not %s", root.Line, yamlKinds[root.Kind])
	}
	all, seen := map[*yaml.Node]*yaml.Node{}, map[string]bool{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key := root.Content[i]
		if seen[key.Value] {
			return nil, fmt.Errorf("line %d: duplicate member %.40q", key.Line, key.Value)
		}
		seen[key.Value], all[key] = true, root.Content[i+1]
	}
	return all, nil
}

var yamlKinds = map[yaml.Kind]string{yaml.ScalarNode: "text", yaml.SequenceNode: "a list", yaml.MappingNode: "a map", yaml.AliasNode: "an alias"}

var yamlLine = regexp.MustCompile(`\bline (\d+)\b`)

// notYAML replaces the library's error, which can quote the text.
func notYAML(err error) error {
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("line %s: not YAML", m[1])
	}
	return errors.New("not YAML")
}
