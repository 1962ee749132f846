package api

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
)

// verifiers are the names of the SDKs in verification reports. Other names
// share a series: senders choose them.
var verifiers = []string{"muniment-go", "muniment-python", "muniment-typescript", otherVerifier}

const otherVerifier = "other"

// verdicts are those of verification reports.
var verdicts = []string{"verified", "not-verified", "error"}

func newReportCounter() *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muniment_verification_reports_total",
		Help: "Verification reports of tenants that were recorded, by verdict and verifier."}, []string{"verdict", "verifier"})
	for _, verdict := range verdicts {
		for _, verifier := range verifiers {
			c.WithLabelValues(verdict, verifier)
		}
	}
	return c
}

// reported counts an entry that is a verification report.
func (m *Metrics) reported(h *entry.Header) {
	if h.Kind != kindname.VerificationReport {
		return
	}
	verifier := h.Attributes["verifier"]
	if !slices.Contains(verifiers, verifier) {
		verifier = otherVerifier
	}
	m.reports.WithLabelValues(h.Attributes["verdict"], verifier).Inc()
}
