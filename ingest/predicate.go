package ingest

import (
	"errors"
	"fmt"
	"time"

	"muniment.dev/muniment/verifiers/intoto"
)

// CheckPredicate checks the predicate of a statement whose predicate type is that of one of the kinds, as of a time: it must be what such an
// entry may be. Predicates of other types are not its business.
func CheckPredicate(predicateType string, predicate []byte, now time.Time) error {
	name := intoto.KindOf(predicateType)
	if name == "" {
		return nil
	}
	k, ok := kinds[name]
	if !ok || name == "attestation" {
		return fmt.Errorf("in-toto statement: predicateType: there are no documents of kind %s", name)
	}
	if len(predicate) > maxTyped {
		return fmt.Errorf("in-toto statement: predicate: %d bytes, more than the %d that a document of kind %s may have", len(predicate), maxTyped, name)
	}
	if len(predicate) == 0 {
		predicate = []byte("{}")
	}
	_, err := k.read("", predicate, now)
	var field *FieldError
	if errors.As(err, &field) {
		return fmt.Errorf("in-toto statement: predicate: %s", field.Message)
	}
	return err
}
