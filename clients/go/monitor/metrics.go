package monitor

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics shows rounds to Prometheus.
type Metrics struct {
	registry *prometheus.Registry
	size     *prometheus.GaugeVec
	checked  *prometheus.GaugeVec
	standing *prometheus.GaugeVec
	found    *prometheus.CounterVec
	failures *prometheus.CounterVec
	dropped  *prometheus.CounterVec
	sent     *prometheus.CounterVec
}

// NewMetrics returns metrics without samples.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		size:     prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "muniment_monitor_entries", Help: "Entries of the log that have been checked."}, []string{"log"}),
		checked:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "muniment_monitor_checked_timestamp_seconds", Help: "When the log was last read."}, []string{"log"}),
		standing: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "muniment_monitor_alerts", Help: "Current alerts, by kind. Alerts about unexpected entries are those of the last round."}, []string{"log", "kind"}),
		found:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muniment_monitor_alerts_total", Help: "Alerts raised, by kind."}, []string{"log", "kind"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muniment_monitor_failures_total", Help: "Rounds in which reading the log, saving the state or reaching the webhook failed."}, []string{"log"}),
	}
	m.dropped = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muniment_monitor_alerts_dropped_total", Help: "Alerts dropped before delivery to the webhook, because the state was full."}, []string{"log"})
	m.sent = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muniment_monitor_alerts_delivered_total", Help: "Alerts delivered to the webhook."}, []string{"log"})
	m.registry.MustRegister(m.size, m.checked, m.standing, m.found, m.failures, m.dropped, m.sent)
	return m
}

// Observe records a round.
func (m *Metrics) Observe(r *Round, now time.Time) {
	m.failures.WithLabelValues(r.Log)
	if r.Err != nil {
		m.failures.WithLabelValues(r.Log).Inc()
	} else {
		m.checked.WithLabelValues(r.Log).Set(float64(now.Unix()))
	}
	m.size.WithLabelValues(r.Log).Set(float64(r.Size))
	m.dropped.WithLabelValues(r.Log).Add(float64(r.Dropped))
	m.sent.WithLabelValues(r.Log).Add(float64(r.Delivered))
	standing := map[string]uint64{}
	for _, a := range r.Standing {
		standing[a.Kind] += max(1, a.More)
	}
	found := map[string]uint64{}
	for _, a := range r.Found {
		found[a.Kind] += max(1, a.More)
	}
	for _, k := range kinds {
		m.standing.WithLabelValues(r.Log, k.name).Set(float64(standing[k.name]))
		m.found.WithLabelValues(r.Log, k.name).Add(float64(found[k.name]))
	}
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
