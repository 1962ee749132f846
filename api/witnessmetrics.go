package api

import (
	"github.com/prometheus/client_golang/prometheus"

	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/anchor"
	"muniment.dev/muniment/ledger/witness"
)

// WatchWitnesses adds metrics about the witnesses and the anchors.
func (m *Metrics) WatchWitnesses(l *ledger.Ledger, c *witness.Collector, anchors []*anchor.Writer) {
	w := &witnessMetrics{l, c, anchors}
	m.witnesses.Store(w)
	m.registry.MustRegister(w)
}

// witnessMetrics are read when they are asked for.
type witnessMetrics struct {
	ledger    *ledger.Ledger
	collector *witness.Collector
	anchors   []*anchor.Writer
}

var (
	witnessedSize   = prometheus.NewDesc("muniment_witnessed_size", "Size of the latest checkpoint that meets the quorum of the log's policies.", nil, nil)
	witnessSize     = prometheus.NewDesc("muniment_witness_size", "Size of the largest checkpoint that the witness has cosigned since the start.", []string{"witness"}, nil)
	witnessLag      = prometheus.NewDesc("muniment_witness_lag_entries", "Entries that are published and that the witness has not cosigned.", []string{"witness"}, nil)
	witnessCosigned = prometheus.NewDesc("muniment_witness_cosigned_total", "Checkpoints that the witness has cosigned.", []string{"witness"}, nil)
	witnessFailures = prometheus.NewDesc("muniment_witness_failures_total", "Attempts to have a checkpoint cosigned that failed, by reason.", []string{"witness", "reason"}, nil)
	anchorSize      = prometheus.NewDesc("muniment_anchor_size", "Size of the checkpoint in the anchor file.", []string{"path"}, nil)
	anchorFailures  = prometheus.NewDesc("muniment_anchor_failures_total", "Writes of the anchor file that failed.", []string{"path"}, nil)
)

// Describe implements prometheus.Collector.
func (w *witnessMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{witnessedSize, witnessSize, witnessLag, witnessCosigned, witnessFailures, anchorSize, anchorFailures} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (w *witnessMetrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	witnessed := uint64(0)
	if latest := w.ledger.Witnessed(); latest != nil {
		witnessed = latest.Size
	}
	gauge(witnessedSize, witnessed)
	witnesses := w.collector.Status()
	published := w.ledger.Published().Size // after the witnesses' sizes, which it is never below
	for _, s := range witnesses {
		gauge(witnessSize, s.Size, s.Name)
		gauge(witnessLag, published-s.Size, s.Name)
		counter(witnessCosigned, s.Cosigned, s.Name)
		for reason, n := range s.Failures {
			counter(witnessFailures, n, s.Name, reason)
		}
	}
	for _, a := range w.anchors {
		gauge(anchorSize, a.Size(), a.Path())
		counter(anchorFailures, a.Failures(), a.Path())
	}
}
