package api

import (
	"net/http"

	"muniment.dev/muniment/api/tiles"
)

// tlog serves the public log by C2SP tlog-tiles under /tlog/.
func (s *Server) tlog() http.Handler {
	var h http.Handler = http.StripPrefix("/tlog/", &tiles.Handler{Ledger: s.ledger, Logger: s.log, Public: s.cfg.PublicTlog, Book: s.book})
	if !s.cfg.PublicTlog {
		h = s.authenticate(h)
	}
	return h
}
