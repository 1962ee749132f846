package api

import (
	"slices"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
)

// verifiers are the names of the SDKs in verification reports. Other names
// share a series: senders choose them.
var verifiers = []string{"muniment-go", "muniment-python", "muniment-typescript", otherVerifier}

const otherVerifier = "other"

// verdicts are those of verification reports.
var verdicts = []string{"verified", "not-verified", "error"}

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
