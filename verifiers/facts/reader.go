package facts

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// A Step is called between parts of the work with the number of bytes that were
// read since the last call. Its error ends the extraction.
type Step func(ctx context.Context, bytes int) error

// stepBytes is the number of bytes between calls of a Step.
const stepBytes = 32 << 10

var (
	// errBad is the error of a value that is read to its end and gives no fact.
	// Its problem is noted. The element that contains it is dropped.
	errBad = errors.New("malformed")
	// errDepth ends the reading: the document exceeds LimitDepth.
	errDepth = errors.New("nested too deep")
)

// A reader extracts facts from one JSON document. It reads tokens, and holds
// nothing of the document but the facts.
//
// Its methods read exactly one value. The error is nil, errBad, or ends the
// reading. A value that is null counts as absent.
type reader struct {
	ctx  context.Context
	step Step
	dec  *jsontext.Decoder
	out  *Facts
	at   int64 // bytes of which step was notified
	path []segment

	size    int               // of the facts so far, as section 3 of the spec counts it
	strings map[string]string // strings that were read: many repeat
	held    int               // size of strings
	scratch []byte
	version string // of a scanner that names itself in its report
	stopped error  // of step
}

// A segment of a path is a member's name, or an element's index.
type segment struct {
	name  string
	index int // -1: it is a member
}

func newReader(ctx context.Context, step Step, document []byte, name string, out *Facts) *reader {
	// As package intoto reads: lone surrogates become U+FFFD. Duplicate names
	// are found by object.
	dec := jsontext.NewDecoder(bytes.NewBuffer(document), jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))
	r := &reader{ctx: ctx, step: step, dec: dec, out: out, strings: map[string]string{}}
	if name != "" {
		r.path = append(r.path, segment{name, -1})
	}
	return r
}

// pass notifies step if enough was read.
func (r *reader) pass() error {
	n := r.dec.InputOffset() - r.at
	if n < stepBytes {
		return nil
	}
	r.at += n
	r.stopped = r.step(r.ctx, int(n))
	return r.stopped
}

// note adds a problem of the value that is being read.
func (r *reader) note(code Code) { r.out.problem(r.place(""), code) }

