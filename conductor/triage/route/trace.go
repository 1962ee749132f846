package route

import (
	"context"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"muniment.dev/muniment/conductor/triage/classify"
	"muniment.dev/muniment/conductor/triage/execute"
)

// Decisions against acting have a span a second each, and spanBurst at once. A
// storm can have thousands of them. The next span counts those without one.
const spanBurst = 20

// A sparse tracer makes spans of decisions against acting.
type sparse struct {
	tracer  trace.Tracer
	limit   *rate.Limiter
	skipped int // since the latest span
}

func newSparse(tracer trace.Tracer) *sparse {
	return &sparse{tracer: tracer, limit: rate.NewLimiter(1, spanBurst)}
}

// span makes a span, unless there are too many.
func (s *sparse) span(ctx context.Context, name string, from, to time.Time, attributes ...attribute.KeyValue) {
	if !s.limit.AllowN(to, 1) {
		s.skipped++
		return
	}
	if s.skipped > 0 {
		attributes = append(attributes, attribute.Int("triage.unreported", s.skipped))
		s.skipped = 0
	}
	_, span := s.tracer.Start(ctx, name, trace.WithTimestamp(from), trace.WithAttributes(attributes...))
	span.End(trace.WithTimestamp(to))
}

// A verdict is the latest one on a candidate.
type verdict struct {
	classify.Verdict
	cause string
	since time.Time
}

// undecided traces the candidates that are no incidents: each abstention when
// it begins, and each candidate that ends without having been decided. It uses
// no labels, as decided.
func (r *Router) undecided(ctx context.Context, results []*classify.Result, now time.Time) {
	report := func(of string, v verdict) {
		r.sparse.span(trace.ContextWithSpanContext(ctx, trace.SpanContext{}), "triage decision", v.since, now,
			attribute.String("triage.type", of), attribute.String("triage.verdict", string(v.Verdict)), attribute.String("triage.cause", v.cause))
	}
	latest := map[place]verdict{}
	for _, res := range results {
		c := res.Candidate()
		if c == nil {
			continue
		}
		at := place{res.Type, c.Key}
		v := verdict{res.Verdict, res.Cause(), now}
		old, known := r.verdicts[at]
		if known {
			v.since = old.since
		}
		if v.Verdict == classify.Abstained && (!known || old.Verdict != v.Verdict || old.cause != v.cause) {
			report(res.Type, v)
		}
		latest[at] = v
	}
	for at, v := range r.verdicts {
		if _, ok := latest[at]; !ok && v.Verdict == classify.Incomplete {
			report(at.of, v)
		}
	}
	r.verdicts = latest
}

// refusedAt traces that a guard rail has refused an incident or a step.
func (a *actor) refusedAt(id, reason string, at time.Time) {
	text, ok := strings.CutPrefix(reason, execute.ErrRefused.Error()+": ")
	if !ok {
		return
	}
	a.mu.Lock()
	span := a.spans[id]
	a.mu.Unlock()
	a.sparse.span(trace.ContextWithRemoteSpanContext(context.Background(), span), "triage refusal", at, at,
		attribute.String("triage.incident", id), attribute.String("triage.reason", text))
}
