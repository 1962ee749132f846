package condition

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/go-json-experiment/json/jsontext"
)

// parseJSON returns a document as a CEL value, as specified in
// docs/conditions.md. A JSON value without an exact counterpart becomes an
// error value, and a condition that uses it cannot be evaluated.
func parseJSON(data []byte) (ref.Val, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowInvalidUTF8(true))
	v, err := parseValue(dec)
	if err != nil {
		return nil, err
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("unexpected data after the document")
	}
	return v, nil
}

func parseValue(dec *jsontext.Decoder) (ref.Val, error) {
	switch dec.PeekKind() {
	case '{':
		return parseObject(dec)
	case '[':
		return parseArray(dec)
	}
	raw, err := dec.ReadValue()
	if err != nil {
		return nil, err
	}
	switch raw.Kind() {
	case 'n':
		return types.NullValue, nil
	case 't', 'f':
		return types.Bool(raw.Kind() == 't'), nil
	case '"':
		s, err := jsontext.AppendUnquote(nil, raw)
		if err != nil {
			return types.NewErr("a string that is not valid Unicode, such as one with an unpaired surrogate, cannot be compared"), nil
		}
		return types.String(s), nil
	default:
		return parseNumber(string(raw)), nil
	}
}

func parseArray(dec *jsontext.Decoder) (ref.Val, error) {
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	list := []ref.Val{}
	for k := dec.PeekKind(); k != ']' && k != 0; k = dec.PeekKind() {
		v, err := parseValue(dec)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	return types.NewRefValList(types.DefaultTypeAdapter, list), nil
}

// parseObject parses an object. If a member's name is not valid Unicode, the
// object is an error value, because the decoded name would be ambiguous.
// Duplicate names are an error of the whole document.
func parseObject(dec *jsontext.Decoder) (ref.Val, error) {
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	m := map[ref.Val]ref.Val{}
	unclear := false
	for k := dec.PeekKind(); k != '}' && k != 0; k = dec.PeekKind() {
		raw, err := dec.ReadValue()
		if err != nil {
			return nil, err
		}
		name, err := jsontext.AppendUnquote(nil, raw)
		unclear = unclear || err != nil
		v, err := parseValue(dec)
		if err != nil {
			return nil, err
		}
		m[types.String(name)] = v
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	if unclear {
		return types.NewErr("an object with a member name that is not valid Unicode cannot be read"), nil
	}
	return types.NewRefValMap(types.DefaultTypeAdapter, m), nil
}

// maxDigits is the length limit of a number with a fraction or an exponent.
const maxDigits = 400

// parseNumber returns an int, or a uint if the number is too large for an int.
// A number written with a fraction or an exponent becomes a double.
func parseNumber(s string) ref.Val {
	if !strings.ContainsAny(s, ".eE") {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return types.Int(n)
		}
		if n, err := strconv.ParseUint(s, 10, 64); err == nil {
			return types.Uint(n)
		}
		return types.NewErr("an integer of more than 64 bits cannot be compared")
	}
	f, err := strconv.ParseFloat(s, 64)
	switch {
	case err != nil || len(s) > maxDigits:
		return types.NewErr("a number above the range of a double cannot be compared")
	case f == 0 && strings.ContainsAny(strings.FieldsFunc(s, func(r rune) bool { return r == 'e' || r == 'E' })[0], "123456789"):
		return types.NewErr("a number below the precision of a double cannot be compared")
	case !isExact(f, s):
		return types.NewErr("a large number without an exact double cannot be compared")
	}
	return types.Double(f)
}
