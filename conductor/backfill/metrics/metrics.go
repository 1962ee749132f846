// Package metrics shows a backfill to Prometheus while a process runs it.
package metrics

import (
	"context"
	"math"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"muniment.dev/muniment/conductor/backfill/aca"
	"muniment.dev/muniment/conductor/backfill/record"
	"muniment.dev/muniment/conductor/backfill/state"
	"muniment.dev/muniment/conductor/backfill/throttle"
)

// A Reason is why the copy is slowed down or held: an input of the throttle, or
// one of the others here.
type Reason string

// The reasons beside the inputs of the throttle.
const (
	Paused   Reason = "paused"   // by a person or a checkpoint
	Ledger   Reason = "ledger"   // too many checkpoints are not in the ledger
	Analysis Reason = "analysis" // a window of the canary analysis without the copy
)

// reasons returns all reasons.
func reasons() []Reason {
	all := []Reason{Paused, Ledger, Analysis, Reason(throttle.WindowInput)}
	for _, input := range throttle.Inputs() {
		all = append(all, Reason(input))
	}
	return all
}

// recorded is the result of an attempt to send an entry that succeeded. The
// others are faults.
const recorded = "recorded"

// Metrics are the metrics of a process that runs one job. Its name is a label
// of each, so that one Prometheus can follow several jobs. No label contains
// anything else of the job, or of the database.
type Metrics struct {
	registry *prometheus.Registry

	phase       *prometheus.GaugeVec
	visited     prometheus.Gauge
	estimated   prometheus.Gauge
	progress    prometheus.Gauge
	copied      prometheus.Counter
	chunks      prometheus.Histogram
	retries     prometheus.Counter
	limit       prometheus.Gauge
	open        prometheus.Gauge
	held        *prometheus.CounterVec
	slowed      *prometheus.CounterVec
	remaining   prometheus.Gauge
	advanced    prometheus.Gauge
	checkpoints *prometheus.CounterVec
	score       prometheus.Gauge
	threshold   prometheus.Gauge
	verdict     *prometheus.GaugeVec
	checks      *prometheus.GaugeVec
	unreported  prometheus.Gauge
	outbox      prometheus.Gauge
	attempts    *prometheus.CounterVec
	differences prometheus.Gauge

	mu     sync.Mutex    // guards the rest
	unread bool          // a step was not read yet
	last   time.Time     // of the latest reading
	read   chan struct{} // closed at the next reading
}

// New returns the metrics of a job by its name. Every series whose labels are
// known beforehand exists from the start. Values that are not known yet are
// NaN.
func New(job, version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), read: make(chan struct{})}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	r := prometheus.WrapRegistererWith(prometheus.Labels{"backfill": job}, m.registry)
	m.defineCopy(maker{r})
	m.defineChecks(maker{r})
	maker{r}.gauges("muniment_backfill_build_info", "1; the labels describe the program.", "version", "go").WithLabelValues(version, runtime.Version()).Set(1)
	for _, p := range state.Phases {
		m.phase.WithLabelValues(string(p))
	}
	for _, reason := range reasons() {
		m.held.WithLabelValues(string(reason))
		m.slowed.WithLabelValues(string(reason))
	}
	for _, v := range aca.Verdicts {
		m.checkpoints.WithLabelValues(string(v))
		m.verdict.WithLabelValues(string(v))
	}
	for _, o := range aca.Outcomes {
		m.checks.WithLabelValues(string(o))
	}
	m.attempts.WithLabelValues(recorded)
	for _, f := range record.Faults {
		m.attempts.WithLabelValues(string(f))
	}
	for _, unknown := range []prometheus.Gauge{m.remaining, m.score, m.differences, m.advanced} {
		unknown.Set(math.NaN())
	}
	m.limit.Set(math.Inf(1))
	m.open.Set(1)
	return m
}

