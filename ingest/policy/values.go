package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/go-json-experiment/json/jsontext"
)

// parseJSON returns a document as conditions see it (docs/spec/policy.md,
// section 2). A value that has no exact counterpart there is an error value:
// a condition that uses it can't be evaluated.
func parseJSON(data []byte) (ref.Val, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowInvalidUTF8(true))
	v, err := parseValue(dec)
	if err != nil {
		return nil, err
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the document")
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
			return types.NewErr("a string that is not Unicode, such as half a surrogate pair, can't be compared"), nil
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

// parseObject reads an object. One with a name that is not Unicode is an error
// value, because another object could have a name that looks the same.
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
		return types.NewErr("an object with a member name that is not Unicode can't be looked into"), nil
	}
	return types.NewRefValMap(types.DefaultTypeAdapter, m), nil
}

// maxDigits is how long a number may be that is not a whole one.
const maxDigits = 400

// parseNumber returns an int, or a uint above that, if the number is written
// without fraction and exponent, and else a double.
func parseNumber(s string) ref.Val {
	if !strings.ContainsAny(s, ".eE") {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return types.Int(n)
		}
		if n, err := strconv.ParseUint(s, 10, 64); err == nil {
			return types.Uint(n)
		}
		return types.NewErr("a whole number beyond 64 bits can't be compared")
	}
	f, err := strconv.ParseFloat(s, 64)
	switch {
	case err != nil || len(s) > maxDigits:
		return types.NewErr("a number beyond the range of a double can't be compared")
	case f == 0 && strings.ContainsAny(strings.FieldsFunc(s, func(r rune) bool { return r == 'e' || r == 'E' })[0], "123456789"):
		return types.NewErr("a number below the range of a double can't be compared")
	case math.Abs(f) >= 1<<53:
		if exact, ok := new(big.Rat).SetString(s); !ok || exact.Cmp(new(big.Rat).SetFloat64(f)) != 0 {
			return types.NewErr("a number that a double can't hold exactly can't be compared")
		}
	}
	return types.Double(f)
}

// lazyJSON parses JSON when a condition first uses it, for the budget of the
// decision. There may be none, which is null.
func (c *court) lazyJSON(what string, data []byte) func() ref.Val {
	var parsed ref.Val
	return func() ref.Val {
		if parsed == nil {
			parsed = c.parse(what, data)
		}
		return parsed
	}
}

func (c *court) parse(what string, data []byte) ref.Val {
	switch {
	case what == "predicate" && c.ev.Opaque != nil:
		return types.NewErr("the predicate can't be read: %v", c.ev.Opaque)
	case c.ev.Unread:
		return types.NewErr("the payload is too large for its %s to be looked into", what)
	case data == nil:
		return types.NullValue
	case len(data) > maxParsed:
		return types.NewErr("the %s has %d bytes, and no more than %d are looked into", what, len(data), maxParsed)
	}
	if err := c.meter.charge(len(data)/8 + 1); err != nil {
		return types.WrapErr(err)
	}
	v, err := parseJSON(data)
	if err != nil {
		return types.WrapErr(fmt.Errorf("the %s is not JSON that can be looked into: %w", what, err))
	}
	return v
}
