// Package strictjson reads and writes the JSON of openings and receipts. Under
// the rules of docs/spec/entry.md, section 7, two programs that read the same
// bytes see the same document.
//
// It is not a general decoder. It supports objects with known members, arrays,
// strings and integers.
package strictjson

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxInteger is the largest integer that every language reads exactly: 2⁵³ − 1.
const MaxInteger = 1<<53 - 1

const maxDepth = 16

// MaxValues is the limit on the values of a document: rule 10. Names are no
// values, and the outermost object does not count. A document of 1 MiB cannot
// have as many.
const MaxValues = 1 << 19

// An Object is a JSON object whose members are taken out one by one. A member
// that is not taken is an error. Methods called after an error return zero
// values.
type Object struct {
	state   *state
	path    string // for messages, such as "payload."
	members map[string]jsontext.Value
}

type state struct{ err error }

func (s *state) fail(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf(format, args...)
	}
}

// Parse reads data as exactly one object and passes it to read. It returns the
// first error: in the syntax, in a member that read took, from read itself, or
// a member that read left.
func Parse(data []byte, read func(*Object) error) error {
	return ParseLarge(data, MaxValues, read)
}

// ParseLarge is like Parse, with another limit on the number of values.
func ParseLarge(data []byte, maxValues int, read func(*Object) error) error {
	dec := jsontext.NewDecoder(bytes.NewReader(data)) // refuses duplicate names and invalid UTF-8
	v, err := dec.ReadValue()
	if err != nil {
		return syntaxError(err)
	}
	if v.Kind() != '{' {
		return fmt.Errorf("not a JSON object")
	}
	v = v.Clone()
	if err := checkTokens(v, maxValues); err != nil {
		return err
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		if err == nil {
			err = errors.New("data after the JSON object")
		}
		return syntaxError(err)
	}
	s := &state{}
	o := newObject(s, "", v)
	if s.err != nil {
		return s.err
	}
	if err := read(o); err != nil {
		s.fail("%w", err)
	}
	o.close()
	return s.err
}

func syntaxError(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the JSON ends too early")
	}
	return fmt.Errorf("not strict JSON: %w", errors.New(strings.TrimPrefix(err.Error(), "jsontext: ")))
}

// checkTokens checks the rules that apply to the whole document, including
// members that the format does not define.
func checkTokens(v jsontext.Value, maxValues int) error {
	dec := jsontext.NewDecoder(bytes.NewReader(v))
	limits := &limits{dec: dec, maxValues: maxValues}
	for {
		t, err := dec.ReadToken()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return syntaxError(err)
		}
		if err := limits.check(t); err != nil {
			return err
		}
		if t.Kind() == '0' {
			if _, err := ParseInteger(t.String()); err != nil {
				return fmt.Errorf("%s: %w", plain(strings.TrimPrefix(string(dec.StackPointer()), "/")), err)
			}
		}
	}
}

func newObject(s *state, path string, v jsontext.Value) *Object {
	o := &Object{state: s, path: path, members: map[string]jsontext.Value{}}
	dec := jsontext.NewDecoder(bytes.NewReader(v))
	dec.ReadToken() // {
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			s.fail("%s: %w", o.at("?"), syntaxError(err))
			return o
		}
		key := name.String()
		val, err := dec.ReadValue()
		if err != nil {
			s.fail("%s: %w", o.at(key), syntaxError(err))
			return o
		}
		o.members[key] = val.Clone()
	}
	return o
}

func (o *Object) at(name string) string { return o.path + name }

func (o *Object) close() {
	if o.state.err != nil {
		return
	}
	for name := range o.members {
		o.state.fail("%s: unknown member", o.at(strconv.Quote(name)))
	}
}

func (o *Object) take(name string, kind jsontext.Kind, want string) (jsontext.Value, bool) {
	if o.state.err != nil {
		return nil, false
	}
	v, ok := o.members[name]
	if !ok {
		return nil, false
	}
	delete(o.members, name)
	if v.Kind() != kind {
		o.state.fail("%s: not %s", o.at(plain(name)), want)
		return nil, false
	}
	return v, true
}

func (o *Object) required(name string, ok bool) {
	if !ok {
		o.state.fail("%s: missing", o.at(name))
	}
}

// Err returns the first error so far.
func (o *Object) Err() error { return o.state.err }

// Has reports whether the object has the member and it has not been taken.
func (o *Object) Has(name string) bool { _, ok := o.members[name]; return ok }

// PeekString returns a string without taking it, and reports whether the member
// is there and a string.
func (o *Object) PeekString(name string) (string, bool) {
	v, ok := o.members[name]
	if !ok || v.Kind() != '"' {
		return "", false
	}
	b, err := jsontext.AppendUnquote(nil, v)
	return string(b), err == nil
}

// Fail reports a member as invalid, unless there was an error before.
func (o *Object) Fail(name string, err error) { o.state.fail("%s: %w", o.at(plain(name)), err) }

// String takes a required string.
func (o *Object) String(name string) string {
	s, ok := o.string(name)
	o.required(name, ok)
	return s
}

// OptionalString takes a string that is absent or not empty.
func (o *Object) OptionalString(name string) string {
	s, ok := o.string(name)
	if ok && s == "" {
		o.state.fail("%s: empty", o.at(plain(name)))
	}
	return s
}

// plain returns an untrusted name for a message. It quotes the name if it has
// control characters.
func plain(name string) string {
	q := strconv.Quote(name)
	if q[1:len(q)-1] == name {
		return name
	}
	return q
}

