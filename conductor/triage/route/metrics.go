package route

import (
	"errors"
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"muniment.dev/muniment/conductor/triage/classify"
	"muniment.dev/muniment/conductor/triage/correlate"
	"muniment.dev/muniment/conductor/triage/execute"
)

// The results of a message.
const (
	Accepted     = "accepted"
	Invalid      = "invalid"      // not a message of its input
	TooLarge     = "too_large"    // above a limit
	Busy         = "busy"         // to be repeated
	Limited      = "limited"      // the sender sends too many
	Unauthorized = "unauthorized" // no valid token
)

// Unknown is the sender of a message without a valid token.
const Unknown = ""

// Metrics are the metrics of a router. No label contains anything of an alert.
type Metrics struct {
	registry *prometheus.Registry

	messages *prometheus.CounterVec // input, sender, result
	bytes    *prometheus.CounterVec // sender
	signals  *prometheus.CounterVec // input, effect
	skewed   prometheus.Counter
	refusals *prometheus.CounterVec // input

	held        *prometheus.GaugeVec
	evaluation  prometheus.Histogram
	verdicts    *prometheus.GaugeVec // type, verdict
	opened      *prometheus.CounterVec
	refused     prometheus.Counter
	ignored     prometheus.Counter
	takeovers   prometheus.Counter
	quarantined *prometheus.GaugeVec // type
	killed      prometheus.Gauge
	states      *prometheus.GaugeVec
	steps       *prometheus.CounterVec // action, state
	errors      prometheus.Counter
	firstAction *prometheus.HistogramVec
	reloads     *prometheus.CounterVec
}

// NewMetrics returns the metrics of a program.
func NewMetrics(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.messages = m.counters("messages_total", "Messages by input, sender and result.", "input", "sender", "result")
	m.bytes = m.counters("message_bytes_total", "Bytes of messages by sender, after decompression.", "sender")
	m.signals = m.counters("signals_total", "Signals by input and effect.", "input", "effect")
	m.refusals = m.counters("signals_refused_total", "Alerts of accepted messages that are not signals, by input.", "input")
	m.ignored = m.counter("requests_ignored_total", "Requests of persons that were not applied.")
	m.takeovers = m.counter("takeovers_total", "Incidents that were taken over from another executor.")
	m.quarantined = m.gauges("quarantined", "1 for each type of incident in quarantine.", "type")
	m.killed = m.gauges("kill_switch", "1 if the kill switch is on, and no step but undo runs.").WithLabelValues()
	m.skewed = m.counter("signals_skewed_total", "Signals with a time that was replaced.")
	m.held = m.gauges("alerts", "Alerts that the router keeps.", "state")
	m.evaluation = prometheus.NewHistogram(prometheus.HistogramOpts{Name: prefix + "evaluation_seconds", Help: "Duration of the classification of all alerts.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 13)})
	m.verdicts = m.gauges("candidates", "Candidates by type and verdict.", "type", "verdict")
	m.opened = m.counters("incidents_total", "Incidents that were classified, by type.", "type")
	m.refused = m.counter("incidents_refused_total", "Incidents that a guard rail did not allow to open.")
	m.states = m.gauges("incidents", "Incidents by state.", "state")
	m.steps = m.counters("steps_total", "Steps that have ended, undo included, by action and state.", "action", "state")
	m.errors = m.counter("executor_errors_total", "Failed attempts of the executor to open or advance an incident. It repeats them.")
	m.firstAction = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: prefix + "first_action_seconds",
		Help: "Time from the reception of the first signal of an incident to its first action.", Buckets: prometheus.ExponentialBuckets(0.25, 2, 14)}, []string{"type"})
	m.reloads = m.counters("reloads_total", "Attempts to load the configuration again, by result.", "result")
	m.registry.MustRegister(m.evaluation, m.firstAction)
	m.gauges("build_info", "1; the labels describe the program.", "version", "go").WithLabelValues(version, runtime.Version()).Set(1)
	for _, state := range states {
		m.states.WithLabelValues(string(state))
	}
	return m
}

const prefix = "muniment_triage_"

// states are those of incidents.
var states = []execute.State{execute.Open, execute.Waiting, execute.Acting, execute.Settling, execute.Undoing, execute.Escalated, execute.Following, execute.Closed}

func (m *Metrics) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + name, Help: help})
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + name, Help: help}, labels)
	m.registry.MustRegister(g)
	return g
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Registry returns the registry, for further metrics.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Message counts a message of a sender, which is empty without a valid token.
func (m *Metrics) Message(input, sender, result string, bytes int) {
	m.messages.WithLabelValues(input, sender, result).Inc()
	if sender != Unknown {
		m.bytes.WithLabelValues(sender).Add(float64(bytes))
	}
}

// Signals counts the signals of a message.
func (m *Metrics) Signals(input string, effects map[correlate.Effect]int, refused, skewed int) {
	for effect, n := range effects {
		m.signals.WithLabelValues(input, string(effect)).Add(float64(n))
	}
	m.refusals.WithLabelValues(input).Add(float64(refused))
	m.skewed.Add(float64(skewed))
}

// Reload counts an attempt to load the configuration, by its error.
func (m *Metrics) Reload(err error) {
	result := "loaded"
	switch {
	case errors.Is(err, execute.ErrNeeded):
		result = "refused"
	case err != nil:
		result = "failed"
	}
	m.reloads.WithLabelValues(result).Inc()
}

func (m *Metrics) alerts(firing, all int) {
	m.held.WithLabelValues("firing").Set(float64(firing))
	m.held.WithLabelValues("ended").Set(float64(all - firing))
}

func (m *Metrics) incidents(of map[execute.State]int) {
	for _, state := range states {
		m.states.WithLabelValues(string(state)).Set(float64(of[state]))
	}
}

// guards reports the types in quarantine and the kill switch.
func (m *Metrics) guards(quarantined []string, killed bool) {
	m.quarantined.Reset()
	for _, of := range quarantined {
		m.quarantined.WithLabelValues(of).Set(1)
	}
	on := 0.0
	if killed {
		on = 1
	}
	m.killed.Set(on)
}

// results counts the candidates.
func (m *Metrics) results(all []*classify.Result) {
	m.verdicts.Reset()
	for _, r := range all {
		if r.Candidate() != nil {
			m.verdicts.WithLabelValues(r.Type, string(r.Verdict)).Inc()
		}
	}
}
