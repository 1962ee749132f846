// Package intoto reads in-toto statements, v0.1 and v1
// (https://github.com/in-toto/attestation/tree/main/spec), and checks their
// predicates against the published definitions of their types.
//
// It only reads claims. The packages of the envelope formats verify the
// signatures.
package intoto

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/boundedjson"
	"muniment.dev/muniment/verifiers/shape"
	"muniment.dev/muniment/verifiers/sniff"
)

// MediaType is the media type of a statement, which is also its DSSE payload
// type.
const MediaType = "application/vnd.in-toto+json"

// The types of statements: the values of the member _type.
const (
	TypeV01 = "https://in-toto.io/Statement/v0.1"
	TypeV1  = "https://in-toto.io/Statement/v1"
)

// MaxSize is the size limit of a statement in bytes.
const MaxSize = 256 << 20

// Limits of a statement.
const (
	MaxSubjects = 1024
	MaxDigests  = 16  // of a subject
	MaxDepth    = 256 // of nested arrays and objects
)

// ErrMalformed is wrapped by every error of this package. It means that a
// document is not a statement, or can be read in more than one way.
var ErrMalformed = errors.New("malformed")

// ErrOtherType is wrapped, together with ErrMalformed, by errors about objects
// with another _type, such as in-toto's layouts and links. Their envelopes use
// the payload type of statements.
var ErrOtherType = errors.New("neither v0.1 nor v1")

// A Statement is the content of an in-toto statement.
type Statement struct {
	Type string
	// with digests in canonical form; a deviating subject may have none
	Subjects      []entry.Subject
	PredicateType string // "" if it deviates
	// unchanged, in the document's memory; nil if absent
	Predicate  jsontext.Value
	Deviations Deviations // of the statement and, after Check, of its predicate
	// the statement itself deviates, so another reader could find other
	// subjects or another predicate type
	Incomplete bool

	// PartialClaims is set by Check if the predicate could not be read
	// completely, or can be read in more than one way. Claims then has no
	// materials or facts.
	PartialClaims bool

	Claims // filled in by Check
}

// MaxDeviations is the number of deviations that are listed.
const MaxDeviations = 16

const (
	maxCounted   = 1000 // reading ends after this many deviations
	maxDeviation = 256  // bytes of a path or a problem
)

// Deviations lists the places where a document deviates from the definition of
// its type. They do not affect its signature.
type Deviations struct {
	List  []Deviation // the first MaxDeviations
	Count int         // in total
}

// A Deviation is a deviation at one place in a document.
type Deviation struct {
	Path    string `json:"path"` // such as predicate.builder.id
	Problem string `json:"problem"`
}

// String returns the deviation in one line.
func (d Deviation) String() string {
	if d.Path == "" {
		return d.Problem
	}
	return d.Path + ": " + d.Problem
}

// Add adds a deviation.
func (d *Deviations) Add(path, problem string) {
	if d.Count++; d.Count <= MaxDeviations {
		d.List = append(d.List, Deviation{clip(path), clip(problem)})
	}
}

// Strings returns a line for each listed deviation, and a last line with the
// number of unlisted ones.
func (d Deviations) Strings() []string {
	var lines []string
	for _, one := range d.List {
		lines = append(lines, one.String())
	}
	if more := d.Count - len(d.List); more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return lines
}

// Parse reads a statement that must conform to the definitions of statements
// and of its predicate's type, if that type has one. The error wraps
// ErrMalformed and names the invalid member.
func Parse(data []byte) (*Statement, error) {
	s, err := Read(data)
	if err != nil {
		return nil, err
	}
	if s.Check(); s.Deviations.Count > 0 {
		return nil, plain.Malformed(ErrMalformed, "in-toto statement", errors.New(s.Deviations.List[0].String()))
	}
	return s, nil
}

// Read reads a statement, except for its predicate, and notes the deviations.
// The error wraps ErrMalformed: the document is not JSON, is not a statement,
// exceeds a limit, or repeats a member, so that its meaning depends on the
// reader.
func Read(data []byte) (*Statement, error) {
	s := &Statement{}
	err := checkText(data)
	if err == nil {
		err = walk(data, "", nil, &s.Deviations, s.check())
	}
	if err != nil {
		return nil, plain.Malformed(ErrMalformed, "in-toto statement", err)
	}
	if s.Type == "" { // already noted, or not an object
		return nil, plain.Malformed(ErrMalformed, "in-toto statement", fmt.Errorf("%w: %s", ErrOtherType, s.Deviations.List[0]))
	}
	s.Incomplete = s.Deviations.Count > 0
	return s, nil
}