func (o *Object) string(name string) (string, bool) {
	v, ok := o.take(name, '"', "a string")
	if !ok {
		return "", false
	}
	b, err := jsontext.AppendUnquote(nil, v)
	if err != nil {
		o.state.fail("%s: %w", o.at(name), err)
		return "", false
	}
	return string(b), true
}

// Integer takes a required integer from 0 to MaxInteger.
func (o *Object) Integer(name string) uint64 {
	v, ok := o.take(name, '0', "an integer")
	o.required(name, ok)
	if !ok {
		return 0
	}
	n, err := ParseInteger(string(v))
	if err != nil {
		o.state.fail("%s: %w", o.at(name), err)
	}
	return n
}

// ParseInteger reads a canonical decimal from 0 to MaxInteger.
func ParseInteger(s string) (uint64, error) {
	if s == "" || len(s) > 16 || (s[0] == '0' && s != "0") {
		return 0, errors.New("not an integer from 0 to 2⁵³−1 in plain decimal")
	}
	var n uint64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, errors.New("not an integer from 0 to 2⁵³−1 in plain decimal")
		}
		n = n*10 + uint64(s[i]-'0')
	}
	if n > MaxInteger {
		return 0, errors.New("not an integer from 0 to 2⁵³−1 in plain decimal")
	}
	return n, nil
}

// Base64 takes a required string of canonical base64.
func (o *Object) Base64(name string) []byte {
	s := o.String(name)
	if o.state.err != nil {
		return nil
	}
	b, err := ParseBase64(s)
	if err != nil {
		o.state.fail("%s: %w", o.at(name), err)
	}
	return b
}

// ParseBase64 reads base64 in the standard alphabet, with padding and zero
// unused bits, and without line breaks.
func ParseBase64(s string) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") { // the decoder skips line breaks
		return nil, errors.New("not canonical base64 (standard alphabet, padded)")
	}
	return b, nil
}

// Base64Fixed takes a required string of canonical base64 of exactly len(dst)
// bytes into dst.
func (o *Object) Base64Fixed(name string, dst []byte) {
	b := o.Base64(name)
	if o.state.err != nil {
		return
	}
	if len(b) != len(dst) {
		o.state.fail("%s: %d bytes, not %d", o.at(name), len(b), len(dst))
		return
	}
	copy(dst, b)
}

// Object takes an object, passes it to read, and reports whether it was
// present.
func (o *Object) Object(name string, read func(*Object) error) bool {
	v, ok := o.take(name, '{', "an object")
	if !ok {
		return false
	}
	o.nested(o.at(name)+".", v, read)
	return true
}

func (o *Object) nested(path string, v jsontext.Value, read func(*Object) error) {
	n := newObject(o.state, path, v)
	if o.state.err != nil {
		return
	}
	if err := read(n); err != nil {
		o.state.fail("%s: %w", strings.TrimSuffix(path, "."), err)
	}
	n.close()
}

// RequiredObject takes a required object and passes it to read.
func (o *Object) RequiredObject(name string, read func(*Object) error) {
	o.required(name, o.Object(name, read))
}

// StringArray takes an optional array of strings. Neither the array nor any of
// its strings may be empty.
func (o *Object) StringArray(name string) []string {
	v, ok := o.take(name, '[', "an array")
	if !ok {
		return nil
	}
	dec := jsontext.NewDecoder(bytes.NewReader(v))
	dec.ReadToken() // [
	var out []string
	for o.state.err == nil && dec.PeekKind() != ']' {
		at := fmt.Sprintf("%s[%d]", o.at(name), len(out))
		t, err := dec.ReadToken()
		switch {
		case err != nil:
			o.state.fail("%s: %w", at, syntaxError(err))
		case t.Kind() != '"':
			o.state.fail("%s: not a string", at)
		case t.String() == "":
			o.state.fail("%s: empty", at)
		default:
			out = append(out, t.String())
		}
	}
	if len(out) == 0 {
		o.state.fail("%s: empty", o.at(name))
	}
	return out
}

// Objects takes an optional array of objects, which may not be empty, and
// passes each to read.
func (o *Object) Objects(name string, read func(*Object) error) {
	v, ok := o.take(name, '[', "an array")
	if !ok {
		return
	}
	dec := jsontext.NewDecoder(bytes.NewReader(v))
	dec.ReadToken() // [
	n := 0
	for ; o.state.err == nil && dec.PeekKind() != ']'; n++ {
		at := fmt.Sprintf("%s[%d]", o.at(name), n)
		el, err := dec.ReadValue()
		if err != nil {
			o.state.fail("%s: %w", at, syntaxError(err))
		} else if el.Kind() != '{' {
			o.state.fail("%s: not an object", at)
		} else {
			o.nested(at+".", el.Clone(), read)
		}
	}
	if n == 0 {
		o.state.fail("%s: empty", o.at(name))
	}
}

// Strings takes all remaining members, which must be strings. There must be at
// least one, and none may be empty.
func (o *Object) Strings() map[string]string {
	m := make(map[string]string, len(o.members))
	for name := range o.members {
		if name == "" {
			o.state.fail("%s: a member without a name", strings.TrimSuffix(o.path, "."))
		}
		if s := o.OptionalString(name); o.state.err == nil {
			m[name] = s
		}
	}
	if len(m) == 0 {
		o.state.fail("%s: empty", strings.TrimSuffix(o.path, "."))
	}
	return m
}

// Members reads data as exactly one object, for formats of others whose members
// Parse's methods cannot express. It checks rules 1 to 3, 6, 7 and 9. Values
// have the types of encoding/json, with json.Number for numbers.
func Members(data []byte) (map[string]any, error) {
	if err := Parse(data, func(o *Object) error { o.members = nil; return nil }); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var members map[string]any
	return members, dec.Decode(&members)
}
