package rpc

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/rpcerr"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/internal/turns"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

const (
	// maxPast is the number of recorded decisions that one call reads.
	maxPast = 100_000
	// pastEvery is the number of decisions after which a call sends what it has
	// found, and how far it has come.
	pastEvery = 100
	// pastBytes is the size of a message in bytes, after which it is sent.
	pastBytes = 64 << 10
)

// whileServing returns a context that ends when the server shuts down, with
// ledger.ErrClosed as its cause. The caller must call end.
func (d Drain) whileServing(ctx context.Context) (_ context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		defer crash.Report()
		select {
		case <-d:
			cancel(ledger.ErrClosed)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// causeOf returns the reason for which the context of a call ended, or err.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// Replay decides recorded decisions again with a candidate control set.
func (s *Gates) Replay(ctx context.Context, req *connect.Request[munimentv1.ReplayRequest], stream *connect.ServerStream[munimentv1.ReplayResponse]) error {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return err
	}
	ctx, end := s.Drain.whileServing(ctx)
	defer end()
	candidate, err := readCandidate(ctx, id.Tenant.Name, req.Msg)
	if err != nil {
		return s.Public(err)
	}
	out := &pastStream[munimentv1.ReplayResponse, *munimentv1.ReplayResponse]{stream: stream}
	totals := &munimentv1.ReplayTotals{}
	message := &munimentv1.ReplayResponse{}
	send := func(last bool) error {
		message.Totals = totals
		sent, err := out.send(message, last)
		if sent {
			message = &munimentv1.ReplayResponse{}
		}
		return err
	}
	q := &decide.Replay{Candidate: candidate, Since: req.Msg.Since.AsTime(), From: req.Msg.FromIndex, Limit: maxPast}
	next, err := s.Decider.Replay(ctx, id.Tenant.Name, id.Tenant.Stream, q, func(r *decide.Replayed, span decide.Span) error {
		message.Done, message.Total = span.Done, span.Total
		if count(totals, r) {
			message.Decisions = append(message.Decisions, replayedMessage(r))
		}
		return send(false)
	})
	if err == nil {
		if next > 0 {
			message.NextIndex = &next
		} else {
			message.Done, message.Total = 1, 1
		}
		err = send(true)
	}
	return s.pastError(ctx, err)
}

// pastError returns the error that the caller of a stream sees.
func (s *Gates) pastError(ctx context.Context, err error) error {
	if err = causeOf(ctx, err); err == nil {
		return nil
	}
	return notYet(s.Public, "since", err)
}

// A candidate is a request with a control set that is not in force.
type candidate interface {
	GetControlSet() []byte
	GetControls() [][]byte
}

// readCandidate reads the candidate control set of a request. Compiling its
// conditions takes turns with other tenants.
func readCandidate(ctx context.Context, tenant string, m candidate) (*evaluate.Set, error) {
	turn, err := turns.CPU.Begin(ctx, tenant)
	if err != nil {
		return nil, err
	}
	defer turn.End()
	set, err := decide.Candidate(m.GetControlSet(), m.GetControls())
	if err != nil {
		return nil, rpcerr.Field(connect.CodeInvalidArgument, "control_set", "%s", err)
	}
	return set, nil
}

// count counts a replayed decision, and reports whether it is sent.
func count(t *munimentv1.ReplayTotals, r *decide.Replayed) bool {
	switch {
	case r.Decision == nil:
		t.Skipped++
	case !r.Changed():
		t.Unchanged++
		return false
	case r.Decision.Decision == evaluate.Blocked:
		t.Blocked++
	case r.Decision.Decision == evaluate.Undecided:
		t.Undecided++
	default:
		t.Passed++
	}
	return true
}

func replayedMessage(r *decide.Replayed) *munimentv1.ReplayedDecision {
	d := r.Recorded.Decision
	m := &munimentv1.ReplayedDecision{Index: r.Index, Decided: d.Decided, Type: d.Type, Subjects: d.Subjects, Stage: d.Stage, Environment: d.Environment, Recorded: d.Decision, Reason: r.Skipped}
	if r.Decision != nil {
		m.Replayed, m.Reason, m.Results = string(r.Decision.Decision), r.Decision.Reason, decide.Failing(r.Decision)
	}
	return m
}

// ListAffected sends the passes that would no longer be one.
func (s *Gates) ListAffected(ctx context.Context, req *connect.Request[munimentv1.ListAffectedRequest], stream *connect.ServerStream[munimentv1.ListAffectedResponse]) error {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return err
	}
	ctx, end := s.Drain.whileServing(ctx)
	defer end()
	out := &pastStream[munimentv1.ListAffectedResponse, *munimentv1.ListAffectedResponse]{stream: stream}
	message, decided := &munimentv1.ListAffectedResponse{}, uint64(0)
	send := func(last bool) error {
		message.Decided = decided
		sent, err := out.send(message, last)
		if sent {
			message = &munimentv1.ListAffectedResponse{}
		}
		return err
	}
	q := &decide.PassQuery{Below: req.Msg.BelowIndex, Stage: req.Msg.Stage, Environment: req.Msg.Environment, Limit: maxPast}
	if req.Msg.Since != nil {
		q.Since = req.Msg.Since.AsTime()
	}
	next, err := s.Decider.Affected(ctx, id.Tenant.Name, id.Tenant.Stream, q, func(a *decide.Affected, span decide.Span) error {
		decided++
		message.Done, message.Total = span.Done, span.Total
		if a != nil {
			message.Passes = append(message.Passes, affectedMessage(a))
		}
		return send(false)
	})
	if err == nil {
		if next > 0 {
			message.NextBelow = &next
		} else {
			message.Done, message.Total = 1, 1
		}
		err = send(true)
	}
	return s.pastError(ctx, err)
}

func affectedMessage(a *decide.Affected) *munimentv1.AffectedPass {
	d := a.Recorded.Decision
	m := &munimentv1.AffectedPass{Index: a.Index, Decided: d.Decided, Type: d.Type, Subjects: d.Subjects, Stage: d.Stage, Environment: d.Environment,
		Decision: string(a.Now.Decision), Reason: a.Now.Reason, Results: decide.Failing(a.Now)}
	for _, c := range a.Causes {
		m.Causes = append(m.Causes, &munimentv1.AffectedCause{Control: c.Control, Change: string(c.Change), Text: c.Text, Entries: c.Entries})
	}
	return m
}

// A pastStream sends messages that collect results, when they are large enough
// or enough decisions have passed.
type pastStream[T any, M interface {
	*T
	proto.Message
}] struct {
	stream *connect.ServerStream[T]
	calls  int
}

// send sends the message if it is time to, and reports whether it did.
func (s *pastStream[T, M]) send(m M, last bool) (sent bool, err error) {
	if s.calls++; !last && s.calls%pastEvery != 0 && proto.Size(m) < pastBytes {
		return false, nil
	}
	return true, s.stream.Send(m)
}
