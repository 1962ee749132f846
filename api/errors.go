package api

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/api/rpc"
	"muniment.dev/muniment/api/rpcerr"
	"muniment.dev/muniment/controls/attest"
	"muniment.dev/muniment/controls/bundle"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/inventory"
	"muniment.dev/muniment/controls/spool"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ingest/retention"
	"muniment.dev/muniment/ledger"
)

// codes is the one table from errors to codes. Other errors are internal, and
// their text is not sent to callers.
var codes = []struct {
	err   error
	code  connect.Code
	label string        // in metrics
	retry time.Duration // 0: retrying does not help
}{
	{ledger.ErrQueueFull, connect.CodeResourceExhausted, "queue_full", time.Second},
	{ledger.ErrDiskFull, connect.CodeResourceExhausted, "disk_full", 30 * time.Second},
	{ledger.ErrClock, connect.CodeUnavailable, "clock", 30 * time.Second},
	{ledger.ErrUnconfirmed, connect.CodeUnavailable, "unconfirmed", 5 * time.Second},
	{ledger.ErrNotWitnessed, connect.CodeUnavailable, "not_witnessed", time.Second},
	{ledger.ErrNoQuorum, connect.CodeFailedPrecondition, "no_quorum", 0},
	{ledger.ErrClosed, connect.CodeUnavailable, "closed", 5 * time.Second},
	{ledger.ErrFailed, connect.CodeUnavailable, "failed", 30 * time.Second},
	{ledger.ErrUnavailable, connect.CodeUnavailable, "payload_storage", 5 * time.Second},
	{ledger.ErrNoAnswer, connect.CodeUnavailable, "database", time.Second},
	{ledger.ErrDamaged, connect.CodeDataLoss, "damaged", 0},
	{ledger.ErrKeyReused, connect.CodeFailedPrecondition, "key_reused", 0},
	{ledger.ErrNotFound, connect.CodeNotFound, "not_found", 0},
	{ledger.ErrOutOfRange, connect.CodeOutOfRange, "out_of_range", 0},
	{ledger.ErrNoCheckpoint, connect.CodeFailedPrecondition, "no_checkpoint", 0},
	{ledger.ErrNothingNew, connect.CodeFailedPrecondition, "nothing_new", 0},
	{attest.ErrNoKey, connect.CodeFailedPrecondition, "no_gate_key", 0},
	{ledger.ErrReplica, connect.CodeFailedPrecondition, "replica", 0},
	{ledger.ErrRolledBack, connect.CodeFailedPrecondition, "rolled_back", 0},
	{ledger.ErrErased, connect.CodeFailedPrecondition, "erased", 0},
	{ingest.ErrContended, connect.CodeUnavailable, "rules_contended", 5 * time.Second},
	{retention.ErrHeld, connect.CodeFailedPrecondition, "held", 0},
	{retention.ErrKept, connect.CodeFailedPrecondition, "kept", 0},
	{retention.ErrRelied, connect.CodeFailedPrecondition, "relied_upon", 0},
	{retention.ErrHoldExists, connect.CodeFailedPrecondition, "hold_exists", 0},
	{retention.ErrRulesChanged, connect.CodeFailedPrecondition, "rules_changed", 0},
	{retention.ErrNoHold, connect.CodeNotFound, "no_hold", 0},
	{decide.ErrUnreadableSet, connect.CodeFailedPrecondition, "unreadable_control_set", 0},
	{decide.ErrNoSet, connect.CodeNotFound, "no_control_set", 0},
	{bundle.ErrSelection, connect.CodeInvalidArgument, "bundle_selection", 0},
	{inventory.ErrNoRelease, connect.CodeNotFound, "no_release", 0},
	{inventory.ErrAmbiguous, connect.CodeInvalidArgument, "ambiguous_release", 0},
	{bundle.ErrEarly, connect.CodeInvalidArgument, "bundle_time", 0},
	{rpc.ErrNoGateKey, connect.CodeFailedPrecondition, "no_gate_key", 0},
	{rpc.ErrNoPolicy, connect.CodeFailedPrecondition, "no_policy", 0},
	{spool.ErrFull, connect.CodeResourceExhausted, "spool_full", 0},
	{spool.ErrTooLarge, connect.CodeFailedPrecondition, "spooled_too_large", 0},
	{spool.ErrNone, connect.CodeFailedPrecondition, "no_spool", 0},
	{ledger.ErrTooLarge, connect.CodeFailedPrecondition, "too_large", 0},
	{ledger.ErrPageToken, connect.CodeInvalidArgument, "page_token", 0},
	{context.Canceled, connect.CodeCanceled, "canceled", 0},
	{context.DeadlineExceeded, connect.CodeDeadlineExceeded, "deadline", 0},
}

