package main

// cache is the dashboard of the adaptive caches of services. Each process has
// its own, so an expression adds their reads.
var cache = &board{
	title:       "p99 and cache hit ratio",
	description: "Adaptive caches by resolver: how long reads wait for the origin, hits, what invalidation and lifetimes do, and the origin behind.",
	period:      "now-24h",
	panels: []panel{
		{title: "Hit ratio in 5 minutes", look: number, unit: "percentunit", good: high, legend: "{{resolver}}", expr: hits("5m") + " / (" + reads("5m") + " > 0)"},
		{title: "p99 in 5 minutes", look: number, unit: "s", legend: "{{resolver}}", expr: waits("0.99", "5m")},
		{title: "p99 in a day", look: number, unit: "s", legend: "{{resolver}}", expr: waits("0.99", "1d")},
		{title: "Caches that are off", look: number, good: low, expr: "count(adaptive_cache_enabled == 0) or vector(0)"},
		{title: "Processes without the bus", look: number, good: low, expr: "count(adaptive_cache_attached == 0) or vector(0)"},
		{title: "Hot keys", look: number, legend: "{{resolver}}", expr: "sum by (resolver) (adaptive_cache_hot_keys)"},
		{title: "Wait for the origin", look: lines, unit: "s", legend: "{{resolver}} {{line}}", expr: line("p50", waits("0.5", "5m")) + " or " + line("p99", waits("0.99", "5m")) + " or " + line("p99 of a day", waits("0.99", "1d"))},
		{title: "Hit ratio", look: lines, unit: "percentunit", legend: "{{resolver}}", expr: hits("5m") + " / (" + reads("5m") + " > 0)"},
		{title: "Reads per second", look: stacked, unit: "reqps", legend: "{{resolver}} {{line}}", expr: line("hits", perSecond("hits_total")) + " or " + line("late hits", perSecond("late_hits_total")) + " or " + line("misses", perSecond("misses_total"))},
		{title: "Loads per second", look: stacked, unit: "reqps", legend: "{{resolver}} {{line}}", expr: line("loads", perSecond("loads_total")) + " or " + line("failed", perSecond("failed_loads_total")) + " or " + line("timed out", perSecond("timed_out_loads_total")) + " or " + line("refused", perSecond("overloaded_total"))},
		{title: "Duration of loads", look: lines, unit: "s", legend: "{{resolver}} {{line}}", expr: line("p95", "max by (resolver) (adaptive_cache_load_p95_seconds)") + " or " + line("p99", "max by (resolver) (adaptive_cache_load_p99_seconds)")},
		{title: "Lifetimes", look: lines, unit: "s", legend: "{{resolver}}", expr: "max by (resolver) (adaptive_cache_ttl_seconds)"},
		{title: "Lifetimes that changed", look: stacked, legend: "{{resolver}} {{line}}", expr: line("longer", increase("ttl_raised_total")) + " or " + line("shorter", increase("ttl_lowered_total"))},
		{title: "Stale entries and results that were not used", look: stacked, legend: "{{resolver}} {{line}}", expr: line("entries", increase("refused_total")) + " or " + line("results", increase("rejected_total"))},
		{title: "Values that changed without an invalidation", look: lines, legend: "{{resolver}}", expr: increase("differed_total")},
		{title: "Weight of the entries", look: stacked, legend: "{{resolver}}", expr: "sum by (resolver) (adaptive_cache_weight)"},
	},
}

// waits returns a quantile of the waits of reads.
func waits(quantile, time string) string {
	return "histogram_quantile(" + quantile + ", sum by (resolver, le) (rate(adaptive_cache_wait_seconds_bucket[" + time + "])))"
}

func reads(time string) string {
	return "sum by (resolver) (rate(adaptive_cache_wait_seconds_count[" + time + "]))"
}

func hits(time string) string {
	return "sum by (resolver) (rate(adaptive_cache_hits_total[" + time + "]) + rate(adaptive_cache_late_hits_total[" + time + "]))"
}

func perSecond(metric string) string {
	return "sum by (resolver) (rate(adaptive_cache_" + metric + "[5m]))"
}

func increase(metric string) string {
	return "sum by (resolver) (increase(adaptive_cache_" + metric + "[5m]))"
}
