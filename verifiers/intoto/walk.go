package intoto

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// A check reads exactly one JSON value, and says what is wrong with it. Definitions are made of checks, and walked through while the document
// is read: nothing of it is held, so an array of a million objects costs no more than its bytes.
type check func(*walker) error

// A walker is the state of one reading.
type walker struct {
	dec      *jsontext.Decoder
	claims   *Claims
	material material // the one that is being read
	last     string   // the string that was read last
}

// walk applies a check to a whole document. Errors begin with the path of the member, below the name that the document has in its surroundings.
func walk(data []byte, name string, claims *Claims, c check) error {
	w := &walker{dec: jsontext.NewDecoder(bytes.NewBuffer(data)), claims: claims}
	err := c(w)
	if err == nil {
		if _, err = w.dec.ReadToken(); err == io.EOF {
			return nil
		} else if err == nil {
			err = errors.New("something follows the document")
		}
	}
	if name != "" {
		return at(name, err)
	}
	return err
}

// A memberError is an error with the member where it was found, such as predicate.materials[3].digest.
type memberError struct {
	path  string
	cause error
}

func (e *memberError) Error() string { return e.path + ": " + e.cause.Error() }
func (e *memberError) Unwrap() error { return e.cause }

// at puts a member's name before the path of an error that was found in it. The decoder's own errors know their place.
func at(name string, err error) error {
	var syntax *jsontext.SyntacticError
	switch inner, ok := err.(*memberError); {
	case err == nil || errors.As(err, &syntax):
		return err
	case !ok:
		return &memberError{shorten(name), err}
	case strings.HasPrefix(inner.path, "["):
		return &memberError{shorten(name) + inner.path, inner.cause}
	default:
		return &memberError{shorten(name) + "." + inner.path, inner.cause}
	}
}

func atIndex(i int, err error) error { return at("["+strconv.Itoa(i)+"]", err) }

// shorten keeps messages readable, whatever the document holds.
func shorten(s string) string {
	if len(s) > 100 {
		return strings.ToValidUTF8(s[:100], "") + "…"
	}
	return s
}

