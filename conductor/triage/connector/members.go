package connector

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"muniment.dev/muniment/internal/safetext"
)

// A member is one of a JSON object.
type member struct {
	name   string
	value  jsontext.Value // its bytes, as they are
	offset int            // of value in the document
}

// members returns those of a document, which must be one JSON object.
func members(document []byte) (all []member, err error) {
	if !jsontext.Value(document).IsValid() {
		return nil, errors.New("the answer is not a JSON document")
	}
	dec := jsontext.NewDecoder(bytes.NewReader(document))
	err = object(dec, func(name string) error {
		value, err := dec.ReadValue()
		if err != nil {
			return err
		}
		all = append(all, member{name, bytes.Clone(value), int(dec.InputOffset()) - len(value)})
		return nil
	})
	if err != nil {
		return nil, errors.New("the answer is not a JSON object")
	}
	return all, nil
}

// find returns a member.
func find(all []member, name string) (member, error) {
	i := slices.IndexFunc(all, func(m member) bool { return m.name == name })
	if i < 0 {
		return member{}, fmt.Errorf("the answer has no member %s", safetext.Quoted(name))
	}
	return all[i], nil
}

// imageOf returns a JSON object with some members of a document, in this order.
// Space in their values is removed, because an API can format them anew.
func imageOf(all []member, names []string) (Image, error) {
	values := map[string]jsontext.Value{}
	for _, name := range names {
		m, err := find(all, name)
		if err != nil {
			return nil, err
		}
		values[name] = m.value
	}
	return objectOf(names, values)
}

// objectOf writes a compact JSON object.
func objectOf(names []string, values map[string]jsontext.Value) (Image, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, name := range names {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := jsontext.AppendQuote(nil, name)
		if err != nil {
			return nil, err
		}
		value := values[name].Clone()
		if err := value.Compact(); err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	if b.Len() > maxImage {
		return nil, fmt.Errorf("the state has %d bytes, above the limit of %d", b.Len(), maxImage)
	}
	return b.Bytes(), nil
}

// replace returns a document with the members of an image in place of its own.
// All other bytes stay as they are.
func replace(document []byte, all []member, image Image) ([]byte, error) {
	changes, err := members(image)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	at := 0
	for _, m := range all { // in the order of their offsets
		if c, err := find(changes, m.name); err == nil {
			b.Write(document[at:m.offset])
			b.Write(c.value)
			at = m.offset + len(m.value)
		}
	}
	b.Write(document[at:])
	return b.Bytes(), nil
}

// merged returns an image with the values of parameters in place of members
// with the same names. A value keeps the kind of the member. A parameter
// without a member must be a part of the target's name.
func merged(before Image, target string, parameters map[string]string) (Image, error) {
	all, err := members(before)
	if err != nil {
		return nil, err
	}
	var names []string
	values := map[string]jsontext.Value{}
	for _, m := range all {
		names, values[m.name] = append(names, m.name), m.value
		given, ok := parameters[m.name]
		if !ok {
			continue
		}
		if values[m.name], err = typed(m.value.Kind(), given); err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		if _, ok := values[name]; !ok && !slices.Contains(strings.Split(target, "/"), parameters[name]) {
			return nil, fmt.Errorf("the target has no member %s", safetext.Quoted(name))
		}
	}
	return objectOf(names, values)
}

// typed returns a value of a kind of JSON.
func typed(kind jsontext.Kind, given string) (jsontext.Value, error) {
	switch kind {
	case '"':
		return jsontext.AppendQuote(nil, given)
	case 't', 'f':
		if given == "true" || given == "false" {
			return jsontext.Value(given), nil
		}
		return nil, errors.New("must be true or false")
	case '0':
		if v := jsontext.Value(given); v.IsValid() && v.Kind() == '0' {
			return v, nil
		}
		return nil, errors.New("must be a number")
	}
	return nil, errors.New("cannot be set by a parameter")
}
