package metrics_test

import (
	"context"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"muniment.dev/muniment/conductor/backfill/aca"
	"muniment.dev/muniment/conductor/backfill/metrics"
	"muniment.dev/muniment/conductor/backfill/record"
	"muniment.dev/muniment/conductor/backfill/state"
)

func read(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	text, err := io.ReadAll(w.Result().Body)
	if err != nil || w.Code != http.StatusOK {
		t.Fatalf("status %d: %v", w.Code, err)
	}
	return string(text)
}

// TestDocumented compares the metrics with the table in docs/monitoring.md. All
// of them exist from the start, and no later event adds a series.
func TestDocumented(t *testing.T) {
	m := metrics.New("asset", "v1")
	before := read(t, m)
	exposed := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^# TYPE (muniment_\w+) `).FindAllStringSubmatch(before, -1) {
		exposed[match[1]] = true
	}
	page, err := os.ReadFile("../../../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `muniment_backfill_[^|]*\\|").FindAllString(string(page), -1) {
		for _, match := range regexp.MustCompile("`(muniment_\\w+)`").FindAllStringSubmatch(row, -1) {
			documented[match[1]] = true
		}
	}
	if !maps.Equal(exposed, documented) {
		t.Errorf("exposed:\n%q\nin docs/monitoring.md:\n%q", slices.Sorted(maps.Keys(exposed)), slices.Sorted(maps.Keys(documented)))
	}
	m.Phase(state.Copying)
	m.Judged(&aca.Report{Score: 0.5, Verdict: aca.BelowThreshold, Results: []aca.Result{{Required: true, Result: aca.Fail}, {Result: aca.Pass}}})
	m.Sent(record.Unreachable)
	m.Sent("")
	m.Spent(metrics.Paused, true, -1)
	m.Limit(0)
	m.Validated(3)
	after := read(t, m)
	if got, want := len(series(after)), len(series(before)); got != want {
		t.Errorf("%d series, and %d at the start", got, want)
	}
	for _, line := range []string{
		`muniment_backfill_phase{backfill="asset",phase="copying"} 1`,
		`muniment_backfill_phase{backfill="asset",phase="planned"} 0`,
		`muniment_backfill_aca_verdict{backfill="asset",verdict="below-threshold"} 1`,
		`muniment_backfill_aca_checks{backfill="asset",result="fail"} 1`,
		`muniment_backfill_aca_checks{backfill="asset",result="pass"} 0`,
		`muniment_backfill_ledger_attempts_total{backfill="asset",result="unreachable"} 1`,
		`muniment_backfill_differences{backfill="asset"} 3`,
		`muniment_backfill_limit_rows_per_second{backfill="asset"} +Inf`,
	} {
		if !strings.Contains(after, line+"\n") {
			t.Errorf("the metrics lack the line %s", line)
		}
	}
}

func series(text string) []string {
	return regexp.MustCompile(`(?m)^muniment_\S+`).FindAllString(text, -1)
}

// TestAwaitReading checks that a process that ends waits for a reading of its
// final values only if something reads them.
func TestAwaitReading(t *testing.T) {
	m := metrics.New("asset", "v1")
	m.AwaitReading(t.Context()) // nothing reads them
	read(t, m)
	m.AwaitReading(t.Context()) // everything was read
	m.Progress(1, 2, 0.5, 0)
	m.Phase(state.Paused)
	ended := make(chan struct{})
	go func() {
		m.AwaitReading(t.Context())
		close(ended)
	}()
	for done := false; !done; {
		read(t, m)
		select {
		case <-ended:
			done = true
		default:
		}
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	m.Phase(state.RolledBack)
	m.AwaitReading(canceled)
	if text := read(t, m); !strings.Contains(text, "muniment_backfill_remaining_seconds{backfill=\"asset\"} NaN") {
		t.Errorf("an unknown time is not %v", math.NaN())
	}
}
