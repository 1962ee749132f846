package main

import (
	"cmp"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// boards has the dashboards by the names of their files. Replicas export what
// their log does, so each expression counts a series of several servers once.
var boards = map[string]*board{
	"backfill": backfill,
	"cache":    cache,
	"triage":   firstAction,
	"coverage": {
		title:       "Attestation coverage",
		description: "Attested artifacts among the inventoried ones, the reasons of gaps, and the age of the inventories. A share without a value is undecided.",
		panels: []panel{
			{title: "Attested", look: number, unit: "percentunit", good: high, expr: "sum(max by (log, tenant, environment, scope, type) (muniment_coverage_attested_artifacts)) / (sum(max by (log, tenant, environment, scope, type) (muniment_coverage_inventoried_artifacts)) > 0) " + decided},
			{title: "Attested of what runs", look: number, unit: "percentunit", good: high, expr: `sum(max by (log, tenant, environment, scope, type) (muniment_coverage_attested_artifacts{scope="runs"})) / (sum(max by (log, tenant, environment, scope, type) (muniment_coverage_inventoried_artifacts{scope="runs"})) > 0) ` + decided},
			{title: "Gaps", look: number, good: low, expr: "sum(max by (log, tenant, environment, scope, type, reason) (muniment_coverage_gaps))"},
			{title: "Tenants without an answer", look: number, good: low, expr: `sum(max by (log, tenant, result) (muniment_coverage_tenants{result=~"undecided|not-computed"}))`},
			{title: "Sources that are stale or unreadable", look: number, good: low, expr: `sum(max by (log, tenant, scope, state) (muniment_inventory_sources{state!="current"}))`},
			{title: "Oldest inventory of what runs", look: number, unit: "s", expr: `max(time() - muniment_inventory_observed_timestamp_seconds{scope="runs"})`},
			{title: "Attested by type", look: bars, unit: "percentunit", good: high, legend: "{{type}}", expr: "sum by (type) (max by (log, tenant, environment, scope, type) (muniment_coverage_attested_artifacts)) / (sum by (type) (max by (log, tenant, environment, scope, type) (muniment_coverage_inventoried_artifacts)) > 0)"},
			{title: "Gaps by reason", look: stacked, legend: "{{reason}}", expr: "sum by (reason) (max by (log, tenant, environment, scope, type, reason) (muniment_coverage_gaps))"},
			{title: "Inventoried by type", look: stacked, legend: "{{type}}", expr: "sum by (type) (max by (log, tenant, environment, scope, type) (muniment_coverage_inventoried_artifacts))"},
			{title: "Age of the inventories", look: bars, unit: "s", legend: "{{scope}} {{environment}} {{source}}", expr: "max by (environment, scope, source) (time() - muniment_inventory_observed_timestamp_seconds)"},
			{title: "Gaps of what runs and of what exists", look: lines, legend: "{{scope}}", expr: "sum by (scope) (max by (log, tenant, environment, scope, type, reason) (muniment_coverage_gaps))"},
			{title: "Age of the coverage", look: number, unit: "s", expr: "max(time() - muniment_coverage_as_of_timestamp_seconds)"},
		},
	},
	"verification": {
		title:       "SDK verification success",
		description: "Verifications by tenants, as far as their SDKs report them. Reports are opt-in: silence is not success.",
		panels: []panel{
			{title: "Verified in 24 hours", look: number, unit: "percentunit", good: high, expr: `sum(increase(muniment_verification_reports_total{verdict="verified"}[1d])) / (sum(increase(muniment_verification_reports_total[1d])) > 0)`},
			{title: "Refused in 24 hours", look: number, good: low, expr: `sum(increase(muniment_verification_reports_total{verdict="not-verified"}[1d]))`},
			{title: "Not checked in 24 hours", look: number, good: low, expr: `sum(increase(muniment_verification_reports_total{verdict="error"}[1d]))`},
			{title: "Reports in 24 hours", look: number, expr: "sum(increase(muniment_verification_reports_total[1d]))"},
			{title: "Verified by SDK", look: bars, unit: "percentunit", good: high, legend: "{{verifier}}", expr: `sum by (verifier) (increase(muniment_verification_reports_total{verdict="verified"}[1d])) / (sum by (verifier) (increase(muniment_verification_reports_total[1d])) > 0)`},
			{title: "Reports by verdict", look: stacked, legend: "{{verdict}}", expr: "sum by (verdict) (increase(muniment_verification_reports_total[15m]))"},
			{title: "Failures by SDK", look: stacked, legend: "{{verifier}}", expr: `sum by (verifier) (increase(muniment_verification_reports_total{verdict!="verified"}[15m]))`},
		},
	},
	"findings": {
		title:       "Findings burndown",
		description: "Findings by state, deadlines, exceptions, and the share of findings that are closed with linked evidence.",
		panels: []panel{
			{title: "Closed with linked evidence", look: number, unit: "percentunit", good: high, expr: "min(muniment_findings_closed_with_evidence_ratio)"},
			{title: "Past their deadline", look: number, good: low, expr: "sum(max by (log, tenant) (muniment_findings_overdue))"},
			{title: "Open", look: number, expr: `sum(max by (log, tenant, state, severity) (muniment_findings{state!="resolved"}))`},
			{title: "Break-glass to confirm", look: number, good: low, expr: "max(muniment_break_glass_unconfirmed)"},
			{title: "Next exception expires in", look: number, unit: "s", expr: "min(muniment_exception_expiry_seconds)"},
			{title: "Burndown: findings that are not resolved", look: stacked, legend: "{{severity}}", expr: `sum by (severity) (max by (log, tenant, state, severity) (muniment_findings{state!="resolved"}))`},
			{title: "Findings by state", look: stacked, legend: "{{state}}", expr: "sum by (state) (max by (log, tenant, state, severity) (muniment_findings))"},
			{title: "Past their deadline over time", look: lines, legend: "overdue", expr: "sum(max by (log, tenant) (muniment_findings_overdue))"},
			{title: "Exceptions by state", look: stacked, legend: "{{state}}", expr: "sum by (state) (max by (log, tenant, state) (muniment_exceptions))"},
		},
	},
}

// decided is true if no tenant's coverage lacks an answer. Without one, a share
// would look like a fact.
const decided = `and on () (sum(max by (log, tenant, result) (muniment_coverage_tenants{result=~"undecided|not-computed"})) == 0)`

// A board is a dashboard. Panels follow each other from left to right.
type board struct {
	title       string
	description string
	period      string // that is shown first; "": 30 days
	baseline    string // default of the variable baseline, in seconds; "": there is none
	panels      []panel
}

// A panel shows one expression.
type panel struct {
	title  string
	look   look
	expr   string // in PromQL
	legend string
	unit   string // one of Grafana's; "": a count
	good   direction
}

type look int

const (
	number  look = iota // the newest value
	name                // the name of the newest series
	lines               // over time
	stacked             // over time, as areas on top of each other
	bars                // the newest values as bars
)

// A direction is that of good values, which determines the colors.
type direction int

const (
	neither direction = iota
	low               // 0 is good
	high              // 1 is good
)

// source is the data source that people choose when they import a dashboard.
var source = common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${source}")}

//lint:ignore SA1019 every Grafana imports the classic model
func (b *board) build() (dashboard.Dashboard, error) {
	//lint:ignore SA1019 as above
	d := dashboard.NewDashboardBuilder("Muniment: "+b.title).
		Uid("muniment-"+strings.ReplaceAll(strings.ToLower(b.title), " ", "-")).
		Description(b.description).
		Tags([]string{"muniment"}).
		Time(cmp.Or(b.period, "now-30d"), "now").
		Refresh("1m").
		Timezone("browser").
		WithVariable(dashboard.NewDatasourceVariableBuilder("source").Label("Data source").Type("prometheus"))
	if b.baseline != "" {
		d = d.WithVariable(dashboard.NewTextBoxVariableBuilder("baseline").Label("Baseline in seconds").DefaultValue(dashboard.StringOrMap{String: cog.ToPtr(b.baseline)}))
	}
	for i := range b.panels {
		d = d.WithPanel(b.panels[i].build())
	}
	return d.Build()
}

func (p *panel) build() cog.Builder[dashboard.Panel] {
	query := prometheus.NewDataqueryBuilder().Expr(p.expr).LegendFormat(p.legend).Datasource(source).RefId("A")
	unit, text := p.unit, common.BigValueTextModeAuto
	if p.look == name {
		text = common.BigValueTextModeName
	}
	if unit == "" {
		unit = "short"
	}
	switch p.look {
	case number, name:
		return stat.NewPanelBuilder().Title(p.title).TextMode(text).Datasource(source).Unit(unit).Thresholds(p.good.thresholds()).
			ColorScheme(byThreshold()).ReduceOptions(newest()).Height(4).Span(4).WithTarget(query.Instant())
	case bars:
		return bargauge.NewPanelBuilder().Title(p.title).Datasource(source).Unit(unit).Min(0).Thresholds(p.good.thresholds()).
			ColorScheme(byThreshold()).ReduceOptions(newest()).Orientation(common.VizOrientationHorizontal).Height(8).Span(12).WithTarget(query.Instant())
	}
	t := timeseries.NewPanelBuilder().Title(p.title).Datasource(source).Unit(unit).Min(0).LineWidth(2).
		ShowPoints(common.VisibilityModeNever).Height(8).Span(12).WithTarget(query.Range())
	if p.look == stacked {
		t = t.FillOpacity(30).Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal))
	}
	return t
}

func newest() cog.Builder[common.ReduceDataOptions] {
	return common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})
}

func byThreshold() cog.Builder[dashboard.FieldColor] {
	return dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdThresholds)
}

func (d direction) thresholds() cog.Builder[dashboard.ThresholdsConfig] {
	steps := []dashboard.Threshold{{Color: "blue"}}
	switch d {
	case low:
		steps = []dashboard.Threshold{{Color: "green"}, {Color: "red", Value: cog.ToPtr(1.0)}}
	case high:
		steps = []dashboard.Threshold{{Color: "red"}, {Color: "orange", Value: cog.ToPtr(0.8)}, {Color: "green", Value: cog.ToPtr(1.0)}}
	}
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(steps)
}
