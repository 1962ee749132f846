package intake

import (
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"muniment.dev/muniment/conductor/triage/signal"
	"muniment.dev/muniment/internal/peers"
)

// TestPython receives what the exporters of OpenTelemetry for Python send.
func TestPython(t *testing.T) {
	to, _, url := start(t)
	out, err := exec.CommandContext(t.Context(), peers.Path(t, "otlp-python"), "testdata/export.py", strings.TrimPrefix(url, "http://"), token).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	to.want(t, "otlp-logs python.http gateway", "otlp-traces GET /python gateway", "otlp-traces GET /python gateway")
}

// want checks the signals, in any order.
func (s *sink) want(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for _, s := range s.signals {
		got = append(got, strings.Join(append([]string{s.Source, s.Name}, slices.Sorted(maps.Values(s.Labels))...), " "))
		if s.Skewed || s.Source == signal.OTLPTraces && len(s.Traces) != 1 {
			t.Errorf("%+v", s)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("signals %q, want %q", got, want)
	}
}
