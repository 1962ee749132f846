package ingest

import (
	"errors"
	"fmt"
	"time"

	"muniment.dev/muniment/verifiers/intoto"
)

// CheckPredicate validates a statement's predicate as a document of a typed
// kind, at the given time, and adds the deviations to the statement. It ignores
// predicate types that do not belong to a kind.
func CheckPredicate(s *intoto.Statement, now time.Time) {
	name := intoto.KindOf(s.PredicateType)
	if name == "" || s.Checked {
		return
	}
	k, ok := table[name]
	switch {
	case !ok || !k.Typed():
		s.Deviations.Add("predicateType", "kind "+name+" has no documents")
		return
	case s.Predicate != nil && s.Predicate.Kind() != '{':
		return // already reported as a deviation
	case len(s.Predicate) > k.maxDocument():
		s.Deviations.Add("predicate", fmt.Sprintf("%d bytes, above the limit of %d for kind %s", len(s.Predicate), k.maxDocument(), name))
		return
	}
	s.Checked = true
	predicate := s.Predicate
	if predicate == nil {
		predicate = []byte("{}")
	}
	_, err := k.read("", predicate, now)
	var field *FieldError
	if errors.As(err, &field) {
		s.Deviations.Add("predicate", field.Message())
	} else if err != nil {
		s.Deviations.Add("predicate", err.Error())
	}
}
