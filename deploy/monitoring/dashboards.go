package main

import (
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// boards has the dashboards by the names of their files.
var boards = map[string]*board{
	"findings": {
		title:       "Findings burndown",
		description: "Findings by state, deadlines, exceptions, and the share of findings that are closed with linked evidence.",
		panels: []panel{
			{title: "Closed with linked evidence", look: number, unit: "percentunit", good: high, expr: "min(muniment_findings_closed_with_evidence_ratio)"},
			{title: "Past their deadline", look: number, good: low, expr: "sum(muniment_findings_overdue)"},
			{title: "Open", look: number, expr: `sum(muniment_findings{state!="resolved"})`},
			{title: "Break-glass to confirm", look: number, good: low, expr: "max(muniment_break_glass_unconfirmed)"},
			{title: "Next exception expires in", look: number, unit: "s", expr: "min(muniment_exception_expiry_seconds)"},
			{title: "Burndown: findings that are not resolved", look: stacked, legend: "{{severity}}", expr: `sum by (severity) (muniment_findings{state!="resolved"})`},
			{title: "Findings by state", look: stacked, legend: "{{state}}", expr: "sum by (state) (muniment_findings)"},
			{title: "Past their deadline over time", look: lines, legend: "overdue", expr: "sum(muniment_findings_overdue)"},
			{title: "Exceptions by state", look: stacked, legend: "{{state}}", expr: "sum by (state) (muniment_exceptions)"},
		},
	},
}

// A board is a dashboard. Panels follow each other from left to right.
type board struct {
	title       string
	description string
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
		Time("now-30d", "now").
		Refresh("1m").
		Timezone("browser").
		WithVariable(dashboard.NewDatasourceVariableBuilder("source").Label("Data source").Type("prometheus"))
	for i := range b.panels {
		d = d.WithPanel(b.panels[i].build())
	}
	return d.Build()
}

func (p *panel) build() cog.Builder[dashboard.Panel] {
	query := prometheus.NewDataqueryBuilder().Expr(p.expr).LegendFormat(p.legend).Datasource(source).RefId("A")
	unit := p.unit
	if unit == "" {
		unit = "short"
	}
	switch p.look {
	case number:
		return stat.NewPanelBuilder().Title(p.title).Datasource(source).Unit(unit).Thresholds(p.good.thresholds()).
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
