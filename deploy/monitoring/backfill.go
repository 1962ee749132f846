package main

// backfill is the dashboard of the processes that run backfills. Each exports
// its job alone, so an expression takes the worst of the servers and processes
// that a job has had.
var backfill = &board{
	title:       "Backfill progress and ACA",
	description: "Online backfills while a process runs them: rows, rate and its limits, what holds the copy, the canary analysis of the checkpoints, and the ledger.",
	period:      "now-6h",
	panels: []panel{
		{title: "Copied", look: number, unit: "percentunit", legend: "{{backfill}}", expr: "max by (backfill) (muniment_backfill_progress_ratio)"},
		{title: "Phase", look: name, legend: "{{backfill}}: {{phase}}", expr: "max by (backfill, phase) (muniment_backfill_phase) == 1"},
		{title: "Time left", look: number, unit: "s", legend: "{{backfill}}", expr: "max by (backfill) (muniment_backfill_remaining_seconds)"},
		{title: "Since the last progress", look: number, unit: "s", legend: "{{backfill}}", expr: "time() - max by (backfill) (muniment_backfill_progress_timestamp_seconds)"},
		{title: "Score of the latest checkpoint", look: number, unit: "percentunit", good: high, legend: "{{backfill}}", expr: "min by (backfill) (muniment_backfill_aca_score)"},
		{title: "Rows that differ", look: number, good: low, legend: "{{backfill}}", expr: "max by (backfill) (muniment_backfill_differences)"},
		{title: "Rows", look: lines, legend: "{{backfill}} {{line}}", expr: line("visited", "max by (backfill) (muniment_backfill_visited_rows)") + " or " + line("estimated", "max by (backfill) (muniment_backfill_estimated_rows)")},
		{title: "Rows per second", look: lines, legend: "{{backfill}} {{line}}", expr: line("rate", "sum by (backfill) (rate(muniment_backfill_copied_rows_total[1m]))") + " or " + line("limit", "min by (backfill) (muniment_backfill_limit_rows_per_second < +Inf)")},
		{title: "Held, as a share of the time", look: stacked, unit: "percentunit", legend: "{{backfill}} {{reason}}", expr: "sum by (backfill, reason) (rate(muniment_backfill_held_seconds_total[1m]))"},
		{title: "Slowed, as a share of the time", look: stacked, unit: "percentunit", legend: "{{backfill}} {{reason}}", expr: "sum by (backfill, reason) (rate(muniment_backfill_slowed_seconds_total[1m]))"},
		{title: "Duration of a chunk", look: lines, unit: "s", legend: "{{backfill}} {{line}}", expr: line("median", chunks("0.5")) + " or " + line("95 %", chunks("0.95"))},
		{title: "Chunks that were repeated", look: lines, legend: "{{backfill}}", expr: "sum by (backfill) (increase(muniment_backfill_retries_total[5m]))"},
		{title: "Score and threshold", look: lines, unit: "percentunit", legend: "{{backfill}} {{line}}", expr: line("score", "min by (backfill) (muniment_backfill_aca_score)") + " or " + line("threshold", "max by (backfill) (muniment_backfill_aca_threshold)")},
		{title: "Required checks of the latest checkpoint", look: bars, legend: "{{backfill}} {{result}}", expr: "max by (backfill, result) (muniment_backfill_aca_checks)"},
		{title: "Checkpoints by verdict", look: stacked, legend: "{{backfill}} {{verdict}}", expr: "sum by (backfill, verdict) (increase(muniment_backfill_checkpoints_total[1h]))"},
		{title: "Not in the ledger yet", look: lines, legend: "{{backfill}} {{line}}", expr: line("entries", "max by (backfill) (muniment_backfill_outbox_entries)") + " or " + line("checkpoints", "max by (backfill) (muniment_backfill_unreported_checkpoints)")},
		{title: "Attempts to record an entry", look: stacked, legend: "{{backfill}} {{result}}", expr: "sum by (backfill, result) (increase(muniment_backfill_ledger_attempts_total[15m]))"},
		{title: "Memory of the process", look: lines, unit: "bytes", legend: "{{instance}}", expr: "max by (instance) (process_resident_memory_bytes and on (job, instance) muniment_backfill_build_info)"},
	},
}

// line gives the series of an expression a name in a panel that has several.
func line(name, expr string) string {
	return `label_replace(` + expr + `, "line", "` + name + `", "", "")`
}

func chunks(quantile string) string {
	return "histogram_quantile(" + quantile + ", sum by (backfill, le) (rate(muniment_backfill_chunk_seconds_bucket[5m])))"
}
