package api

import (
	"context"
	"math"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
)

// recorded is called with each new entry of a submission.
func (s *Server) recorded(who ingest.Submitter, index uint64, h *entry.Header) {
	s.cfg.Metrics.reported(h)
	s.alert(who, index, h)
}

// alert warns of break-glass, which another person must confirm or reject.
func (s *Server) alert(who ingest.Submitter, index uint64, h *entry.Header) {
	if h.Kind != kindname.ExceptionRequest || h.Attributes["breakGlass"] != "true" {
		return
	}
	s.cfg.Metrics.glass.Inc()
	attributes := []any{"tenant", who.Tenant, "exception", h.Attributes["exception"], "controls", strings.Join(h.Controls, " "), "entry", index, "expires", h.Attributes["expires"], "submitter", h.Submitter}
	if id := h.Attributes["keyId"]; id != "" {
		attributes = append(attributes, "key", id)
	}
	s.log.Warn("break-glass: another person must confirm or reject it", attributes...)
}

// unconfirmedTime limits the work of one scrape.
const unconfirmedTime = 5 * time.Second

// watchBreakGlass adds a gauge of the break-glass that must still be confirmed.
func (s *Server) watchBreakGlass() {
	s.cfg.Metrics.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "muniment_break_glass_unconfirmed",
		Help: "Break-glass of all tenants that another person must still confirm or reject, whether it has ended or not; NaN if it cannot be read."}, func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), unconfirmedTime)
		defer cancel()
		n := 0
		settings := s.settings.Load()
		for i := range settings.Tenants {
			open, err := s.decider.Unconfirmed(ctx, settings.Tenants[i].Stream)
			if err != nil {
				s.log.Warn("break-glass not read for metrics", "tenant", settings.Tenants[i].Name, "err", err)
				return math.NaN()
			}
			n += len(open)
		}
		return float64(n)
	}))
}