func (m *Metrics) defineCopy(r maker) {
	m.phase = r.gauges("muniment_backfill_phase", "1 for the phase of the job, and 0 for the others.", "phase")
	m.visited = r.gauge("muniment_backfill_visited_rows", "Rows that the copy has visited, by all processes.")
	m.estimated = r.gauge("muniment_backfill_estimated_rows", "Rows of the table by the estimate of the plan.")
	m.progress = r.gauge("muniment_backfill_progress_ratio", "Share of the rows that were visited, from 0 to 1. It is below 1 until all are copied.")
	m.copied = r.counter("muniment_backfill_copied_rows_total", "Rows that this process has written.")
	m.chunks = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "muniment_backfill_chunk_seconds",
		Help: "Duration of the transaction of a chunk.", Buckets: prometheus.ExponentialBuckets(0.005, 2, 13)})
	r.registry.MustRegister(m.chunks)
	m.retries = r.counter("muniment_backfill_retries_total", "Chunks that were repeated after an error.")
	m.limit = r.gauge("muniment_backfill_limit_rows_per_second", "Rate limit in force: that of the job, of the throttle and of the canary analysis. +Inf without a limit.")
	m.open = r.gauge("muniment_backfill_window_open", "1 within the capacity windows of the job, otherwise 0.")
	m.held = r.counters("muniment_backfill_held_seconds_total", "Time in which no row was copied, by reason.", "reason")
	m.slowed = r.counters("muniment_backfill_slowed_seconds_total", "Time in which the throttle had reduced the rate, by reason.", "reason")
	m.remaining = r.gauge("muniment_backfill_remaining_seconds", "Estimated time until all rows are copied. NaN if it cannot be estimated.")
	m.advanced = r.gauge("muniment_backfill_progress_timestamp_seconds", "Time at which the job last made progress.")
}

func (m *Metrics) defineChecks(r maker) {
	m.checkpoints = r.counters("muniment_backfill_checkpoints_total", "Checkpoints that this process has judged, by verdict.", "verdict")
	m.score = r.gauge("muniment_backfill_aca_score", "Score of the latest checkpoint, from 0 to 1. NaN before the first one.")
	m.threshold = r.gauge("muniment_backfill_aca_threshold", "Score that a checkpoint needs.")
	m.verdict = r.gauges("muniment_backfill_aca_verdict", "1 for the verdict of the latest checkpoint, and 0 for the others.", "verdict")
	m.checks = r.gauges("muniment_backfill_aca_checks", "Required checks of the latest checkpoint, by result.", "result")
	m.unreported = r.gauge("muniment_backfill_unreported_checkpoints", "Checkpoints that the ledger has not recorded yet.")
	m.outbox = r.gauge("muniment_backfill_outbox_entries", "Entries that the ledger has not recorded yet.")
	m.attempts = r.counters("muniment_backfill_ledger_attempts_total", "Attempts to record an entry in the ledger, by result.", "result")
	m.differences = r.gauge("muniment_backfill_differences", "Rows that differed in the latest validation. NaN before the first one.")
}

// A maker registers the metrics that it makes.
type maker struct{ registry prometheus.Registerer }

func (r maker) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	r.registry.MustRegister(g)
	return g
}

func (r maker) gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	r.registry.MustRegister(g)
	return g
}

func (r maker) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	r.registry.MustRegister(c)
	return c
}

func (r maker) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	r.registry.MustRegister(c)
	return c
}

// Phase sets the phase of the job.
func (m *Metrics) Phase(p state.Phase) {
	defer m.stepped()
	set(m.phase, state.Phases, p)
	switch p {
	case state.Copied, state.Cutover, state.Finished:
		m.progress.Set(1)
		m.remaining.Set(0)
	}
}

// stepped notes that a value has changed that a process must not end with.
func (m *Metrics) stepped() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unread = true
}

// set sets the series of one value to 1, and the others to 0.
func set[S ~string](g *prometheus.GaugeVec, all []S, one S) {
	for _, s := range all {
		value := 0.0
		if s == one {
			value = 1
		}
		g.WithLabelValues(string(s)).Set(value)
	}
}