// checkDepth refuses what is nested too deep, before anything else looks at it.
func checkDepth(data []byte) error {
	depth, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > MaxDepth {
				return fmt.Errorf("nested deeper than %d", MaxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// kindNames are for messages.
var kindNames = map[jsontext.Kind]string{'{': "an object", '[': "an array", '"': "a string", '0': "a number", 't': "a boolean", 'f': "a boolean", 'n': "null"}

// begin makes sure that the next value is of a kind.
func (w *walker) begin(want jsontext.Kind) error {
	got := w.dec.PeekKind()
	if got == want {
		return nil
	}
	if _, known := kindNames[got]; !known {
		_, err := w.dec.ReadToken() // for its message
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return fmt.Errorf("not %s but %s", kindNames[want], kindNames[got])
}

// A field is a member of an object.
type field struct {
	name     string
	required bool
	check    check
}

func required(name string, c check) field { return field{name, true, c} }
func optional(name string, c check) field { return field{name, false, c} }

// A seen object is which of the fields it has, with the values of those that are strings.
type seen map[string]string

func (s seen) has(name string) bool { _, ok := s[name]; return ok }

// object reads an object with these fields, and ignores others: the framework asks for that
// (https://github.com/in-toto/attestation/blob/main/spec/v1/README.md#parsing-rules). A field that is null counts as absent.
func object(fields ...field) check { return objectWith(nil, fields...) }

// objectWith is object with a rule about several fields together.
func objectWith(rule func(*walker, seen) error, fields ...field) check {
	byName := make(map[string]field, len(fields))
	for _, f := range fields {
		byName[f.name] = f
	}
	return func(w *walker) error {
		if err := w.begin('{'); err != nil {
			return err
		}
		if _, err := w.dec.ReadToken(); err != nil {
			return err
		}
		s := seen{}
		for w.dec.PeekKind() == '"' {
			name, err := w.dec.ReadToken()
			if err != nil {
				return err
			}
			if err := w.member(byName, name.String(), s); err != nil {
				return err
			}
		}
		if _, err := w.dec.ReadToken(); err != nil {
			return err
		}
		for _, f := range fields {
			if f.required && !s.has(f.name) {
				return at(f.name, errors.New("missing"))
			}
		}
		if rule != nil {
			return rule(w, s)
		}
		return nil
	}
}

func (w *walker) member(fields map[string]field, name string, s seen) error {
	f, ok := fields[name]
	if !ok || w.dec.PeekKind() == 'n' {
		return w.dec.SkipValue()
	}
	w.last = ""
	switch err := f.check(w); err {
	case nil:
		s[name] = w.last
		return nil
	case errUnset:
		return nil
	default:
		return at(name, err)
	}
}

// errUnset is what a check returns of a value that means the same as none.
var errUnset = errors.New("missing")

// list reads an array, each element of which passes the check.
func list(element check) check { return listFrom(0, element) }

// listFrom is list with a least length.
func listFrom(least int, element check) check {
	return func(w *walker) error {
		if err := w.begin('['); err != nil {
			return err
		}
		if _, err := w.dec.ReadToken(); err != nil {
			return err
		}
		n := 0
		for ; w.dec.PeekKind() != ']' && w.dec.PeekKind() != 0; n++ {
			if err := element(w); err != nil {
				return atIndex(n, err)
			}
		}
		if _, err := w.dec.ReadToken(); err != nil {
			return err
		}
		if n < least {
			return errors.New("empty")
		}
		return nil
	}
}

// mapOf reads an object of any member names, each value of which passes the check for its name.
func mapOf(value func(name string) check) check {
	return func(w *walker) error {
		if err := w.begin('{'); err != nil {
			return err
		}
		if _, err := w.dec.ReadToken(); err != nil {
			return err
		}
		for w.dec.PeekKind() == '"' {
			name, err := w.dec.ReadToken()
			if err != nil {
				return err
			}
			s := name.String()
			if err := value(s)(w); err != nil {
				return at(s, err)
			}
		}
		_, err := w.dec.ReadToken()
		return err
	}
}

// text reads a string and hands it on, if then is not nil.
func text(then func(*walker, string)) check {
	return func(w *walker) error {
		if err := w.begin('"'); err != nil {
			return err
		}
		t, err := w.dec.ReadToken()
		if err != nil {
			return err
		}
		w.last = t.String()
		if then != nil {
			then(w, w.last)
		}
		return nil
	}
}

// textThat reads a string for which ok must hold.
func textThat(then func(*walker, string), ok func(string) error) check {
	return func(w *walker) error {
		var bad error
		err := text(func(w *walker, v string) {
			if bad = ok(v); bad == nil && then != nil {
				then(w, v)
			}
		})(w)
		if err == nil {
			err = bad
		}
		return err
	}
}

// filled reads a string that is not empty.
func filled(then func(*walker, string)) check {
	return textThat(then, func(v string) error {
		if v == "" {
			return errors.New("empty")
		}
		return nil
	})
}

// uri reads a URI with a scheme, which is what TypeURI and ResourceURI are.
func uri(then func(*walker, string)) check {
	return textThat(then, func(v string) error {
		if u, err := url.Parse(v); err != nil || u.Scheme == "" {
			return fmt.Errorf("%q is not a URI with a scheme", shorten(v))
		}
		return nil
	})
}

// timestamp reads a time as in RFC 3339.
func timestamp(then func(*walker, string)) check {
	return textThat(then, func(v string) error {
		if _, err := time.Parse(time.RFC3339Nano, v); err != nil {
			return fmt.Errorf("%q is not a time such as 2026-04-19T12:00:00Z", shorten(v))
		}
		return nil
	})
}

// oneOf reads one of some strings.
func oneOf(then func(*walker, string), values ...string) check {
	return textThat(then, func(v string) error {
		if !slices.Contains(values, v) {
			return fmt.Errorf("%q is none of %s", shorten(v), strings.Join(values, ", "))
		}
		return nil
	})
}

// matching reads a string that begins in a certain way.
func matching(then func(*walker, string), prefix string) check {
	return textThat(then, func(v string) error {
		if !strings.HasPrefix(v, prefix) {
			return fmt.Errorf("%q does not begin with %s", shorten(v), prefix)
		}
		return nil
	})
}

// integer reads a whole number that is not below a bound.
func integer(least int64) check {
	return func(w *walker) error {
		if err := w.begin('0'); err != nil {
			return err
		}
		t, err := w.dec.ReadToken()
		if err != nil {
			return err
		}
		if n, err := strconv.ParseInt(t.String(), 10, 64); err != nil || n < least {
			return fmt.Errorf("%s is not a whole number from %d", shorten(t.String()), least)
		}
		return nil
	}
}

// either applies the check that goes with the kind of the next value, and the first one if none does.
func either(first jsontext.Kind, a check, second jsontext.Kind, b check) check {
	return func(w *walker) error {
		if w.dec.PeekKind() == second {
			return b(w)
		}
		if err := w.begin(first); err != nil {
			return err
		}
		return a(w)
	}
}

// boolean reads true or false.
func boolean(w *walker) error {
	if k := w.dec.PeekKind(); k != 't' && k != 'f' {
		return w.begin('t')
	}
	return w.dec.SkipValue()
}

// anything skips a value, and anyObject one that must be an object.
func anything(w *walker) error { return w.dec.SkipValue() }

func anyObject(w *walker) error {
	if err := w.begin('{'); err != nil {
		return err
	}
	return w.dec.SkipValue()
}

// raw hands a value on as it stands.
func raw(then func(*walker, jsontext.Value)) check {
	return func(w *walker) error {
		v, err := w.dec.ReadValue()
		if err == nil {
			then(w, v)
		}
		return err
	}
}

// digests reads a DigestSet, algorithm to value. An empty one is as good as none.
func digests(then func(*walker, map[string]string)) check {
	return func(w *walker) error {
		set := map[string]string{}
		c := mapOf(func(alg string) check {
			return func(w *walker) error {
				if alg == "" {
					return errors.New("empty algorithm")
				}
				if len(set) == MaxDigests {
					return fmt.Errorf("more than %d digests", MaxDigests)
				}
				return filled(func(_ *walker, v string) { set[alg] = v })(w)
			}
		})
		if err := c(w); err != nil {
			return err
		}
		if len(set) == 0 {
			return errUnset
		}
		if then != nil {
			then(w, set)
		}
		return nil
	}
}
