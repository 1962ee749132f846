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

	"muniment.dev/muniment/ledger/entry"
)

// A check reads exactly one JSON value and returns an error if it deviates. A
// definition is a tree of checks that are applied while the document is read.
// The document is not kept in memory, so an array of a million objects costs no
// more than its bytes.
type check func(*walker) error

// A walker is the state of one reading.
type walker struct {
	dec      *jsontext.Decoder
	claims   *Claims
	material material // being read
	last     string   // the last string read

	bad   error       // fatal, from a digest set
	found *Deviations // collects deviations, after which reading continues
	path  []step      // to the current value
}

// A step of a path is a member's name, or an element's index.
type step struct {
	name  string
	index int // -1: it is a member
}

func member(name string) step { return step{name, -1} }
func element(i int) step      { return step{"", i} }

func (s step) String() string {
	if s.index >= 0 {
		return "[" + strconv.Itoa(s.index) + "]"
	}
	return shorten(s.name)
}

// A fatalError is about a document that can be read in more than one way, or
// that exceeds a limit. It is never recorded as a deviation.
type fatalError struct {
	error
	located bool // the message contains the path
}

func (e *fatalError) Unwrap() error { return e.error }

func fatalf(format string, args ...any) error { return &fatalError{fmt.Errorf(format, args...), false} }

// errTooMany ends the reading of a document with too many deviations.
var errTooMany error = &fatalError{errors.New("too many deviations"), true}

// decode returns a decoder of all JSON that RFC 8259 allows. Lone surrogates,
// which Python writes for file names that are not UTF-8, are read as U+FFFD.
// The caller has checked that the text is UTF-8. The checks detect repeated
// members.
func decode(data []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(data), jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))
}

// walk applies a check to a whole document and records its deviations. The
// name, if any, begins their paths. The error is syntactic or fatal.
func walk(data []byte, name string, claims *Claims, found *Deviations, c check) error {
	w := &walker{dec: decode(data), claims: claims, found: found}
	if name != "" {
		w.path = append(w.path, member(name))
	}
	err := c(w)
	switch {
	case err == nil || syntactic(err):
	case errors.As(err, new(*fatalError)):
		err = w.locate(err)
	default:
		return w.note(err)
	}
	if err == nil {
		if _, err = w.dec.ReadToken(); err == io.EOF {
			return nil
		} else if err == nil {
			err = errors.New("something follows the document")
		}
	}
	return err
}