// place returns the path of the value that is being read, or of a member of it.
func (r *reader) place(member string) string {
	var b strings.Builder
	for _, s := range r.path {
		if s.index >= 0 {
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(s.name)
	}
	if member != "" && b.Len() > 0 {
		b.WriteByte('.')
	}
	return b.String() + member
}

// missing notes that the object that was just read lacks a member.
func (r *reader) missing(member string) error {
	r.out.problem(r.place(member), Missing)
	return errBad
}

// begin reports whether the next value is of a kind. If it is null, begin skips
// it; if it is of another kind, begin notes that and skips it.
func (r *reader) begin(want jsontext.Kind) (bool, error) {
	switch got := r.dec.PeekKind(); got {
	case want:
		return true, nil
	case 'n':
		return false, r.dec.SkipValue()
	case 0:
		return false, r.noValue()
	}
	r.note(WrongType)
	if err := r.skip(); err != nil {
		return false, err
	}
	return false, errBad
}

// noValue returns the error about what is in the place of a value.
func (r *reader) noValue() error {
	_, err := r.dec.ReadToken()
	if err == nil {
		err = errors.New("no value")
	}
	return err
}

// unknown is returned by the function of an object for members that it does not
// read.
var errUnknown = errors.New("unknown member")

// object reads an object. It calls each with the name of every member, and each
// reads the value or returns errUnknown, and then object skips it. The result
// is errBad if a member that each reads is malformed or occurs twice.
func (r *reader) object(each func(name string) error) error {
	var table [16]string
	seen := table[:0]
	return r.members(func(name string) error {
		r.path = append(r.path, segment{name, -1})
		again := slices.Contains(seen, name)
		var err error
		if again {
			r.note(Duplicate)
			err = r.skip()
		} else if err = each(name); err == errUnknown {
			err = r.skip()
		} else {
			seen = append(seen, name)
		}
		r.path = r.path[:len(r.path)-1]
		if again && err == nil {
			err = errBad
		}
		return err
	})
}

// A need is a required member: its path, and whether it is there.
type need struct {
	path string
	ok   bool
}

// record reads an object that is absent if it is null, and then notes the first
// of the required members that is missing.
func (r *reader) record(each func(name string) error, needs func() []need) error {
	if r.dec.PeekKind() == 'n' {
		return r.dec.SkipValue()
	}
	return r.element(each, needs)
}

// element is record for an element of an array, which is an object without
// members if it is null.
func (r *reader) element(each func(name string) error, needs func() []need) error {
	if err := r.object(each); err != nil {
		return err
	}
	for _, n := range needs() {
		if !n.ok {
			return r.missing(n.path)
		}
	}
	return nil
}

// member reads one member of an object and skips the others.
func (r *reader) member(only string, read func() error) error {
	return r.object(func(name string) error {
		if name == only {
			return read()
		}
		return errUnknown
	})
}

// members is object for an object with any names. Its names do not appear in
// paths, and are compared by the caller.
func (r *reader) members(each func(name string) error) error {
	ok, err := r.begin('{')
	if !ok {
		return err
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return err
	}
	bad := false
	for r.dec.PeekKind() == '"' {
		name, err := r.dec.ReadToken()
		if err == nil {
			err = each(name.String())
		}
		if err == errBad {
			bad = true
		} else if err != nil {
			return err
		}
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return err
	}
	if bad {
		return errBad
	}
	return nil
}

// array reads an array and calls each for every element. The result is errBad
// if an element is.
func (r *reader) array(each func(i int) error) error {
	bad := false
	err := r.elements(func(i int) error {
		err := each(i)
		if err == errBad {
			bad, err = true, nil
		}
		return err
	})
	if err == nil && bad {
		return errBad
	}
	return err
}

// list reads an array whose elements are elements of a group. Those that give
// no fact are counted.
//
// Elements of a group that exceeds a limit are not read.
func (r *reader) list(l *List, each func(i int) error) error {
	return r.elements(func(i int) error { return r.listed(l, i, each) })
}

// listed reads one element of a list.
func (r *reader) listed(l *List, i int, each func(i int) error) error {
	if l.Exceeded != "" || r.size > MaxSize {
		return r.skip()
	}
	err := each(i)
	if err == errBad {
		l.Dropped++
		err = nil
	}
	return err
}

func (r *reader) elements(each func(i int) error) error {
	ok, err := r.begin('[')
	if !ok {
		return err
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return err
	}
	for i := 0; r.dec.PeekKind() != ']'; i++ {
		r.path = append(r.path, segment{"", i})
		if r.dec.PeekKind() == 0 {
			err = r.noValue()
		} else {
			err = each(i)
		}
		r.path = r.path[:len(r.path)-1]
		if err != nil {
			return err
		}
		if err := r.pass(); err != nil {
			return err
		}
	}
	_, err = r.dec.ReadToken()
	return err
}

// skipLevels is the number of levels of nesting that are skipped in steps.
const skipLevels = 4

// skip skips a value.
func (r *reader) skip() error { return r.skipBelow(skipLevels) }

func (r *reader) skipBelow(levels int) error {
	kind := r.dec.PeekKind()
	if levels == 0 || kind != '{' && kind != '[' {
		return r.dec.SkipValue()
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return err
	}
	for k := r.dec.PeekKind(); k != '}' && k != ']'; k = r.dec.PeekKind() {
		if err := r.skipBelow(levels - 1); err != nil {
			return err
		}
		if err := r.pass(); err != nil {
			return err
		}
	}
	_, err := r.dec.ReadToken()
	return err
}

// optional makes a malformed value an absent one.
func optional(err error) error {
	if err == errBad {
		return nil
	}
	return err
}

// text reads a string of at most MaxText bytes.
func (r *reader) text(to *string) error {
	ok, err := r.begin('"')
	if !ok {
		return err
	}
	raw, err := r.dec.ReadValue()
	if err != nil {
		return err
	}
	if len(raw) > 6*MaxText+2 { // an escaped byte takes up to six
		r.note(TooLong)
		return errBad
	}
	if r.scratch, err = jsontext.AppendUnquote(r.scratch[:0], raw); err != nil && !errors.As(err, new(*jsontext.SyntacticError)) {
		return err // invalid UTF-8 is replaced
	}
	if len(r.scratch) > MaxText {
		r.note(TooLong)
		return errBad
	}
	*to = r.keep(r.scratch)
	return nil
}

// keep returns the string that consists of the bytes.
func (r *reader) keep(text []byte) string {
	if s, ok := r.strings[string(text)]; ok {
		return s
	}
	s := string(text)
	if r.held += elementSize + len(s); r.held <= MaxSize {
		r.strings[s] = s
	}
	return s
}

// texts reads a list of at most MaxShort strings. It leaves out empty and
// repeated ones.
func (r *reader) texts(to *[]string) error {
	return r.array(func(int) error {
		var s string
		if err := r.text(&s); err != nil || s == "" || slices.Contains(*to, s) {
			return err
		}
		return r.short(to, s)
	})
}

// short appends to a list inside of an element.
func (r *reader) short(to *[]string, s string) error {
	if len(*to) == MaxShort {
		r.note(TooLong)
		return errBad
	}
	*to = append(*to, s)
	return nil
}

// time reads a time in RFC 3339, from 1970 to 9999.
func (r *reader) time(to *Time) error {
	var s string
	if err := r.text(&s); err != nil || s == "" {
		return err
	}
	var t time.Time
	if err := t.UnmarshalText([]byte(s)); err != nil || t.UnixMilli() <= 0 || t.UTC().Year() > 9999 {
		r.note(WrongValue)
		return errBad
	}
	*to = Time(t.UnixMilli())
	return nil
}

// oneOf reads one of some strings.
func (r *reader) oneOf(to *string, values ...string) error {
	var s string
	if err := r.text(&s); err != nil || s == "" {
		return err
	}
	if !slices.Contains(values, s) {
		r.note(WrongValue)
		return errBad
	}
	*to = s
	return nil
}

// number reads a number within bounds. set may be nil.
func (r *reader) number(to *float64, set *bool, least, most float64) error {
	ok, err := r.begin('0')
	if !ok {
		return err
	}
	raw, err := r.dec.ReadValue()
	if err != nil {
		return err
	}
	v, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || v < least || v > most {
		r.note(WrongValue)
		return errBad
	}
	*to = v
	if set != nil {
		*set = true
	}
	return nil
}

// maxInteger is the largest integer that every reader of JSON has.
const maxInteger = 1<<53 - 1

// integer reads an integer within bounds. set may be nil.
func (r *reader) integer(to *int, set *bool, least, most float64) error {
	v, ok := 0.0, false
	if err := r.number(&v, &ok, least, most); err != nil || !ok {
		return err
	}
	if v != math.Trunc(v) {
		r.note(WrongValue)
		return errBad
	}
	*to = int(v)
	if set != nil {
		*set = true
	}
	return nil
}

// boolean reads true or false.
func (r *reader) boolean(to, set *bool) error {
	k := r.dec.PeekKind()
	if k != 't' && k != 'f' {
		_, err := r.begin('t')
		return err
	}
	*to, *set = k == 't', true
	return r.dec.SkipValue()
}

// score reads a CVSS score as a number. It keeps the greatest.
func (r *reader) score(to *Score) error {
	v := 0.0
	if err := r.number(&v, nil, 0, 10); err != nil {
		return optional(err)
	}
	*to = max(*to, scoreOf(v))
	return nil
}

// scoreOf rounds a score from 0 to 10 to tenths.
func scoreOf(v float64) Score { return Score(math.Round(v * 10)) }

// purl reads a package URL. A malformed one is absent.
func (r *reader) purl(to *string) error {
	var s string
	if err := r.text(&s); err != nil || s == "" {
		return optional(err)
	}
	p, ok := CanonicalPURL(s)
	if !ok {
		r.note(WrongValue)
		return nil
	}
	*to = r.keep([]byte(p))
	return nil
}

// digests reads a DigestSet.
func (r *reader) digests(to *Digests) error {
	var all Digests
	err := r.members(func(name string) error {
		var v string
		if err := r.text(&v); err != nil || v == "" {
			return err
		}
		if name == "" || len(name) > MaxText {
			r.note(WrongValue)
			return errBad
		}
		return r.addDigest(&all, name, v)
	})
	if err == nil {
		*to = all
	}
	return err
}

// room counts a well-formed element, and reports whether there is room for it
// in a list of n elements. If not, the group exceeds a limit.
func (r *reader) room(l *List, n, texts int) bool {
	r.size += elementSize + texts
	switch {
	case n >= MaxElements:
		l.Exceeded = LimitElements
	case r.size > MaxSize:
		l.Exceeded = LimitSize
	}
	return l.Exceeded == ""
}

// elementSize is the size of an element without its strings.
const elementSize = 64

// lengths returns the total length of strings.
func lengths(all ...string) (n int) {
	for _, s := range all {
		n += len(s)
	}
	return n
}

func (d Digests) lengths() (n int) {
	for _, one := range d {
		n += len(one.Algorithm) + len(one.Value)
	}
	return n
}
