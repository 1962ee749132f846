package rpc

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// SubmitDecisions records the decisions in a spool. It does not trust them: it
// makes each again (docs/spec/decision.md, section 10).
func (s *Gates) SubmitDecisions(ctx context.Context, req *connect.Request[munimentv1.SubmitDecisionsRequest]) (*connect.Response[munimentv1.SubmitDecisionsResponse], error) {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	if s.Ledger.IsReplica() {
		return nil, s.Public(ledger.ErrReplica)
	}
	// Otherwise two submitters of a copied spool could record a decision twice.
	release, err := s.alone(ctx, id.Tenant.Stream)
	if err != nil {
		return nil, s.Public(err)
	}
	defer release()
	c := &gateCall{Gates: s, id: id}
	res := &munimentv1.SubmitDecisionsResponse{}
	for _, document := range req.Msg.Decisions {
		r, err := c.submit(ctx, document)
		if err != nil {
			return nil, s.Public(err)
		}
		res.Results = append(res.Results, r)
	}
	return connect.NewResponse(res), nil
}

// alone waits until no other submission to the stream is under way.
func (s *Gates) alone(ctx context.Context, stream *ledger.Stream) (release func(), err error) {
	v, _ := s.submitting.LoadOrStore(stream.ID, make(chan struct{}, 1))
	turn := v.(chan struct{})
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// submit records one decision. An error means that nothing is known about it,
// so that the call can be repeated.
func (c *gateCall) submit(ctx context.Context, document []byte) (*munimentv1.SubmittedDecision, error) {
	digest := entry.SHA256(document)
	known, err := c.spooled(ctx, digest)
	if err != nil || known != nil {
		return known, err
	}
	spooled, err := decide.ReadSpooled(document)
	switch {
	case err != nil:
		return refused(munimentv1.SubmissionResult_SUBMISSION_RESULT_INVALID, "%s", err), nil
	case spooled.Log != c.Ledger.Origin():
		return refused(munimentv1.SubmissionResult_SUBMISSION_RESULT_INVALID, "log: it is about the log %s, this is %s", spooled.Log, c.Ledger.Origin()), nil
	case spooled.Tenant != c.id.Tenant.Name:
		return refused(munimentv1.SubmissionResult_SUBMISSION_RESULT_INVALID, "tenant: it is about the tenant %s, you act for %s", spooled.Tenant, c.id.Tenant.Name), nil
	}
	again, err := c.Decider.Again(ctx, c.id.Tenant.Name, c.id.Tenant.Stream, spooled)
	switch {
	case errors.Is(err, decide.ErrNotYet):
		return refused(munimentv1.SubmissionResult_SUBMISSION_RESULT_NOT_YET, "%s", err), nil
	case errors.Is(err, decide.ErrTooEarly):
		return refused(munimentv1.SubmissionResult_SUBMISSION_RESULT_INVALID, "%s", err), nil
	case err != nil:
		return nil, err
	case !proto.Equal(again.Decided, spooled.Decision.Decided):
		return refused(munimentv1.SubmissionResult_SUBMISSION_RESULT_INVALID, "decision.decided: must be a time in milliseconds"), nil
	case !decide.SameOutcome(again, spooled.Decision):
		r := refused(munimentv1.SubmissionResult_SUBMISSION_RESULT_DIFFERS, "the gate decided %s, the log decides %s", spooled.Decision.Decision, again.Decision)
		r.Decision = again
		return r, nil
	}
	again.Offline, again.Spooled, again.Gate, again.Caller = true, digest, spooled.Gate, spooled.Caller
	return c.recordSpooled(ctx, again)
}

func refused(r munimentv1.SubmissionResult, format string, args ...any) *munimentv1.SubmittedDecision {
	return &munimentv1.SubmittedDecision{Result: r, Reason: fmt.Sprintf(format, args...)}
}

// spooled returns the result for a document whose decision is recorded, or nil.
func (c *gateCall) spooled(ctx context.Context, digest string) (*munimentv1.SubmittedDecision, error) {
	page, err := c.Ledger.List(ctx, c.id.Tenant.Stream, ledger.Query{Filter: ledger.Filter{Kind: kindname.GateDecision, Attribute: "spooled=" + digest}, Limit: 1})
	if err != nil || len(page.Entries) == 0 {
		return nil, err
	}
	return &munimentv1.SubmittedDecision{Result: munimentv1.SubmissionResult_SUBMISSION_RESULT_KNOWN, Index: &page.Entries[0].Index}, nil
}

// recordSpooled records a decision that was made offline, unless it repeats one
// that was still valid.
func (c *gateCall) recordSpooled(ctx context.Context, m *munimentv1.GateDecision) (*munimentv1.SubmittedDecision, error) {
	page, err := c.earlier(ctx, m)
	if err != nil {
		return nil, err
	}
	for i := range page {
		same, err := c.repeats(ctx, m, &page[i])
		if err != nil {
			return nil, err
		}
		if same {
			c.Decided(m.Decision, Repeated)
			return &munimentv1.SubmittedDecision{Result: munimentv1.SubmissionResult_SUBMISSION_RESULT_REPEATED, Index: &page[i].Index}, nil
		}
	}
	q, bytes := c.Limits.Usage(c.id.Tenant.Name), int64(proto.Size(m))
	if err := c.Limits.TakeEntries(ctx, q, 1, bytes); err != nil {
		return nil, err
	}
	defer q.Release(1, bytes)
	m.Attestations = nil // of the decision that it was compared with
	all, err := c.Ingest.RecordAll(ctx, c.id.Submitter(), kindname.GateDecision, []ingest.Recording{{Key: "gate/spooled/" + m.Spooled, Message: m}})
	if err == nil {
		err = all[0].Err
	}
	if err != nil {
		return nil, err
	}
	c.Decided(m.Decision, Recorded)
	return &munimentv1.SubmittedDecision{Result: munimentv1.SubmissionResult_SUBMISSION_RESULT_RECORDED, Index: &all[0].Index}, nil
}