func syntactic(err error) bool {
	var syntax *jsontext.SyntacticError
	return errors.As(err, &syntax) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

// visit applies a check to the next value, which is a member or element of the
// current one. If the value deviates, visit records that and skips the rest of
// the value. The error is errUnset, syntactic or fatal.
func (w *walker) visit(at step, c check) error {
	depth := w.dec.StackDepth()
	_, before := w.dec.StackIndex(depth)
	w.path = append(w.path, at)
	defer func() { w.path = w.path[:len(w.path)-1] }()
	err := c(w)
	switch {
	case err == nil || err == errUnset || syntactic(err):
		return err
	case errors.As(err, new(*fatalError)):
		return w.locate(err)
	}
	if err := w.note(err); err != nil {
		return err
	}
	for w.dec.StackDepth() > depth {
		if _, err := w.dec.ReadToken(); err != nil {
			return err
		}
	}
	if _, after := w.dec.StackIndex(depth); after == before {
		return w.dec.SkipValue()
	}
	return nil
}

// part is visit for a value that must not be unset.
func (w *walker) part(at step, c check) error {
	return w.visit(at, func(w *walker) error {
		err := c(w)
		if err == errUnset {
			return errMissing
		}
		return err
	})
}

// locate adds the place to a fatal error that has none.
func (w *walker) locate(err error) error {
	var fatal *fatalError
	if !errors.As(err, &fatal) || err == errTooMany || fatal.located {
		return err
	}
	path := ""
	if inner, ok := err.(*memberError); ok {
		path = inner.path
	}
	if path = w.place(path); path == "" {
		return err
	}
	return &fatalError{fmt.Errorf("%s: %w", clip(path), fatal.error), true}
}

// place returns the path to the value that is being read, or to what is below
// it.
func (w *walker) place(below string) string {
	var b strings.Builder
	for i, s := range w.path {
		if i > 0 && s.index < 0 {
			b.WriteByte('.')
		}
		b.WriteString(s.String())
	}
	if b.Len() > 0 && below != "" && !strings.HasPrefix(below, "[") {
		b.WriteByte('.')
	}
	b.WriteString(below)
	return b.String()
}

// note adds a deviation of the value that is being read.
func (w *walker) note(err error) error {
	path := ""
	if inner, ok := err.(*memberError); ok {
		path, err = inner.path, inner.cause
	}
	if w.found.Count++; w.found.Count <= MaxDeviations {
		w.found.List = append(w.found.List, Deviation{clip(w.place(path)), clip(err.Error())})
	}
	if w.found.Count >= maxCounted {
		return errTooMany
	}
	return nil
}

// A memberError is an error with the member where it was found, such as
// predicate.materials[3].digest.
type memberError struct {
	path  string
	cause error
}

func (e *memberError) Error() string { return e.path + ": " + e.cause.Error() }
func (e *memberError) Unwrap() error { return e.cause }

// at returns an error about a member of the value that is being read.
func at(name string, err error) error { return &memberError{shorten(name), err} }

// shorten keeps messages readable, whatever the document holds.
func shorten(s string) string {
	if len(s) > 100 {
		return strings.ToValidUTF8(s[:100], "") + "…"
	}
	return s
}

// clip bounds what is kept of a text.
func clip(s string) string {
	if len(s) > maxDeviation {
		return strings.ToValidUTF8(s[:maxDeviation-3], "") + "…"
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

// A seen object is which of the fields were there, by name.
type seen map[string]value

// A value is what of a field's value is kept.
type value struct {
	text string // of a string
	set  bool   // it is not the same as none
}

func (s seen) has(name string) bool    { return s[name].set }
func (s seen) text(name string) string { return s[name].text }

// object reads an object with these fields, and ignores others: the framework
// asks for that
// (https://github.com/in-toto/attestation/blob/main/spec/v1/README.md#parsing-rules).
// A field that is null counts as absent.
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
				if err := w.note(at(f.name, errMissing)); err != nil {
					return err
				}
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
	if !ok {
		return w.dec.SkipValue()
	}
	if _, again := s[name]; again {
		return w.locate(at(name, fatalf("there are two members of that name")))
	}
	if w.dec.PeekKind() == 'n' {
		s[name] = value{}
		return w.dec.SkipValue()
	}
	w.last = ""
	err := w.visit(member(name), f.check)
	if err != nil && err != errUnset {
		return err
	}
	s[name] = value{w.last, err == nil}
	return nil
}

var (
	errMissing = errors.New("missing")
	// errUnset is what a check returns of a value that means the same as none.
	errUnset = errors.New("missing")
)

// list reads an array, each element of which passes the check.
func list(each check) check { return listFrom(0, each) }

// listFrom is list with a least length.
func listFrom(least int, each check) check {
	return func(w *walker) error {
		if err := w.begin('['); err != nil {
			return err
		}
		if _, err := w.dec.ReadToken(); err != nil {
			return err
		}
		n := 0
		for ; w.dec.PeekKind() != ']' && w.dec.PeekKind() != 0; n++ {
			if err := w.part(element(n), each); err != nil {
				return err
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

// mapOf reads an object of any member names, each value of which passes the
// check for its name.
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
			if err := w.part(member(s), value(s)); err != nil {
				return err
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

// textThat reads a string for which ok must hold. It is handed on in any case:
// what a document states is shown beside what is wrong with it.
func textThat(then func(*walker, string), ok func(string) error) check {
	return func(w *walker) error {
		var bad error
		err := text(func(w *walker, v string) {
			bad = ok(v)
			if then != nil {
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
func integer(least uint64) check { return wholeNumber(least, false) }

// uint64Number is integer from 0, also as a string: so protobuf's JSON mapping
// writes 64-bit integers (https://protobuf.dev/programming-guides/json/), and
// SLSA defines its predicates by messages.
var uint64Number = wholeNumber(0, true)

func wholeNumber(least uint64, quoted bool) check {
	return func(w *walker) error {
		if !quoted || w.dec.PeekKind() != '"' {
			if err := w.begin('0'); err != nil {
				return err
			}
		}
		t, err := w.dec.ReadToken()
		if err != nil {
			return err
		}
		digits := t.String()
		if n, err := strconv.ParseUint(digits, 10, 64); err != nil || n < least {
			return fmt.Errorf("%s is not a whole number from %d", shorten(digits), least)
		}
		return nil
	}
}

// either applies the check that goes with the kind of the next value, and the
// first one if none does.
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

// digests reads a DigestSet, algorithm to value, into its canonical form. An
// empty one is as good as none.
func digests(then func(*walker, map[string]string)) check {
	return func(w *walker) error {
		set := map[string]string{}
		c := mapOf(func(name string) check {
			return func(w *walker) error {
				if name == "" {
					return errors.New("empty algorithm")
				}
				return filled(func(w *walker, v string) { w.digest(set, name, v) })(w)
			}
		})
		if err := c(w); err != nil {
			return err
		}
		if w.bad != nil {
			return w.bad
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

// digest adds a digest to a set.
func (w *walker) digest(set map[string]string, name, v string) {
	alg, v := entry.FoldDigest(name, v)
	_, again := set[alg]
	switch {
	case v == "" || w.bad != nil:
	case again:
		w.bad = w.locate(fatalf("two digests of %s", shorten(alg)))
	case len(set) == MaxDigests:
		w.bad = w.locate(fatalf("more than %d digests", MaxDigests))
	default:
		set[alg] = v
	}
}
