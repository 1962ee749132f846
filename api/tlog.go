package api

import (
	"errors"
	"fmt"
	"net/http"

	"muniment.dev/muniment/api/tiles"
	"muniment.dev/muniment/ledger"
)

// tlog serves the public log by C2SP tlog-tiles under /tlog/.
func (s *Server) tlog() http.Handler {
	var h http.Handler = http.StripPrefix("/tlog/", &tiles.Handler{Ledger: s.ledger, Logger: s.log, Public: s.cfg.PublicTlog, Book: s.book})
	if !s.cfg.PublicTlog {
		h = s.authenticate(h)
	}
	return h
}

// healthz says that the process lives.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }

// readyz says whether appends would be taken, and if not, why.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := s.ledger.Ready(); err != nil {
		if errors.Is(err, ledger.ErrFailed) {
			err = ledger.ErrFailed // the cause is for the operator
		}
		http.Error(w, "appends are refused: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}
