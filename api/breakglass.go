package api

import (
	"strings"

	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
)

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
