package datadir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/internal/similar"
)

// DecodeYAML decodes a configuration file into a struct. The error for an
// unknown key suggests the most similar key, and the one for a value of the
// wrong type names the right one. Errors contain no text of the file except
// keys, because the file may turn out to be a secret.
func DecodeYAML(data []byte, into any) error {
	root, err := ParseYAML(data)
	if err != nil || root == nil {
		return err
	}
	if err := checkYAML(root, reflect.TypeOf(into).Elem(), ""); err != nil {
		return err
	}
	if err := root.Decode(into); err != nil { // not reached: checkYAML has checked all types
		return errors.New("a value is not of the type that its key requires")
	}
	return nil
}

// ParseYAML returns the document of a file, or nil if the file is empty.
func ParseYAML(data []byte) (*yaml.Node, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not YAML: not UTF-8 text")
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err == nil {
		if err = dec.Decode(&more); errors.Is(err, io.EOF) {
			return doc.Content[0], nil
		}
		return nil, errors.New("must be one YAML document")
	}
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		return nil, fmt.Errorf("line %s: not YAML", m[1])
	}
	return nil, errors.New("not YAML")
}

var yamlLine = regexp.MustCompile(`\bline (\d+)\b`)

// checkYAML checks a node against the Go type that it is decoded into.
func checkYAML(n *yaml.Node, t reflect.Type, field string) error {
	wrong := func(what string) error {
		if field == "" {
			return fmt.Errorf("line %d: must be %s", n.Line, what)
		}
		return fmt.Errorf("line %d: %s: must be %s", n.Line, field, what)
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case n.Kind == yaml.AliasNode:
		return checkYAML(n.Alias, t, field)
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null":
		return nil
	case t == reflect.TypeFor[time.Duration]():
		if _, err := time.ParseDuration(n.Value); n.Kind != yaml.ScalarNode || err != nil {
			return wrong("a duration such as 30s, 10m or 24h")
		}
		return nil
	case t == reflect.TypeFor[time.Time]():
		if _, err := ParseTime(n.Value); n.Kind != yaml.ScalarNode || err != nil {
			return wrong("a time such as 2026-11-01T08:00:00Z")
		}
		return nil
	}
	switch t.Kind() {
	case reflect.Struct:
		if n.Kind != yaml.MappingNode {
			return wrong("a map of keys and values")
		}
		return checkYAMLMembers(n, t, field)
	case reflect.Map:
		if n.Kind != yaml.MappingNode {
			return wrong("a map of keys and values")
		}
		for i := 1; i < len(n.Content); i += 2 {
			if err := checkYAML(n.Content[i], t.Elem(), field+"."+ShownKey(n.Content[i-1].Value)); err != nil {
				return err
			}
		}
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			return wrong("a list")
		}
		for i, item := range n.Content {
			if err := checkYAML(item, t.Elem(), fmt.Sprintf("%s[%d]", field, i)); err != nil {
				return err
			}
		}
	case reflect.Bool:
		if n.ShortTag() != "!!bool" {
			return wrong("true or false")
		}
	case reflect.Int, reflect.Int64:
		if _, err := strconv.ParseInt(strings.ReplaceAll(n.Value, "_", ""), 0, 64); n.ShortTag() != "!!int" || err != nil {
			return wrong("a whole number")
		}
	case reflect.Uint, reflect.Uint64:
		if _, err := strconv.ParseUint(strings.ReplaceAll(n.Value, "_", ""), 0, 64); n.ShortTag() != "!!int" || err != nil {
			return wrong("a whole number of at least 0")
		}
	case reflect.Float64:
		if tag := n.ShortTag(); tag != "!!int" && tag != "!!float" {
			return wrong("a number")
		}
	case reflect.String:
		if n.Kind != yaml.ScalarNode {
			return wrong("text")
		}
	default:
		return wrong("of another type") // TestConfigTypes proves that there is none
	}
	return nil
}

func checkYAMLMembers(n *yaml.Node, t reflect.Type, field string) error {
	members := map[string]reflect.Type{}
	var names []string
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		members[name] = f.Type
		names = append(names, name)
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := strings.TrimPrefix(field+"."+ShownKey(key.Value), ".")
		member, ok := members[key.Value]
		if !ok {
			return fmt.Errorf("line %d: unknown key %s%s", key.Line, at, similar.DidYouMean(key.Value, names))
		}
		if seen[key.Value] {
			return fmt.Errorf("line %d: %s is set twice", key.Line, at)
		}
		seen[key.Value] = true
		if err := checkYAML(value, member, at); err != nil {
			return err
		}
	}
	return nil
}

// ShownKey returns the key for use in an error, unless it could be a secret.
func ShownKey(key string) string {
	if len(key) > 40 || !plainKey.MatchString(key) {
		return "(not shown)"
	}
	return key
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// ParseTime parses a time in RFC 3339, or a date.
func ParseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time such as 2026-11-01T08:00:00Z, or a date such as 2026-11-01", s)
}
