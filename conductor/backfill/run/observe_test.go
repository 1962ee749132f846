package run_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/conductor/backfill/record"
	"muniment.dev/muniment/conductor/backfill/run"
	"muniment.dev/muniment/ledger/receipt"
)

// linked counts the requests that carry the context of a trace.
type linked struct {
	trace string
	n     atomic.Int64
}

func (l *linked) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.Contains(r.Header.Get("Traceparent"), l.trace) {
		l.n.Add(1)
	}
	return http.DefaultTransport.RoundTrip(r)
}

// TestTraces checks the spans of a job, which are one trace with the calls of
// the ledger.
func TestTraces(t *testing.T) {
	r := newRig(t, 500, right)
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	ctx, root := provider.Tracer("test").Start(t.Context(), "conductor backfill run")
	calls := &linked{trace: root.SpanContext().TraceID().String()}
	r.options.Traces = provider
	r.options.Ledger = func(o record.Outbox, id record.Job) (*record.Sender, error) {
		policy, err := receipt.ParseTrustPolicy("policy", r.ledger.Policy)
		if err != nil {
			return nil, err
		}
		ledger := muniment.Options{Server: r.ledger.URL, Token: r.token, Tenant: "acme", Policy: policy, HTTPClient: &http.Client{Transport: calls}}
		return record.New(record.Options{Ledger: ledger, Outbox: o, Job: id, Traces: provider})
	}
	if _, err := run.Prepare(ctx, r.options); err != nil {
		t.Fatal(err)
	}
	runner, err := run.Open(ctx, r.options)
	if err != nil {
		t.Fatal(err)
	}
	defer runner.Close()
	if err := runner.Copy(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := runner.Validate(ctx, false); err != nil {
		t.Fatal(err)
	}
	if err := runner.Close(); err != nil {
		t.Fatal(err)
	}
	root.End()
	seen := map[string]int{}
	for _, s := range spans.Ended() {
		if s.SpanContext().TraceID() != root.SpanContext().TraceID() {
			t.Errorf("the span %q is in another trace", s.Name())
		}
		seen[s.Name()]++
	}
	for _, name := range []string{"copy", "expand", "phase planned", "phase copying", "phase copied", "checkpoint", "copy chunks", "validation", "muniment.v1.LedgerService/Append"} {
		if seen[name] == 0 {
			t.Errorf("no span %q: %v", name, seen)
		}
	}
	if seen["checkpoint"] < 2 || calls.n.Load() < 10 {
		t.Errorf("%d checkpoints, %d calls of the ledger in the trace", seen["checkpoint"], calls.n.Load())
	}
}
