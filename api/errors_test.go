package api

import (
	"errors"
	"fmt"
	"testing"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api/rpc"
	"muniment.dev/muniment/api/rpcerr"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ingest/policy"
)

// TestRefusalsNameTheirField checks that each refusal of a submission names the
// wrong field where the call has it.
func TestRefusalsNameTheirField(t *testing.T) {
	s := &Server{cfg: Config{Metrics: NewMetrics("test")}}
	calls := map[string]func(string) string{"Append": rpc.InSubmission, "AppendBatch": rpc.InBatch, "AppendStream": rpc.InStream}
	for _, c := range []struct {
		err    error
		code   connect.Code
		fields map[string]string // by call
	}{
		{&ingest.FieldError{Field: ingest.FieldPayload, Reason: "empty"}, connect.CodeInvalidArgument,
			map[string]string{"Append": "submission.payload", "AppendBatch": "payload", "AppendStream": "chunk"}},
		{&ingest.FieldError{Field: ingest.FieldMediaType, Reason: "missing"}, connect.CodeInvalidArgument,
			map[string]string{"Append": "submission.media_type", "AppendBatch": "media_type", "AppendStream": "header.media_type"}},
		{&ingest.Refusal{Decision: &policy.Decision{Reason: "denied"}}, connect.CodePermissionDenied,
			map[string]string{"Append": "submission.payload", "AppendBatch": "payload", "AppendStream": "chunk"}},
		{&kindRefusal{errors.New("not for this role")}, connect.CodePermissionDenied,
			map[string]string{"Append": "submission.kind", "AppendBatch": "kind", "AppendStream": "header.kind"}},
	} {
		for call, name := range calls {
			e := s.publicOf(fmt.Errorf("append: %w", c.err), name)
			if e.Code() != c.code || rpcerr.FieldOf(e) != c.fields[call] || !rpcerr.IsRefusal(e) && c.code == connect.CodePermissionDenied {
				t.Errorf("%s: %T: code %s, field %q, want %s, %q", call, c.err, e.Code(), rpcerr.FieldOf(e), c.code, c.fields[call])
			}
		}
	}
}
