// Package intoto reads in-toto statements, v0.1 and v1 (https://github.com/in-toto/attestation/tree/main/spec), and checks their predicates
// against the definitions that are published for their types.
//
// It says what a statement claims. Whether anybody signed it is for the packages of the envelopes.
package intoto

import (
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"muniment.dev/muniment/ledger/receipt"
)

// MediaType is the media type of a statement, which is also its DSSE payload type.
const MediaType = "application/vnd.in-toto+json"

// The types of statements, the value of their member _type.
const (
	TypeV01 = "https://in-toto.io/Statement/v0.1"
	TypeV1  = "https://in-toto.io/Statement/v1"
)

// MaxSubjects is how many subjects a statement may have, MaxDigests how many digests one of them, and MaxDepth how deep arrays and objects
// may be nested.
const (
	MaxSubjects = 1024
	MaxDigests  = 16
	MaxDepth    = 256
)

// ErrMalformed is wrapped by every error of this package: a document is no statement, or its predicate is not as its type is defined.
var ErrMalformed = errors.New("malformed")

// A Statement is what an in-toto statement says.
type Statement struct {
	Type          string
	Subjects      []receipt.Subject
	PredicateType string
	Predicate     jsontext.Value // as it stands in the document, whose memory it shares; nil if there is none

	Claims // filled in by Check
}

// Parse reads a statement and checks its predicate, if the type of it is known. The error wraps ErrMalformed and names the member that is wrong.
func Parse(data []byte) (*Statement, error) {
	s, err := Read(data)
	if err != nil {
		return nil, err
	}
	if err := s.Check(); err != nil {
		return nil, err
	}
	return s, nil
}

// Read reads a statement and leaves its predicate alone. The error wraps ErrMalformed and names the member that is wrong.
func Read(data []byte) (*Statement, error) {
	s := &Statement{}
	err := checkDepth(data)
	if err == nil {
		err = walk(data, "", nil, s.check())
	}
	if err != nil {
		return nil, &malformedError{err}
	}
	return s, nil
}

// check is the definition of a statement, and fills s in.
func (s *Statement) check() check {
	var subject receipt.Subject
	one := object(
		optional("name", text(func(_ *walker, v string) { subject.Name = v })),
		required("digest", digests(func(_ *walker, d map[string]string) { subject.Digest = d })),
	)
	subjects := listFrom(1, func(w *walker) error {
		if len(s.Subjects) == MaxSubjects {
			return fmt.Errorf("it is subject number %d, and there may be %d; split the statement", MaxSubjects+1, MaxSubjects)
		}
		subject = receipt.Subject{}
		if err := one(w); err != nil {
			return err
		}
		s.Subjects = append(s.Subjects, subject)
		return nil
	})
	return object(
		required("_type", oneOf(func(_ *walker, v string) { s.Type = v }, TypeV01, TypeV1)),
		required("predicateType", filled(func(_ *walker, v string) { s.PredicateType = v })),
		required("subject", subjects),
		optional("predicate", raw(func(_ *walker, v jsontext.Value) { s.Predicate = v })),
	)
}

// Check checks the predicate against the definition of its type, and fills in the claims. A predicate of a type that has none here is
// accepted unread, as long as it is an object. The error wraps ErrMalformed and names the member that is wrong.
func (s *Statement) Check() error {
	d := definitionOf(s.PredicateType)
	s.Claims = Claims{Category: d.category}
	predicate, checked := s.Predicate, d.check != nil
	if predicate == nil {
		predicate = jsontext.Value("{}") // "unset is treated the same as set-but-empty"
	}
	switch kind := predicate.Kind(); {
	case kind == '"' && d.text != nil:
		d.check = d.text
	case kind != '{':
		return &malformedError{errors.New("predicate: not an object")}
	}
	if !checked {
		return nil
	}
	if err := walk(predicate, "predicate", &s.Claims, d.check); err != nil {
		return &malformedError{err}
	}
	s.Checked = true
	return nil
}

// HasSubject says whether digest, in the form algorithm:value, is a digest of one of the subjects.
func (s *Statement) HasSubject(digest string) bool {
	return slices.ContainsFunc(s.Subjects, func(sub receipt.Subject) bool {
		for alg, v := range sub.Digest {
			if alg+":"+v == digest {
				return true
			}
		}
		return false
	})
}

// A malformedError reads like its cause, and is an ErrMalformed.
type malformedError struct{ cause error }

func (e *malformedError) Error() string   { return "in-toto statement: " + e.cause.Error() }
func (e *malformedError) Unwrap() []error { return []error{ErrMalformed, e.cause} }
