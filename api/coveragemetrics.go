package api

import (
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"muniment.dev/muniment/controls/artifact"
	"muniment.dev/muniment/controls/inventory"
)

// Bounds of the series of one tenant.
const (
	maxEnvironments = 20 // that are named; the others are counted together
	maxSourceSeries = 50 // the sources that were observed the longest ago
)

// notComputed is the result of a tenant whose coverage could not be computed.
const notComputed = "not-computed"

var coverageResults = []string{inventory.Covered, inventory.Uncovered, inventory.NoInventory, notComputed}

// States of sources in metrics.
const (
	currentSource    = "current"
	staleSource      = "stale"
	unreadableSource = "unreadable"
)

var (
	inventoryScopes = []string{inventory.Exists, inventory.Runs}
	sourceStates    = []string{currentSource, staleSource, unreadableSource}
)

var (
	cellLabels      = []string{"tenant", "environment", "scope", "type"}
	inventoriedDesc = prometheus.NewDesc("muniment_coverage_inventoried_artifacts", "Artifacts that the newest inventories list, by type; the scope is runs if they run somewhere.", cellLabels, nil)
	attestedDesc    = prometheus.NewDesc("muniment_coverage_attested_artifacts", "Inventoried artifacts that are attested.", cellLabels, nil)
	gapsDesc        = prometheus.NewDesc("muniment_coverage_gaps", "Inventoried artifacts that are not attested, by reason.", append(slices.Clone(cellLabels), "reason"), nil)
	resultDesc      = prometheus.NewDesc("muniment_coverage_tenants", "Tenants by whether their coverage can be decided.", []string{"tenant", "result"}, nil)
	coverageAtDesc  = prometheus.NewDesc("muniment_coverage_as_of_timestamp_seconds", "Time of the coverage that these metrics show; of all tenants the earliest.", []string{"tenant"}, nil)
	sourcesDesc     = prometheus.NewDesc("muniment_inventory_sources", "Sources of inventories that have not ended, by the state of their newest inventory.", []string{"tenant", "scope", "state"}, nil)
	observedDesc    = prometheus.NewDesc("muniment_inventory_observed_timestamp_seconds", "Time at which the newest inventory of a source was observed; without names of sources the earliest of a scope.", []string{"tenant", "environment", "scope", "source"}, nil)
)

// A coverageCollector exposes the coverage of the tenants: all together without
// names, or each by itself if the operator has chosen that. Artifacts are never
// named.
type coverageCollector struct{ *coverage }

// Describe implements prometheus.Collector.
func (coverageCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{inventoriedDesc, attestedDesc, gapsDesc, resultDesc, coverageAtDesc, sourcesDesc, observedDesc} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c coverageCollector) Collect(out chan<- prometheus.Metric) {
	settings := c.server.settings.Load()
	total := newCoverageSeries()
	for _, scope := range inventoryScopes {
		for _, typ := range artifact.Types {
			total.tallies[inventory.Cell{Scope: scope, Type: typ}] = &inventory.Tally{}
		}
	}
	for i := range settings.Tenants {
		t := &settings.Tenants[i]
		series := total
		if settings.MetricsByTenant {
			series = newCoverageSeries()
		}
		series.add(c.of(t.Stream), settings.MetricsByTenant)
		if settings.MetricsByTenant {
			series.expose(out, t.Name)
		}
	}
	if !settings.MetricsByTenant {
		total.expose(out, "")
	}
}

// A coverageSeries has the values of metrics with the same tenant.
type coverageSeries struct {
	tallies  map[inventory.Cell]*inventory.Tally
	results  map[string]int
	sources  map[[2]string]int // by scope and state
	observed map[inventory.Key]time.Time
	asOf     time.Time // zero: nothing was computed
}

func newCoverageSeries() *coverageSeries {
	return &coverageSeries{tallies: map[inventory.Cell]*inventory.Tally{}, results: map[string]int{}, sources: map[[2]string]int{}, observed: map[inventory.Key]time.Time{}}
}

// add adds the summary of a tenant, which is nil if there is none.
func (m *coverageSeries) add(sum *inventory.Summary, named bool) {
	if sum == nil {
		m.results[notComputed]++
		return
	}
	m.results[sum.Result]++
	if m.asOf.IsZero() || sum.At.Time.Before(m.asOf) {
		m.asOf = sum.At.Time
	}
	environments := map[string]bool{}
	if named {
		environments = shownEnvironments(sum)
	}
	for cell, tally := range sum.Tallies {
		if !environments[cell.Environment] {
			cell.Environment = ""
		}
		if m.tallies[cell] == nil {
			m.tallies[cell] = &inventory.Tally{}
		}
		m.tallies[cell].Add(tally)
	}
	m.addSources(sum.Sources, named)
}

// shownEnvironments returns the environments that are named, the first in the
// order of their names.
func shownEnvironments(sum *inventory.Summary) map[string]bool {
	all := map[string]bool{}
	for cell := range sum.Tallies {
		all[cell.Environment] = true
	}
	names := slices.Sorted(maps.Keys(all))
	for _, name := range names[min(len(names), maxEnvironments):] {
		delete(all, name)
	}
	return all
}

func (m *coverageSeries) addSources(sources []*inventory.Source, named bool) {
	sources = slices.Clone(sources)
	slices.SortStableFunc(sources, func(a, b *inventory.Source) int { return a.Observed.Compare(b.Observed) })
	for i, s := range sources {
		state := currentSource
		switch {
		case s.Problem != "":
			state = unreadableSource
		case s.Stale:
			state = staleSource
		}
		m.sources[[2]string{s.Scope, state}]++
		key := inventory.Key{Scope: s.Scope}
		if named {
			if i >= maxSourceSeries {
				continue
			}
			key = s.Key
		}
		if at, ok := m.observed[key]; !ok || s.Observed.Before(at) {
			m.observed[key] = s.Observed
		}
	}
}

func (m *coverageSeries) expose(out chan<- prometheus.Metric, tenant string) {
	for cell, n := range m.tallies {
		gauge(out, inventoriedDesc, float64(n.Inventoried), tenant, cell.Environment, cell.Scope, cell.Type)
		gauge(out, attestedDesc, float64(n.Attested()), tenant, cell.Environment, cell.Scope, cell.Type)
		for _, reason := range inventory.Reasons {
			gauge(out, gapsDesc, float64(n.Gaps[reason]), tenant, cell.Environment, cell.Scope, cell.Type, reason)
		}
	}
	for _, result := range coverageResults {
		gauge(out, resultDesc, float64(m.results[result]), tenant, result)
	}
	for _, scope := range inventoryScopes {
		for _, state := range sourceStates {
			gauge(out, sourcesDesc, float64(m.sources[[2]string{scope, state}]), tenant, scope, state)
		}
	}
	for key, at := range m.observed {
		gauge(out, observedDesc, seconds(at), tenant, key.Environment, key.Scope, key.Source)
	}
	if !m.asOf.IsZero() {
		gauge(out, coverageAtDesc, seconds(m.asOf), tenant)
	}
}

func seconds(at time.Time) float64 { return float64(at.UnixMilli()) / 1000 }