// ReadSigned reads the payload of a signed envelope. It returns no statement if
// neither the payload type nor the payload's own members indicate one. A
// signature can be valid although the payload is unreadable or ambiguous. The
// error unread reports this: it is a deviation, and another reader could find
// any subjects and predicate type in the payload. The error err reports a
// payload that is itself an envelope or bundle, whose signatures would be
// hidden.
func ReadSigned(payloadType string, payload []byte) (s *Statement, unread, err error) {
	inner := shape.Of(payload)
	switch {
	case inner&(shape.Envelope|shape.Bundle) != 0:
		return nil, nil, errors.New("payload: must not be an envelope or bundle: submit the one that has the signatures")
	case inner == shape.None && payloadType != MediaType:
		return nil, nil, nil
	}
	if s, err = Read(payload); err != nil {
		return nil, fmt.Errorf("payload: %w", err), nil
	}
	return s, nil, nil
}

// checkText checks the size, encoding and depth of a document before it is
// read.
func checkText(data []byte) error {
	if len(data) > MaxSize {
		return fmt.Errorf("%d bytes, more than %d", len(data), MaxSize)
	}
	if err := sniff.Encoding(data); err != nil {
		return err
	}
	if !utf8.Valid(data) {
		return errors.New("not UTF-8")
	}
	return boundedjson.CheckDepth(data, MaxDepth)
}

// check returns the definition of a statement. Applying it fills in s.
func (s *Statement) check() check {
	var subject entry.Subject
	one := object(
		optional("name", text(func(_ *walker, v string) { subject.Name = v })),
		required("digest", digests(func(_ *walker, d map[string]string) { subject.Digest = d })),
	)
	subjects := listFrom(1, func(w *walker) error {
		if len(s.Subjects) == MaxSubjects {
			return fatalf("more than %d subjects: split the statement", MaxSubjects)
		}
		subject = entry.Subject{Digest: map[string]string{}}
		err := one(w)
		s.Subjects = append(s.Subjects, subject)
		return err
	})
	known := func(w *walker) error {
		err := oneOf(func(_ *walker, v string) { s.Type = v }, TypeV01, TypeV1)(w)
		if err != nil {
			s.Type = ""
		}
		return err
	}
	return object(
		required("_type", known),
		required("predicateType", filled(func(_ *walker, v string) { s.PredicateType = v })),
		required("subject", subjects),
		optional("predicate", raw(func(_ *walker, v jsontext.Value) { s.Predicate = v })),
	)
}

// Check checks the predicate against the definition of its type, records its
// deviations and fills in the claims. It ignores a predicate whose type has no
// definition here. Repeated calls have no effect.
func (s *Statement) Check() {
	if s.Category != "" {
		return
	}
	d := definitionOf(s.PredicateType)
	s.Claims = Claims{Category: d.category}
	predicate := s.Predicate
	if predicate == nil {
		predicate = jsontext.Value("{}") // "unset is treated the same as set-but-empty"
	}
	c := d.check
	switch kind := predicate.Kind(); {
	case kind == '"' && d.text != nil:
		c = d.text
	case kind != '{':
		s.Deviations.Add("predicate", "must be an object, not "+kindNames[kind])
		return
	}
	if c == nil {
		return
	}
	s.Checked = true
	if err := walk(predicate, "predicate", &s.Claims, &s.Deviations, c); err != nil {
		s.PartialClaims = true
		s.Claims = Claims{Category: d.category, Checked: true}
		s.Deviations.Add("", err.Error())
	}
}

// Conforms reports whether the statement conforms to the definitions of
// statements and of its predicate's type. It returns false for a type without a
// definition here.
func (s *Statement) Conforms() bool { return s.Checked && s.Deviations.Count == 0 }

// HasSubject reports whether a subject has the digest.
func (s *Statement) HasSubject(d entry.Digest) bool {
	return slices.ContainsFunc(s.Subjects, func(sub entry.Subject) bool { return sub.Has(d) })
}
