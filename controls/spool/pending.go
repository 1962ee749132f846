package spool

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/internal/safetext"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A Pending is a decision that is to be submitted.
type Pending struct {
	Digest  string
	Decided time.Time
}

// Pending returns the decisions in the spool, the earliest first, without those
// to skip, which are not read; skip can be nil. It calls bad for each document
// that cannot be submitted, with ErrChanged or an error of decide.ReadSpooled.
func (s *Spool) Pending(skip map[string]bool, bad func(digest string, err error)) (all []Pending, err error) {
	digests, err := s.Digests()
	if err != nil {
		return nil, err
	}
	for _, digest := range digests {
		if skip[digest] {
			continue
		}
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

// Submit sends the pending decisions to the ledger, with as many calls of send
// as their sizes need. It removes those that the ledger has, and calls done
// with the results of each call, one for each of the decisions and documents.
func (s *Spool) Submit(pending []Pending, send func(documents [][]byte) ([]*munimentv1.SubmittedDecision, error), done func(batch []Pending, documents [][]byte, results []*munimentv1.SubmittedDecision) error) error {
	for len(pending) > 0 {
		batch, documents, err := s.batch(pending)
		if err != nil {
			return err
		}
		results, err := send(documents)
		if err != nil {
			return err
		}
		if len(results) != len(batch) {
			return fmt.Errorf("the server answered about %d of %s: upgrade it", len(results), safetext.Count(len(batch), "decision"))
		}
		for i, r := range results {
			if r.Index == nil {
				continue
			}
			if err := s.Remove(batch[i].Digest); err != nil {
				return err
			}
		}
		if err := done(batch, documents, results); err != nil {
			return err
		}
		pending = pending[len(batch):]
	}
	return nil
}

// batch returns the first of the pending decisions, for one call of
// SubmitDecisions, and their documents.
func (s *Spool) batch(pending []Pending) (batch []Pending, documents [][]byte, err error) {
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
