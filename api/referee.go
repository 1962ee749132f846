package api

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ledger/entry"
)

// A referee checks submissions against the projections of their stream.
type referee struct{ exceptions *exception.Projection }

// Check implements ingest.Referee.
func (r referee) Check(ctx context.Context, who ingest.Submitter, h *entry.Header, _ proto.Message) error {
	err := r.exceptions.Check(ctx, who.Stream, h)
	refusal, ok := errors.AsType[*exception.Refusal](err)
	switch {
	case !ok:
		return err
	case refusal.Path == "":
		return &ingest.FieldError{Field: ingest.FieldKind, Reason: refusal.Reason}
	}
	return &ingest.FieldError{Field: ingest.FieldPayload, Path: refusal.Path, Reason: refusal.Reason}
}