// public returns the error that the caller of a call with one submission sees.
// Errors about a field name the field in a detail as well.
func (s *Server) public(err error) *connect.Error { return s.publicOf(err, rpc.InSubmission) }

// publicOf is public for calls whose requests have the fields of a submission
// elsewhere. name returns the path of a field.
func (s *Server) publicOf(err error, name func(field string) string) *connect.Error {
	var ce *connect.Error
	if errors.As(err, &ce) {
		return ce
	}
	if w, ok := wrongSubmission(err); ok {
		if w.label != "" {
			s.cfg.Metrics.refused.WithLabelValues(w.label).Inc()
		}
		return rpcerr.Field(w.code, name(w.field), "%s", w.reason)
	}
	var full *limit.Full
	if errors.As(err, &full) {
		return s.limits.Busy(full)
	}
	for _, row := range codes {
		if !errors.Is(err, row.err) {
			continue
		}
		if row.err == ledger.ErrUnavailable {
			s.log.Error("a large payload could not be written or read", "err", err)
		}
		if row.err == ledger.ErrNoAnswer {
			s.log.Warn("a call was refused", "err", err)
		}
		if row.err == ledger.ErrFailed || row.err == ledger.ErrUnavailable || row.err == ledger.ErrNoAnswer {
			err = row.err // the cause is for the operator
		}
		if row.retry > 0 {
			return rpcerr.Retry(row.code, err, row.retry)
		}
		var wrong *ledger.FieldError
		if errors.As(err, &wrong) {
			return rpcerr.Field(row.code, ledgerFields[wrong.Field], "%s", wrong.Reason)
		}
		return connect.NewError(row.code, err)
	}
	s.log.Error("internal error", "err", err)
	return connect.NewError(connect.CodeInternal, errors.New("internal error; the server's log has the cause"))
}

// A wrong is a refusal of one submission because of one of its fields.
type wrong struct {
	code   connect.Code
	field  string // of a submission
	reason string
	label  string // in metrics
}

// wrongSubmission returns the refusal in an error, if there is one.
func wrongSubmission(err error) (wrong, bool) {
	var field *ingest.FieldError
	var refusal *ingest.Refusal
	var kind *kindRefusal
	switch {
	case errors.As(err, &field):
		return wrong{connect.CodeInvalidArgument, submissionFields[field.Field], field.Message(), reasonInvalid}, true
	case errors.As(err, &refusal):
		return wrong{connect.CodePermissionDenied, "payload", refusal.Error(), reasonAdmission}, true
	case errors.As(err, &kind):
		return wrong{connect.CodePermissionDenied, "kind", kind.Error(), ""}, true
	}
	return wrong{}, false
}

// Reasons for refusing an entry that are not in the table.
const (
	reasonInvalid   = "invalid"
	reasonAdmission = "admission_policy"
	reasonInternal  = "internal"
)

// refusalReasons returns every label that reasonLabel can return.
func refusalReasons() []string {
	labels := []string{reasonInvalid, reasonAdmission, reasonInternal}
	for _, row := range codes {
		labels = append(labels, row.label)
	}
	return labels
}

func reasonLabel(err error) string {
	var invalid *ingest.FieldError
	var refusal *ingest.Refusal
	switch {
	case errors.As(err, &invalid):
		return reasonInvalid
	case errors.As(err, &refusal):
		return reasonAdmission
	}
	for _, row := range codes {
		if errors.Is(err, row.err) {
			return row.label
		}
	}
	return reasonInternal
}

// ledgerFields maps the arguments of the ledger's methods to the fields of
// requests.
var ledgerFields = map[ledger.Field]string{
	ledger.FieldIndex:     "index",
	ledger.FieldTreeSize:  "tree_size",
	ledger.FieldFromSize:  "from_size",
	ledger.FieldToSize:    "to_size",
	ledger.FieldSince:     "since",
	ledger.FieldWitnessed: "witnessed",
	ledger.FieldPageToken: "page_token",
	ledger.FieldWait:      "wait",
	ledger.FieldHold:      "id",
}

// submissionFields maps the fields of a submission to those of requests.
var submissionFields = map[ingest.Field]string{
	ingest.FieldKind:           "kind",
	ingest.FieldMediaType:      "media_type",
	ingest.FieldPayload:        "payload",
	ingest.FieldIdempotencyKey: "idempotency_key",
	ingest.FieldSize:           "size",
	ingest.FieldDigest:         "digest",
	ingest.FieldStatement:      "statement",
}

func (s *Server) recover(_ context.Context, spec connect.Spec, _ http.Header, p any) error {
	s.log.Error("panic", "procedure", spec.Procedure, "panic", p, "stack", string(debug.Stack()))
	return connect.NewError(connect.CodeInternal, errors.New("internal error; the server's log has the cause"))
}
