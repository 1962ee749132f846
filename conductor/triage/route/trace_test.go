package route

import (
	"fmt"
	"strings"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"muniment.dev/muniment/conductor/triage/signal"
)

// TestTracedRefusals checks the spans of candidates that are no incidents and
// of refusals, and that a storm of them has few.
func TestTracedRefusals(t *testing.T) {
	w := newWorld(t)
	spans := tracetest.NewInMemoryExporter()
	traces := sdk.NewTracerProvider(sdk.WithSyncer(spans))
	w.edits = []string{"\"Errors\", for: 15s}]", "\"Errors\", for: 15s}]\n    abstain: [{when: name == \"Deploys\", reason: a deployment}]"}
	w.traces = traces
	w.crash()
	got := func() string {
		var all []string
		for _, s := range spans.GetSpans() {
			line := fmt.Sprintf("%s after %s:", s.Name, s.EndTime.Sub(s.StartTime))
			for _, a := range s.Attributes {
				if key := strings.TrimPrefix(string(a.Key), "triage."); key != "incident" && key != "alerts" {
					line += " " + key + "=" + a.Value.String()
				}
			}
			all = append(all, line)
		}
		spans.Reset()
		return strings.Join(all, "\n")
	}
	want := func(want string) {
		t.Helper()
		if text := got(); text != want {
			t.Errorf("spans\n%s\nwant\n%s", text, want)
		}
	}
	w.deliver(w.alert("Errors", signal.Firing, "x", w.now))
	w.pass(5 * time.Second)
	want("")
	w.deliver(w.alert("Errors", signal.Resolved, "x", noon))
	w.pass(5 * time.Second)
	want("triage decision after 5s: type=T verdict=incomplete cause=signals")
	w.deliver(w.alert("Errors", signal.Firing, "x", w.now), w.alert("Deploys", signal.Firing, "x", w.now))
	w.pass(time.Second)
	w.pass(15 * time.Second)
	want("triage decision after 15s: type=T verdict=abstained cause=doubt")
	w.pass(15 * time.Second)
	want("")
	w.must(w.Executor.Store.Kill(true))
	w.deliver(w.alert("Deploys", signal.Resolved, "x", noon))
	w.pass(time.Second)
	if text := got(); !strings.Contains(text, "verdict=classified") || !strings.HasSuffix(text, "triage refusal after 0s: reason=the kill switch is on") {
		t.Errorf("spans of a refusal:\n%s", text)
	}
	var storm []signal.Signal
	for n := range 300 {
		storm = append(storm, w.alert("Errors", signal.Firing, fmt.Sprint("s", n), w.now))
	}
	w.deliver(storm...)
	w.pass(time.Second)
	for n := range storm {
		storm[n] = w.alert("Errors", signal.Resolved, fmt.Sprint("s", n), w.now)
	}
	w.deliver(storm...)
	w.pass(time.Second)
	if n := strings.Count(got(), "\n") + 1; n > spanBurst {
		t.Errorf("%d spans of a storm", n)
	}
	w.deliver(w.alert("Errors", signal.Firing, "y", w.now))
	w.pass(time.Second)
	w.deliver(w.alert("Errors", signal.Resolved, "y", w.now))
	w.pass(time.Minute)
	if text := got(); !strings.Contains(text, "unreported=28") {
		t.Errorf("the next span does not count those without one:\n%s", text)
	}
}
