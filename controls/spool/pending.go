package spool

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"muniment.dev/muniment/controls/decide"
)

// A Pending is a decision that is to be submitted.
type Pending struct {
	Digest  string
	Decided time.Time
}

// Pending returns the decisions in the spool, the earliest first. It calls bad
// for each document that cannot be submitted, with ErrChanged or an error of
// decide.ReadSpooled.
func (s *Spool) Pending(bad func(digest string, err error)) (all []Pending, err error) {
	digests, err := s.Digests()
	if err != nil {
		return nil, err
	}
	for _, digest := range digests {
		document, err := s.Get(digest)
		if errors.Is(err, ErrChanged) {
			bad(digest, err)
			continue
		} else if err != nil {
			return nil, err
		}
		if Type(document) != decide.SpooledType {
			continue
		}
		m, err := decide.ReadSpooled(document)
		if err != nil {
			bad(digest, err)
			continue
		}
		all = append(all, Pending{digest, m.Decision.Decided.AsTime()})
	}
	slices.SortStableFunc(all, func(a, b Pending) int { return a.Decided.Compare(b.Decided) })
	return all, nil
}

// Bounds of one call of SubmitDecisions.
const (
	batchDecisions = 100
	batchBytes     = 2 << 20
)

// Batch returns the first of the pending decisions, for one call of
// SubmitDecisions, and their documents.
func (s *Spool) Batch(pending []Pending) (batch []Pending, documents [][]byte, err error) {
	bytes := 0
	for _, p := range pending[:min(len(pending), batchDecisions)] {
		document, err := s.Get(p.Digest)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", p.Digest, err)
		}
		if bytes += len(document); bytes > batchBytes && len(batch) > 0 {
			break
		}
		batch, documents = append(batch, p), append(documents, document)
	}
	return batch, documents, nil
}
