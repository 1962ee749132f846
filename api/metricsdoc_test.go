package api

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"muniment.dev/muniment/ledger/offload"
)

var (
	describedName = regexp.MustCompile(`fqName: "(muniment_\w+)"`)
	exposedName   = regexp.MustCompile(`(?m)^# TYPE (muniment_\w+) `)
	documentedRow = regexp.MustCompile("(?m)^\\| (`muniment_[^|]*)\\|")
	documented    = regexp.MustCompile("`(muniment_\\w+)`")
)

// later has the times in metrics, which nothing has at the start.
var later = []string{"muniment_coverage_as_of_timestamp_seconds", "muniment_inventory_observed_timestamp_seconds"}

// TestMetricsAreDocumented compares the metrics that a server with all features
// registers and exposes with the table in docs/operator.md.
func TestMetricsAreDocumented(t *testing.T) {
	s := wholeServer(t)
	m := s.cfg.Metrics
	m.Watch(s.ledger, func() (uint64, error) { return 1, nil })
	m.WatchRekor(s.ledger, s.Book())
	m.WatchReplica(s.ledger)
	m.SharedConfiguration(0, "")
	m.WatchCopy(func() offload.Status { return offload.Status{Failures: map[string]uint64{offload.Foreign: 0}} })
	exposed := exposedMetrics(t, s) // witnesses have no samples before they have answered
	m.WatchWitnesses(s.ledger, nil, nil)
	registered := map[string]bool{}
	descs := make(chan *prometheus.Desc)
	go func() {
		m.registry.Describe(descs)
		close(descs)
	}()
	for d := range descs {
		if name := describedName.FindStringSubmatch(d.String()); name != nil {
			registered[name[1]] = true
		}
	}
	text, err := os.ReadFile("../docs/operator.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := names(documented, strings.Join(names(documentedRow, string(text)), ""))
	if got := slices.Sorted(maps.Keys(registered)); !slices.Equal(got, rows) {
		t.Errorf("registered:\n%s\nin the table of docs/operator.md:\n%s", strings.Join(got, "\n"), strings.Join(rows, "\n"))
	}
	for _, name := range exposed {
		if !slices.Contains(rows, name) {
			t.Errorf("/metrics has %s, which docs/operator.md does not list", name)
		}
	}
	for _, name := range rows {
		if !slices.Contains(exposed, name) && !strings.HasPrefix(name, "muniment_witness") && !strings.HasPrefix(name, "muniment_anchor") && !slices.Contains(later, name) {
			t.Errorf("docs/operator.md lists %s, which does not exist from the start", name)
		}
	}
}

// exposedMetrics returns the names that an operator reads at /metrics.
func exposedMetrics(t *testing.T, s *Server) []string {
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Authorization", "Bearer mno_x")
	w := httptest.NewRecorder()
	s.HealthHandler().ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("/metrics: status %d: %s", w.Code, w.Body)
	}
	return names(exposedName, w.Body.String())
}

func names(pattern *regexp.Regexp, text string) []string {
	var all []string
	for _, m := range pattern.FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	slices.Sort(all)
	return slices.Compact(all)
}
