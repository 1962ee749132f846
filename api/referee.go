package api

import (
	"context"
	"errors"

	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A referee checks submissions against the projections of their stream.
type referee struct {
	origin     string
	exceptions *exception.Projection
}

// Check implements ingest.Referee.
func (r referee) Check(ctx context.Context, who ingest.Submitter, h *entry.Header, d ingest.Document) error {
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
