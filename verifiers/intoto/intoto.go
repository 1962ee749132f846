// Package intoto reads in-toto statements, v0.1 and v1 (https://github.com/in-toto/attestation/tree/main/spec).
//
// It says what a statement claims. Whether anybody signed it is for the packages of the envelopes.
package intoto

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
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

// MaxSubjects is how many subjects a statement may have, and MaxDigests how many digests one of them.
const (
	MaxSubjects = 1024
	MaxDigests  = 16
)

// A Statement is what an in-toto statement says, without its predicate.
type Statement struct {
	Type          string
	Subjects      []receipt.Subject
	PredicateType string
}

// Parse reads a statement. The error names the member that is wrong.
func Parse(data []byte) (*Statement, error) {
	var raw struct {
		Type    string `json:"_type"`
		Subject []struct {
			Name   string            `json:"name"`
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
		PredicateType string         `json:"predicateType"`
		Predicate     jsontext.Value `json:"predicate"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("in-toto statement: %w", err)
	}
	if raw.Type != TypeV01 && raw.Type != TypeV1 {
		return nil, fmt.Errorf("in-toto statement: _type: %q is neither %q nor %q", raw.Type, TypeV01, TypeV1)
	}
	if raw.PredicateType == "" {
		return nil, errors.New("in-toto statement: predicateType: missing")
	}
	if k := raw.Predicate.Kind(); len(raw.Predicate) > 0 && k != '{' && k != 'n' {
		return nil, errors.New("in-toto statement: predicate: not an object")
	}
	if len(raw.Subject) == 0 {
		return nil, errors.New("in-toto statement: subject: missing")
	}
	if len(raw.Subject) > MaxSubjects {
		return nil, fmt.Errorf("in-toto statement: subject: %d of them, more than %d; split the statement", len(raw.Subject), MaxSubjects)
	}
	s := &Statement{Type: raw.Type, PredicateType: raw.PredicateType}
	for i, sub := range raw.Subject {
		if len(sub.Digest) == 0 {
			return nil, fmt.Errorf("in-toto statement: subject[%d].digest: missing", i)
		}
		if len(sub.Digest) > MaxDigests {
			return nil, fmt.Errorf("in-toto statement: subject[%d].digest: %d of them, more than %d", i, len(sub.Digest), MaxDigests)
		}
		for alg, v := range sub.Digest {
			if alg == "" || v == "" {
				return nil, fmt.Errorf("in-toto statement: subject[%d].digest: empty algorithm or value", i)
			}
		}
		s.Subjects = append(s.Subjects, receipt.Subject{Name: sub.Name, Digest: sub.Digest})
	}
	return s, nil
}
