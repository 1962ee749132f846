package rpc

import (
	"context"
	"errors"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/api/rpcerr"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/fieldrules"
	"muniment.dev/muniment/internal/rpcdetail"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Appends records entries.
type Appends struct {
	Ledger *ledger.Ledger
	Ingest *ingest.Ingester
	Limits *limit.Limiter
	Drain  Drain
	// MayAppend returns an error unless the caller may append entries of the
	// kind.
	MayAppend func(who *auth.Identity, kind string) error
	// Public returns the error that callers see. field maps a submission's
	// fields to their names in the request.
	Public func(err error, field func(string) string) *connect.Error
	// Refused is called for a batch that contains a refused submission.
	Refused func(context.Context, error)
}

// Record records submissions of every HTTP protocol. It checks the kinds that
// the caller may append, applies the tenant's limits, and calls ingest. The
// error is about all submissions. The results contain errors about individual
// ones.
func (s *Appends) Record(ctx context.Context, id *auth.Identity, subs []ingest.Submission) ([]ledger.Result, error) {
	entries, bytes := int64(0), int64(0)
	for i := range subs {
		if subs[i].Refused == nil {
			subs[i].Refused = s.MayAppend(id, subs[i].Kind)
		}
		if subs[i].Refused == nil {
			entries++
			bytes += int64(len(subs[i].Payload))
		}
	}
	if entries > 0 {
		q := s.Limits.Usage(id.Tenant.Name)
		if err := s.Limits.TakeEntries(ctx, q, entries, bytes); err != nil {
			return nil, err
		}
		defer q.Release(entries, bytes)
	}
	return s.Ingest.Append(ctx, id.Submitter(), subs)
}

func (s *Appends) Append(ctx context.Context, req *connect.Request[munimentv1.AppendRequest]) (*connect.Response[munimentv1.AppendResponse], error) {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	if err := s.mayWait(req.Msg.Wait); err != nil {
		return nil, err
	}
	results, err := s.Record(ctx, id, []ingest.Submission{submission(req.Msg.Submission)})
	if err == nil {
		err = s.await(ctx, id.Tenant.Stream, req.Msg.Wait, results)
	}
	if err == nil {
		err = results[0].Err
	}
	if err != nil {
		return nil, s.Public(err, InSubmission)
	}
	return connect.NewResponse(&munimentv1.AppendResponse{Appended: appended(results[0])}), nil
}

func (s *Appends) AppendBatch(ctx context.Context, req *connect.Request[munimentv1.AppendBatchRequest]) (*connect.Response[munimentv1.AppendBatchResponse], error) {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	if err := s.mayWait(req.Msg.Wait); err != nil {
		return nil, err
	}
	if err := s.Limits.Take(ctx, limit.ResultBytes*int64(len(req.Msg.Submissions))); err != nil {
		// Check before anything is recorded.
		return nil, s.Public(err, InSubmission)
	}
	subs := make([]ingest.Submission, len(req.Msg.Submissions))
	for i, m := range req.Msg.Submissions {
		subs[i] = submission(m)
		if err := fieldrules.Validate(m); err != nil {
			subs[i].Refused = ruleError(err)
		}
	}
	results, err := s.Record(ctx, id, subs)
	if err == nil {
		err = s.await(ctx, id.Tenant.Stream, req.Msg.Wait, results)
	}
	if err != nil {
		return nil, s.Public(err, InSubmission)
	}
	out := make([]*munimentv1.AppendResult, len(results))
	var refusal error
	for i, r := range results {
		if r.Err == nil {
			out[i] = &munimentv1.AppendResult{Result: &munimentv1.AppendResult_Appended{Appended: appended(r)}}
			continue
		}
		e := s.Public(r.Err, InBatch)
		out[i] = appendError(e, rpcerr.FieldOf(e))
		if refusal == nil && rpcerr.IsRefusal(e) {
			refusal = e
		}
	}
	if refusal != nil {
		s.Refused(ctx, refusal) // once per call
	}
	return connect.NewResponse(&munimentv1.AppendBatchResponse{Results: out}), nil
}

// ruleError returns the error for a message that violates validation rules.
func ruleError(err error) *connect.Error {
	e := connect.NewError(connect.CodeInvalidArgument, err)
	var v *protovalidate.ValidationError
	if errors.As(err, &v) {
		rpcdetail.Add(e, v.ToProto())
	}
	return e
}

func submission(m *munimentv1.Submission) ingest.Submission {
	return ingest.Submission{Kind: m.Kind, MediaType: m.MediaType, Payload: m.Payload, IdempotencyKey: m.IdempotencyKey}
}

func appendError(e *connect.Error, field string) *munimentv1.AppendResult {
	return &munimentv1.AppendResult{Result: &munimentv1.AppendResult_Error{Error: &munimentv1.AppendError{Code: e.Code().String(), Field: field, Message: rpcerr.Shorten(e.Message())}}}
}
