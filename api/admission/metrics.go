package admission

import (
	"math"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"muniment.dev/muniment/controls/evaluate"
)

// Metrics are the metrics of the process. No label contains a namespace, an
// image or a user.
type Metrics struct {
	Registry     *prometheus.Registry
	reviews      *prometheus.CounterVec
	seconds      *prometheus.HistogramVec
	decisions    *prometheus.CounterVec
	serverErrors *prometheus.CounterVec
	resolutions  *prometheus.CounterVec
}

// Answers to reviews.
const (
	answerAllowed = "allowed"
	answerWarned  = "warned" // allowed, with an image that may not run
	answerDenied  = "denied"
	answerInvalid = "invalid" // not a review, or too many at a time
)

// NewMetrics returns metrics with a registry of their own. Every counter that
// an alert may be written for exists from the start.
func NewMetrics() *Metrics {
	r := prometheus.NewRegistry()
	m := &Metrics{
		Registry: r,
		reviews: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muniment_admit_reviews_total",
			Help: "Admission reviews by webhook and answer."}, []string{"webhook", "answer"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "muniment_admit_seconds",
			Help: "Duration of reviews.", Buckets: prometheus.ExponentialBuckets(0.0002, 2.5, 12)}, []string{"webhook"}),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muniment_admit_decisions_total",
			Help: "Decisions about images by outcome, and whether the cache had them."}, []string{"decision", "source"}),
		serverErrors: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muniment_admit_replica_errors_total",
			Help: "Questions that a replica gave no usable answer to."}, []string{"server"}),
		resolutions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muniment_admit_resolutions_total",
			Help: "Tags that were resolved in a registry, by result."}, []string{"result"}),
	}
	for _, path := range Paths {
		for _, a := range []string{answerAllowed, answerWarned, answerDenied, answerInvalid} {
			m.reviews.WithLabelValues(path[1:], a)
		}
		m.seconds.WithLabelValues(path[1:])
	}
	for _, outcome := range []evaluate.Outcome{evaluate.Pass, evaluate.Blocked, evaluate.Undecided} {
		for _, source := range []string{"cache", "replica"} {
			m.decisions.WithLabelValues(string(outcome), source)
		}
	}
	for _, result := range []string{"resolved", "failed"} {
		m.resolutions.WithLabelValues(result)
	}
	r.MustRegister(m.reviews, m.seconds, m.decisions, m.serverErrors, m.resolutions, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// watch adds the metrics of a handler.
func (m *Metrics) watch(h *Handler) {
	for _, s := range h.decider.servers {
		m.serverErrors.WithLabelValues(s.Name)
	}
	gauge := func(name, help string, value func() float64) {
		m.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("muniment_admit_replica_age_seconds", "Age of the newest state of the log that a replica has answered from; +Inf: no replica has answered.", func() float64 {
		if _, seen := h.decider.state(); !seen {
			return math.Inf(1)
		}
		return h.Age().Seconds()
	})
	gauge("muniment_admit_cache_entries", "Decisions in the cache.", func() float64 {
		n, _ := h.decider.cache.count()
		return float64(n)
	})
	gauge("muniment_admit_cache_bytes", "Memory of the cache.", func() float64 {
		_, n := h.decider.cache.count()
		return float64(n)
	})
}

func (m *Metrics) decided(d *decided, source string) {
	outcome := d.decision.Decision.Decision
	switch evaluate.Outcome(outcome) {
	case evaluate.Pass, evaluate.Blocked:
	default:
		outcome = string(evaluate.Undecided)
	}
	m.decisions.WithLabelValues(outcome, source).Inc()
}

func (m *Metrics) reviewed(path, answer string, took time.Duration) {
	m.reviews.WithLabelValues(path[1:], answer).Inc()
	m.seconds.WithLabelValues(path[1:]).Observe(took.Seconds())
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}
