package sigstore

import (
	"encoding/json"
	"fmt"
	"slices"

	"muniment.dev/muniment/ledger/entry/strictjson"
)

// members reads the members of JSON documents by section 2 of
// docs/spec/sigstore-verification.md. It keeps the first error. Methods called
// after an error return zero values.
type members struct{ err error }

func (m *members) fail(path, format string, args ...any) {
	if m.err == nil {
		m.err = fmt.Errorf("%s: %w", path, fmt.Errorf(format, args...))
	}
}

// object returns the members that are not null. Others than the names are an
// error, unless there are no names.
func (m *members) object(v any, path string, names ...string) map[string]any {
	o, ok := v.(map[string]any)
	if !ok {
		m.fail(path, "must be an object")
		return nil
	}
	out := map[string]any{}
	for name, v := range o {
		if v != nil {
			out[name] = v
		}
		if len(names) > 0 && !slices.Contains(names, name) {
			m.fail(path, "unknown member %.60q", name)
		}
	}
	return out
}

// list returns the elements of an array, which may be absent.
func (m *members) list(v any, path string, most int) []any {
	a, ok := v.([]any)
	switch {
	case v == nil:
		return nil
	case !ok:
		m.fail(path, "must be an array")
	case len(a) > most:
		m.fail(path, "%d elements, more than %d", len(a), most)
	default:
		return a
	}
	return nil
}

func (m *members) text(v any, path string) string {
	s, ok := v.(string)
	if !ok || s == "" {
		m.fail(path, "must be a string that is not empty")
	}
	return s
}

// optionalText checks a string that may be absent or empty.
func (m *members) optionalText(v any, path string) string {
	s, ok := v.(string)
	if !ok && v != nil {
		m.fail(path, "must be a string")
	}
	return s
}

func (m *members) bytes(v any, path string) []byte {
	b, err := strictjson.ParseBase64(m.text(v, path))
	if err != nil {
		m.fail(path, "%w", err)
	}
	return b
}

// hash reads 32 bytes.
func (m *members) hash(v any, path string) []byte {
	b := m.bytes(v, path)
	if len(b) != 32 {
		m.fail(path, "%d bytes instead of 32", len(b))
	}
	return b
}

// integer reads a number, or a string with its decimal digits. It is 0 if
// absent.
func (m *members) integer(v any, path string) int64 {
	var digits string
	switch v := v.(type) {
	case nil:
		return 0
	case string:
		digits = v
	case json.Number:
		digits = v.String()
	default:
		m.fail(path, "must be an integer")
		return 0
	}
	n, err := strictjson.ParseInteger(digits)
	if err != nil {
		m.fail(path, "%w", err)
	}
	return int64(n)
}
