package api

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/finding"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A referee checks submissions against the projections of their stream.
type referee struct {
	origin     string
	exceptions *exception.Projection
	findings   *finding.Projection
	decider    *decide.Decider
}

// Check implements ingest.Referee.
func (r *referee) Check(ctx context.Context, who ingest.Submitter, h *entry.Header, d ingest.Document) error {
	if f, ok := d.Message.(*munimentv1.Finding); ok && finding.Status(f.Status) == finding.Resolved {
		return r.checkResolution(ctx, who, h, f)
	}
	request, _ := d.Message.(*munimentv1.ExceptionRequest)
	err := r.exceptions.Check(ctx, who.Stream, &exception.Submission{Origin: r.origin, Tenant: who.Tenant, Header: h, Envelope: d.Envelope, Request: request})
	refusal, ok := errors.AsType[*exception.Refusal](err)
	switch {
	case !ok:
		return err
	case refusal.Path == "":
		return &ingest.FieldError{Field: ingest.FieldKind, Reason: refusal.Reason}
	}
	return &ingest.FieldError{Field: ingest.FieldPayload, Path: refusal.Path, Reason: refusal.Reason}
}

// checkResolution records in the header which controls accept the evidence of a
// resolved finding. A finding that is not admitted resolves nothing, and needs
// no evidence.
func (r *referee) checkResolution(ctx context.Context, who ingest.Submitter, h *entry.Header, m *munimentv1.Finding) error {
	if h.NotAdmitted() {
		return nil
	}
	accepted, err := r.decider.Resolve(ctx, who.Tenant, who.Stream, &decide.Resolution{Finding: m.Id, Subjects: h.Subjects, Controls: h.Controls, Evidence: m.Evidence})
	if refusal, ok := errors.AsType[*decide.UnresolvedError](err); ok {
		recorded, err := r.recorded(ctx, who, h)
		if err != nil || recorded {
			return err
		}
		return &ingest.FieldError{Field: ingest.FieldPayload, Path: refusal.Path, Reason: refusal.Reason}
	}
	if err != nil {
		return err
	}
	// The attributes belong to the payload, which is checked again if the rules
	// change.
	h.Attributes = maps.Clone(h.Attributes)
	h.Attributes[finding.Resolution] = finding.Accepted
	for i, id := range accepted {
		h.Attributes[fmt.Sprintf("%s.%d", finding.AcceptedBy, i+1)] = id
	}
	return nil
}

// recorded reports whether a finding repeats a submission, which package ledger
// recognizes.
func (r *referee) recorded(ctx context.Context, who ingest.Submitter, h *entry.Header) (found bool, err error) {
	err = r.findings.Use(ctx, who.Stream, func(all []*finding.Finding, _ uint64) {
		for _, f := range all {
			for i := range f.Reports {
				found = found || f.Reports[i].By == h.Submitter && f.Reports[i].Key == h.IdempotencyKey
			}
		}
	})
	return found, err
}
