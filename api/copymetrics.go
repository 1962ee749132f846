package api

import (
	"github.com/prometheus/client_golang/prometheus"

	"muniment.dev/muniment/ledger/offload"
)

// WatchCopy adds metrics about the copy of the log in a bucket.
func (m *Metrics) WatchCopy(status func() offload.Status) {
	m.copied.Store(&status)
	m.registry.MustRegister(copyMetrics{status})
}

// copyMetrics are read when they are asked for.
type copyMetrics struct{ status func() offload.Status }

var (
	copySize     = prometheus.NewDesc("muniment_tiles_size", "Entries of the log in the bucket for tiles.", nil, nil)
	copyLag      = prometheus.NewDesc("muniment_tiles_lag_entries", "Entries in the log's checkpoint that the bucket for tiles lacks.", nil, nil)
	copyCurrent  = prometheus.NewDesc("muniment_tiles_current_timestamp_seconds", "Time up to which the bucket for tiles has what the log has published.", nil, nil)
	copyObjects  = prometheus.NewDesc("muniment_tiles_objects_total", "Objects that this server has written to the bucket for tiles.", nil, nil)
	copyFailures = prometheus.NewDesc("muniment_tiles_failures_total", "Failures to write to the bucket for tiles or to read it, by reason.", []string{"reason"}, nil)
)

// Describe implements prometheus.Collector.
func (c copyMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{copySize, copyLag, copyCurrent, copyObjects, copyFailures} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c copyMetrics) Collect(ch chan<- prometheus.Metric) {
	s := c.status()
	ch <- prometheus.MustNewConstMetric(copySize, prometheus.GaugeValue, float64(s.Size))
	ch <- prometheus.MustNewConstMetric(copyLag, prometheus.GaugeValue, float64(s.Behind))
	ch <- prometheus.MustNewConstMetric(copyCurrent, prometheus.GaugeValue, float64(s.Current.UnixMilli())/1000)
	ch <- prometheus.MustNewConstMetric(copyObjects, prometheus.CounterValue, float64(s.Objects))
	for reason, n := range s.Failures {
		ch <- prometheus.MustNewConstMetric(copyFailures, prometheus.CounterValue, float64(n), reason)
	}
}
