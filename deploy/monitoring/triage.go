package main

// firstAction is the dashboard of incident triage. It compares the time to the
// first action with a baseline, which the people who look at it enter: triage
// cannot measure how long they would have taken.
var firstAction = &board{
	title: "MTTA against baseline",
	description: "Incident triage: the time from the first signal of an incident to the first action, not to its resolution, beside a baseline in seconds that you enter. " +
		"Incidents without an action count with the baseline.",
	period:   "now-30d",
	baseline: "120",
	panels: []panel{
		{title: "Mean time to the first action", look: number, unit: "s", expr: meanFirst("30d")},
		{title: "With incidents that a person takes", look: number, unit: "s", expr: mtta("30d")},
		{title: "Baseline", look: number, unit: "s", expr: "vector($baseline)"},
		{title: "Reduction against the baseline", look: number, unit: "percentunit", expr: "1 - " + mtta("30d") + " / $baseline"},
		{title: "Escalated to people", look: number, good: low, expr: `sum(muniment_triage_incidents{state="escalated"})`},
		{title: "Steps that failed in a day", look: number, good: low, expr: `sum(increase(muniment_triage_steps_total{state=~"failed|foreign"}[1d])) or vector(0)`},
		{title: "Types in quarantine", look: number, good: low, expr: "count(max by (type) (muniment_triage_quarantined)) or vector(0)"},
		{title: "Executors with the kill switch on", look: number, good: low, expr: "sum(muniment_triage_kill_switch)"},
		{title: "Incidents taken over in a day", look: number, expr: "sum(increase(muniment_triage_takeovers_total[1d])) or vector(0)"},
		{title: "Time to the first action", look: lines, unit: "s", legend: "{{line}}", expr: line("median", firstQuantile("0.5")) + " or " + line("95 %", firstQuantile("0.95")) + " or " + line("baseline", "vector($baseline)")},
		{title: "Mean time to the first action by type", look: bars, unit: "s", legend: "{{type}}", expr: "sum by (type) (increase(muniment_triage_first_action_seconds_sum[30d])) / (sum by (type) (increase(muniment_triage_first_action_seconds_count[30d])) > 0)"},
		{title: "Incidents by type", look: stacked, legend: "{{type}}", expr: "sum by (type) (increase(muniment_triage_incidents_total[1h]))"},
		{title: "Incidents by state", look: stacked, legend: "{{state}}", expr: "sum by (state) (muniment_triage_incidents)"},
		{title: "Steps by their end", look: stacked, legend: "{{state}}", expr: "sum by (state) (increase(muniment_triage_steps_total[1h]))"},
		{title: "Attempts of the executor that failed", look: lines, legend: "errors", expr: "sum(increase(muniment_triage_executor_errors_total[5m]))"},
		{title: "Alerts that triage keeps", look: lines, legend: "{{state}}", expr: "sum by (state) (muniment_triage_alerts)"},
	},
}

func firstActions(part, time string) string {
	return "sum(increase(muniment_triage_first_action_seconds_" + part + "[" + time + "]))"
}

func meanFirst(time string) string {
	return firstActions("sum", time) + " / (" + firstActions("count", time) + " > 0)"
}

// mtta counts incidents without an action with the baseline.
func mtta(time string) string {
	incidents := "sum(increase(muniment_triage_incidents_total[" + time + "]))"
	return "((" + firstActions("sum", time) + " + (" + incidents + " - " + firstActions("count", time) + ") * $baseline) / (" + incidents + " > 0))"
}

func firstQuantile(quantile string) string {
	return "histogram_quantile(" + quantile + ", sum by (le) (rate(muniment_triage_first_action_seconds_bucket[1h])))"
}
