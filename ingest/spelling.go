package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// checkSpelling returns an error unless each field of a payload is spelled as
// docs/spec/kinds.md requires. ProtoJSON accepts several spellings of a field.
// A policy reads the payload as JSON, so an alternative spelling would hide a
// field from its conditions. The error names the first field that differs.
func checkSpelling(payload []byte, m proto.Message) error {
	text, err := protojson.Marshal(m)
	if err != nil {
		return err
	}
	canonical, err := jsonTree(text)
	if err != nil {
		return err
	}
	given, err := jsonTree(payload)
	if err != nil {
		return err
	}
	return spelledMessage("", m.ProtoReflect().Descriptor(), given, canonical)
}

// jsonTree parses JSON and keeps the digits of its numbers. protojson has
// already refused duplicate members.
func jsonTree(text []byte) (v any, err error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return v, dec.Decode(&v)
}

func spelledMessage(path string, of protoreflect.MessageDescriptor, given, canonical any) error {
	switch of.FullName() {
	case "google.protobuf.Struct":
		return nil // any JSON object
	case "google.protobuf.Timestamp":
		return spelledTime(path, given, canonical)
	}
	g, ok1 := given.(map[string]any)
	c, ok2 := canonical.(map[string]any)
	if !ok1 || !ok2 {
		return payloadErrorf(path, "must be an object")
	}
	for _, name := range slices.Sorted(maps.Keys(g)) {
		at := memberPath(path, name)
		f := of.Fields().ByJSONName(name)
		if f == nil {
			f = of.Fields().ByTextName(name) // protojson accepts it
			if f == nil {
				return payloadErrorf(at, "unknown member")
			}
			return payloadErrorf(at, "must be spelled %s", f.JSONName())
		}
		want, ok := c[name]
		if !ok {
			return payloadErrorf(at, "must be omitted if empty")
		}
		if err := spelledField(at, f, g[name], want); err != nil {
			return err
		}
	}
	return nil
}

func spelledField(path string, f protoreflect.FieldDescriptor, given, canonical any) error {
	switch {
	case f.IsMap():
		c, _ := canonical.(map[string]any)
		g, _ := given.(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(g)) {
			if err := spelledValue(memberPath(path, name), f.MapValue(), g[name], c[name]); err != nil {
				return err
			}
		}
		return nil
	case f.IsList():
		c, _ := canonical.([]any)
		g, _ := given.([]any)
		if len(c) != len(g) {
			return payloadErrorf(path, "must be an array of %d", len(c))
		}
		for i := range g {
			if err := spelledValue(fmt.Sprintf("%s[%d]", path, i), f, g[i], c[i]); err != nil {
				return err
			}
		}
		return nil
	}
	return spelledValue(path, f, given, canonical)
}

func spelledValue(path string, f protoreflect.FieldDescriptor, given, canonical any) error {
	if f.Message() != nil {
		return spelledMessage(path, f.Message(), given, canonical)
	}
	if given == canonical {
		return nil
	}
	_, number := given.(json.Number)
	if _, want := canonical.(json.Number); number && want && (f.Kind() == protoreflect.DoubleKind || f.Kind() == protoreflect.FloatKind) {
		return nil // 1, 1.0 and 1e0 are one number
	}
	want, err := json.Marshal(canonical)
	if err != nil {
		return err
	}
	return payloadErrorf(path, "must be spelled %s", want)
}

// spelledTime accepts any number of fractional digits, but only UTC, so that
// times sort correctly as text.
func spelledTime(path string, given, canonical any) error {
	if s, ok := given.(string); ok && strings.HasSuffix(s, "Z") {
		return nil
	}
	return payloadErrorf(path, "must be in UTC, such as %v", canonical)
}

func memberPath(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
