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

// A check reads exactly one JSON value and returns an error if the value
// deviates. A definition is a tree of checks, applied while the document is
// read. The document is not unmarshalled, so an array of a million objects
// takes no more memory than its bytes.
type check func(*walker) error

// A walker is the state of reading one document.
type walker struct {
	dec      *jsontext.Decoder
	claims   *Claims
	material material // being read
	last     string   // the last string read

	bad   error       // fatal, found in a digest set
	found *Deviations // reading continues after a deviation
	path  []step      // to the current value
}

// A step of a path is a member's name, or an element's index.
type step struct {
	name  string
	index int // -1 for a member
}

func member(name string) step { return step{name, -1} }
func element(i int) step      { return step{"", i} }

func (s step) String() string {
	if s.index >= 0 {
		return "[" + strconv.Itoa(s.index) + "]"
	}
	return shorten(s.name)
}

// A fatalError reports that a document can be read in more than one way or
// exceeds a limit. It is never recorded as a deviation.
type fatalError struct {
	error
	located bool // the message contains the path
}

func (e *fatalError) Unwrap() error { return e.error }

func fatalf(format string, args ...any) error { return &fatalError{fmt.Errorf(format, args...), false} }

// errTooMany stops reading a document with too many deviations.
var errTooMany error = &fatalError{errors.New("too many deviations"), true}

// decode returns a decoder for all JSON that RFC 8259 allows. It reads lone
// surrogates, which Python writes for file names that are not UTF-8, as U+FFFD.
// The caller must have checked that the text is UTF-8. The checks detect
// duplicate members.
func decode(data []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(data), jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))
}

// walk applies a check to a whole document and records its deviations. Their
// paths begin with the name, if there is one. The error is syntactic or fatal.
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
			err = errors.New("trailing data after the document")
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

// locate adds the path to a fatal error that has none.
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

// place returns the path to the value being read, or to a member below it.
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

// note records a deviation of the value being read.
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

// A memberError is an error with the path of the member that it is about, such
// as predicate.materials[3].digest.
type memberError struct {
	path  string
	cause error
}

func (e *memberError) Error() string { return e.path + ": " + e.cause.Error() }
func (e *memberError) Unwrap() error { return e.cause }

// at returns an error about a member of the value being read.
func at(name string, err error) error { return &memberError{shorten(name), err} }

// shorten bounds text from the document that is quoted in a message.
func shorten(s string) string {
	if len(s) > 100 {
		return strings.ToValidUTF8(s[:100], "") + "…"
	}
	return s
}

// clip bounds the text of a deviation.
func clip(s string) string {
	if len(s) > maxDeviation {
		return strings.ToValidUTF8(s[:maxDeviation-3], "") + "…"
	}
	return s
}

// kindNames contains the names of JSON kinds for messages.
var kindNames = map[jsontext.Kind]string{'{': "an object", '[': "an array", '"': "a string", '0': "a number", 't': "a boolean", 'f': "a boolean", 'n': "null"}

// begin checks that the next value is of the kind.
func (w *walker) begin(want jsontext.Kind) error {
	got := w.dec.PeekKind()
	if got == want {
		return nil
	}
	if _, known := kindNames[got]; !known {
		_, err := w.dec.ReadToken() // for its error message
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return fmt.Errorf("must be %s, not %s", kindNames[want], kindNames[got])
}

// A field is a member of an object.
type field struct {
	name     string
	required bool
	check    check
}

func required(name string, c check) field { return field{name, true, c} }
func optional(name string, c check) field { return field{name, false, c} }

// seen records which fields of an object were present, by name.
type seen map[string]value

// A value is the part of a field's value that is kept.
type value struct {
	text string // if it is a string
	set  bool   // present, and not equivalent to an absent value
}

func (s seen) has(name string) bool    { return s[name].set }
func (s seen) text(name string) string { return s[name].text }

// object reads an object with these fields and ignores others, as the framework
// requires
// (https://github.com/in-toto/attestation/blob/main/spec/v1/README.md#parsing-rules).
// A field that is null counts as absent.
func object(fields ...field) check { return objectWith(nil, fields...) }

// objectWith is object with an additional rule across several fields.
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
		return w.locate(at(name, fatalf("duplicate member")))
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
	// errUnset is returned by a check for a value that is equivalent to an
	// absent one.
	errUnset = errors.New("missing")
)

// list reads an array and applies the check to each element.
func list(each check) check { return listFrom(0, each) }

// listFrom is list with a minimum length.
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

// mapOf reads an object with arbitrary member names and applies to each value
// the check for its name.
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

// text reads a string and passes it to then, if that is not nil.
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

// textThat reads a string that must satisfy ok. It passes the string to then in
// any case, because a document's claims are shown next to its problems.
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

// uri reads a URI with a scheme, as TypeURI and ResourceURI require.
func uri(then func(*walker, string)) check {
	return textThat(then, func(v string) error {
		if u, err := url.Parse(v); err != nil || u.Scheme == "" {
			return fmt.Errorf("%q is not a URI with a scheme", shorten(v))
		}
		return nil
	})
}

// timestamp reads an RFC 3339 time.
func timestamp(then func(*walker, string)) check {
	return textThat(then, func(v string) error {
		if _, err := time.Parse(time.RFC3339Nano, v); err != nil {
			return fmt.Errorf("%q is not a time such as 2026-04-19T12:00:00Z", shorten(v))
		}
		return nil
	})
}

// oneOf reads one of the given strings.
func oneOf(then func(*walker, string), values ...string) check {
	return textThat(then, func(v string) error {
		if !slices.Contains(values, v) {
			return fmt.Errorf("%q is not one of %s", shorten(v), strings.Join(values, ", "))
		}
		return nil
	})
}

// matching reads a string with the prefix.
func matching(then func(*walker, string), prefix string) check {
	return textThat(then, func(v string) error {
		if !strings.HasPrefix(v, prefix) {
			return fmt.Errorf("%q must begin with %s", shorten(v), prefix)
		}
		return nil
	})
}

// integer reads a whole number with a lower bound.
func integer(least uint64) check { return wholeNumber(least, false) }

// uint64Number is integer from 0, or the same as a string. Protobuf's JSON
// mapping writes 64-bit integers as strings
// (https://protobuf.dev/programming-guides/json/), and SLSA defines its
// predicates as protobuf messages.
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
			return fmt.Errorf("%s is not a whole number of at least %d", shorten(digits), least)
		}
		return nil
	}
}

// either applies the check for the kind of the next value. The first check
// reports values of neither kind.
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

// anything skips a value. anyObject skips an object.
func anything(w *walker) error { return w.dec.SkipValue() }

func anyObject(w *walker) error {
	if err := w.begin('{'); err != nil {
		return err
	}
	return w.dec.SkipValue()
}

// raw passes on a value unchanged.
func raw(then func(*walker, jsontext.Value)) check {
	return func(w *walker) error {
		v, err := w.dec.ReadValue()
		if err == nil {
			then(w, v)
		}
		return err
	}
}

// digests reads a DigestSet, which maps algorithms to values, into its
// canonical form. An empty set counts as absent.
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