// Progress sets how far the copy is. A time of 0 is unknown.
func (m *Metrics) Progress(visited, estimated int64, share float64, remaining time.Duration) {
	m.visited.Set(float64(visited))
	m.estimated.Set(float64(estimated))
	m.progress.Set(share)
	if m.remaining.Set(remaining.Seconds()); remaining <= 0 {
		m.remaining.Set(math.NaN())
	}
}

// Advanced notes the time of a progress of any kind.
func (m *Metrics) Advanced(at time.Time) { m.advanced.Set(float64(at.UnixMilli()) / 1000) }

// Chunk counts a chunk with the rows that it has written.
func (m *Metrics) Chunk(written int64, took time.Duration) {
	m.copied.Add(float64(written))
	m.chunks.Observe(took.Seconds())
}

// Retry counts a chunk that is repeated.
func (m *Metrics) Retry() { m.retries.Inc() }

// Limit sets the rate limit in rows per second; 0: none.
func (m *Metrics) Limit(rate float64) {
	if rate <= 0 {
		rate = math.Inf(1)
	}
	m.limit.Set(rate)
}

// Decided notes whether the capacity windows are open.
func (m *Metrics) Decided(d throttle.Decision) {
	m.open.Set(1)
	if d.Reason.Input == throttle.WindowInput {
		m.open.Set(0)
	}
}

// Spent adds time in which the copy was held for a reason, or slowed down.
func (m *Metrics) Spent(reason Reason, held bool, d time.Duration) {
	counters := m.slowed
	if held {
		counters = m.held
	}
	counters.WithLabelValues(string(reason)).Add(max(0, d.Seconds()))
}

// Threshold sets the score that a checkpoint needs.
func (m *Metrics) Threshold(score float64) { m.threshold.Set(score) }

// Judged counts a checkpoint, and shows it.
func (m *Metrics) Judged(r *aca.Report) {
	m.checkpoints.WithLabelValues(string(r.Verdict)).Inc()
	m.Latest(r)
}

// Latest shows the latest checkpoint.
func (m *Metrics) Latest(r *aca.Report) {
	defer m.stepped()
	m.score.Set(r.Score)
	set(m.verdict, aca.Verdicts, r.Verdict)
	counts := map[aca.Outcome]int{}
	for _, result := range r.Results {
		if result.Required {
			counts[result.Result]++
		}
	}
	for _, o := range aca.Outcomes {
		m.checks.WithLabelValues(string(o)).Set(float64(counts[o]))
	}
}

// Outbox sets the numbers of entries, and of checkpoints among them, that are
// not in the ledger.
func (m *Metrics) Outbox(entries, checkpoints int) {
	m.outbox.Set(float64(entries))
	m.unreported.Set(float64(checkpoints))
}

// Sent counts an attempt to record an entry in the ledger, by the fault of its
// error; "" if it succeeded.
func (m *Metrics) Sent(fault record.Fault) {
	result := recorded
	if fault != "" {
		result = string(fault)
	}
	m.attempts.WithLabelValues(result).Inc()
}

// Validated sets the number of rows that differed in the latest validation.
func (m *Metrics) Validated(differences int64) {
	defer m.stepped()
	m.differences.Set(float64(differences))
}

// maxReaders is the number of readings at a time.
const maxReaders = 4

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	h := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxReaders})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		m.unread = false
		m.mu.Unlock()
		h.ServeHTTP(w, r)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.last = time.Now()
		close(m.read)
		m.read = make(chan struct{})
	})
}

// lastReading is how long AwaitReading waits. It is the usual interval between
// two readings of Prometheus.
const lastReading = time.Minute

// AwaitReading waits until the final phase and results of a process that ends
// were read. It returns at once if nothing has read metrics for a minute, and
// after a minute in any case.
func (m *Metrics) AwaitReading(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastReading)
	defer cancel()
	for ctx.Err() == nil {
		m.mu.Lock()
		unread, last, read := m.unread, m.last, m.read
		m.mu.Unlock()
		if !unread || last.IsZero() || time.Since(last) > lastReading {
			return
		}
		select {
		case <-read:
		case <-ctx.Done():
		}
	}
}
