package run

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"muniment.dev/muniment/conductor/backfill/record"
	"muniment.dev/muniment/conductor/backfill/state"
)

// restore shows what earlier processes have done.
func (r *Runner) restore(ctx context.Context) error {
	r.Metrics.Threshold(r.Job.ACA.Threshold)
	position, err := state.LoadPosition(ctx, r.conn, r.Job.Name)
	var corrupt *state.CorruptError
	if err != nil && !errors.As(err, &corrupt) {
		return err
	}
	estimate := max(r.plan.Estimates.Rows, position.Visited)
	r.Metrics.Progress(position.Visited, estimate, min(0.99, float64(position.Visited)/float64(max(1, estimate))), 0)
	r.Metrics.Phase(r.row.Phase)
	taken, err := state.Checkpoints(ctx, r.conn, r.Job.Name)
	if err != nil {
		return err
	}
	if n := len(taken); n > 0 {
		report, err := reportOf(taken[n-1])
		if err != nil {
			return err
		}
		r.Metrics.Latest(report)
	}
	all, err := state.Validations(ctx, r.conn, r.Job.Name)
	if n := len(all); n > 0 && all[n-1].Ended != nil {
		r.Metrics.Validated(all[n-1].Differences)
	}
	return err
}

// sent notes an attempt to send an entry to the ledger.
func (r *Runner) sent(a record.Attempt) {
	var fault record.Fault
	if e, ok := errors.AsType[*record.SendError](a.Err); ok {
		fault = e.Fault
	}
	if a.Err == nil || fault != "" {
		r.Metrics.Sent(fault)
	}
	r.Watch.Sent(a)
	if a.Err != nil {
		r.hint()
	}
}

// hint informs the person whose rollback waits for the ledger.
func (r *Runner) hint() {
	if !r.hinted.Swap(true) {
		r.Watch.Event("hint", map[string]string{"hint": "the rollback waits up to " + acknowledgeTime.String() + " for the ledger: it is possible without it, by --without-ledger"})
	}
}

// copied shows the progress of the copy.
func (r *Runner) copied(p Progress) {
	r.Metrics.Progress(p.Visited, p.Estimate, p.Share, p.Left)
	r.Watch.Copied(p)
}

// setRow replaces the row of the job. Each phase has a span.
func (r *Runner) setRow(row state.Job) {
	if r.phase == nil || r.row.Phase != row.Phase {
		r.endPhase()
		_, r.phase = r.tracer.Start(trace.ContextWithSpan(context.Background(), r.parent), "phase "+string(row.Phase))
	}
	r.row = row
	r.Metrics.Phase(row.Phase)
}

func (r *Runner) endPhase() {
	if r.phase != nil {
		r.phase.End()
	}
}

// trace begins a span of the job in its phase. Spans contain no values of rows
// and no messages of errors, which may quote them.
func (r *Runner) trace(ctx context.Context, name string, about ...attribute.KeyValue) (context.Context, trace.Span) {
	if trace.SpanFromContext(ctx) == r.parent {
		ctx = trace.ContextWithSpan(ctx, r.phase)
	}
	about = append(about, attribute.String("backfill", r.Job.Name))
	return r.tracer.Start(ctx, name, trace.WithAttributes(about...))
}

// endSpan ends a span with the result of its step.
func endSpan(span trace.Span, err error) {
	switch {
	case err == nil:
	case errors.Is(err, errRollBack), errors.Is(err, ErrPaused), errors.Is(err, ErrRolledBack), errors.Is(err, ErrNotPassed):
		span.SetAttributes(attribute.String("result", err.Error()))
	default:
		span.SetStatus(codes.Error, "")
	}
	span.End()
}

// traceBatch makes the span of the chunks since the previous one.
func (r *Runner) traceBatch(ctx context.Context, began, ended time.Time, p Progress, chunks int64) {
	if chunks == 0 {
		return
	}
	ctx = trace.ContextWithSpan(ctx, r.phase)
	_, span := r.tracer.Start(ctx, "copy chunks", trace.WithTimestamp(began), trace.WithAttributes(
		attribute.String("backfill", r.Job.Name), attribute.Int64("chunks", chunks), attribute.Int64("visited", p.Visited),
		attribute.Float64("rate", p.Rate), attribute.String("slowed_by", string(r.account.slowdown.reason))))
	span.End(trace.WithTimestamp(ended))
}
